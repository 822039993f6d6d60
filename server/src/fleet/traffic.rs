//! The traffic of hosts' billing cycles: what was used, what is to be expected, and what
//! of that is over the quota.
//!
//! A cycle begins on the host's `billing.day` at midnight in UTC and ends where the next
//! one begins.

use fleetbeat_history::traffic::{Flow, Traffic};
use fleetbeat_history::{DAY_SECONDS, Day, HostTraffic};
use fleetbeat_protocol::{Billing, Counted, Timestamp};
use jiff::civil::Date;
use jiff::tz::Offset;

/// A forecast needs so many seconds of a cycle: a day has its own ups and downs.
const FORECAST_AFTER: i64 = DAY_SECONDS;

/// A month of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Month {
    year: i16,
    month: i8,
}

impl Month {
    /// The month that is written as in 2026-11.
    pub(crate) fn parse(text: &str) -> Option<Month> {
        let (year, month) = text.split_once('-')?;
        let has_form = |part: &str, length: usize| {
            part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !has_form(year, 4) || !has_form(month, 2) {
            return None;
        }
        let date = Date::new(year.parse().ok()?, month.parse().ok()?, 1).ok()?;
        // History counts days from 1970 on.
        (date.year() >= 1970).then(|| Month::of(date))
    }

    /// The month of a day.
    fn of(date: Date) -> Month {
        Month {
            year: date.year(),
            month: date.month(),
        }
    }

    /// The month of a time.
    pub(crate) fn at(now: Timestamp) -> Month {
        Month::of(Offset::UTC.to_datetime(now).date())
    }

    /// The day with this number, or the last one of a shorter month.
    fn day(self, day: i8) -> Date {
        let first = Date::new(self.year, self.month, 1).unwrap_or(Date::MAX);
        let day = day.clamp(1, first.days_in_month());
        Date::new(self.year, self.month, day).unwrap_or(first)
    }

    /// The month as in 2026-11.
    pub(crate) fn show(self) -> String {
        format!("{:04}-{:02}", self.year, self.month)
    }

    fn next(self) -> Month {
        match self.month {
            12 => Month {
                year: self.year.saturating_add(1),
                month: 1,
            },
            _ => Month {
                month: self.month + 1,
                ..self
            },
        }
    }

    fn before(self) -> Month {
        match self.month {
            1 => Month {
                year: self.year.saturating_sub(1),
                month: 12,
            },
            _ => Month {
                month: self.month - 1,
                ..self
            },
        }
    }
}

/// A billing cycle: whole days in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cycle {
    /// The first second, since 1970.
    pub(crate) from: i64,
    /// The second behind the last one.
    pub(crate) to: i64,
}

impl Cycle {
    /// The cycle that begins on this day of the month, or on its last one if it is shorter.
    fn of(month: Month, day: i8) -> Cycle {
        Cycle {
            from: start_of(month.day(day)),
            to: start_of(month.next().day(day)),
        }
    }

    /// The cycle of a host that begins in `month`; the present one without a month.
    pub(super) fn find(
        billing: Option<&Billing>,
        month: Option<Month>,
        now: Timestamp,
    ) -> Cycle {
        let day = billing.and_then(|billing| billing.day).unwrap_or(1);
        let day = i8::try_from(day).unwrap_or(1);
        if let Some(month) = month {
            return Cycle::of(month, day);
        }
        let cycle = Cycle::of(Month::at(now), day);
        if cycle.from <= now.as_second() {
            cycle
        } else {
            Cycle::of(Month::at(now).before(), day)
        }
    }

    pub(super) fn days(self) -> (Day, Day) {
        (Day::of(self.from), Day::of(self.to - 1))
    }
}

/// The first second of a day, since 1970.
fn start_of(date: Date) -> i64 {
    let start = Offset::UTC.to_timestamp(date.at(0, 0, 0, 0));
    start.map_or(i64::MAX, Timestamp::as_second)
}

/// What is known of a host's cycle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Usage {
    pub(crate) cycle: Cycle,
    /// What was received, in bytes; `None` if nothing is known.
    pub(crate) received: Option<u64>,
    /// What was sent.
    pub(crate) sent: Option<u64>,
    /// What counts of both.
    pub(crate) used: Option<u64>,
    /// What will have been used at the cycle's end, if it goes on like this; `None` for a
    /// cycle that is over or has just begun.
    pub(crate) forecast: Option<u64>,
    /// Since when all that counts is known, in seconds since 1970.
    pub(crate) known_from: Option<i64>,
    /// Whether everything of the cycle that counts is known.
    pub(crate) is_complete: bool,
}

impl Usage {
    pub(super) fn of(
        cycle: Cycle,
        of: HostTraffic,
        counted: Counted,
        now: Timestamp,
    ) -> Usage {
        // Of a cycle that has not begun, nothing is known.
        let traffic = of.traffic.filter(|_| cycle.from <= now.as_second());
        let Traffic { received, sent } = traffic.unwrap_or_default();
        let counting = match counted {
            Counted::Sent => vec![sent],
            Counted::Received => vec![received],
            Counted::Sum | Counted::Max => vec![received, sent],
        };
        let known_from = counting.iter().flatten().map(|flow| flow.known_from).max();
        let is_whole = |flow: &Option<Flow>| {
            flow.is_some_and(|flow| flow.known_from == cycle.from && !flow.has_gap)
        };

        let [received, sent] = [received, sent].map(|flow| flow.map(|flow| flow.bytes));
        let used = used(counted, received, sent);
        let forecast = used.zip(known_from);
        Usage {
            cycle,
            received,
            sent,
            used,
            forecast: forecast
                .and_then(|(used, from)| forecast_of(used, from, cycle.to, now)),
            known_from,
            is_complete: counting.iter().all(is_whole) && !of.is_incomplete,
        }
    }

    /// Whether more was used than the quota allows; `None` without a quota, and if nothing
    /// is known.
    pub(crate) fn is_over(&self, quota: Option<u64>) -> Option<bool> {
        self.used.zip(quota).map(|(used, quota)| used > quota)
    }
}

/// What counts; `None` if it is not known.
fn used(counted: Counted, received: Option<u64>, sent: Option<u64>) -> Option<u64> {
    match counted {
        Counted::Sent => sent,
        Counted::Received => received,
        Counted::Sum => {
            let both = [received, sent].into_iter().flatten();
            both.reduce(u64::saturating_add)
        }
        Counted::Max => received.max(sent),
    }
}

/// What will have been used at `to`, if it goes on as from `from` until now.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast of what is too large ends at the largest number"
)]
fn forecast_of(used: u64, from: i64, to: i64, now: Timestamp) -> Option<u64> {
    let now = now.as_second();
    let (known, left) = (now - from, to - now);
    if known < FORECAST_AFTER || left <= 0 {
        return None;
    }
    let more = used as f64 * left as f64 / known as f64;
    Some(used.saturating_add(more.round() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn billing(day: u8) -> Billing {
        Billing {
            day: Some(day),
            ..Billing::default()
        }
    }

    /// The first and the last day of a cycle.
    fn days(day: Option<u8>, month: Option<&str>, now: &str) -> [String; 2] {
        let month = month.map(|month| Month::parse(month).unwrap());
        let billing = day.map(billing);
        let cycle = Cycle::find(billing.as_ref(), month, at(now));
        let date = |second| {
            let time = Timestamp::from_second(second).unwrap().to_string();
            time.strip_suffix("T00:00:00Z").unwrap().to_owned()
        };
        [date(cycle.from), date(cycle.to)]
    }

    #[test]
    fn a_cycle_begins_on_its_day_or_on_the_last_one_of_a_shorter_month() {
        for (day, month, expected) in [
            (None, "2026-11", ["2026-11-01", "2026-12-01"]),
            (Some(20), "2026-12", ["2026-12-20", "2027-01-20"]),
            (Some(31), "2026-01", ["2026-01-31", "2026-02-28"]),
            (Some(31), "2026-02", ["2026-02-28", "2026-03-31"]),
            (Some(31), "2028-02", ["2028-02-29", "2028-03-31"]),
            (Some(30), "2028-01", ["2028-01-30", "2028-02-29"]),
            (Some(29), "2026-02", ["2026-02-28", "2026-03-29"]),
            (Some(29), "2028-02", ["2028-02-29", "2028-03-29"]),
            (Some(31), "2026-04", ["2026-04-30", "2026-05-31"]),
        ] {
            let found = days(day, Some(month), "2026-11-27T12:00:00Z");
            assert_eq!(found, expected, "{day:?} in {month}");
        }
    }

    #[test]
    fn the_present_cycle_is_the_one_that_has_begun() {
        for (day, now, expected) in [
            (None, "2026-11-01T00:00:00Z", ["2026-11-01", "2026-12-01"]),
            (
                Some(20),
                "2026-11-19T23:59:59Z",
                ["2026-10-20", "2026-11-20"],
            ),
            (
                Some(20),
                "2026-11-20T00:00:00Z",
                ["2026-11-20", "2026-12-20"],
            ),
            (
                Some(20),
                "2026-01-05T00:00:00Z",
                ["2025-12-20", "2026-01-20"],
            ),
            (
                Some(31),
                "2026-03-30T12:00:00Z",
                ["2026-02-28", "2026-03-31"],
            ),
            (
                Some(31),
                "2026-02-28T00:00:00Z",
                ["2026-02-28", "2026-03-31"],
            ),
        ] {
            assert_eq!(days(day, None, now), expected, "{day:?} at {now}");
        }
    }

    #[test]
    fn cycles_follow_each_other_without_a_gap() {
        for day in 1..=31 {
            let mut month = Month::parse("2027-01").unwrap();
            for _ in 0..48 {
                let cycle = Cycle::of(month, day);
                let next = Cycle::of(month.next(), day);
                assert_eq!(cycle.to, next.from);
                let length = (cycle.to - cycle.from) / DAY_SECONDS;
                assert!((28..=31).contains(&length), "{day} {month:?}");
                assert_eq!(month.next().before(), month);
                month = month.next();
            }
        }
    }

    #[test]
    fn a_month_has_four_digits_and_two() {
        for text in [
            "2026-13", "2026-00", "2026-1", "26-01", "2026", "+026-01", "1969-12",
        ] {
            assert_eq!(Month::parse(text), None, "{text}");
        }
        assert!(Month::parse("2026-12") < Month::parse("2027-01"));
        assert_eq!(
            Month::at(at("2026-12-31T23:59:59Z")),
            Month::parse("2026-12").unwrap()
        );
    }

    fn usage(known_from: &str, counted: Counted, now: &str) -> Usage {
        let cycle = Cycle::of(Month::parse("2026-11").unwrap(), 1);
        let [received, sent] = [1000, 3000].map(|bytes| Some(flow(bytes, known_from)));
        Usage::of(cycle, known(received, sent), counted, at(now))
    }

    fn flow(bytes: u64, known_from: &str) -> Flow {
        Flow {
            bytes,
            known_from: at(known_from).as_second(),
            has_gap: false,
        }
    }

    fn known(received: Option<Flow>, sent: Option<Flow>) -> HostTraffic {
        HostTraffic {
            traffic: Some(Traffic { received, sent }),
            is_incomplete: false,
        }
    }

    #[test]
    fn all_that_counts_has_to_be_known() {
        let cycle = Cycle::of(Month::parse("2026-11").unwrap(), 1);
        let (start, later) = ("2026-11-01T00:00:00Z", "2026-11-20T00:00:00Z");
        let whole = |received, sent, counted| {
            let now = at("2026-11-27T00:00:00Z");
            let usage = Usage::of(cycle, known(received, sent), counted, now);
            let known_from = Timestamp::from_second(usage.known_from.unwrap());
            (known_from.unwrap().to_string(), usage.is_complete)
        };
        let [begun, late] = [start, later].map(|from| Some(flow(5, from)));
        for counted in [Counted::Sum, Counted::Max] {
            assert_eq!(whole(begun, begun, counted), (start.to_owned(), true));
            assert_eq!(whole(begun, late, counted), (later.to_owned(), false));
            assert_eq!(whole(late, begun, counted), (later.to_owned(), false));
            assert_eq!(whole(begun, None, counted), (start.to_owned(), false));
        }
        let received = |received, sent| whole(received, sent, Counted::Received);
        assert_eq!(received(begun, late), (start.to_owned(), true));
        assert_eq!(received(begun, None), (start.to_owned(), true));
        assert_eq!(whole(begun, late, Counted::Sent), (later.to_owned(), false));
        let has_gap = begun.map(|flow| Flow {
            has_gap: true,
            ..flow
        });
        assert_eq!(received(has_gap, begun), (start.to_owned(), false));
    }

    #[test]
    fn of_a_cycle_that_has_not_begun_nothing_is_known() {
        let now = "2026-10-31T23:59:59Z";
        let usage = usage("2026-11-01T00:00:00Z", Counted::Sum, now);
        let cycle = usage.cycle;
        let nothing = Usage {
            cycle,
            received: None,
            sent: None,
            used: None,
            forecast: None,
            known_from: None,
            is_complete: false,
        };
        assert_eq!(usage, nothing);
    }

    #[test]
    fn what_counts_is_what_billing_says() {
        for (counted, expected) in [
            (Counted::Sum, 4000),
            (Counted::Max, 3000),
            (Counted::Sent, 3000),
            (Counted::Received, 1000),
        ] {
            let usage = usage("2026-11-01T00:00:00Z", counted, "2026-11-11T00:00:00Z");
            assert_eq!(usage.used, Some(expected));
            assert_eq!(usage.is_over(Some(expected)), Some(false));
            assert_eq!(usage.is_over(Some(expected - 1)), Some(true));
            assert_eq!(usage.is_over(None), None);
        }
        assert_eq!(used(Counted::Sum, None, Some(1)), Some(1));
        assert_eq!(used(Counted::Received, None, Some(1)), None);
        assert_eq!(used(Counted::Max, None, None), None);
    }

    #[test]
    fn a_forecast_goes_on_as_the_known_part_of_the_cycle() {
        let forecast = |known_from, now| {
            let usage = usage(known_from, Counted::Sum, now);
            (usage.forecast, usage.is_complete)
        };
        let start = "2026-11-01T00:00:00Z";
        assert_eq!(
            forecast(start, "2026-11-11T00:00:00Z"),
            (Some(12_000), true)
        );
        assert_eq!(
            forecast(start, "2026-11-02T00:00:00Z"),
            (Some(120_000), true)
        );
        assert_eq!(forecast(start, "2026-11-01T23:59:59Z"), (None, true));
        // The host came later: nobody knows what it used before.
        let later = "2026-11-06T00:00:00Z";
        assert_eq!(
            forecast(later, "2026-11-11T00:00:00Z"),
            (Some(20_000), false)
        );
        assert_eq!(forecast(later, "2026-11-06T23:00:00Z"), (None, false));
        // The cycle is over.
        assert_eq!(forecast(start, "2026-12-01T00:00:00Z"), (None, true));
    }
}
