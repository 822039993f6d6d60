//! Days in UTC: the time that one chunk covers.

/// Seconds in a day. Time here has no leap seconds, as Unix time has none.
pub const DAY_SECONDS: i64 = 86_400;

/// A day in UTC, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(u32);

impl Day {
    /// The first day, 1970-01-01.
    pub const FIRST: Day = Day(0);
    /// The last day that a row's number has room for.
    pub const LAST: Day = Day(i32::MAX.cast_unsigned());

    /// The day with this number, at most [`Day::LAST`].
    #[must_use]
    pub fn new(number: u32) -> Day {
        Day(number.min(Day::LAST.0))
    }

    /// The day of a time in seconds since 1970. A time before [`Day::FIRST`] or after
    /// [`Day::LAST`] counts to that day.
    #[must_use]
    pub fn of(at: i64) -> Day {
        let number = at.div_euclid(DAY_SECONDS).max(0);
        u32::try_from(number).map_or(Day::LAST, Day::new)
    }

    /// Days since 1970-01-01.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }

    /// The first second, in seconds since 1970.
    #[must_use]
    pub fn start(self) -> i64 {
        i64::from(self.0) * DAY_SECONDS
    }

    /// The second after the last one.
    #[must_use]
    pub fn end(self) -> i64 {
        self.start() + DAY_SECONDS
    }

    /// The day so many days before this one, or [`Day::FIRST`].
    #[must_use]
    pub fn before(self, days: u32) -> Day {
        Day(self.0.saturating_sub(days))
    }

    /// The next day, or [`Day::LAST`].
    #[must_use]
    pub fn next(self) -> Day {
        Day::new(self.0 + 1)
    }
}
