//! The sweep: silent hosts become down, and hosts that stay down for very long are
//! deleted.
//!
//! While the server was away, heartbeats could not arrive, and that must not paint the
//! fleet red. So after a start, while the store is unreachable, and after a jump of the
//! clock (a laptop that slept, a corrected time) one `down_after` passes before any host
//! is marked. Deletion counts in service time, which this file measures: the time between
//! sweeps by a clock that does not jump, and only while hosts could be heard.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleetbeat_daemon::clock;
use fleetbeat_daemon::condition::Condition;
use fleetbeat_protocol::Timestamp;
use jiff::SignedDuration;

use crate::config::SweepSettings;
use crate::jobs::Jobs;
use crate::metrics::{Metrics, SweepCounts};
use crate::store::{Store, SweepOrder, Swept};

/// Wall clock and monotonic clock may drift apart this far between two sweeps; more is a
/// jump.
const MAX_CLOCK_DRIFT: Duration = Duration::from_secs(30);

/// No more service time than so many intervals lies between two sweeps.
const MAX_INTERVALS: u32 = 2;

/// Starts sweeping. `last_failed_commit` tells when heartbeats could not be stored last.
///
/// # Errors
/// The system gives no further thread.
pub(crate) fn start(
    jobs: &mut Jobs,
    store: Arc<dyn Store>,
    settings: SweepSettings,
    last_failed_commit: impl Fn() -> Option<Instant> + Send + 'static,
    metrics: Arc<Metrics>,
) -> io::Result<()> {
    jobs.start("sweep", move |stop, pulse| {
        let mut sweeper = Sweeper::new(settings, clock::now(), Instant::now());
        while stop.wait(settings.interval) {
            let (failed, began) = (last_failed_commit(), Instant::now());
            let swept =
                pulse.round(|| sweeper.sweep(&*store, clock::now(), began, failed));
            // Where instances share the work, only the sweep of the one that does it counts.
            if let Some(swept) = swept.filter(|_| store.holds_lease() != Some(false)) {
                let took = began.elapsed();
                metrics.sweeps.swept(counts(swept), took, clock::now());
            }
        }
    })
}

fn counts(swept: Swept) -> SweepCounts {
    SweepCounts {
        marked_down: swept.down,
        deleted: swept.deleted,
        held_back: swept.held_back,
    }
}

/// Decides at each sweep whether hosts may be called silent.
struct Sweeper {
    settings: SweepSettings,
    /// Until then no host is called silent.
    grace_until: Instant,
    /// Both clocks at the last sweep.
    last: (Timestamp, Instant),
    /// So many hosts are due to be deleted that the operator has to say so.
    held_back: Condition,
}

impl Sweeper {
    fn new(settings: SweepSettings, now: Timestamp, instant: Instant) -> Sweeper {
        Sweeper {
            settings,
            grace_until: instant + settings.down_after,
            last: (now, instant),
            held_back: Condition::default(),
        }
    }

    /// Sweeps at `now`, which is `instant` by the monotonic clock. Gives what was done;
    /// `None` if nothing could be, or this is a time of grace.
    fn sweep(
        &mut self,
        store: &dyn Store,
        now: Timestamp,
        instant: Instant,
        last_failed_commit: Option<Instant>,
    ) -> Option<Swept> {
        let served = self.look_at_clocks(now, instant);
        if let Some(failed) = last_failed_commit {
            let until = failed + self.settings.down_after;
            self.grace_until = self.grace_until.max(until);
        }

        if instant < self.grace_until {
            // A store that is away now must not meet a sweep the moment it is back.
            if store.ping().is_err() {
                self.grace_until = instant + self.settings.down_after;
            }
            return None;
        }

        let order = SweepOrder {
            now,
            served,
            down_after: self.settings.down_after,
            delete_after: self.settings.delete_after,
        };
        match store.sweep(&order) {
            Ok(swept) => {
                self.tell(swept);
                Some(swept)
            }
            Err(error) => {
                log::error!("sweep: {error}");
                self.grace_until = instant + self.settings.down_after;
                None
            }
        }
    }

    /// Tells the log what a sweep did.
    fn tell(&mut self, swept: Swept) {
        let Swept {
            down,
            deleted,
            held_back,
        } = swept;
        if down + deleted > 0 {
            log::info!("sweep: {down} hosts are down now, {deleted} were deleted");
        }

        if held_back == 0 {
            self.held_back.ends();
        } else if self.held_back.begins("many hosts are due") {
            log::warn!(
                "sweep: {held_back} hosts have been down for sweep.delete_after, more \
                 than a tenth of the fleet: none is deleted until `fleetbeat-server \
                 prune` says that they may be"
            );
        }
    }

    /// Begins a time of grace if the wall clock has jumped since the last sweep. Gives
    /// the service time since then.
    fn look_at_clocks(&mut self, now: Timestamp, instant: Instant) -> Duration {
        let (last_now, last_instant) = std::mem::replace(&mut self.last, (now, instant));
        let passed = instant.duration_since(last_instant);
        let jumped = jump(now.duration_since(last_now), passed);

        if jumped > MAX_CLOCK_DRIFT {
            log::warn!(
                "the clock jumped by {} s: no host is marked down for a while",
                jumped.as_secs()
            );
            self.grace_until = instant + self.settings.down_after;
        }

        // A process that stood still has heard nobody meanwhile.
        passed.min(self.settings.interval * MAX_INTERVALS)
    }
}

/// How far the wall clock moved more, or less, than time passed.
fn jump(wall: SignedDuration, passed: Duration) -> Duration {
    let passed = SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX);
    wall.saturating_sub(passed).unsigned_abs()
}

#[cfg(test)]
mod tests {
    use fleetbeat_protocol::Status;

    use super::*;
    use crate::config::Storage;
    use crate::store::HistorySettings;
    use crate::store::conformance::{beat, servers};

    const SETTINGS: SweepSettings = SweepSettings {
        interval: Duration::from_secs(60),
        down_after: Duration::from_secs(240),
        delete_after: Duration::from_secs(30 * 86_400),
    };

    /// A sweep over one host that has been silent for an hour, with clocks that stand
    /// where a test puts them.
    struct Silent {
        store: Arc<dyn Store>,
        sweeper: Sweeper,
        now: Timestamp,
        instant: Instant,
        _folder: tempfile::TempDir,
    }

    impl Silent {
        fn start() -> Silent {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().to_owned();
            let store = crate::store::open(
                &Storage::Embedded { path },
                &HistorySettings::default(),
            )
            .unwrap();
            let (now, instant) = (Timestamp::now(), Instant::now());
            store
                .record(&[beat("10.0.0.1", now - SignedDuration::from_hours(1))])
                .unwrap();
            Silent {
                store,
                sweeper: Sweeper::new(SETTINGS, now, instant),
                now,
                instant,
                _folder: folder,
            }
        }

        /// The status after a sweep when `secs` have passed and the wall clock is `ahead`
        /// of that.
        fn sweep(&mut self, secs: u64, ahead: i64, failed_at: Option<u64>) -> Status {
            let now = self.now + SignedDuration::from_secs(secs.cast_signed() + ahead);
            let failure = failed_at.map(|secs| self.instant + Duration::from_secs(secs));
            self.sweeper.sweep(
                &*self.store,
                now,
                self.instant + Duration::from_secs(secs),
                failure,
            );
            servers(&*self.store)[0].status
        }
    }

    #[test]
    fn a_silent_host_goes_down_but_not_right_after_a_start_or_a_clock_jump() {
        let mut silent = Silent::start();
        for secs in [60, 120, 180] {
            assert_eq!(
                silent.sweep(secs, 0, None),
                Status::Active,
                "after {secs} s"
            );
        }
        // The clock is an hour ahead of the time that has passed.
        for secs in [240, 300, 360, 420] {
            assert_eq!(
                silent.sweep(secs, 3600, None),
                Status::Active,
                "after the jump, {secs} s"
            );
        }
        assert_eq!(
            silent.sweep(480, 3600, None),
            Status::Down,
            "one down_after later"
        );
    }

    #[test]
    fn hosts_whose_heartbeats_could_not_be_stored_are_not_silent() {
        let mut silent = Silent::start();
        for secs in [300, 360, 420, 480] {
            assert_eq!(
                silent.sweep(secs, 0, Some(290)),
                Status::Active,
                "after {secs} s"
            );
        }
        assert_eq!(silent.sweep(540, 0, Some(290)), Status::Down);
    }
}
