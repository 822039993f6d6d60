//! Codes that enrol hosts, as texts: `fbe_`, the code's id, `_` and the secret.

use fleetbeat_protocol::{KeyHash, NewCode, Timestamp};
use ipnet::IpNet;
use jiff::SignedDuration;
use sha2::{Digest, Sha256};

use crate::store::Code;

/// What every code begins with.
const PREFIX: &str = "fbe_";
/// Hexadecimal digits of a code's id.
const ID_DIGITS: usize = 8;
/// Hexadecimal digits of a code's secret: 128 bits.
const SECRET_DIGITS: usize = 32;

/// A new code, and its text, which is shown once and kept nowhere.
///
/// # Errors
/// The system gives no random numbers.
pub(crate) fn new_code(
    wish: NewCode,
    networks: Vec<IpNet>,
    created_by: String,
    now: Timestamp,
) -> Result<(Code, String), getrandom::Error> {
    let id = format!("{:08x}", getrandom::u32()?);
    let mut secret = [0; SECRET_DIGITS / 2];
    getrandom::fill(&mut secret)?;
    let text = format!("{PREFIX}{id}_{:032x}", u128::from_be_bytes(secret));

    let life = SignedDuration::try_from(wish.expires_in).unwrap_or_default();
    let code = Code {
        id,
        hash: hash(&text),
        max_uses: wish.max_uses,
        uses: 0,
        expires_at: now.saturating_add(life).unwrap_or(now),
        flags: wish.flags,
        networks,
        reinstall: wish.reinstall,
        note: wish.note,
        created_by,
        created_at: now,
    };
    Ok((code, text))
}

/// The id and the hash of a code's text; `None` for a text that is not a code.
pub(crate) fn parse_code(text: &str) -> Option<(String, KeyHash)> {
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    let is_hex = |text: &str, digits| {
        text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let is_code = is_hex(id, ID_DIGITS) && is_hex(secret, SECRET_DIGITS);
    is_code.then(|| (id.to_owned(), hash(text)))
}

fn hash(text: &str) -> KeyHash {
    KeyHash(Sha256::digest(text).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_found_by_its_id_and_known_by_its_hash() {
        let now = Timestamp::UNIX_EPOCH;
        let new = || new_code(NewCode::default(), Vec::new(), "ann".to_owned(), now);
        let ((code, text), (_, other)) = (new().unwrap(), new().unwrap());
        assert_ne!(text, other);
        assert_eq!(parse_code(&text), Some((code.id, code.hash)));
        assert_eq!(code.expires_at, now + SignedDuration::from_hours(24));
        for wrong in [
            "",
            "fbe_",
            "fbe_0badc0de_",
            &text[1..],
            &text[..text.len() - 1],
            &format!("{text}0"),
            &text.replace("fbe_", "fbk_"),
        ] {
            assert_eq!(parse_code(wrong), None, "{wrong}");
        }
    }
}
