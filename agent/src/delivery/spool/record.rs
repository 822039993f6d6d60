//! A record of the spool as bytes.
//!
//! ```text
//! magic 4 | state 1 | crc 4 | number 8 | length 4 | body        (integers little-endian)
//! ```
//! The CRC-32 covers all bytes behind it. The state lies before the CRC, so that changing
//! a single byte marks a record as done. No kill can leave a single byte half written.

/// The first bytes of every record. No heartbeat holds them, because UTF-8 text has no
/// byte 0xFF.
const MAGIC: [u8; 4] = *b"\xFFfb1";
/// The position of the state in a record.
pub(super) const STATE_AT: u64 = 4;
/// The state of a record that need not be sent any more. Any byte besides the two states
/// is damage and counts as waiting, because to send a heartbeat twice does no harm.
pub(super) const DONE: u8 = b'd';
const WAITING: u8 = b'w';
/// Length of a record without its body.
pub(super) const HEADER_BYTES: usize = 21;
/// Longest body.
pub(super) const MAX_BODY_BYTES: usize = fleetbeat_protocol::MAX_HEARTBEAT_BYTES;

/// The fields before a record's body. Only with the body is it clear whether the fields
/// are undamaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) is_done: bool,
    pub(super) number: u64,
    pub(super) body_bytes: usize,
    crc: u32,
}

impl Header {
    /// `None` if the bytes are not the beginning of a record.
    pub(super) fn parse(bytes: &[u8; HEADER_BYTES]) -> Option<Header> {
        let rest = bytes.strip_prefix(&MAGIC)?;
        let (state, rest) = rest.split_first()?;
        let (crc, rest) = rest.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;

        let body_bytes =
            usize::try_from(u32::from_le_bytes(rest.try_into().ok()?)).ok()?;
        let (number, crc) = (u64::from_le_bytes(*number), u32::from_le_bytes(*crc));
        (body_bytes <= MAX_BODY_BYTES).then_some(Header {
            is_done: *state == DONE,
            number,
            body_bytes,
            crc,
        })
    }

    /// Whether header and `body` belong together and are undamaged.
    pub(super) fn is_of(&self, body: &[u8]) -> bool {
        u32::try_from(body.len())
            .is_ok_and(|length| checksum(self.number, length, body) == self.crc)
    }
}

/// The bytes of a waiting record; `None` if the body is too long.
pub(super) fn encode(number: u64, body: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(body.len())
        .ok()
        .filter(|_| body.len() <= MAX_BODY_BYTES)?;

    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.push(WAITING);
    bytes.extend_from_slice(&checksum(number, length, body).to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(body);
    Some(bytes)
}

/// The first possible beginning of a record in `bytes`.
pub(super) fn find_magic(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(MAGIC.len())
        .position(|window| window == MAGIC)
}

fn checksum(number: u64, length: u32, body: &[u8]) -> u32 {
    let number = number.to_le_bytes();
    let length = length.to_le_bytes();
    let bytes = number.iter().chain(&length).chain(body);
    !bytes.fold(u32::MAX, |crc, byte| {
        let [low, ..] = crc.to_le_bytes();
        CRC_OF_BYTE[usize::from(low ^ byte)] ^ (crc >> 8)
    })
}

/// The CRC-32 of gzip and PNG for each byte. Libraries have sixteen such tables, to check
/// gigabytes; a spool has 4 MiB at most.
static CRC_OF_BYTE: [u32; 256] = {
    const POLYNOMIAL: u32 = 0xEDB8_8320;
    let mut table = [0; 256];
    let mut byte = 0_u32;
    while byte < 256 {
        let mut crc = byte;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (POLYNOMIAL * (crc & 1));
            bit += 1;
        }
        table[byte as usize] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_and_nothing_else_is_one() {
        let bytes = encode(7, b"{\"ip\":1}").unwrap();
        let (header, body) = bytes.split_first_chunk().unwrap();
        let parsed = Header::parse(header).unwrap();
        assert_eq!(
            (parsed.is_done, parsed.number, parsed.body_bytes),
            (false, 7, body.len())
        );
        assert!(parsed.is_of(body) && !parsed.is_of(&body[1..]) && !parsed.is_of(b""));
        assert_eq!(
            find_magic(&[b"\xFF\xFFf", bytes.as_slice()].concat()),
            Some(3)
        );
        assert_eq!(find_magic(body), None);
        assert!(encode(1, &vec![b' '; MAX_BODY_BYTES]).is_some());
        assert_eq!(encode(1, &vec![b' '; MAX_BODY_BYTES + 1]), None);
    }

    #[test]
    fn the_form_on_the_disk_stays_as_it_is() {
        let expected = b"\xFFfb1w\xdd\xb1\x62\x9f\x02\0\0\0\0\0\0\0\x02\0\0\0{}";
        assert_eq!(encode(2, b"{}").unwrap(), expected);
    }
}
