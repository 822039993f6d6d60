//! `load.ram`: the share of memory that is not available to new programs.

use std::path::PathBuf;
use std::time::Instant;

use fleetbeat_settings::Table;

use crate::collector::{Collector, Roots, Sample};
use crate::error::Error;
use crate::read::read_text;

pub(crate) fn build(
    _options: &mut Table<'_>,
    roots: &Roots,
) -> Option<Box<dyn Collector>> {
    Some(Box::new(Ram {
        path: roots.proc.join("meminfo"),
    }))
}

/// Reads /proc/meminfo.
struct Ram {
    path: PathBuf,
}

impl Collector for Ram {
    fn collect(&mut self, _now: Instant) -> Result<Option<Sample>, Error> {
        let message = "does not tell both MemTotal and MemAvailable";
        let used = parse_used_percent(&read_text(&self.path)?);
        used.map(|used| Some(Sample::Ram(used)))
            .ok_or(Error::Content {
                path: self.path.clone(),
                message,
            })
    }
}

/// The used share, in percent, by the text of /proc/meminfo.
fn parse_used_percent(text: &str) -> Option<f64> {
    let total_kb = parse_kb(text, "MemTotal:")?;
    // A container may be shown more available memory than the container has.
    let available_kb = parse_kb(text, "MemAvailable:")?.min(total_kb);
    (total_kb > 0).then(|| 100.0 * (total_kb - available_kb) as f64 / total_kb as f64)
}

/// The number of kilobytes in the line that begins with `key`.
fn parse_kb(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn used_is_what_is_not_available() {
        let used = |total: &str, available: &str| {
            parse_used_percent(&format!(
                "MemTotal: {total} kB\nMemFree: 1 kB\nMemAvailable: {available} kB\n"
            ))
        };
        assert_eq!(used("1000", "250"), Some(75.0));
        assert_eq!(used("1000", "1000"), Some(0.0));
        assert_eq!(used("1000", "1001"), Some(0.0));
        assert_eq!(used("1000", "0"), Some(100.0));
        for (total, available) in [("0", "0"), ("1000", "x"), ("-1", "1"), ("", "1")] {
            assert_eq!(used(total, available), None, "{total:?} {available:?}");
        }
        assert_eq!(
            parse_used_percent("MemTotal: 1000 kB\nMemFree: 500 kB\n"),
            None
        );
        assert_eq!(
            parse_used_percent("MemTotal: 1000 kB\nMemAvailable: 25"),
            None
        );
    }
}
