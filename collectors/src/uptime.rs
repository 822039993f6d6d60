//! `uptime`: when the host booted, how long ago, and its load averages.

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
    Some(Box::new(Uptime {
        proc: roots.proc.clone(),
    }))
}

/// Reads /proc/stat, /proc/uptime and /proc/loadavg.
struct Uptime {
    proc: PathBuf,
}

impl Collector for Uptime {
    fn collect(&mut self, _now: Instant) -> Result<Option<Sample>, Error> {
        let boot_time = self.read(
            "stat",
            parse_boot_time,
            "does not tell the time of the boot",
        )?;
        let uptime = self.read(
            "uptime",
            parse_uptime,
            "does not begin with the time since the boot",
        )?;
        let [load1, load5, load15] =
            self.read("loadavg", parse_loads, "does not begin with three loads")?;

        let metrics = [
            ("boot_time_seconds", boot_time),
            ("uptime_seconds", uptime),
            ("load1", load1),
            ("load5", load5),
            ("load15", load15),
        ];
        Ok(Some(Sample::Metrics(
            metrics.map(|(name, value)| (name.to_owned(), value)).into(),
        )))
    }
}

impl Uptime {
    /// What `parse` makes of the text of a file in /proc, or an error with `message`.
    fn read<T>(
        &self,
        file: &str,
        parse: fn(&str) -> Option<T>,
        message: &'static str,
    ) -> Result<T, Error> {
        let path = self.proc.join(file);
        parse(&read_text(&path)?).ok_or(Error::Content { path, message })
    }
}

/// When the host booted, in seconds since 1970, out of the text of /proc/stat.
fn parse_boot_time(text: &str) -> Option<f64> {
    parse_number(text.lines().find_map(|line| line.strip_prefix("btime "))?)
}

/// Seconds since the boot: the first number in the text of /proc/uptime.
fn parse_uptime(text: &str) -> Option<f64> {
    parse_number(text.split_ascii_whitespace().next()?)
}

/// The means over 1, 5 and 15 minutes, out of the text of /proc/loadavg.
fn parse_loads(text: &str) -> Option<[f64; 3]> {
    let mut fields = text.split_ascii_whitespace().map(parse_number);
    Some([fields.next()??, fields.next()??, fields.next()??])
}

/// A number that is neither negative nor infinite.
fn parse_number(text: &str) -> Option<f64> {
    text.trim()
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite() && *number >= 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_tells_its_numbers() {
        assert_eq!(
            parse_boot_time("cpu  1 2 3 4\nbtime 1700000000\nprocesses 9\n"),
            Some(1_700_000_000.0)
        );
        assert_eq!(parse_uptime("350735.47 234388.90\n"), Some(350_735.47));
        assert_eq!(
            parse_loads("0.20 0.18 0.12 1/80 11206\n"),
            Some([0.20, 0.18, 0.12])
        );
    }

    #[test]
    fn what_is_no_time_and_no_load_is_refused() {
        for bad in ["", "cpu 1", "btime", "btime x", "btime -1", "btime inf"] {
            assert_eq!(parse_boot_time(bad), None, "{bad:?}");
        }
        for bad in ["", "soon", "NaN 1", "-1.0 1"] {
            assert_eq!(parse_uptime(bad), None, "{bad:?}");
        }
        for bad in ["", "0.1 0.2", "0.1 0.2 x", "0.1 inf 0.2", "-0.1 0.2 0.3"] {
            assert_eq!(parse_loads(bad), None, "{bad:?}");
        }
    }
}
