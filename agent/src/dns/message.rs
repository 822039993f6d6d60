//! Questions for name servers and their answers, as RFC 1035 has them on the wire: as
//! much of it as the addresses of a name need.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes before the first question.
const HEADER_BYTES: usize = 12;
/// The class of the Internet.
const INTERNET: u16 = 1;
/// Longest label of a name, and longest name.
const MAX_LABEL_BYTES: usize = 63;
const MAX_NAME_BYTES: usize = 253;

/// The family of addresses that a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    /// The type of the family's records: A or AAAA.
    fn record_type(self) -> u16 {
        match self {
            Family::V4 => 1,
            Family::V6 => 28,
        }
    }
}

/// What a name server says to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// The addresses of the family; none if the name has none.
    Addresses(Vec<IpAddr>),
    /// There is no such name.
    NoSuchName,
    /// The server cannot or will not tell: the response code.
    Refused(u8),
    /// The answer is too long for a datagram.
    Truncated,
}

/// The question with the number `id` for the addresses of `name`. `None` if no name
/// server can know such a name.
pub(super) fn question(id: u16, name: &str, family: Family) -> Option<Vec<u8>> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return None;
    }

    let mut bytes = id.to_be_bytes().to_vec();
    // Recursion is desired; one question, and nothing else.
    bytes.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok()?;
        if label.is_empty() || label.len() > MAX_LABEL_BYTES {
            return None;
        }
        bytes.push(length);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend_from_slice(&family.record_type().to_be_bytes());
    bytes.extend_from_slice(&INTERNET.to_be_bytes());
    Some(bytes)
}

/// What `bytes` answer to `question`. `None` if they are not an answer to it.
pub(super) fn parse(bytes: &[u8], question: &[u8], family: Family) -> Option<Answer> {
    let header = bytes.get(..HEADER_BYTES)?;
    let is_answer = header[2] & 0x80 != 0;
    if header[..2] != question[..2] || !is_answer {
        return None;
    }
    let (is_truncated, code) = (header[2] & 2 != 0, header[3] & 0x0F);
    match code {
        0 => {}
        3 => return Some(Answer::NoSuchName),
        // A server that refuses may leave the question out.
        _ => return Some(Answer::Refused(code)),
    }

    // The question comes back as it was asked.
    let asked = &question[HEADER_BYTES..];
    let echoed = bytes.get(HEADER_BYTES..HEADER_BYTES + asked.len())?;
    if u16_at(header, 4)? != 1 || !echoed.eq_ignore_ascii_case(asked) {
        return None;
    }

    let count = u16_at(header, 6)?;
    let addresses = read_records(bytes, HEADER_BYTES + asked.len(), count, family);
    Some(match addresses {
        Some(found) if !found.is_empty() || !is_truncated => Answer::Addresses(found),
        _ if is_truncated => Answer::Truncated,
        _ => return None,
    })
}

/// The family's addresses among `count` records from `at` on. Aliases on the way to the
/// addresses are passed over: a server that was asked for recursion has followed them.
fn read_records(
    bytes: &[u8],
    mut at: usize,
    count: u16,
    family: Family,
) -> Option<Vec<IpAddr>> {
    let mut found = Vec::new();
    for _ in 0..count {
        at = skip_name(bytes, at)?;
        let (kind, class) = (u16_at(bytes, at)?, u16_at(bytes, at + 2)?);
        let length = usize::from(u16_at(bytes, at + 8)?);
        let data = bytes.get(at + 10..at + 10 + length)?;
        at += 10 + length;

        if (kind, class) == (family.record_type(), INTERNET) {
            found.push(parse_address(data, family)?);
        }
    }
    Some(found)
}

fn parse_address(data: &[u8], family: Family) -> Option<IpAddr> {
    Some(match family {
        Family::V4 => Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).into(),
        Family::V6 => Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).into(),
    })
}

/// The place behind the name at `at`. A name ends with an empty label, or with a pointer
/// to the rest of another name, which is not followed.
fn skip_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            length if length & 0xC0 == 0xC0 => return Some(at + 2),
            length if length & 0xC0 == 0 => at += 1 + usize::from(length),
            _ => return None,
        }
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(pair.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An answer to `question` with the flags and response code `flags`, and `records`.
    fn answer(question: &[u8], flags: [u8; 2], records: &[&[u8]]) -> Vec<u8> {
        let mut bytes = question.to_vec();
        bytes[2..4].copy_from_slice(&flags);
        bytes[7] = u8::try_from(records.len()).unwrap();
        bytes.extend(records.concat());
        bytes
    }

    const A: &[u8] = b"\xc0\x0c\0\x01\0\x01\0\0\0\x05\0\x04\x0a\x4d\0\x02";
    const ALIAS: &[u8] = b"\xc0\x0c\0\x05\0\x01\0\0\0\x05\0\x06\x03www\xc0\x0c";
    const AAAA: &[u8] = b"\x03www\xc0\x0c\0\x1c\0\x01\0\0\0\x05\0\x10\
        \x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07";

    #[test]
    fn a_question_is_written_as_name_servers_read_it() {
        let asked = question(0x0102, "fleet.test.", Family::V6).unwrap();
        assert_eq!(
            asked,
            b"\x01\x02\x01\0\0\x01\0\0\0\0\0\0\x05fleet\x04test\0\0\x1c\0\x01"
        );
        let long_label = "x".repeat(64);
        let long_name = "x.".repeat(150);
        for bad in ["", ".", "a..b", &long_label, &long_name] {
            assert_eq!(question(1, bad, Family::V4), None, "{bad}");
        }
    }

    #[test]
    fn each_kind_of_answer_is_told_apart() {
        let asked = question(7, "Fleet.test", Family::V4).unwrap();
        let parse = |bytes: Vec<u8>| parse(&bytes, &asked, Family::V4);
        let found = |octets: [u8; 4]| Some(Answer::Addresses(vec![octets.into()]));
        let none = Some(Answer::Addresses(Vec::new()));

        let ok = [0x81, 0x80];
        assert_eq!(parse(answer(&asked, ok, &[A])), found([10, 77, 0, 2]));
        assert_eq!(
            parse(answer(&asked, ok, &[ALIAS, A])),
            found([10, 77, 0, 2])
        );
        assert_eq!(parse(answer(&asked, ok, &[AAAA])), none);
        assert_eq!(parse(answer(&asked, ok, &[])), none);
        let lower = asked.to_ascii_lowercase();
        assert_eq!(parse(answer(&lower, ok, &[A])), found([10, 77, 0, 2]));
        for (code, expected) in [
            (1, Answer::Refused(1)),
            (2, Answer::Refused(2)),
            (3, Answer::NoSuchName),
            (5, Answer::Refused(5)),
        ] {
            let told = parse(answer(&asked, [0x81, 0x80 | code], &[]));
            assert_eq!(told, Some(expected), "{code}");
        }
        assert_eq!(
            parse(answer(&asked, [0x83, 0x80], &[])),
            Some(Answer::Truncated)
        );
        assert_eq!(
            parse(answer(&asked, [0x83, 0x80], &[A])),
            found([10, 77, 0, 2])
        );
    }

    #[test]
    fn what_is_no_answer_to_the_question_is_passed_over() {
        let asked = question(7, "fleet.test", Family::V4).unwrap();
        let other_id = question(8, "fleet.test", Family::V4).unwrap();
        let other_name = question(7, "f1eet.test", Family::V4).unwrap();
        let other_family = question(7, "fleet.test", Family::V6).unwrap();
        for other in [other_id, other_name, other_family] {
            let bytes = answer(&other, [0x81, 0x80], &[A]);
            assert_eq!(parse(&bytes, &asked, Family::V4), None);
        }
        let question_again = answer(&asked, [1, 0], &[]);
        assert_eq!(parse(&question_again, &asked, Family::V4), None);
        let whole = answer(&asked, [0x81, 0x80], &[A]);
        for length in 0..whole.len() {
            let told = parse(&whole[..length], &asked, Family::V4);
            assert_eq!(told, None, "{length}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_makes_a_panic(bytes: Vec<u8>, cut in 0_usize..60) {
            let asked = question(7, "fleet.test", Family::V6).unwrap();
            let mut answered = answer(&asked, [0x81, 0x80], &[ALIAS, AAAA]);
            answered.truncate(cut);
            answered.extend_from_slice(&bytes);
            let _ = parse(&answered, &asked, Family::V6);
            let _ = parse(&bytes, &asked, Family::V6);
        }
    }
}
