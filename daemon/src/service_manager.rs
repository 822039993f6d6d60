//! What systemd is told: that the program is ready, that it lives, reloads, and stops.
//!
//! Without systemd nobody listens, and nothing here does anything.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// How often a program says that it lives within the time after which systemd takes it
/// for dead (`WatchdogSec=`).
const PER_WATCHDOG: u32 = 3;

/// The service manager's view of this program. Only the loop whose life it proves may
/// hold it.
pub struct ServiceManager {
    every: Option<Duration>,
    due: Option<Instant>,
}

impl ServiceManager {
    /// Tells that the program is ready, at `now`.
    pub fn ready(now: Instant) -> ServiceManager {
        tell(&[NotifyState::Ready]);
        let every = sd_notify::watchdog_enabled().map(|limit| limit / PER_WATCHDOG);
        let due = every.map(|every| now + every);
        ServiceManager { every, due }
    }

    /// When the manager wants to hear again that the loop lives; `None` if it does not
    /// watch.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The loop lives at `now`. The manager is told when that is due: waking it costs,
    /// too.
    pub fn alive(&mut self, now: Instant) {
        if self.due.is_some_and(|due| due <= now) {
            tell(&[NotifyState::Watchdog]);
            self.due = self.every.map(|every| now + every);
        }
    }

    /// Tells that `work` reads the configuration again, and when it has.
    pub fn reloading(&self, work: impl FnOnce()) {
        // systemd compares the time, by its own clock, with that of the signal that it
        // sent: an older "ready" then does not count as the answer.
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            tell(&[NotifyState::Reloading, now]);
        }
        work();
        tell(&[NotifyState::Ready]);
    }
}

/// Tells that the program ends now, because it was asked to.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// A message that is lost is not a reason to stop working.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::debug!("systemd was not told: {error}");
    }
}
