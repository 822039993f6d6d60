//! Troubles that requests repeat: told when they begin, counted in between, and told when
//! they are over.
//!
//! A full disk fails each commit, and a flood of wrong passwords is refused one by one. A
//! line for each of them would fill the log, which may lie on the same full disk.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use fleetbeat_daemon::lock::lock;
use log::Level;

/// The pause after a line; each further pause is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(60 * 60);
/// A trouble is over when all was well this long after it was seen last. A shorter time
/// would make two lines of each attempt of a trouble that comes and goes.
const QUIET: Duration = Duration::from_secs(5);
/// A trouble that was not seen for this long is a new one when it is seen again, whether
/// or not anybody has said that all is well.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10 * 60);

/// One trouble, and what the log knows about it.
///
/// Unlike a [`fleetbeat_daemon::condition::Condition`] it counts: its trouble comes with
/// requests, of which there may be thousands in a second.
#[derive(Debug, Default)]
pub(crate) struct Recurring {
    trouble: Option<Trouble>,
}

/// A trouble that is not over.
#[derive(Debug)]
struct Trouble {
    cause: String,
    began: Instant,
    seen_last: Instant,
    told_last: Instant,
    /// The pause after the last line.
    pause: Duration,
    times: u64,
}

/// What a line about a trouble may tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    /// How often the trouble was seen since it began.
    pub(crate) times: u64,
    /// How long ago it began.
    pub(crate) lasts: Duration,
}

impl Recurring {
    /// The trouble is there, because of `cause`. Gives what to tell if a line is due: at
    /// the beginning, after each pause, and soon after the cause has become another.
    pub(crate) fn again(&mut self, cause: &str, now: Instant) -> Option<Tally> {
        self.again_for_many(1, cause, now)
    }

    /// As [`Recurring::again`], for so many `times` at once.
    pub(crate) fn again_for_many(
        &mut self,
        times: u64,
        cause: &str,
        now: Instant,
    ) -> Option<Tally> {
        if !self.was_seen_within(FORGOTTEN_AFTER, now) {
            self.trouble = None;
        }
        let Some(trouble) = &mut self.trouble else {
            self.trouble = Some(Trouble {
                cause: cause.to_owned(),
                began: now,
                seen_last: now,
                told_last: now,
                pause: FIRST_PAUSE,
                times,
            });
            let lasts = Duration::ZERO;
            return Some(Tally { times, lasts });
        };

        trouble.times += times;
        trouble.seen_last = now;
        if trouble.cause != cause {
            cause.clone_into(&mut trouble.cause);
            trouble.pause = FIRST_PAUSE;
        }

        if now.duration_since(trouble.told_last) < trouble.pause {
            return None;
        }
        trouble.told_last = now;
        trouble.pause = (trouble.pause * 2).min(MAX_PAUSE);
        Some(trouble.tally(now))
    }

    /// All is well. Gives what to tell if that is the end of a trouble.
    pub(crate) fn well(&mut self, now: Instant) -> Option<Tally> {
        let trouble = self.trouble.as_ref()?;
        if now.duration_since(trouble.seen_last) < QUIET {
            return None;
        }

        let tally = trouble.tally(now);
        self.trouble = None;
        Some(tally)
    }

    /// Whether the trouble has been seen within this time.
    fn was_seen_within(&self, time: Duration, now: Instant) -> bool {
        let seen_last = self.trouble.as_ref().map(|trouble| trouble.seen_last);
        seen_last.is_some_and(|seen| now.duration_since(seen) < time)
    }
}

/// Logs a line that requests may repeat, if one is due. Lines about the same `subject`
/// are told together; `cause` says when a line is news. For troubles whose end nobody can
/// tell.
pub(crate) fn log_if_due(
    level: Level,
    subject: &'static str,
    cause: &str,
    line: impl FnOnce() -> String,
) {
    static SUBJECTS: Mutex<BTreeMap<&str, Recurring>> = Mutex::new(BTreeMap::new());
    let mut subjects = lock(&SUBJECTS);
    let trouble = subjects.entry(subject).or_default();
    let due = trouble.again(cause, Instant::now());
    drop(subjects);

    if let Some(tally) = due {
        log::log!(level, "{}{tally}", line());
    }
}

/// As the end of a line: nothing for a single time.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.times {
            0 | 1 => Ok(()),
            times => write!(f, " ({times} times in {} s)", self.lasts.as_secs()),
        }
    }
}

impl Trouble {
    fn tally(&self, now: Instant) -> Tally {
        Tally {
            times: self.times,
            lasts: now.duration_since(self.began),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When lines are due if the trouble is seen ten times a second until `secs`.
    fn lines(recurring: &mut Recurring, start: Instant, secs: u64) -> Vec<(u64, u64)> {
        let tenth = Duration::from_millis(100);
        (0..secs * 10)
            .filter_map(|n| {
                recurring.again("full", start + tenth * u32::try_from(n).ok()?)
            })
            .map(|tally| (tally.lasts.as_secs(), tally.times))
            .collect()
    }

    #[test]
    fn a_flood_is_told_at_once_and_then_ever_more_seldom() {
        let start = Instant::now();
        let mut recurring = Recurring::default();
        assert_eq!(
            lines(&mut recurring, start, 200),
            [(0, 1), (10, 101), (30, 301), (70, 701), (150, 1501)]
        );

        let at = |secs| start + Duration::from_secs(secs);
        assert_eq!(recurring.well(at(202)), None, "it was seen a moment ago");
        let times = 2000;
        let over = recurring.well(at(205)).unwrap();
        assert_eq!((over.times, over.lasts.as_secs()), (times, 205));
        assert_eq!(recurring.well(at(206)), None, "told already");
        assert!(recurring.again("full", at(206)).is_some(), "a new trouble");
    }

    #[test]
    fn another_cause_is_told_soon_but_not_at_each_change() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut recurring = Recurring::default();
        let told = (0..300)
            .filter(|n| {
                let cause = n.to_string();
                recurring.again(&cause, at(n * 100)).is_some()
            })
            .count();
        assert_eq!(told, 3, "at 0, 10 and 20 s");
    }
}
