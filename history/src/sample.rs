//! One heartbeat, as far as history keeps it.

use std::collections::{BTreeMap, BTreeSet};

use crate::day::Day;
use crate::kept::kept;
use crate::number::{rounded_count, rounded_load, rounded_metric};
use crate::series::Series;

/// A boot of a host: a hash of its `boot_id`, which may be any text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Boot(pub(crate) u64);

impl Boot {
    /// The boot that is called `boot_id` (FNV-1a with 64 bits). Two boots of one host
    /// and day that share a hash would be taken for one.
    #[must_use]
    pub fn new(boot_id: &str) -> Boot {
        let start = 0xcbf2_9ce4_8422_2325_u64;
        let add =
            |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Boot(boot_id.bytes().fold(start, add))
    }
}

/// By what a sample is known again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// By its boot and its number in that boot: two samples with both alike are one.
    Numbered(Boot, u64),
    /// By its second: the boot says only where counters began.
    Boot(Boot),
    /// By its second.
    Unknown,
}

impl Identity {
    /// The identity of a heartbeat with these members.
    #[must_use]
    pub fn new(boot_id: Option<&str>, seq: Option<u64>) -> Identity {
        match (boot_id.map(Boot::new), seq) {
            (Some(boot), Some(seq)) => Identity::Numbered(boot, seq),
            (Some(boot), None) => Identity::Boot(boot),
            (None, _) => Identity::Unknown,
        }
    }

    /// The boot, if it is known.
    #[must_use]
    pub fn boot(self) -> Option<Boot> {
        match self {
            Identity::Numbered(boot, _) | Identity::Boot(boot) => Some(boot),
            Identity::Unknown => None,
        }
    }
}

/// How a heartbeat has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arrival {
    /// As soon as it was made.
    Live,
    /// From the agent's spool: the host was up when it was made, but did not reach the
    /// server.
    Spooled,
}

/// How far a host's clock may be from the server's so that a live heartbeat counts at the
/// time that the host says, in seconds.
const NEAR: u64 = 300;

/// When a heartbeat counts, in seconds since 1970. `collected_at` is the host's clock,
/// `now` the server's.
///
/// A spooled heartbeat counts when it was made, but never later than now. A live one
/// counts when it was made if the clocks are within five minutes, else now.
#[must_use]
pub fn counted_at(collected_at: Option<i64>, now: i64, arrival: Arrival) -> i64 {
    let Some(made) = collected_at else { return now };
    match arrival {
        Arrival::Spooled => made.min(now),
        Arrival::Live if made.abs_diff(now) <= NEAR => made,
        Arrival::Live => now,
    }
}

/// One heartbeat of one host. What is not set is missing, which is not zero.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    at: i64,
    identity: Identity,
    arrival: Arrival,
    cells: BTreeMap<Series, f64>,
}

impl Sample {
    /// A sample without values, of a time in whole seconds since 1970. A time outside of
    /// the days that there are counts as the nearest second of one.
    #[must_use]
    pub fn new(at: i64, identity: Identity, arrival: Arrival) -> Sample {
        Sample {
            at: at.clamp(Day::FIRST.start(), Day::LAST.end() - 1),
            identity,
            arrival,
            cells: BTreeMap::new(),
        }
    }

    /// Sets the loads, in percent, each kept to the nearest tenth.
    pub fn set_loads(&mut self, cpu: Option<f64>, ram: Option<f64>, net: Option<f64>) {
        for (series, load) in [(Series::Cpu, cpu), (Series::Ram, ram), (Series::Net, net)]
        {
            if let Some(load) = load.and_then(rounded_load) {
                self.cells.insert(series, load);
            }
        }
    }

    /// Sets whether a service runs.
    pub fn set_service(&mut self, name: &str, is_active: bool) {
        if let Some(series) = Series::service(name) {
            self.cells.insert(series, f64::from(u8::from(is_active)));
        }
    }

    /// Sets a metric: a counter of bytes to the nearest whole number, any other metric to
    /// the nearest hundredth, or from 1e13 on to the nearest whole number; halves go away
    /// from zero. What is not a number or infinite is left out, and so are the metrics
    /// that are not kept.
    pub fn set_metric(&mut self, name: &str, value: f64) {
        let Some(series) = Series::metric(name) else {
            return;
        };
        let value = match series {
            Series::Counter(_) => rounded_count(value),
            _ => rounded_metric(value),
        };
        if let Some(value) = value {
            self.cells.insert(series, value);
        }
    }

    /// Sets a value that has been rounded before.
    pub(crate) fn set(&mut self, series: Series, value: f64) {
        self.cells.insert(series, value);
    }

    /// Leaves only the first `most` series and the counters of interfaces, as a chunk
    /// does, and says how many have gone.
    pub fn keep_series(&mut self, most: usize) -> usize {
        let before = self.cells.len();
        if before > most {
            let kept = kept(self.cells.keys().collect(), most);
            let kept: BTreeSet<Series> = kept.into_iter().cloned().collect();
            self.cells.retain(|series, _| kept.contains(series));
        }
        before - self.cells.len()
    }

    /// The time, in seconds since 1970.
    #[must_use]
    pub fn at(&self) -> i64 {
        self.at
    }

    /// The day of the time.
    #[must_use]
    pub fn day(&self) -> Day {
        Day::of(self.at)
    }

    /// By what the sample is known again.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// How the heartbeat has come.
    #[must_use]
    pub fn arrival(&self) -> Arrival {
        self.arrival
    }

    /// The values, in the order of the series.
    pub fn cells(&self) -> impl ExactSizeIterator<Item = (&Series, f64)> {
        self.cells.iter().map(|(series, value)| (series, *value))
    }

    /// Whether both samples have values of the same series.
    pub(crate) fn has_series_of(&self, other: &Sample) -> bool {
        self.cells.keys().eq(other.cells.keys())
    }

    /// The value of a series; `None` if it is missing.
    #[must_use]
    pub fn get(&self, series: &Series) -> Option<f64> {
        self.cells.get(series).copied()
    }
}
