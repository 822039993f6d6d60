//! The sweep: silent hosts become down, hosts silent for very long are deleted.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fleetbeat_protocol::Timestamp;

use crate::config;
use crate::store::Store;

/// Wall clock and monotonic clock may drift apart this far between two sweeps; more is a
/// jump.
const MAX_CLOCK_DRIFT: Duration = Duration::from_secs(30);

/// The sweeping thread.
pub(crate) struct Sweep {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Sweep {
    /// `last_failure` tells when heartbeats could not be stored last.
    pub(crate) fn start(
        store: Arc<dyn Store>,
        limits: config::Sweep,
        last_failure: impl Fn() -> Option<Instant> + Send + 'static,
    ) -> std::io::Result<Sweep> {
        let (stop, stopped) = mpsc::channel();
        let thread =
            thread::Builder::new()
                .name("sweep".to_owned())
                .spawn(move || {
                    let mut state = State::new(limits, Timestamp::now(), Instant::now());
                    while let Err(RecvTimeoutError::Timeout) =
                        stopped.recv_timeout(limits.interval)
                    {
                        state.sweep(
                            &*store,
                            Timestamp::now(),
                            Instant::now(),
                            last_failure(),
                        );
                    }
                })?;
        Ok(Sweep { stop, thread })
    }

    pub(crate) fn stop(self) {
        drop(self.stop);
        let _ = self.thread.join();
    }
}

/// When the next sweep may happen.
///
/// While we were away, heartbeats could not arrive; that must not paint the fleet red. So
/// after a start, an unreachable store, or a jump of the clock (a laptop that slept, a
/// corrected time) one `down_after` passes before anything is marked.
struct State {
    limits: config::Sweep,
    grace_until: Instant,
    last: (Timestamp, Instant),
}

impl State {
    fn new(limits: config::Sweep, now: Timestamp, instant: Instant) -> State {
        State {
            limits,
            grace_until: instant + limits.down_after,
            last: (now, instant),
        }
    }

    fn sweep(
        &mut self,
        store: &dyn Store,
        now: Timestamp,
        instant: Instant,
        last_failure: Option<Instant>,
    ) {
        let (last_now, last_instant) = std::mem::replace(&mut self.last, (now, instant));
        let jumped = jump(
            now.duration_since(last_now),
            instant.duration_since(last_instant),
        );
        if jumped > MAX_CLOCK_DRIFT {
            log::warn!(
                "the clock jumped by {} s: no host is marked down for a while",
                jumped.as_secs()
            );
            self.grace_until = instant + self.limits.down_after;
        }
        if let Some(failure) = last_failure {
            self.grace_until = self.grace_until.max(failure + self.limits.down_after);
        }
        if instant < self.grace_until {
            // A store that is away now must not meet a sweep the moment it is back.
            if store.ping().is_err() {
                self.grace_until = instant + self.limits.down_after;
            }
            return;
        }
        let before = |age: Duration| now.checked_sub(age).unwrap_or(Timestamp::MIN);
        match store.sweep(
            before(self.limits.down_after),
            before(self.limits.delete_after),
        ) {
            Ok(swept) if swept.down + swept.deleted > 0 => {
                log::info!(
                    "sweep: {} hosts are down now, {} were deleted",
                    swept.down,
                    swept.deleted
                );
            }
            Ok(_) => {}
            Err(error) => {
                log::error!("sweep: {error}");
                self.grace_until = instant + self.limits.down_after;
            }
        }
    }
}

/// How far the wall clock moved more, or less, than time passed.
fn jump(wall: jiff::SignedDuration, passed: Duration) -> Duration {
    let passed =
        jiff::SignedDuration::try_from(passed).unwrap_or(jiff::SignedDuration::MAX);
    wall.saturating_sub(passed).unsigned_abs()
}

#[cfg(test)]
mod tests {
    use fleetbeat_protocol::Status;
    use jiff::SignedDuration;

    use super::*;
    use crate::config::Storage;
    use crate::store::conformance::{beat, servers};

    const LIMITS: config::Sweep = config::Sweep {
        interval: Duration::from_secs(60),
        down_after: Duration::from_secs(240),
        delete_after: Duration::from_secs(30 * 86_400),
    };

    /// A sweep over one host that has been silent for an hour, with clocks that stand
    /// where a test puts them.
    struct Silent {
        store: Arc<dyn Store>,
        state: State,
        now: Timestamp,
        instant: Instant,
        _folder: tempfile::TempDir,
    }

    impl Silent {
        fn start() -> Silent {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().to_owned();
            let store = crate::store::open(&Storage::Embedded { path }).unwrap();
            let (now, instant) = (Timestamp::now(), Instant::now());
            store
                .record(&[beat("10.0.0.1", now - SignedDuration::from_hours(1))])
                .unwrap();
            Silent {
                store,
                state: State::new(LIMITS, now, instant),
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
            self.state.sweep(
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
