//! The keys that agents send.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::secret_rules::parse_agent_keys;

/// Bytes of a key's hash that name the key.
const ID_BYTES: usize = 4;

/// The keys that agents may use; two while one replaces the other.
pub(crate) struct AgentKeys {
    /// SHA-256 of each.
    hashes: Vec<[u8; 32]>,
}

/// The name of an agent's key: the first eight hexadecimal digits of the key's SHA-256.
/// The digits tell keys apart and may stand in a log, because they do not lead back to
/// the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyId([u8; ID_BYTES]);

/// As in a log.
impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl AgentKeys {
    /// The keys as configured: one key, or two with a comma between.
    ///
    /// # Errors
    /// What the text must be.
    pub(crate) fn parse(keys: &str) -> Result<AgentKeys, String> {
        let keys = parse_agent_keys(keys)?;
        let hashes = keys.into_iter().map(|key| Sha256::digest(key).into());

        Ok(AgentKeys {
            hashes: hashes.collect(),
        })
    }

    /// The name of `key` if the key is known. All hashes have the same length and all are
    /// compared, so the time of a search tells nothing about the keys.
    pub(super) fn find(&self, key: &str) -> Option<KeyId> {
        let hash: [u8; 32] = Sha256::digest(key).into();
        let is_known = self
            .hashes
            .iter()
            .fold(false, |found, known| found | bool::from(known.ct_eq(&hash)));

        let mut id = [0; ID_BYTES];
        id.copy_from_slice(&hash[..ID_BYTES]);
        is_known.then_some(KeyId(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_keys_are_valid_while_one_replaces_the_other() {
        let keys = AgentKeys::parse("old, new").unwrap();
        let is_known = |key| keys.find(key).is_some();
        assert!(is_known("old") && is_known("new"));
        assert!(!is_known("old, new") && !is_known("") && !is_known("ne"));
        for bad in ["", ",", "a,", "a,b,c", "schlüssel", "a b"] {
            assert!(AgentKeys::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_key_is_named_by_the_first_digits_of_its_hash() {
        let keys = AgentKeys::parse("abc").unwrap();
        // FIPS 180-2 has the hash of "abc".
        assert_eq!(keys.find("abc").unwrap().to_string(), "ba7816bf");
    }
}
