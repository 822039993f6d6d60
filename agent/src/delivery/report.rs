//! The delivery's lines in the log: beginnings and ends of troubles, not each call.

use std::mem;

use fleetbeat_daemon::condition::Condition;
use log::Level;

use super::request::RequestKind;

/// The delivery's troubles and losses, as far as known to the log.
#[derive(Default)]
pub(super) struct DeliveryLog {
    /// The server does not accept the newest heartbeat.
    newest_trouble: Outage,
    /// The server does not accept batches.
    batch_trouble: Outage,
    /// Heartbeats stay in the spool.
    keeping: Condition,
    /// The log has a line about this server accepting heartbeats.
    has_accepted: bool,
    /// Lost heartbeats since the agent's start.
    dropped_count: u64,
    /// The reasons for losses that the log knows.
    drop_reasons: Vec<String>,
    /// Heartbeats of the spool accepted by the server since the spool was last empty.
    replayed_count: usize,
}

/// Most reasons of one trouble that the log gets to know.
const MAX_REASONS: usize = 8;
/// From how many failures on their number is told.
const MANY: u64 = 16;

/// A trouble of which the reasons may change from try to try, as those of an overloaded
/// proxy do. The log gets each reason once, and then the number of failures at 16, 32, 64
/// and so on.
#[derive(Default)]
struct Outage {
    reasons: Vec<String>,
    failed_count: u64,
}

impl Outage {
    /// A try failed. The line for the log, if one is due.
    fn begins(&mut self, reason: &str) -> Option<String> {
        self.failed_count += 1;
        let count = self.failed_count;
        if is_news(&mut self.reasons, reason) {
            return Some(reason.to_owned());
        }
        (count >= MANY && count.is_power_of_two())
            .then(|| format!("{count} times in a row by now, the last time: {reason}"))
    }

    /// True if there was trouble.
    fn ends(&mut self) -> bool {
        mem::take(self).failed_count > 0
    }
}

/// Whether the log is to get `reason`, which it then knows.
fn is_news(reasons: &mut Vec<String>, reason: &str) -> bool {
    let is_news =
        reasons.len() < MAX_REASONS && reasons.iter().all(|known| known != reason);
    if is_news {
        reasons.push(reason.to_owned());
    }
    is_news
}

impl DeliveryLog {
    /// Heartbeats go to another server from now on.
    pub(super) fn server_changed(&mut self) {
        self.has_accepted = false;
        self.newest_trouble = Outage::default();
        self.batch_trouble = Outage::default();
        self.drop_reasons.clear();
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
        if let Some(told) = trouble.begins(reason) {
            log::log!(level, "{what} not accepted: {told}");
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

    /// `count` heartbeats are lost. The log has a line for each reason, and then for the
    /// second loss, the fourth and so on: it must not fill up with one line a heartbeat.
    pub(super) fn dropped(&mut self, count: usize, reason: &str) {
        let before = self.dropped_count;
        self.dropped_count += count as u64;
        let is_due = before.checked_ilog2() != self.dropped_count.checked_ilog2();
        if !is_news(&mut self.drop_reasons, reason) && !is_due {
            return;
        }

        let what = match count {
            1 => "heartbeat".to_owned(),
            _ => format!("{count} heartbeats"),
        };
        let total = self.dropped_count;
        log::warn!("{what} dropped, {total} since the start: {reason}");
    }

    /// Nothing waits in the spool.
    pub(super) fn spool_is_empty(&mut self) {
        match mem::take(&mut self.replayed_count) {
            0 => {}
            1 => log::info!("1 heartbeat of the spool is delivered, it is empty"),
            count => {
                log::info!("{count} heartbeats of the spool are delivered, it is empty");
            }
        }
    }

    #[cfg(test)]
    pub(super) fn dropped_count(&self) -> u64 {
        self.dropped_count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_of_a_day_fills_no_log() {
        let mut outage = Outage::default();
        let reasons = ["answer 500", "answer 502", "answer 503", "answer 504"];
        let told: Vec<_> = (0..2880)
            .filter_map(|n| outage.begins(reasons[n % reasons.len()]))
            .collect();
        assert_eq!(told[..4], reasons);
        assert_eq!(
            told[4],
            "16 times in a row by now, the last time: answer 504"
        );
        assert_eq!(told.len(), 4 + 8);

        assert!(outage.ends() && !outage.ends());
        assert_eq!(outage.begins("answer 500").as_deref(), Some("answer 500"));
        let many: Vec<_> = (0..1000)
            .filter_map(|n| outage.begins(&format!("the request {n} failed")))
            .collect();
        assert!(many.len() < 20, "{many:?}");
    }
}
