//! The delivery's lines in the log: beginnings and ends of troubles, not each call.

use std::mem;

use fleetbeat_daemon::condition::Condition;
use log::Level;

use super::request::RequestKind;

/// The delivery's troubles and losses, as far as known to the log.
#[derive(Default)]
pub(super) struct DeliveryLog {
    /// Why the server does not accept the newest heartbeat.
    newest_trouble: Condition,
    /// Why the server does not accept batches.
    batch_trouble: Condition,
    /// Heartbeats stay in the spool.
    keeping: Condition,
    /// The log has a line about this server accepting heartbeats.
    has_accepted: bool,
    /// Lost heartbeats since the agent's start.
    dropped_count: u64,
    /// Heartbeats of the spool accepted by the server since the spool was last empty.
    replayed_count: usize,
}

impl DeliveryLog {
    /// Heartbeats go to another server from now on.
    pub(super) fn server_changed(&mut self) {
        self.has_accepted = false;
        self.newest_trouble = Condition::default();
        self.batch_trouble = Condition::default();
    }

    /// The server has accepted the newest heartbeat.
    pub(super) fn newest_accepted(&mut self) {
        let is_first = !mem::replace(&mut self.has_accepted, true);
        if self.newest_trouble.ends() {
            log::info!("the server accepts heartbeats again");
        } else if is_first {
            log::info!("the server accepts heartbeats");
        }
        self.keeping.ends();
    }

    /// The server has accepted `count` heartbeats of the spool.
    pub(super) fn batch_accepted(&mut self, count: usize) {
        self.batch_trouble.ends();
        self.replayed_count += count;
    }

    /// A request was not accepted, but a later try may succeed.
    pub(super) fn not_accepted(&mut self, kind: RequestKind, reason: &str, level: Level) {
        let (trouble, what) = match kind {
            RequestKind::Newest => (&mut self.newest_trouble, "heartbeat"),
            RequestKind::Batch => (&mut self.batch_trouble, "spooled heartbeat"),
        };
        if trouble.begins(reason) {
            log::log!(level, "{what} not accepted: {reason}");
        }
    }

    /// The newest heartbeat is not tried again, and waits in the spool. A single line is
    /// enough for all heartbeats until the server accepts a heartbeat again, even if the
    /// reasons differ.
    pub(super) fn kept_in_spool(&mut self, reason: &str) {
        if self.keeping.begins("the server accepts no heartbeat") {
            log::info!(
                "a heartbeat stays in the spool: {reason}; until the server accepts a \
                 heartbeat, all further ones stay there as well"
            );
        }
    }

    /// `count` heartbeats are lost.
    pub(super) fn dropped(&mut self, count: usize, reason: &str) {
        self.dropped_count += count as u64;
        let what = match count {
            1 => "heartbeat".to_owned(),
            _ => format!("{count} heartbeats"),
        };
        let total = self.dropped_count;
        log::warn!("{what} dropped, {total} since the start: {reason}");
    }

    /// Nothing waits in the spool.
    pub(super) fn spool_is_empty(&mut self) {
        let count = mem::take(&mut self.replayed_count);
        if count > 0 {
            log::info!("{count} heartbeats of the spool are delivered, it is empty");
        }
    }

    #[cfg(test)]
    pub(super) fn dropped_count(&self) -> u64 {
        self.dropped_count
    }
}
