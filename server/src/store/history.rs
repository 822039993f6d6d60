//! History: every heartbeat of every host, as far as the backends have it in common.

use std::net::IpAddr;
use std::time::Duration;

use fleetbeat_history::chart::ChartQuery;
use fleetbeat_history::retention::Limits;
use fleetbeat_history::{
    Arrival, Chunk, Cut, Day, HistoryError, Host, HostChart, HostSamples, HostTraffic,
    Identity, Sample, Size, Trouble, USUAL_SERIES, counted_at,
};
use fleetbeat_protocol::{Heartbeat, Timestamp};

use super::error::StoreError;
use super::server::{Beat, HostName, Supersedes};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What the operator has decided about history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HistorySettings {
    /// Whether heartbeats are kept.
    pub(crate) is_enabled: bool,
    /// How long they are.
    pub(crate) keep: Duration,
    /// How much of the disk they may take, in bytes; `None`: half of what was free at the
    /// first start.
    pub(crate) max_bytes: Option<u64>,
    /// The series of a host and day that are kept.
    pub(crate) max_series: usize,
}

impl Default for HistorySettings {
    fn default() -> HistorySettings {
        HistorySettings {
            is_enabled: true,
            keep: 365 * DAY,
            max_bytes: None,
            max_series: USUAL_SERIES,
        }
    }
}

impl HistorySettings {
    /// The limits of a store that may have so many bytes.
    pub(crate) fn limits(&self, max_bytes: u64) -> Limits {
        let days = self.keep.as_secs() / DAY.as_secs();
        Limits {
            keep_days: u32::try_from(days).unwrap_or(u32::MAX),
            max_bytes,
        }
    }
}

/// What of an embedded store a backup has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// The database, with the heartbeats of the last hours.
    Database,
    /// The database and history.db, in a second file beside the first.
    WithHistory,
}

/// The history of all hosts. Heartbeats come into it by
/// [`record`](super::ServerStore::record).
pub(crate) trait HistoryStore: Send + Sync {
    /// Goes on with what heartbeats do not wait for: keeps together what they have left,
    /// deletes what is too old, too much, or of a host that is gone. Gives what was done;
    /// `None` where that is not this instance's task. A call takes about a second at most, and
    /// whatever one leaves, the next one does.
    ///
    /// # Errors
    /// The database cannot be read or written. That history itself cannot be written is
    /// told in [`Tended::failure`].
    fn tend_history(&self, now: Timestamp) -> Result<Option<Tended>, StoreError>;

    /// The chart of a host, of all heartbeats that were acknowledged; `None` if the host
    /// is not known. Where a part of history cannot be read, the chart has the rest, and
    /// says so.
    ///
    /// # Errors
    /// The database cannot be read.
    fn history(
        &self,
        host: &HostName,
        query: &ChartQuery,
    ) -> Result<Option<HostHistory>, StoreError>;

    /// Gives each day of a host, from the first of the two days to the second, to `each`,
    /// the earliest first; `None` if the host is not known.
    ///
    /// # Errors
    /// The database or history cannot be read. `each` may have been called before.
    fn history_days(
        &self,
        host: &HostName,
        days: (Day, Day),
        each: &mut dyn FnMut(&Chunk),
    ) -> Result<Option<DaysRead>, StoreError>;

    /// The traffic of each of the hosts, in their order, by all heartbeats that were
    /// acknowledged. Of a host that is not known, nothing is known. Where a part of
    /// history cannot be read, the traffic is what the rest tells, and says so.
    ///
    /// # Errors
    /// The database cannot be read.
    fn traffic(&self, hosts: &[TrafficQuery]) -> Result<Vec<HostTraffic>, StoreError>;

    /// Keeps samples of groups of hosts, unless heartbeats are not kept. Only the instance
    /// that tends history calls this. Doing so again changes nothing.
    ///
    /// # Errors
    /// The database or history cannot be written. Some of the samples may be kept.
    fn add_groups(&self, groups: &[HostSamples]) -> Result<(), StoreError>;

    /// The charts of groups, in the order of their names; those of groups without samples
    /// may be left out.
    ///
    /// # Errors
    /// The database cannot be read.
    fn group_history(
        &self,
        groups: Groups,
        query: &ChartQuery,
    ) -> Result<Vec<GroupHistory>, StoreError>;
}

/// Which groups of hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Groups {
    /// All hosts, together.
    Fleet,
    /// Those of each country.
    Countries,
}

/// A group's chart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GroupHistory {
    /// The group's name.
    pub(crate) host: Host,
    /// The chart, and what of its range is kept.
    pub(crate) chart: HostChart,
}

/// Whose traffic is asked for, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TrafficQuery {
    /// The host's lasting name.
    pub(crate) server_id: String,
    /// The first day and the last one.
    pub(crate) days: (Day, Day),
}

/// What of a host's days was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DaysRead {
    /// Whether a part of what is kept is damaged, and was left out.
    pub(crate) is_incomplete: bool,
    /// What was found damaged in the store of history, and got over.
    pub(crate) troubles: Vec<Trouble>,
}

/// A host's chart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HostHistory {
    /// The host's address.
    pub(crate) ip: IpAddr,
    /// The host's lasting name.
    pub(crate) server_id: String,
    /// The chart, and what of its range is kept.
    pub(crate) chart: HostChart,
}

/// What a call of [`HistoryStore::tend_history`] has done.
#[derive(Debug, Default)]
pub(crate) struct Tended {
    /// The heartbeats that were merged.
    pub(crate) merged: u64,
    /// What merges have left out.
    pub(crate) cut: Cut,
    /// The heartbeats since the last call for which there was no room, because history
    /// cannot be written for long.
    pub(crate) dropped: u64,
    /// Open chunks that were damaged: what was behind the damage is lost.
    pub(crate) damaged: u64,
    /// What was found damaged in the store of history, and got over.
    pub(crate) troubles: Vec<Trouble>,
    /// Why history cannot be written at present; `None` if it can.
    pub(crate) failure: Option<HistoryError>,
    /// How large history is; `None` if that cannot be told.
    pub(crate) size: Option<Size>,
}

/// A heartbeat as history keeps it.
pub(super) fn sample_of_beat(beat: &Beat) -> Sample {
    let arrival = match beat.supersedes {
        Supersedes::Always => Arrival::Live,
        Supersedes::IfNewer | Supersedes::IfUnknown => Arrival::Spooled,
    };
    let made = beat.heartbeat.collected_at.map(Timestamp::as_second);
    let at = counted_at(made, beat.at.as_second(), arrival);
    sample(&beat.heartbeat, at, arrival)
}

/// A heartbeat that counts at `at`, in seconds since 1970.
pub(super) fn sample(heartbeat: &Heartbeat, at: i64, arrival: Arrival) -> Sample {
    let identity = Identity::new(heartbeat.boot_id.as_deref(), heartbeat.seq);
    let mut sample = Sample::new(at, identity, arrival);
    let load = &heartbeat.load;
    sample.set_loads(load.cpu, load.ram, load.net);
    for service in &heartbeat.services {
        sample.set_service(&service.name, service.active);
    }
    for (name, value) in &heartbeat.metrics {
        sample.set_metric(name, *value);
    }
    sample
}
