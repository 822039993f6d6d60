//! Instants, and the one form of them that the wire has.

/// An instant in UTC; RFC 3339 with `Z` in JSON.
pub type Timestamp = jiff::Timestamp;

/// The instant that an RFC 3339 text (§5.6) names; `None` for any other text.
///
/// The shape is compared here, because jiff alone takes more: weeks, for example, and
/// names of time zones, and offsets of more than a day. And jiff takes at most nine digits of a second, so more digits
/// are cut off, which RFC 3339 allows.
pub(crate) fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let (date_and_time, rest) = text.split_at_checked("2026-01-31T12:00:00".len())?;

    let digits = rest
        .strip_prefix('.')
        .map(|rest| rest.bytes().take_while(u8::is_ascii_digit).count());
    let (fraction, offset) = rest.split_at(digits.map_or(0, |digits| digits + 1));

    let is_date_and_time =
        has_shape(&date_and_time.to_ascii_uppercase(), "0000-00-00T00:00:00");
    let has_hours = || offset.get(1..3).is_some_and(|hours| hours < "24");
    let is_offset = offset.eq_ignore_ascii_case("z")
        || (has_shape(offset, "+00:00") || has_shape(offset, "-00:00")) && has_hours();
    if !is_date_and_time || digits == Some(0) || !is_offset {
        return None;
    }

    let fraction = &fraction[..fraction.len().min(".123456789".len())];
    format!("{date_and_time}{fraction}{offset}").parse().ok()
}

/// Whether `text` has a digit wherever `pattern` has a 0, and else the pattern's bytes.
fn has_shape(text: &str, pattern: &str) -> bool {
    let fits = |(byte, pattern): (u8, u8)| match pattern {
        b'0' => byte.is_ascii_digit(),
        _ => byte == pattern,
    };
    text.len() == pattern.len() && text.bytes().zip(pattern.bytes()).all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_less_than_a_day() {
        for (text, is_time) in [
            ("2026-01-31T12:00:00+23:59", true),
            ("2026-01-31T12:00:00-23:59", true),
            ("2026-01-31T12:00:00+24:00", false),
            ("2026-01-31T12:00:00-25:00", false),
            ("2026-01-31T12:00:00+00:60", false),
        ] {
            assert_eq!(parse_rfc3339(text).is_some(), is_time, "{text}");
        }
    }
}
