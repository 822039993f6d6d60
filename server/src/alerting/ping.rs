//! The dead man's switch: somebody else is told that all is well, and tells people when
//! that ceases. A monitor that is dead cannot say so.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use fleetbeat_alerts::Engine;
use fleetbeat_daemon::clock;
use fleetbeat_daemon::condition::Condition;
use fleetbeat_daemon::lock::lock;

use super::shared::Alerting;
use crate::jobs::Jobs;
use crate::store::StoreHealth;

/// A look at the fleet that is longer ago says that something is wrong.
const LOOK_WITHIN: Duration = Duration::from_secs(60);
/// A message that waits for longer says that something is wrong.
const SENT_WITHIN: Duration = Duration::from_secs(15 * 60);

/// Starts the pings, if anybody is to get some.
///
/// # Errors
/// The system gives no further thread.
pub(super) fn start(jobs: &mut Jobs, alerting: &Arc<Alerting>) -> io::Result<()> {
    let Some(watchdog) = alerting.settings.watchdog.clone() else {
        return Ok(());
    };
    let alerting = alerting.clone();
    jobs.start("ping", move |stop, pulse| {
        let mut trouble = Condition::default();
        while stop.wait(watchdog.interval) {
            let pinged = pulse.round(|| match find_trouble(&alerting) {
                Some(found) => Err(found),
                None => {
                    let pinged = alerting.post.sender.fetch(&watchdog.url);
                    pinged.map_err(|error| format!("the watchdog's URL: {error}"))
                }
            });
            match pinged {
                Ok(()) => {
                    if trouble.ends() {
                        log::info!("the watchdog is told again that all is well");
                    }
                }
                Err(reason) => {
                    if trouble.begins(&*reason) {
                        log::warn!("the watchdog is not told that all is well: {reason}");
                    }
                }
            }
        }
    })
}

/// Why not all is well; `None` if it is. Of several instances the one that looks after the
/// alerts speaks.
fn find_trouble(alerting: &Alerting) -> Option<String> {
    let looked = *lock(&alerting.looked);
    if looked.is_none_or(|looked| looked.elapsed() > LOOK_WITHIN) {
        return Some("alerts are not judged by this instance".to_owned());
    }
    let oldest = lock(&alerting.engine)
        .as_ref()
        .and_then(Engine::oldest_waiting);
    let now = clock::now();
    let waits = oldest.map(|oldest| now.duration_since(oldest).unsigned_abs());
    if waits.is_some_and(|waits| waits > SENT_WITHIN) {
        return Some("a message has waited for more than 15 minutes".to_owned());
    }
    let closed = alerting.closed_channels();
    if !closed.is_empty() {
        return Some(format!(
            "nobody can open these channels: {}",
            closed.join(", ")
        ));
    }
    let store: &dyn StoreHealth = &*alerting.store;
    let written = store.try_write();
    written
        .err()
        .map(|error| format!("the store cannot be written: {error}"))
}
