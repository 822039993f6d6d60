//! The care of history: what heartbeats do not wait for is done here, a second's worth at
//! a time. The instance that does it also notes once a minute how the fleet is.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use fleetbeat_daemon::clock;
use fleetbeat_daemon::condition::Condition;
use fleetbeat_history::{Cut, HistoryError, MAX_SAMPLES, Trouble};
use log::Level;

use super::groups;
use super::snapshot::Snapshots;
use crate::jobs::Jobs;
use crate::metrics::{HistoryCounts, Metrics};
use crate::recurring::log_if_due;
use crate::store::{HistoryStore, Store, Tended};

/// The time between two rounds.
const INTERVAL: Duration = Duration::from_secs(10);
/// Seconds from one sample of the fleet to the next.
const MINUTE: i64 = 60;

/// Starts the care.
///
/// # Errors
/// The system gives no further thread.
pub(crate) fn start(
    jobs: &mut Jobs,
    store: Arc<dyn Store>,
    snapshots: Snapshots,
    metrics: Arc<Metrics>,
) -> io::Result<()> {
    jobs.start("history", move |stop, pulse| {
        let mut keeper = Keeper::default();
        while stop.wait(INTERVAL) {
            if let Some(counts) = pulse.round(|| keeper.tend(&*store)) {
                metrics.history.tended(counts);
                pulse.round(|| keeper.note_groups(&*store, &snapshots));
            }
        }
    })
}

/// What the log knows of history.
#[derive(Default)]
struct Keeper {
    /// The fleet's database cannot be used.
    store_away: Condition,
    /// History cannot be written.
    away: Condition,
    /// The fleet cannot be noted.
    groups_away: Condition,
    /// The minute, since 1970, in which the fleet was noted last.
    noted: Option<i64>,
}

impl Keeper {
    /// Does a round. `None` for a backend without history, and if the fleet's database
    /// cannot be used.
    fn tend<S: HistoryStore + ?Sized>(&mut self, store: &S) -> Option<HistoryCounts> {
        match store.tend_history(clock::now()) {
            Ok(tended) => {
                self.store_away.ends();
                let tended = tended?;
                self.tell(&tended);
                Some(counts(&tended))
            }
            Err(error) => {
                if self.store_away.begins("the store") {
                    log::error!("history: {error}");
                }
                None
            }
        }
    }

    /// Notes how the fleet and its countries are, once a minute. Of a fleet that may be
    /// out of date, nothing is noted.
    fn note_groups<S: HistoryStore + ?Sized>(
        &mut self,
        store: &S,
        snapshots: &Snapshots,
    ) {
        let minute = clock::now().as_second().div_euclid(MINUTE);
        if self.noted == Some(minute) {
            return;
        }
        let Ok(fleet) = snapshots.fleet() else { return };
        if fleet.stale {
            return;
        }
        let samples = groups::samples(&fleet.servers, minute * MINUTE);
        match store.add_groups(&samples) {
            Ok(()) => {
                self.groups_away.ends();
                self.noted = Some(minute);
            }
            Err(error) => {
                if self.groups_away.begins("the fleet's history") {
                    log::error!("how the fleet is cannot be noted: {error}");
                }
            }
        }
    }

    /// Tells the log what went wrong, and what is well again.
    fn tell(&mut self, tended: &Tended) {
        self.tell_failure(tended.failure.as_ref());
        for trouble in &tended.troubles {
            tell_trouble(trouble);
        }

        let Tended {
            dropped, damaged, ..
        } = tended;
        if *dropped > 0 {
            let line = || {
                format!("{dropped} heartbeats are not kept as history: it has no room")
            };
            log_if_due(Level::Error, "history without room", "", line);
        }
        if *damaged > 0 {
            let line = || {
                format!(
                    "the heartbeats of {damaged} hosts since the last merge into history \
                     are damaged, and lost in part"
                )
            };
            log_if_due(Level::Error, "damaged open chunks", "", line);
        }
        let Cut {
            samples_of_later_versions: later,
            samples,
            ..
        } = tended.cut;
        if samples > 0 {
            let line = || {
                format!(
                    "{samples} heartbeats are not kept as history: their hosts have sent \
                     more than {MAX_SAMPLES} in a day"
                )
            };
            log_if_due(Level::Warn, "too many heartbeats", "", line);
        }
        if later > 0 {
            let line = || {
                format!(
                    "{later} heartbeats are not kept as history: a later version has \
                     written their day"
                )
            };
            log_if_due(Level::Error, "later history", "", line);
        }
    }

    fn tell_failure(&mut self, failure: Option<&HistoryError>) {
        match failure {
            // The cause may name sizes and files, which are no news.
            Some(error) if self.away.begins(kind(error)) => log::error!(
                "{error}: heartbeats are stored all the same, and wait in the records of \
                 their hosts until history can be written"
            ),
            Some(_) => {}
            None if self.away.ends() => log::info!("history can be written again"),
            None => {}
        }
    }
}

/// The kind of a failure: another kind is worth another line.
fn kind(error: &HistoryError) -> &'static str {
    match error {
        HistoryError::Full(_) => "full",
        HistoryError::Version { .. } => "version",
        HistoryError::Unavailable(_) => "unavailable",
    }
}

fn tell_trouble(trouble: &Trouble) {
    match trouble {
        Trouble::SetAside { to, reason } => log::error!(
            "history was damaged ({reason}): it is in {to} now, and an empty one was begun"
        ),
        Trouble::Chunk { host, day, error } => {
            let number = day.number();
            let line = || {
                format!(
                    "the history of host {host} on day {number} since 1970 is damaged and \
                     left out: {error}"
                )
            };
            log_if_due(Level::Warn, "damaged chunks", host, line);
        }
    }
}

fn counts(tended: &Tended) -> HistoryCounts {
    let is_file = |trouble: &&Trouble| matches!(trouble, Trouble::SetAside { .. });
    let set_aside = tended.troubles.iter().filter(is_file).count();
    let damaged = tended.troubles.len() - set_aside;
    let Cut {
        series,
        samples,
        samples_of_later_versions: later,
    } = tended.cut;

    HistoryCounts {
        merged: tended.merged,
        dropped: tended.dropped,
        cut: (series + samples + later) as u64,
        damaged: tended.damaged + damaged as u64,
        set_aside: set_aside as u64,
        is_up: tended.failure.is_none(),
        size: tended.size.map(|size| (size.used, size.on_disk)),
    }
}
