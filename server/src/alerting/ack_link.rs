//! Links that acknowledge: whoever has the message may take on what it tells, without a
//! login, on a page with a button. A link names one delivery, ends after a week, and is
//! signed, so that nobody makes one up.

use std::time::Duration;

use data_encoding::HEXLOWER;
use fleetbeat_protocol::Timestamp;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How long a link is good.
const LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Bytes of the signature that a link has.
const SIGNED: usize = 16;
/// What the key of links is derived for. Another purpose has another text, so that no
/// signature is good for two.
const PURPOSE: &[u8] = b"fleetbeat acknowledge link 1";

/// Makes links, and knows them again.
#[derive(Clone)]
pub(crate) struct AckLinks {
    /// One for each key; the first one signs.
    macs: Vec<Hmac<Sha256>>,
}

impl AckLinks {
    /// Links under the first of the server's secret keys; those under another one are known
    /// again, too.
    pub(crate) fn new(secret_keys: &[&[u8]]) -> AckLinks {
        let mac = |secret_key: &&[u8]| {
            let key = keyed(secret_key).chain_update(PURPOSE).finalize();
            keyed(&key.into_bytes())
        };
        AckLinks {
            macs: secret_keys.iter().map(mac).collect(),
        }
    }

    /// The last part of the path of the link for this delivery.
    pub(crate) fn make(&self, delivery: &str, now: Timestamp) -> String {
        let end = now.as_second().saturating_add_unsigned(LIFE.as_secs());
        let said = format!("{delivery}.{end}");
        let mac = self.macs.first().expect("the server has a key");
        let signature = sign(mac, &said).finalize().into_bytes();
        format!("{said}.{}", HEXLOWER.encode(&signature[..SIGNED]))
    }

    /// The delivery that the link is for; `None` if it is not ours, or is over.
    pub(crate) fn read(&self, link: &str, now: Timestamp) -> Option<String> {
        let (said, signature) = link.rsplit_once('.')?;
        let signature = HEXLOWER.decode(signature.as_bytes()).ok()?;
        let has_signed = |mac: &Hmac<Sha256>| {
            sign(mac, said).verify_truncated_left(&signature).is_ok()
        };
        let is_ours = signature.len() == SIGNED && self.macs.iter().any(has_signed);
        let (delivery, end) = said.rsplit_once('.').filter(|_| is_ours)?;
        let end: i64 = end.parse().ok()?;
        (now.as_second() < end).then(|| delivery.to_owned())
    }
}

fn sign(mac: &Hmac<Sha256>, said: &str) -> Hmac<Sha256> {
    mac.clone().chain_update(said.as_bytes())
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn a_link_is_good_for_its_delivery_for_a_week() {
        let links = AckLinks::new(&[b"a secret key of the tests"]);
        let now = Timestamp::UNIX_EPOCH;
        let link = links.make("dlv-0123456789abcdef", now);
        let read =
            |link: &str, hours| links.read(link, now + SignedDuration::from_hours(hours));
        assert_eq!(read(&link, 0).as_deref(), Some("dlv-0123456789abcdef"));
        assert!(read(&link, 7 * 24 - 1).is_some());
        assert!(read(&link, 7 * 24).is_none());
    }

    #[test]
    fn a_link_that_was_changed_or_made_up_is_not_ours() {
        let links = AckLinks::new(&[b"a secret key of the tests"]);
        let now = Timestamp::UNIX_EPOCH;
        let link = links.make("dlv-0123456789abcdef", now);
        assert!(AckLinks::new(&[b"another key"]).read(&link, now).is_none());
        for place in 0..link.len() {
            let mut changed = link.clone().into_bytes();
            changed[place] = if changed[place] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(links.read(&changed, now).is_none(), "{changed}");
        }
        for made_up in [
            "",
            ".",
            "..",
            "a.b",
            "a.1.",
            "a.1.00",
            &link[..link.len() - 2],
        ] {
            assert!(links.read(made_up, now).is_none(), "{made_up}");
        }
    }

    #[test]
    fn the_first_key_signs_and_any_is_known_again() {
        let (old, new): (&[u8], &[u8]) = (b"old", b"new");
        let both = AckLinks::new(&[new, old]);
        let now = Timestamp::UNIX_EPOCH;
        let of_old = AckLinks::new(&[old]).make("dlv-1", now);
        assert_eq!(both.read(&of_old, now).as_deref(), Some("dlv-1"));
        assert_eq!(AckLinks::new(&[new]).read(&of_old, now), None);
        let of_both = both.make("dlv-1", now);
        assert!(AckLinks::new(&[new]).read(&of_both, now).is_some());
    }
}
