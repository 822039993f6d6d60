//! A host's own key for the server.
//!
//! A key says whose it is: `fbk_`, the host's `agent_id`, `_` and the secret. So the server
//! finds the one hash to compare with, and a scanner for leaked secrets knows a key when it
//! sees one. The agent makes the key, and the server gets to know its SHA-256 alone.

use std::fmt::Write;

use crate::agent_id::AgentId;

/// What every host's own key begins with.
pub const AGENT_KEY_PREFIX: &str = "fbk_";
/// Random bytes in a key.
pub const AGENT_KEY_SECRET_BYTES: usize = 32;
/// Hexadecimal digits of an `agent_id`.
const ID_DIGITS: usize = 32;

/// The key of the agent `id` with these random bytes. The text is a secret.
#[must_use]
pub fn new_agent_key(id: AgentId, secret: [u8; AGENT_KEY_SECRET_BYTES]) -> String {
    let mut key = format!("{AGENT_KEY_PREFIX}{}_", id.expose());
    for byte in secret {
        // Writing to a string does not fail.
        let _ = write!(key, "{byte:02x}");
    }
    key
}

/// The agent that `key` says to belong to; `None` for a key that hosts share, and for
/// anything else.
#[must_use]
pub fn owner_of_key(key: &str) -> Option<AgentId> {
    let (id, rest) = key
        .strip_prefix(AGENT_KEY_PREFIX)?
        .split_at_checked(ID_DIGITS)?;
    let secret = rest.strip_prefix('_')?;
    let is_secret = secret.len() == 2 * AGENT_KEY_SECRET_BYTES
        && secret.bytes().all(|byte| byte.is_ascii_hexdigit());
    AgentId::parse(id).filter(|_| is_secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_tells_whose_it_is() {
        let id = AgentId::parse("00c0ffee00112233445566778899aabb").unwrap();
        let key = new_agent_key(id, [0xA5; AGENT_KEY_SECRET_BYTES]);
        let expected =
            format!("fbk_00c0ffee00112233445566778899aabb_{}", "a5".repeat(32));
        assert_eq!(key, expected);
        assert_eq!(owner_of_key(&key), Some(id));
        for wrong in [
            "",
            "fbk_",
            "the-key-of-all-hosts",
            &key[1..],
            &key[..key.len() - 1],
            &format!("{key}0"),
            &key.replace("_00", "_"),
            &key.replace("bb_a", "bb-a"),
            &key.replace("a5", "é"),
            &key.replace("00c0ffee", "00c0ff\u{e9}"),
        ] {
            assert_eq!(owner_of_key(wrong), None, "{wrong}");
        }
    }
}
