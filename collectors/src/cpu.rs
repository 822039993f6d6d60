//! `load.cpu`: the share of time that the CPUs, all together, were neither idle nor
//! waiting for I/O.

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
    Some(Box::new(Cpu {
        path: roots.proc.join("stat"),
        last: None,
    }))
}

/// Compares /proc/stat with what the file said at the end of the window before.
struct Cpu {
    path: PathBuf,
    /// `None` before the first window, and after a failure.
    last: Option<Times>,
}

/// Time since boot in clock ticks: user, nice, system, idle, iowait, irq, softirq, steal.
/// The two guest times that follow in the file are inside user and nice already.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Times([u64; 8]);

const IDLE: usize = 3;
const IOWAIT: usize = 4;

impl Collector for Cpu {
    /// The first sample covers only its own window. Each later sample reaches back to the
    /// sample before, so that no CPU time between two windows goes unseen.
    fn open(&mut self, _now: Instant) -> Result<(), Error> {
        if self.last.is_none() {
            self.last = Some(self.read()?);
        }
        Ok(())
    }

    fn collect(&mut self, _now: Instant) -> Result<Option<Sample>, Error> {
        // Taken before reading, which may fail: after a failure the next window starts
        // afresh instead of spanning the gap.
        let last = self.last.take();
        let times = self.read()?;
        self.last = Some(times);
        Ok(last
            .and_then(|last| busy_percent(last, times))
            .map(Sample::Cpu))
    }
}

impl Cpu {
    fn read(&self) -> Result<Times, Error> {
        let message = "has no line with the times of all CPUs";
        parse_times(&read_text(&self.path)?).ok_or(Error::Content {
            path: self.path.clone(),
            message,
        })
    }
}

/// The times in the text of /proc/stat. Old kernels have fewer than eight times, four at
/// least.
fn parse_times(text: &str) -> Option<Times> {
    let mut fields = text
        .lines()
        .find_map(|line| line.strip_prefix("cpu "))?
        .split_ascii_whitespace();

    let mut times = [0; 8];
    for (index, time) in times.iter_mut().enumerate() {
        match fields.next() {
            Some(field) => *time = field.parse().ok()?,
            None if index > IDLE => break,
            None => return None,
        }
    }
    Some(Times(times))
}

/// `None` if no time has passed or a counter jumped back.
fn busy_percent(Times(before): Times, Times(after): Times) -> Option<f64> {
    let mut passed = [0.0; 8];
    for (index, passed) in passed.iter_mut().enumerate() {
        *passed = after[index].checked_sub(before[index])? as f64;
    }

    let idle = passed[IDLE] + passed[IOWAIT];
    let busy: f64 = (0..8)
        .filter(|index| ![IDLE, IOWAIT].contains(index))
        .map(|index| passed[index])
        .sum();
    (busy + idle > 0.0).then(|| 100.0 * busy / (busy + idle))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_all_cpus_is_read() {
        let text = "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(parse_times(text), Some(Times([1, 2, 3, 4, 5, 6, 7, 8])));
        assert_eq!(
            parse_times("cpu 1 2 3 4\n"),
            Some(Times([1, 2, 3, 4, 0, 0, 0, 0]))
        );
        let cpus: String = (0..128)
            .map(|n| format!("cpu{n} 9 9 9 9 9 9 9 9 9 9\n"))
            .collect();
        assert_eq!(
            parse_times(&format!("cpu  1 2 3 4 5 6 7 8 9 10\n{cpus}intr 7\n")),
            parse_times(text)
        );
        for bad in [
            "",
            "cpu",
            "cpu  1 2 3",
            "cpu  1 2 3 x 5 6 7 8",
            "cpu  1 -2 3 4",
            "cpu0 1 2 3 4 5 6 7 8",
        ] {
            assert_eq!(parse_times(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn idle_and_iowait_are_not_busy() {
        let before = Times([100; 8]);
        let passed = |passed: [u64; 8]| {
            busy_percent(before, Times(passed.map(|passed| passed + 100)))
        };
        assert_eq!(passed([0, 0, 0, 50, 50, 0, 0, 0]), Some(0.0));
        assert_eq!(passed([25, 0, 0, 50, 25, 0, 0, 0]), Some(25.0));
        assert_eq!(passed([1, 1, 1, 0, 0, 1, 1, 1]), Some(100.0));
        assert_eq!(passed([0; 8]), None);
    }

    #[test]
    fn the_largest_counters_make_a_percentage() {
        let mut after = [u64::MAX; 8];
        assert_eq!(busy_percent(Times([0; 8]), Times(after)), Some(75.0));
        after[IDLE] = 0;
        after[IOWAIT] = 0;
        assert_eq!(busy_percent(Times([0; 8]), Times(after)), Some(100.0));
    }

    #[test]
    fn any_counter_that_jumps_back_gives_no_sample() {
        for index in 0..8 {
            let mut after = [200; 8];
            after[index] = 99;
            assert_eq!(busy_percent(Times([100; 8]), Times(after)), None);
        }
    }
}
