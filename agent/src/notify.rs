//! What systemd is told: that the agent is ready, that its loop lives, that it stops.
//!
//! Without systemd nobody listens, and nothing here does anything.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// How often the loop says that it lives within the time after which systemd takes it for
/// dead.
const PER_WATCHDOG: u32 = 3;

/// The service manager's view of the agent. Only the loop may hold it: what it says has
/// to prove that the loop lives.
pub(crate) struct Manager {
    every: Option<Duration>,
    due: Option<Instant>,
}

impl Manager {
    /// Tells that the agent is ready, at `now`.
    pub(crate) fn ready(now: Instant) -> Manager {
        tell(&NotifyState::Ready);
        let every = sd_notify::watchdog_enabled().map(|limit| limit / PER_WATCHDOG);
        Manager {
            every,
            due: every.map(|every| now + every),
        }
    }

    /// When it wants to hear again; `None` if it does not watch.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The loop lives at `now`, which is told when it is due: waking systemd costs, too.
    pub(crate) fn alive(&mut self, now: Instant) {
        if self.due.is_some_and(|due| due <= now) {
            tell(&NotifyState::Watchdog);
            self.due = self.every.map(|every| now + every);
        }
    }

    /// Tells that `work` reads the configuration again, and when it has.
    pub(crate) fn reloading(&self, work: impl FnOnce()) {
        // systemd wants to know when, on its own clock, so that it takes an older "ready"
        // for none.
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            tell_all(&[NotifyState::Reloading, now]);
        }
        work();
        tell(&NotifyState::Ready);
    }

    /// Tells that the agent ends now because it was asked to.
    pub(crate) fn stopping(&self) {
        tell(&NotifyState::Stopping);
    }
}

/// A message that is lost is no reason to stop measuring.
fn tell(state: &NotifyState<'_>) {
    tell_all(std::slice::from_ref(state));
}

fn tell_all(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::debug!("systemd was not told: {error}");
    }
}
