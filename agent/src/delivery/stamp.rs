//! Puts the host's address into heartbeats that are made already: the address counts at
//! the time of sending, and a heartbeat may have waited.
//!
//! The address is the first field of a heartbeat, and this program has written every
//! heartbeat that it sends. Within a text, JSON escapes each quote, so what is looked for
//! here cannot be part of a name.

use std::net::IpAddr;

/// The beginning of a heartbeat with an address.
const WITH_ADDRESS: &[u8] = br#"{"ip":""#;
/// The beginning of a heartbeat without one, in a list and alone.
const IN_LIST: &[u8] = br#",{"countryCode":"#;
const FIRST_IN_LIST: &[u8] = br#"[{"countryCode":"#;

/// The newest heartbeat `body` with the address `ip`: it is the host's state now.
pub(super) fn stamp_newest(body: &[u8], ip: IpAddr) -> Vec<u8> {
    let field = format!(r#"{{"ip":"{ip}""#);
    let field = field.as_bytes();
    if let Some(rest) = body.strip_prefix(WITH_ADDRESS) {
        let end = rest.iter().position(|byte| *byte == b'"');
        return [field, end.map_or(rest, |end| &rest[end + 1..])].concat();
    }
    match body.strip_prefix(b"{") {
        Some(rest) => [field, b",", rest].concat(),
        None => body.to_vec(),
    }
}

/// The batch `body` with the address `ip` in those heartbeats that have none. The others
/// keep the address that the host had.
pub(super) fn fill_in(body: &[u8], ip: IpAddr) -> Vec<u8> {
    let mut filled = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some(byte) = rest.first() {
        filled.push(*byte);
        let is_without = rest.starts_with(IN_LIST)
            || (rest.len() == body.len() && rest.starts_with(FIRST_IN_LIST));
        rest = &rest[1..];
        if is_without {
            filled.extend_from_slice(format!(r#"{{"ip":"{ip}","#).as_bytes());
            rest = &rest[1..];
        }
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `work` makes of a body.
    fn text(work: fn(&[u8], IpAddr) -> Vec<u8>, body: &str) -> String {
        let ip = "2001:db8::7".parse().unwrap();
        String::from_utf8(work(body.as_bytes(), ip)).unwrap()
    }

    #[test]
    fn the_newest_heartbeat_has_the_address_of_now() {
        let expected = r#"{"ip":"2001:db8::7","countryCode":"DE"}"#;
        for body in [
            r#"{"countryCode":"DE"}"#,
            r#"{"ip":"10.0.0.1","countryCode":"DE"}"#,
            expected,
        ] {
            assert_eq!(text(stamp_newest, body), expected);
        }
    }

    #[test]
    fn an_older_heartbeat_gets_an_address_only_where_it_has_none() {
        let tricky = r#""services":[{"name":",{\"countryCode\":","active":true}]"#;
        let metrics = r#""metrics":{"countryCode":1}"#;
        let body = format!(
            r#"[{{"countryCode":"DE",{tricky}}},{{"ip":"10.0.0.1","countryCode":"DE"}},{{"countryCode":"FR",{metrics}}}]"#
        );
        let expected = format!(
            r#"[{{"ip":"2001:db8::7","countryCode":"DE",{tricky}}},{{"ip":"10.0.0.1","countryCode":"DE"}},{{"ip":"2001:db8::7","countryCode":"FR",{metrics}}}]"#
        );
        assert_eq!(text(fill_in, &body), expected);
        assert_eq!(text(fill_in, "[]"), "[]");
    }
}
