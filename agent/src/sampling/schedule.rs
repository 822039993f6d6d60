//! When to sample and when to send, as a function of time that never reads a clock.

use std::time::{Duration, Instant};

/// Length of a sample's window: net counts bytes, and systemctl answers meanwhile.
const WINDOW: Duration = Duration::from_secs(1);

/// Length of a sample's window when samples follow each other after `sample_every`:
/// shorter than usual where two windows would touch otherwise.
pub(crate) fn window_length(sample_every: Duration) -> Duration {
    WINDOW.min(sample_every / 2)
}

/// The place of a window before the heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Window {
    /// More windows follow before the heartbeat.
    Early,
    /// The heartbeat follows.
    Last,
}

/// A task of the agent's loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Open the window of a sample.
    Open,
    /// Close the window.
    Close,
    /// Make a heartbeat of the samples so far.
    Beat,
}

/// A sample and a heartbeat right after the start, then samples and heartbeats on a grid.
///
/// The grid is shifted by an offset within the interval. Because offsets differ from host
/// to host, a fleet started at the same moment spreads over the interval. A line of the
/// grid with a heartbeat also has the first sample of the next heartbeat: samples at 0,
/// 30, 60 and 90 s, the heartbeat at 120 s.
#[derive(Debug)]
pub(crate) struct Schedule {
    start: Instant,
    /// How long before `start` the current interval of the grid would have begun.
    lead: Duration,
    sample_every: Duration,
    interval: Duration,
    /// The number of the last heartbeat's interval; `None` before the first heartbeat.
    beaten: Option<u128>,
    next: (Instant, Task),
}

impl Schedule {
    /// A schedule from `start` on; `offset` is a fraction of the interval, from 0 to just
    /// under 1.
    pub(crate) fn new(
        start: Instant,
        sample_every: Duration,
        samples: u32,
        offset: f64,
    ) -> Self {
        let interval = sample_every * samples;
        let lead = interval - interval.mul_f64(offset);
        Schedule {
            start,
            lead,
            sample_every,
            interval,
            beaten: None,
            next: (start, Task::Open),
        }
    }

    /// A schedule to take over from another schedule at `now`, between two windows. The
    /// first sample is due at once, but the first heartbeat only where the grid has a
    /// heartbeat. So a fleet stays spread when the configuration changes.
    pub(crate) fn after_change(
        now: Instant,
        sample_every: Duration,
        samples: u32,
        offset: f64,
    ) -> Self {
        let fresh = Schedule::new(now, sample_every, samples, offset);
        let beaten = fresh.lead.as_nanos() / fresh.interval.as_nanos();
        Schedule {
            beaten: Some(beaten),
            ..fresh
        }
    }

    /// The next task, and when it is due.
    pub(crate) fn next(&self) -> (Instant, Task) {
        self.next
    }

    /// The place of a window that begins `now`.
    pub(crate) fn window_at(&self, now: Instant) -> Window {
        let end = now + window_length(self.sample_every);
        let task_after = self.beaten.map(|beaten| self.line_after(end, beaten).1);
        match task_after {
            None | Some(Task::Beat) => Window::Last,
            Some(Task::Open | Task::Close) => Window::Early,
        }
    }

    /// The next task was done at `now`, perhaps late. Missed samples are left out; a
    /// missed heartbeat is due at once.
    pub(crate) fn done(&mut self, now: Instant) {
        self.next = match (self.next.1, self.beaten) {
            (Task::Open, _) => (now + window_length(self.sample_every), Task::Close),
            (Task::Close, None) => (now, Task::Beat),
            (Task::Close, Some(beaten)) => self.line_after(now, beaten),
            (Task::Beat, before) => {
                let interval = self.since_lead(now).as_nanos() / self.interval.as_nanos();
                self.beaten = Some(interval);
                // After the first heartbeat, the next line of the grid may already have
                // the second heartbeat, and that heartbeat needs a sample, too.
                let open_at = if before.is_none() {
                    self.line_after(now, interval).0
                } else {
                    now
                };
                (open_at, Task::Open)
            }
        };
    }

    /// The first line of the grid after `now`, if the last heartbeat was made in the
    /// interval `beaten`.
    fn line_after(&self, now: Instant, beaten: u128) -> (Instant, Task) {
        let since = self.since_lead(now);
        if since.as_nanos() / self.interval.as_nanos() > beaten {
            return (now, Task::Beat);
        }

        let every_ns = self.sample_every.as_nanos();
        let rest_ns = every_ns - since.as_nanos() % every_ns;
        let rest = Duration::from_nanos(u64::try_from(rest_ns).unwrap_or(u64::MAX));
        let is_beat = (since + rest)
            .as_nanos()
            .is_multiple_of(self.interval.as_nanos());
        (now + rest, if is_beat { Task::Beat } else { Task::Open })
    }

    /// The time since the interval before `start` began.
    fn since_lead(&self, now: Instant) -> Duration {
        now.duration_since(self.start) + self.lead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The first `count` tasks of a heartbeat every two minutes, with their time in
    /// seconds, each taken when due.
    fn tasks(samples: u32, offset: f64, count: usize) -> Vec<(f64, Task)> {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 120 * SECOND / samples, samples, offset);
        let mut task = || {
            let (at, task) = schedule.next();
            schedule.done(at);
            ((at - start).as_secs_f64(), task)
        };
        (0..count).map(|_| task()).collect()
    }

    #[test]
    fn the_first_heartbeat_goes_out_after_one_window() {
        use Task::{Beat, Close, Open};
        let expected = [
            (0.0, Open),
            (1.0, Close),
            (1.0, Beat),
            (10.0, Open),
            (11.0, Close),
            (40.0, Beat),
            (40.0, Open),
        ];
        assert_eq!(tasks(4, 1.0 / 3.0, 7), expected);
    }

    #[test]
    fn four_samples_make_a_heartbeat() {
        use Task::{Beat, Close, Open};
        let from_a_beat = &tasks(4, 0.5, 20)[6..];
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
        use Task::{Beat, Close, Open};
        let expected = [
            (0.0, Open),
            (1.0, Close),
            (1.0, Beat),
            (24.0, Open),
            (25.0, Close),
            (25.0, Beat),
            (25.0, Open),
        ];
        assert_eq!(tasks(4, 0.2, 7), expected);
    }

    #[test]
    fn no_offset_leaves_an_empty_heartbeat_or_a_gap_longer_than_an_interval() {
        for (samples, hundredth) in [1, 2, 4]
            .into_iter()
            .flat_map(|n| (0..100).map(move |h| (n, h)))
        {
            let (mut is_sampled, mut last_beat) = (false, None);
            for (at, task) in tasks(samples, f64::from(hundredth) / 100.0, 200) {
                let case = format!("{samples} samples, offset {hundredth} %, at {at} s");
                match task {
                    Task::Open => {}
                    Task::Close => is_sampled = true,
                    Task::Beat => {
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
                let (at, task) = schedule.next();
                match task {
                    Task::Open => {
                        assert_ne!(
                            was_last,
                            Some(true),
                            "{samples} samples, offset {hundredth} %"
                        );
                        was_last = Some(schedule.window_at(at) == Window::Last);
                    }
                    Task::Close => {}
                    Task::Beat => {
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
    fn a_late_task_skips_what_was_missed_but_no_heartbeat() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 30 * SECOND, 4, 0.5);
        for seconds in [0, 1, 1] {
            schedule.done(start + seconds * SECOND);
        }
        assert_eq!(schedule.next(), (start + 30 * SECOND, Task::Open));
        schedule.done(start + 45 * SECOND);
        schedule.done(start + 500 * SECOND);
        assert_eq!(schedule.next(), (start + 500 * SECOND, Task::Beat));
        schedule.done(start + 500 * SECOND);
        assert_eq!(schedule.next(), (start + 500 * SECOND, Task::Open));
        schedule.done(start + 500 * SECOND);
        schedule.done(start + 501 * SECOND);
        assert_eq!(schedule.next(), (start + 510 * SECOND, Task::Open));
    }
}
