//! Durations as people write them: `500ms`, `30s`, `4m`, `2h`, `30d`, `1y`.

use std::time::Duration;

/// Each unit's name and its milliseconds, largest first. A year has 365 days.
const UNITS: [(&str, u64); 6] = [
    ("y", 365 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// A whole number and a unit; `None` for anything else.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, unit_ms) = UNITS.iter().find(|(name, _)| *name == unit)?;
    Some(Duration::from_millis(
        number.parse::<u64>().ok()?.checked_mul(*unit_ms)?,
    ))
}

/// The duration in the largest unit that leaves no rest: 90 seconds are `90s`, 120 are
/// `2m`. Years are shown in days.
pub fn show_duration(duration: Duration) -> String {
    let total_ms = duration.as_millis();
    let units = UNITS.iter().filter(|(name, _)| *name != "y");
    for (name, unit_ms) in units {
        if total_ms > 0 && total_ms.is_multiple_of(u128::from(*unit_ms)) {
            return format!("{}{name}", total_ms / u128::from(*unit_ms));
        }
    }
    "0s".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_whole_number_and_a_unit() {
        for (text, ms) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("4m", 240_000),
            ("2h", 7_200_000),
            ("1y", 31_536_000_000),
            ("0s", 0),
        ] {
            assert_eq!(
                parse_duration(text),
                Some(Duration::from_millis(ms)),
                "{text}"
            );
        }
        for bad in [
            "",
            "30",
            "s",
            "30 s",
            " 30s",
            "-1s",
            "+1s",
            "1.5s",
            "30S",
            "1h30m",
            "30sec",
            "999999999999d",
        ] {
            assert_eq!(parse_duration(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_duration_is_shown_in_its_largest_unit() {
        for text in ["500ms", "90s", "4m", "2h", "30d", "365d"] {
            assert_eq!(show_duration(parse_duration(text).unwrap()), text);
        }
        assert_eq!(show_duration(Duration::ZERO), "0s");
    }
}
