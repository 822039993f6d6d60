//! Sizes as people write them: `500MB`, `16GiB`.

/// Each unit's name and its bytes, the largest first.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

/// A whole number of bytes and a unit; `None` for anything else.
pub fn parse_size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, bytes) = UNITS.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*bytes)
}

/// The bytes in a unit that leaves at least two digits before the point, to the nearest
/// one: 16 GiB are `16GiB`, and half a byte more is the same.
pub fn show_size(bytes: u64) -> String {
    let binary = UNITS.iter().filter(|(name, _)| name.contains('i'));
    for (name, unit) in binary {
        let is_whole = bytes >= *unit && bytes.is_multiple_of(*unit);
        if is_whole || bytes / unit >= 10 {
            return format!("{}{name}", (bytes + unit / 2) / unit);
        }
    }
    format!("{bytes}B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_whole_number_and_a_unit() {
        for (text, bytes) in [
            ("0B", 0),
            ("1kB", 1000),
            ("1KiB", 1024),
            ("500MB", 500_000_000),
            ("16GiB", 16 << 30),
            ("2TiB", 2 << 40),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for bad in [
            "",
            "16",
            "GiB",
            "16 GiB",
            "-1B",
            "1.5GiB",
            "16gib",
            "16G",
            "1KB",
            "99999999TiB",
        ] {
            assert_eq!(parse_size(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_size_is_shown_in_a_unit_that_people_read() {
        for (bytes, shown) in [
            (0, "0B"),
            (1000, "1000B"),
            (16 << 30, "16GiB"),
            (1 << 30, "1GiB"),
            ((1 << 30) + 1, "1024MiB"),
            ((16 << 30) + 1, "16GiB"),
        ] {
            assert_eq!(show_size(bytes), shown);
        }
    }
}
