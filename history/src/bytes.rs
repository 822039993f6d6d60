//! Numbers as bytes: few bytes for small numbers.
//!
//! A varint has seven bits in each byte, the lowest first; the highest bit says that
//! another byte follows. A signed number is folded first ("zig-zag"), so that small
//! negative numbers are small, too.

/// Why bytes cannot be read, in words for a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Damage(pub(crate) &'static str);

const ENDS_EARLY: Damage = Damage("the data end too early");
/// A u64 fits into ten bytes of seven bits.
const MAX_VARINT_BYTES: u32 = 10;

/// Appends a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(low_byte(number) | 0x80);
        number >>= 7;
    }
    out.push(low_byte(number));
}

/// Appends a length or an index.
pub(crate) fn put_length(out: &mut Vec<u8>, length: usize) {
    put_varint(out, length as u64);
}

/// Appends a signed number.
pub(crate) fn put_signed(out: &mut Vec<u8>, number: i64) {
    put_varint(out, fold(number));
}

/// The number without its sign: 0, -1, 1, -2, … become 0, 1, 2, 3, …
pub(crate) fn fold(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

/// The number that [`fold`] has folded.
pub(crate) fn unfold(folded: u64) -> i64 {
    (folded >> 1).cast_signed() ^ -(folded & 1).cast_signed()
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the mask leaves seven bits"
)]
fn low_byte(number: u64) -> u8 {
    (number & 0x7f) as u8
}

/// Bytes that are read from the front. Every method fails where the bytes end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How many bytes are left.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Damage> {
        let (first, rest) = self.bytes.split_first().ok_or(ENDS_EARLY)?;
        self.bytes = rest;
        Ok(*first)
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Damage> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(ENDS_EARLY)?;
        self.bytes = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let (taken, rest) = self.bytes.split_first_chunk().ok_or(ENDS_EARLY)?;
        self.bytes = rest;
        Ok(*taken)
    }

    pub(crate) fn varint(&mut self) -> Result<u64, Damage> {
        let mut number = 0;
        for place in 0..MAX_VARINT_BYTES {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            let shifted = bits << (7 * place);
            if shifted >> (7 * place) != bits {
                break;
            }
            number |= shifted;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Damage("a number has more than 64 bits"))
    }

    pub(crate) fn signed(&mut self) -> Result<i64, Damage> {
        self.varint().map(unfold)
    }

    /// A length or an index, at most `most`.
    pub(crate) fn length(&mut self, most: usize) -> Result<usize, Damage> {
        let length = usize::try_from(self.varint()?).ok();
        length
            .filter(|length| *length <= most)
            .ok_or(Damage("a length is over its limit"))
    }

    /// A text with its length before it, of at most `most` bytes.
    pub(crate) fn text(&mut self, most: usize) -> Result<&'a str, Damage> {
        let length = self.length(most)?;
        str::from_utf8(self.bytes(length)?).map_err(|_| Damage("a name is not UTF-8"))
    }
}

/// Appends a text with its length before it.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_length(out, text.len());
    out.extend_from_slice(text.as_bytes());
}
