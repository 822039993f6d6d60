//! When to sample and when to send, as a function of time that never reads a clock.

use std::time::{Duration, Instant};

/// A sample's window, in which net counts bytes and systemctl answers.
const WINDOW: Duration = Duration::from_secs(1);

/// A sample's window where samples follow each other this closely: windows never touch.
pub(crate) fn window(sample_every: Duration) -> Duration {
    WINDOW.min(sample_every / 2)
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A sample's window begins.
    Open,
    /// It ends.
    Close,
    /// The samples so far become a heartbeat.
    Beat,
}

/// A sample and a heartbeat right after the start, then samples and heartbeats on a grid
/// of their own.
///
/// The grid is shifted by an offset within one interval that differs from host to host,
/// so that a fleet that was started at once spreads over the interval all the same. A
/// heartbeat's line of the grid is also its first sample's: samples at 0, 30, 60 and 90
/// s, the heartbeat at 120 s.
#[derive(Debug)]
pub(crate) struct Schedule {
    start: Instant,
    /// How long before `start` the grid's current interval would have begun.
    lead: Duration,
    every: Duration,
    interval: Duration,
    /// The last heartbeat's interval; `None` before the first heartbeat.
    beaten: Option<u128>,
    next: (Instant, Step),
}

impl Schedule {
    /// A schedule from `start` on; `offset` is a fraction of the interval, from 0 to just
    /// under 1.
    pub(crate) fn new(
        start: Instant,
        every: Duration,
        samples: u32,
        offset: f64,
    ) -> Self {
        let interval = every * samples;
        let lead = interval - interval.mul_f64(offset);
        Schedule {
            start,
            lead,
            every,
            interval,
            beaten: None,
            next: (start, Step::Open),
        }
    }

    /// A schedule that takes over from another one at `now`, between two windows: samples
    /// at once, and no heartbeat before the grid has one, so that a fleet whose
    /// configuration changes stays spread.
    pub(crate) fn after_change(
        now: Instant,
        every: Duration,
        samples: u32,
        offset: f64,
    ) -> Self {
        let fresh = Schedule::new(now, every, samples, offset);
        let beaten = fresh.lead.as_nanos() / fresh.interval.as_nanos();
        Schedule {
            beaten: Some(beaten),
            ..fresh
        }
    }

    /// The next step and when it is due.
    pub(crate) fn next(&self) -> (Instant, Step) {
        self.next
    }

    /// Whether the window that begins `now` is the last one before a heartbeat.
    pub(crate) fn is_last_window(&self, now: Instant) -> bool {
        let end = now + window(self.every);
        self.beaten
            .is_none_or(|beaten| self.line_after(end, beaten).1 == Step::Beat)
    }

    /// That step was taken at `now`, perhaps late: what was missed meanwhile is left out,
    /// except that a missed heartbeat is due at once.
    pub(crate) fn done(&mut self, now: Instant) {
        self.next = match (self.next.1, self.beaten) {
            (Step::Open, _) => (now + window(self.every), Step::Close),
            (Step::Close, None) => (now, Step::Beat),
            (Step::Close, Some(beaten)) => self.line_after(now, beaten),
            (Step::Beat, before) => {
                let interval = self.since_lead(now).as_nanos() / self.interval.as_nanos();
                self.beaten = Some(interval);
                // The grid's next line may already be a heartbeat's, which needs a sample
                // of its own.
                let open_at = if before.is_none() {
                    self.line_after(now, interval).0
                } else {
                    now
                };
                (open_at, Step::Open)
            }
        };
    }

    /// The grid's first line after `now`.
    fn line_after(&self, now: Instant, beaten: u128) -> (Instant, Step) {
        let since = self.since_lead(now);
        if since.as_nanos() / self.interval.as_nanos() > beaten {
            return (now, Step::Beat);
        }
        let rest_ns = self.every.as_nanos() - since.as_nanos() % self.every.as_nanos();
        let rest = Duration::from_nanos(u64::try_from(rest_ns).unwrap_or(u64::MAX));
        let is_beat = (since + rest)
            .as_nanos()
            .is_multiple_of(self.interval.as_nanos());
        (now + rest, if is_beat { Step::Beat } else { Step::Open })
    }

    fn since_lead(&self, now: Instant) -> Duration {
        now.duration_since(self.start) + self.lead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The first `count` steps of a heartbeat every two minutes, with their time in
    /// seconds, each taken when due.
    fn steps(samples: u32, offset: f64, count: usize) -> Vec<(f64, Step)> {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 120 * SECOND / samples, samples, offset);
        let mut step = || {
            let (at, step) = schedule.next();
            schedule.done(at);
            ((at - start).as_secs_f64(), step)
        };
        (0..count).map(|_| step()).collect()
    }

    #[test]
    fn the_first_heartbeat_goes_out_after_one_window() {
        use Step::{Beat, Close, Open};
        let expected = [
            (0.0, Open),
            (1.0, Close),
            (1.0, Beat),
            (10.0, Open),
            (11.0, Close),
            (40.0, Beat),
            (40.0, Open),
        ];
        assert_eq!(steps(4, 1.0 / 3.0, 7), expected);
    }

    #[test]
    fn four_samples_make_a_heartbeat() {
        use Step::{Beat, Close, Open};
        let from_a_beat = &steps(4, 0.5, 20)[6..];
        let expected = [
            (60.0, Open),
            (61.0, Close),
            (90.0, Open),
            (91.0, Close),
            (120.0, Open),
            (121.0, Close),
            (150.0, Open),
            (151.0, Close),
            (180.0, Beat),
            (180.0, Open),
        ];
        assert_eq!(from_a_beat[..10], expected);
    }

    #[test]
    fn the_second_heartbeat_has_a_sample_however_close_it_is() {
        use Step::{Beat, Close, Open};
        let expected = [
            (0.0, Open),
            (1.0, Close),
            (1.0, Beat),
            (24.0, Open),
            (25.0, Close),
            (25.0, Beat),
            (25.0, Open),
        ];
        assert_eq!(steps(4, 0.2, 7), expected);
    }

    #[test]
    fn no_offset_leaves_an_empty_heartbeat_or_a_gap_longer_than_an_interval() {
        for (samples, hundredth) in [1, 2, 4]
            .into_iter()
            .flat_map(|n| (0..100).map(move |h| (n, h)))
        {
            let (mut is_sampled, mut last_beat) = (false, None);
            for (at, step) in steps(samples, f64::from(hundredth) / 100.0, 200) {
                let case = format!("{samples} samples, offset {hundredth} %, at {at} s");
                match step {
                    Step::Open => {}
                    Step::Close => is_sampled = true,
                    Step::Beat => {
                        assert!(std::mem::take(&mut is_sampled), "{case}: no sample");
                        let gap = at - last_beat.replace(at).unwrap_or(at);
                        assert!(gap <= 120.001, "{case}: {gap} s since the last one");
                    }
                }
            }
        }
    }

    #[test]
    fn of_a_heartbeats_windows_the_last_one_is_known_when_it_begins() {
        for (samples, hundredth) in [1, 2, 4]
            .into_iter()
            .flat_map(|n| (0..100).map(move |h| (n, h)))
        {
            let start = Instant::now();
            let mut schedule = Schedule::new(
                start,
                120 * SECOND / samples,
                samples,
                f64::from(hundredth) / 100.0,
            );
            let (mut was_last, mut beats) = (None, 0);
            while beats < 20 {
                let (at, step) = schedule.next();
                match step {
                    Step::Open => {
                        assert_ne!(
                            was_last,
                            Some(true),
                            "{samples} samples, offset {hundredth} %"
                        );
                        was_last = Some(schedule.is_last_window(at));
                    }
                    Step::Close => {}
                    Step::Beat => {
                        assert_eq!(
                            was_last.take(),
                            Some(true),
                            "{samples} samples, offset {hundredth} %"
                        );
                        beats += 1;
                    }
                }
                schedule.done(at);
            }
        }
    }

    #[test]
    fn a_late_step_skips_what_was_missed_but_no_heartbeat() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 30 * SECOND, 4, 0.5);
        for seconds in [0, 1, 1] {
            schedule.done(start + seconds * SECOND);
        }
        assert_eq!(schedule.next(), (start + 30 * SECOND, Step::Open));
        schedule.done(start + 45 * SECOND);
        schedule.done(start + 500 * SECOND);
        assert_eq!(schedule.next(), (start + 500 * SECOND, Step::Beat));
        schedule.done(start + 500 * SECOND);
        assert_eq!(schedule.next(), (start + 500 * SECOND, Step::Open));
        schedule.done(start + 500 * SECOND);
        schedule.done(start + 501 * SECOND);
        assert_eq!(schedule.next(), (start + 510 * SECOND, Step::Open));
    }
}
