//! The wall clock, to the millisecond.

use std::time::SystemTime;

use jiff::Timestamp;

/// The machine's clock in whole milliseconds: what the wire, SQLite and MongoDB can hold
/// alike. A clock that stands before 1970 reads as 1970.
pub fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let since_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);

    Timestamp::from_millisecond(since_ms).unwrap_or(Timestamp::MAX)
}

/// The machine's clock in whole seconds, for people to read.
pub fn now_in_seconds() -> Timestamp {
    let now = now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_has_whole_milliseconds() {
        let now = now();
        assert_eq!(now.subsec_nanosecond() % 1_000_000, 0);
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap();
        let apart_s = since.as_secs().abs_diff(now.as_second().unsigned_abs());
        assert!(apart_s < 10, "{apart_s} s");
        assert_eq!(now_in_seconds().subsec_nanosecond(), 0);
    }
}
