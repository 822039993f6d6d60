//! Instants, and the one form of them that the wire has.

/// An instant in UTC; RFC 3339 with `Z` in JSON.
pub type Timestamp = jiff::Timestamp;

/// The instant that an RFC 3339 text (§5.6) names; `None` for any other text.
///
/// The shape is compared here, because jiff alone takes more: weeks, for example, and
/// names of time zones. And jiff takes at most nine digits of a second, so more digits
/// are cut off, which RFC 3339 allows.
pub(crate) fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let (date_and_time, rest) = text.split_at_checked("2026-01-31T12:00:00".len())?;

    let digits = rest
        .strip_prefix('.')
        .map(|rest| rest.bytes().take_while(u8::is_ascii_digit).count());
    let (fraction, offset) = rest.split_at(digits.map_or(0, |digits| digits + 1));

    let is_date_and_time =
        has_shape(&date_and_time.to_ascii_uppercase(), "0000-00-00T00:00:00");
    let is_offset = offset.eq_ignore_ascii_case("z")
        || has_shape(offset, "+00:00")
        || has_shape(offset, "-00:00");
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
