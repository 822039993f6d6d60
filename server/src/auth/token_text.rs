//! API tokens as text: `fbt_<id>_<secret><crc>`.
//!
//! The prefix lets scanners find a token that was published by mistake, and the checksum
//! lets them tell it from a look-alike. A text whose checksum is wrong is refused before
//! anything is looked up.

use std::fmt;

use flate2::Crc;
use sha2::{Digest, Sha256};

/// What every API token begins with, and no JWT does.
const PREFIX: &str = "fbt_";
/// Characters of an id: enough that two are never equal.
const ID_CHARS: usize = 16;
/// Characters of a secret: 256 bits, so that a plain hash is enough to keep it by.
const SECRET_CHARS: usize = 43;
/// Characters of a checksum.
const CRC_CHARS: usize = 6;
/// The characters of all three: a double click takes the whole token.
const ALPHABET: &[u8; 62] =
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// An API token that may be shown once.
pub(crate) struct TokenText {
    id: String,
    secret: String,
}

impl TokenText {
    /// A token that never was.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub(crate) fn new() -> Result<TokenText, getrandom::Error> {
        Ok(TokenText {
            id: random_text(ID_CHARS)?,
            secret: random_text(SECRET_CHARS)?,
        })
    }

    /// Reads a token; `None` for what is not one as a whole.
    pub(super) fn parse(text: &str) -> Option<TokenText> {
        let (id, rest) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let (secret, crc) = rest.split_at_checked(SECRET_CHARS)?;
        let is_text = |part: &str| part.bytes().all(|byte| ALPHABET.contains(&byte));

        let is_whole = id.len() == ID_CHARS && is_text(id) && is_text(secret);
        let token = TokenText {
            id: id.to_owned(),
            secret: secret.to_owned(),
        };
        (is_whole && token.checksum() == crc).then_some(token)
    }

    /// Whether a bearer token is meant to be an API token.
    pub(super) fn is_meant(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// The part that may be seen.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// What the secret is kept by.
    pub(crate) fn hash(&self) -> [u8; 32] {
        Sha256::digest(&self.secret).into()
    }

    fn checksum(&self) -> String {
        let mut crc = Crc::new();
        crc.update(self.id.as_bytes());
        crc.update(self.secret.as_bytes());

        let mut rest = crc.sum();
        let mut text = [0; CRC_CHARS];
        for place in text.iter_mut().rev() {
            *place = ALPHABET[(rest % 62) as usize];
            rest /= 62;
        }
        text.into_iter().map(char::from).collect()
    }
}

/// The whole token, with its secret.
impl fmt::Display for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TokenText { id, secret } = self;
        write!(f, "{PREFIX}{id}_{secret}{}", self.checksum())
    }
}

/// So many random characters.
fn random_text(chars: usize) -> Result<String, getrandom::Error> {
    // Of 256 bytes, the last 8 would make some characters likelier than others.
    const USABLE: u8 = 248;

    let mut text = String::with_capacity(chars);
    while text.len() < chars {
        let mut bytes = [0; 64];
        getrandom::fill(&mut bytes)?;
        let usable = bytes.into_iter().filter(|byte| *byte < USABLE);
        let letters = usable.map(|byte| char::from(ALPHABET[usize::from(byte % 62)]));
        text.extend(letters.take(chars - text.len()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written_and_not_with_any_character_changed() {
        let token = TokenText::new().unwrap();
        let text = token.to_string();
        assert_eq!(text.len(), 4 + ID_CHARS + 1 + SECRET_CHARS + CRC_CHARS);
        let read = TokenText::parse(&text).unwrap();
        assert_eq!((read.id(), read.hash()), (token.id(), token.hash()));

        for place in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[place] = if bytes[place] == b'x' { b'y' } else { b'x' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(TokenText::parse(&changed).is_none(), "{place}");
        }
        for bad in [
            &text[1..],
            &text[..text.len() - 1],
            &format!("{text}0"),
            "fbt_",
        ] {
            assert!(TokenText::parse(bad).is_none(), "{bad}");
        }
        assert_ne!(TokenText::new().unwrap().to_string(), text);
    }

    #[test]
    fn the_checksum_is_a_crc_32_that_others_can_compute() {
        let token = TokenText {
            id: "12345".to_owned(),
            secret: "6789".to_owned(),
        };
        // CRC-32 of "123456789" is cbf43926.
        assert_eq!(token.checksum(), "3jZRME");
    }
}
