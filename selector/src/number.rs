//! Numbers and ages: read and shown as the dashboard reads and shows them.

/// The units of ages and their milliseconds, largest first.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// A hundred years, in milliseconds: more is a mistake, and JavaScript counts no further
/// than 2^53.
const MAX_AGE_MS: u64 = 36_500 * 86_400_000;

/// The number that `text` spells as in JSON, but for zeros at the beginning: `80`, `-0.5`,
/// `1e3`. `None` for any other text, and for numbers beyond all bounds.
pub(crate) fn parse_number(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (
            mantissa,
            exponent.strip_prefix(['+', '-']).unwrap_or(exponent),
        ),
        None => (unsigned, "0"),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    if ![whole, fraction, exponent].into_iter().all(is_digits) {
        return None;
    }

    let number: f64 = text.parse().ok()?;
    // There is one zero: -0 + 0 is 0.
    number.is_finite().then_some(number + 0.0)
}

/// The shortest text that spells the number, as JavaScript has it but without the plus of
/// an exponent.
pub(crate) fn show_number(number: f64) -> String {
    if number == 0.0 || (1e-6..1e21).contains(&number.abs()) {
        number.to_string()
    } else {
        format!("{number:e}")
    }
}

/// The milliseconds of an age, a whole number and a unit: `90s`, `5m`.
pub(crate) fn parse_age(text: &str) -> Option<u64> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit_at);
    let (_, unit_ms) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let age_ms = number.parse::<u64>().ok()?.checked_mul(*unit_ms)?;
    (age_ms <= MAX_AGE_MS).then_some(age_ms)
}

/// The age in the largest unit that leaves no rest.
pub(crate) fn show_age(age_ms: u64) -> String {
    let fits = |unit_ms: u64| age_ms > 0 && age_ms.is_multiple_of(unit_ms);
    match UNITS.iter().find(|(_, unit_ms)| fits(*unit_ms)) {
        Some((unit, unit_ms)) => format!("{}{unit}", age_ms / unit_ms),
        None => "0s".to_owned(),
    }
}

/// Whether the text is one digit or more.
pub(crate) fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
