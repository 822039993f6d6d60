//! The watch: compares the hosts with what it has seen of them last, and tells what has
//! changed as events.
//!
//! What it has seen is in the store, so a server that is started again goes on where it
//! stopped. A change that is over within ten seconds is not seen. The sweep says when a
//! host is down; the watch tells it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleetbeat_daemon::clock;
use fleetbeat_daemon::condition::Condition;

use crate::alerting::Looker;
use crate::chronicle::Chronicle;
use crate::jobs::Jobs;
use crate::metrics::Metrics;
use crate::store::{EventStore, Mass, Retention, Store, StoreError, WatchOrder, Watched};

/// The time between two looks, in [`NUMBER_EVERY`].
const LOOK_EVERY: u32 = 10;
/// The time after which events have their numbers.
const NUMBER_EVERY: Duration = Duration::from_secs(1);
/// The time between two deletions of old events.
const FORGET_EVERY: Duration = Duration::from_secs(10 * 60);

/// What the operator has decided about the watch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order {
    /// After so long a silence a host is down.
    pub(crate) down_after: Duration,
    /// How long events are kept.
    pub(crate) retention: Retention,
}

/// Starts watching: `looker` looks at alerts after each look of the watch. When the job stops, `chronicle` tells that the server has stopped.
///
/// # Errors
/// The system gives no further thread.
pub(crate) fn start(
    jobs: &mut Jobs,
    store: Arc<dyn Store>,
    chronicle: Arc<Chronicle>,
    order: Order,
    mut looker: Looker,
    metrics: Arc<Metrics>,
) -> io::Result<()> {
    jobs.start("watch", move |stop, pulse| {
        let mut watch = Watch {
            order,
            forgot_last: Instant::now(),
            trouble: Condition::default(),
            metrics,
        };
        let mut seconds = 0;
        while stop.wait(NUMBER_EVERY) {
            seconds += 1;
            if seconds % LOOK_EVERY == 0 {
                pulse.round(|| {
                    let (now, instant) = (clock::now(), Instant::now());
                    match watch.round(&*store, &chronicle) {
                        Ok(()) => looker.look(now, instant),
                        Err(_) => looker.note_away(instant),
                    }
                });
            } else if watch.trouble.cause().is_none() {
                // What fails here is told by the next look.
                let _ = pulse.round(|| store.number_events());
            }
        }
        chronicle.stopped(clock::now());
    })
}

/// The watch, and what the log knows of it.
struct Watch {
    order: Order,
    forgot_last: Instant,
    /// The store does not take what has changed.
    trouble: Condition,
    metrics: Arc<Metrics>,
}

impl Watch {
    /// Looks once, and tells what waits.
    ///
    /// # Errors
    /// The store has not taken what has changed, which the log is told.
    fn round(
        &mut self,
        store: &dyn EventStore,
        chronicle: &Chronicle,
    ) -> Result<(), StoreError> {
        let now = clock::now();
        let order = WatchOrder {
            now,
            down_after: self.order.down_after,
        };
        let watched = store.watch(&order);
        // The database that refuses, or another instance that was faster, is not away.
        let is_away = watched.as_ref().is_err_and(StoreError::is_unavailable);
        chronicle.round(is_away, now);
        match watched {
            Ok(watched) => {
                if self.trouble.ends() {
                    log::info!("events can be written again");
                }
                self.metrics.watch.looked(now);
                tell(watched);
            }
            Err(error) => {
                if self.trouble.begins(error.to_string()) {
                    log::error!("events cannot be written: {error}");
                }
                return Err(error);
            }
        }

        if self.forgot_last.elapsed() < FORGET_EVERY {
            return Ok(());
        }
        self.forgot_last = Instant::now();
        match store.forget_events(&self.order.retention) {
            Ok(0) => {}
            Ok(deleted) => log::info!("{deleted} old events were deleted"),
            Err(error) => log::error!("old events cannot be deleted: {error}"),
        }
        Ok(())
    }
}

fn tell(watched: Watched) {
    match watched.mass {
        Some(Mass::Down { down, hosts }) => {
            log::warn!("{down} of {hosts} hosts went down together");
        }
        Some(Mass::Recovered { down, hosts }) => log::info!(
            "the hosts that went down together are back, but for {down} of {hosts}"
        ),
        None => {}
    }
    if watched.events > 0 {
        log::debug!("the watch has told {} events", watched.events);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use fleetbeat_daemon::lock::lock;

    use super::*;
    use crate::chronicle::Refused;
    use crate::store::{
        Cursor, EventKind, EventPage, EventQuery, Life, LifeQuery, NewEvent, Unavailable,
    };

    /// Takes what it is told, and cannot watch for this reason.
    struct Troubled {
        reason: Mutex<StoreError>,
        kinds: Mutex<Vec<&'static str>>,
    }

    impl EventStore for Troubled {
        fn append(&self, events: &[NewEvent]) -> Result<(), StoreError> {
            let kinds = events.iter().map(|event| event.kind.as_str());
            lock(&self.kinds).extend(kinds);
            Ok(())
        }

        fn events(&self, _: &EventQuery) -> Result<EventPage, StoreError> {
            Err(Unavailable::Away.into())
        }

        fn newest_event(&self) -> Result<Cursor, StoreError> {
            Err(Unavailable::Away.into())
        }

        fn lives(&self, _: &LifeQuery) -> Result<Vec<Life>, StoreError> {
            Err(Unavailable::Away.into())
        }

        fn watch(&self, _: &WatchOrder) -> Result<Watched, StoreError> {
            Err(lock(&self.reason).clone())
        }

        fn forget_events(&self, _: &Retention) -> Result<usize, StoreError> {
            Err(Unavailable::Away.into())
        }
    }

    #[test]
    fn only_a_database_that_cannot_be_reached_is_away() {
        let refused = StoreError::Refused {
            database: "MongoDB",
            reason: "another instance has written a sighting".to_owned(),
        };
        let store = Arc::new(Troubled {
            reason: Mutex::new(refused.clone()),
            kinds: Mutex::default(),
        });
        let chronicle = Chronicle::new(store.clone());
        let mut watch = Watch {
            order: Order {
                down_after: Duration::from_secs(240),
                retention: Retention {
                    keep: Duration::MAX,
                    keep_audit: Duration::MAX,
                    max_rows: u64::MAX,
                },
            },
            forgot_last: Instant::now(),
            trouble: Condition::default(),
            metrics: Arc::new(Metrics::new(&[], clock::now())),
        };
        let an_hour_ago = clock::now() - jiff::SignedDuration::from_hours(1);
        let refused_login = Refused {
            kind: EventKind::LoginFailed,
            user: Some("ann"),
            token: None,
            reason: "credentials",
            address: None,
        };
        chronicle.refused(refused_login, an_hour_ago);
        let _ = watch.round(&*store, &chronicle);
        assert_eq!(*lock(&store.kinds), ["login.failed"]);

        *lock(&store.reason) = Unavailable::Away.into();
        let _ = watch.round(&*store, &chronicle);
        *lock(&store.reason) = refused;
        let _ = watch.round(&*store, &chronicle);
        let told = ["login.failed", "store.away", "store.back"];
        assert_eq!(*lock(&store.kinds), told);
    }
}
