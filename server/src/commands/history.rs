//! `history export`: what is kept of a host, as CSV, beside a running server.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufWriter, Write};

use fleetbeat_history::{Arrival, Chunk, Day, Sample, Series, Trouble};
use fleetbeat_protocol::{Timestamp, parse_ip};

use crate::cli::Export;
use crate::error::ServerError;
use crate::store::{DaysRead, HistoryStore, HostName};

/// Writes a line for each heartbeat, the earliest first, behind a line with the names of
/// the columns: all series that the host has had in that time. What was not measured is
/// empty.
///
/// # Errors
/// The host is not known, the store cannot be read, or the lines cannot be written. Behind
/// the lines: a part of what is kept is damaged, and is missing.
pub(super) fn export(
    store: &(impl HistoryStore + ?Sized),
    export: &Export,
    output: &mut dyn Write,
) -> Result<(), ServerError> {
    let range = Range::of(export);
    let mut series = BTreeSet::new();
    let names_read = read(store, export, range, &mut |chunk| {
        series.extend(chunk.series().iter().cloned());
    })?;

    let columns: BTreeMap<Series, usize> = series.into_iter().zip(0..).collect();
    let mut output = BufWriter::new(output);
    let mut written = write_names(&mut output, columns.keys());
    let lines_read = read(store, export, range, &mut |chunk| {
        for sample in chunk.samples().filter(|sample| range.has(sample)) {
            if written.is_ok() {
                written = write_sample(&mut output, &columns, &sample);
            }
        }
    })?;
    written
        .and_then(|()| output.flush())
        .map_err(ServerError::Output)?;

    // The first reading may have moved aside what is damaged.
    let both = [names_read, lines_read];
    if !both.iter().any(|read| read.is_incomplete) {
        return Ok(());
    }
    let troubles = both.iter().flat_map(|read| &read.troubles);
    let aside = troubles.filter_map(|trouble| match trouble {
        Trouble::SetAside { to, .. } => {
            Some(format!("; the damaged file is in {to} now"))
        }
        Trouble::Chunk { .. } => None,
    });
    Err(ServerError::DamagedHistory(aside.collect()))
}

/// Gives each day of the range to `each`.
fn read(
    store: &(impl HistoryStore + ?Sized),
    export: &Export,
    range: Range,
    each: &mut dyn FnMut(&Chunk),
) -> Result<DaysRead, ServerError> {
    let host = match parse_ip(&export.host) {
        Some(ip) => HostName::Ip(ip),
        None => HostName::ServerId(export.host.clone()),
    };
    if range.is_empty() {
        return Ok(DaysRead::default());
    }
    let days = store.history_days(&host, range.days(), each)?;
    days.ok_or_else(|| ServerError::UnknownHost(export.host.clone()))
}

/// From a second on, and before another one.
#[derive(Debug, Clone, Copy)]
struct Range {
    from: i64,
    to: i64,
}

impl Range {
    fn of(export: &Export) -> Range {
        let second =
            |time: Option<Timestamp>, usual| time.map_or(usual, Timestamp::as_second);
        Range {
            from: second(export.from, Day::FIRST.start()).max(Day::FIRST.start()),
            to: second(export.to, Day::LAST.end()).min(Day::LAST.end()),
        }
    }

    fn is_empty(self) -> bool {
        self.from >= self.to
    }

    fn days(self) -> (Day, Day) {
        (Day::of(self.from), Day::of(self.to - 1))
    }

    fn has(self, sample: &Sample) -> bool {
        (self.from..self.to).contains(&sample.at())
    }
}

fn write_names<'a>(
    output: &mut dyn Write,
    series: impl Iterator<Item = &'a Series>,
) -> io::Result<()> {
    output.write_all(b"time,arrival")?;
    for series in series {
        write!(output, ",{}", quoted(&series.to_string()))?;
    }
    writeln!(output)
}

fn write_sample(
    output: &mut dyn Write,
    columns: &BTreeMap<Series, usize>,
    sample: &Sample,
) -> io::Result<()> {
    let mut cells = vec![None; columns.len()];
    for (series, value) in sample.cells() {
        if let Some(place) = columns.get(series) {
            cells[*place] = Some(value);
        }
    }

    let at = Timestamp::from_second(sample.at()).unwrap_or(Timestamp::MAX);
    let arrival = match sample.arrival() {
        Arrival::Live => "live",
        Arrival::Spooled => "spooled",
    };
    write!(output, "{at},{arrival}")?;
    for cell in cells {
        match cell {
            Some(value) => write!(output, ",{value}")?,
            None => output.write_all(b",")?,
        }
    }
    writeln!(output)
}

/// A text as a field of CSV (RFC 4180).
fn quoted(text: &str) -> String {
    let is_plain = !text.contains([',', '"', '\r', '\n']);
    if is_plain {
        return text.to_owned();
    }
    format!("\"{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use fleetbeat_history::Identity;

    use super::*;

    #[test]
    fn what_is_missing_is_empty_and_odd_names_are_quoted() {
        let mut sample = Sample::new(1_780_000_000, Identity::Unknown, Arrival::Spooled);
        sample.set_loads(Some(12.34), None, None);
        sample.set_service("a \"b\",c", true);
        let names = ["cpu", "ram", "services.a \"b\",c"];
        let series = names.map(|name| Series::parse(name).unwrap());
        let columns: BTreeMap<Series, usize> = series.into_iter().zip(0..).collect();

        let mut output = Vec::new();
        write_names(&mut output, columns.keys()).unwrap();
        write_sample(&mut output, &columns, &sample).unwrap();
        assert_eq!(
            String::from_utf8(output).unwrap(),
            "time,arrival,cpu,ram,\"services.a \"\"b\"\",c\"\n\
             2026-05-28T20:26:40Z,spooled,12.3,,1\n"
        );
    }
}
