//! Secrets at rest: encrypted with AES-256-GCM by a key that HKDF-SHA256 makes of
//! `SECRET_KEY`, so that a copy of the database alone opens no channel.
//!
//! Two values of `SECRET_KEY` may be valid at once, as for agents' keys: what the older
//! one has sealed is opened, and the newer one seals.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};

/// What HKDF mixes in, so that no other use of `SECRET_KEY` has the same key.
const SALT: &[u8] = b"fleetbeat";
const PURPOSE: &[u8] = b"secrets of channels, version 1";
const VERSION: &str = "v1.";

/// The keys that open secrets; the first one seals.
pub struct Keys(Vec<LessSafeKey>);

/// A secret that none of the keys opens: `SECRET_KEY` has changed, or the secret is
/// another channel's, or damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("sealed with another SECRET_KEY: the channel's secrets must be given again")]
pub struct Closed;

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

impl Keys {
    /// The keys of the values of `SECRET_KEY`, the current one first.
    pub fn derive(current: &str, older: &[&str]) -> Keys {
        let secrets = [current].into_iter().chain(older.iter().copied());
        Keys(secrets.filter_map(derive).collect())
    }

    /// `plain`, sealed for the channel `id`: no other channel can open the text.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub(crate) fn seal(&self, id: &str, plain: &[u8]) -> Result<String, Closed> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(|_| Closed)?;

        let key = self.0.first().ok_or(Closed)?;
        let mut sealed = plain.to_vec();
        key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(id.as_bytes()),
            &mut sealed,
        )
        .map_err(|_| Closed)?;

        let bytes = [nonce.as_slice(), &sealed].concat();
        Ok(format!("{VERSION}{}", STANDARD.encode(bytes)))
    }

    /// What was sealed for the channel `id`, and whether the current key has sealed it.
    ///
    /// # Errors
    /// No key opens `sealed`.
    pub(crate) fn open(&self, id: &str, sealed: &str) -> Result<(Vec<u8>, bool), Closed> {
        let bytes = sealed.strip_prefix(VERSION).ok_or(Closed)?;
        let bytes = STANDARD.decode(bytes).map_err(|_| Closed)?;
        let (nonce, bytes) = bytes.split_first_chunk().ok_or(Closed)?;

        let open = |key: &LessSafeKey| {
            let mut bytes = bytes.to_vec();
            let nonce = Nonce::assume_unique_for_key(*nonce);
            let aad = Aad::from(id.as_bytes());
            let plain = key.open_in_place(nonce, aad, &mut bytes).ok()?;
            Some(plain.to_vec())
        };
        let mut tried = self.0.iter().map(open).enumerate();
        tried
            .find_map(|(index, plain)| Some((plain?, index == 0)))
            .ok_or(Closed)
    }
}

/// HKDF cannot fail for one block; a failure would leave the key out.
fn derive(secret: &str) -> Option<LessSafeKey> {
    let extracted = Salt::new(HKDF_SHA256, SALT).extract(secret.as_bytes());
    let expanded = extracted.expand(&[PURPOSE], &AES_256_GCM).ok()?;
    Some(LessSafeKey::new(UnboundKey::from(expanded)))
}

#[cfg(test)]
mod tests {
    use super::{Closed, Keys};

    #[test]
    fn only_the_same_key_and_channel_open() {
        let keys = Keys::derive("one", &[]);
        let sealed = keys.seal("chn-1", b"token").unwrap();
        assert!(!sealed.contains("token"));
        assert_eq!(keys.open("chn-1", &sealed), Ok((b"token".to_vec(), true)));
        assert_eq!(keys.open("chn-2", &sealed), Err(Closed));
        assert_eq!(Keys::derive("two", &[]).open("chn-1", &sealed), Err(Closed));
        assert_ne!(
            keys.seal("chn-1", b"token").unwrap(),
            sealed,
            "the same nonce"
        );
    }

    #[test]
    fn the_older_key_opens_and_the_newer_one_seals() {
        let old = Keys::derive("old", &[]).seal("chn-1", b"token").unwrap();
        let both = Keys::derive("new", &["old"]);
        assert_eq!(both.open("chn-1", &old), Ok((b"token".to_vec(), false)));

        let new = both.seal("chn-1", b"token").unwrap();
        assert!(Keys::derive("new", &[]).open("chn-1", &new).is_ok());
        assert_eq!(Keys::derive("old", &[]).open("chn-1", &new), Err(Closed));
    }

    #[test]
    fn damaged_texts_are_closed() {
        let keys = Keys::derive("one", &[]);
        let sealed = keys.seal("chn-1", b"token").unwrap();
        for end in 0..sealed.len() {
            assert_eq!(keys.open("chn-1", &sealed[..end]), Err(Closed));
        }
        assert_eq!(keys.open("chn-1", "v2.AAAA"), Err(Closed));
    }
}
