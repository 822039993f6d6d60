//! What an authenticator app does: codes by time (RFC 6238).

use data_encoding::BASE32_NOPAD;
use fleetbeat_protocol::Timestamp;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

/// The code of a secret in base32, so many steps of half a minute from now. The server
/// takes the step before and the step after, so a test has three codes at once.
pub(crate) fn code(secret: &str, steps_from_now: i64) -> String {
    let step = Timestamp::now().as_second() / 30 + steps_from_now;
    let key = BASE32_NOPAD.decode(secret.as_bytes()).unwrap();
    let mac = Hmac::<Sha1>::new_from_slice(&key).unwrap();
    let hash = mac.chain_update(step.to_be_bytes()).finalize().into_bytes();
    let offset = usize::from(hash[19] & 15);
    let word: [u8; 4] = hash[offset..offset + 4].try_into().unwrap();
    let number = (u32::from_be_bytes(word) & 0x7fff_ffff) % 1_000_000;
    format!("{number:06}")
}
