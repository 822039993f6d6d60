//! Whether a moment is within hours that are given by the clock of a zone.
//!
//! A window is two moments, worked out of the date on which it begins. So it is as long
//! as the clock says, and an hour that is there twice or not at all changes nothing else.
//! A time that the clock jumps over is the moment after the jump; of a time that is there
//! twice, the first one counts.

use fleetbeat_protocol::{ClockTime, Day, Mute, Quiet, Timestamp, Weekly};
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;

/// Whether the mute is in force.
pub(crate) fn is_muted(mute: &Mute, now: Timestamp) -> bool {
    let is_within = mute.from <= now && now < mute.until;
    let weekly = mute.weekly.as_ref();
    is_within && weekly.is_none_or(|weekly| is_in_week(weekly, now))
}

/// Whether it is within the hours.
pub(crate) fn is_quiet(quiet: &Quiet, now: Timestamp) -> bool {
    is_in_hours(&Day::ALL, quiet.from, quiet.to, &quiet.zone, now)
}

fn is_in_week(weekly: &Weekly, now: Timestamp) -> bool {
    is_in_hours(&weekly.days, weekly.from, weekly.to, &weekly.zone, now)
}

/// Whether a window is open that has begun today or yesterday. In a zone that is not
/// known no window is ever open: then too much is told, and not too little.
fn is_in_hours(
    days: &[Day],
    from: ClockTime,
    to: ClockTime,
    zone: &str,
    now: Timestamp,
) -> bool {
    let Ok(zone) = TimeZone::get(zone) else {
        return false;
    };
    let today = zone.to_datetime(now).date();
    let begins = [Some(today), today.yesterday().ok()];

    let mut begins = begins.into_iter().flatten();
    begins
        .any(|date| days.contains(&day(date)) && is_in_window(date, from, to, &zone, now))
}

fn is_in_window(
    date: Date,
    from: ClockTime,
    to: ClockTime,
    zone: &TimeZone,
    now: Timestamp,
) -> bool {
    let end = if to > from {
        Some(date)
    } else {
        date.tomorrow().ok()
    };
    let moment = |date: Date, time: ClockTime| {
        let time = date.at(time.hour.cast_signed(), time.minute.cast_signed(), 0, 0);
        zone.to_timestamp(time).ok()
    };
    let Some((begin, end)) = moment(date, from).zip(end.and_then(|end| moment(end, to)))
    else {
        return false;
    };
    begin <= now && now < end
}

fn day(date: Date) -> Day {
    match date.weekday() {
        Weekday::Monday => Day::Mon,
        Weekday::Tuesday => Day::Tue,
        Weekday::Wednesday => Day::Wed,
        Weekday::Thursday => Day::Thu,
        Weekday::Friday => Day::Fri,
        Weekday::Saturday => Day::Sat,
        Weekday::Sunday => Day::Sun,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From when to when a window is open between two moments, looked at each minute.
    fn open(
        days: &[Day],
        hours: [&str; 2],
        zone: &str,
        between: [&str; 2],
    ) -> Vec<String> {
        let [from, to] = hours.map(|hours| ClockTime::parse(hours).unwrap());
        let [start, end] = between.map(|time| time.parse::<Timestamp>().unwrap());
        let mut edges = Vec::new();
        let mut was_open = false;
        let mut second = start.as_second();
        while second <= end.as_second() {
            let now = Timestamp::from_second(second).unwrap();
            let is_open = is_in_hours(days, from, to, zone, now);
            if is_open != was_open {
                edges.push(now.to_string());
            }
            was_open = is_open;
            second += 60;
        }
        edges
    }

    #[test]
    fn a_window_of_a_day_belongs_to_the_day_on_which_it_begins() {
        let week = ["2026-01-05T07:00:00Z", "2026-01-12T00:00:00Z"];
        let nights = open(&[Day::Fri, Day::Sun], ["22:00", "06:00"], "UTC", week);
        assert_eq!(
            nights,
            [
                "2026-01-09T22:00:00Z",
                "2026-01-10T06:00:00Z",
                "2026-01-11T22:00:00Z"
            ]
        );
        let whole = open(&[Day::Tue], ["08:00", "08:00"], "UTC", week);
        assert_eq!(whole, ["2026-01-06T08:00:00Z", "2026-01-07T08:00:00Z"]);
        let noon = open(&[Day::Tue], ["12:00", "12:30"], "UTC", week);
        assert_eq!(noon, ["2026-01-06T12:00:00Z", "2026-01-06T12:30:00Z"]);
    }

    #[test]
    fn clocks_that_jump_move_the_edges_of_their_night_alone() {
        let night =
            |zone, from, to| open(&Day::ALL, ["22:00", "06:00"], zone, [from, to]);
        // Berlin: +1, in summer +2.
        assert_eq!(
            night(
                "Europe/Berlin",
                "2026-03-28T12:00:00Z",
                "2026-03-29T12:00:00Z"
            ),
            ["2026-03-28T21:00:00Z", "2026-03-29T04:00:00Z"]
        );
        assert_eq!(
            night(
                "Europe/Berlin",
                "2026-10-24T12:00:00Z",
                "2026-10-25T12:00:00Z"
            ),
            ["2026-10-24T20:00:00Z", "2026-10-25T05:00:00Z"]
        );
        // New York: -5, in summer -4.
        assert_eq!(
            night(
                "America/New_York",
                "2026-03-07T18:00:00Z",
                "2026-03-08T18:00:00Z"
            ),
            ["2026-03-08T03:00:00Z", "2026-03-08T10:00:00Z"]
        );
        assert_eq!(
            night(
                "America/New_York",
                "2026-10-31T18:00:00Z",
                "2026-11-01T18:00:00Z"
            ),
            ["2026-11-01T02:00:00Z", "2026-11-01T11:00:00Z"]
        );
        // Tehran: +3:30, in summer +4:30 until 2022, at midnight; none since.
        assert_eq!(
            night(
                "Asia/Tehran",
                "2022-03-21T12:00:00Z",
                "2022-03-22T12:00:00Z"
            ),
            ["2022-03-21T18:30:00Z", "2022-03-22T01:30:00Z"]
        );
        assert_eq!(
            night(
                "Asia/Tehran",
                "2022-09-21T12:00:00Z",
                "2022-09-22T12:00:00Z"
            ),
            ["2022-09-21T17:30:00Z", "2022-09-22T02:30:00Z"]
        );
        assert_eq!(
            night(
                "Asia/Tehran",
                "2026-03-21T12:00:00Z",
                "2026-03-22T12:00:00Z"
            ),
            ["2026-03-21T18:30:00Z", "2026-03-22T02:30:00Z"]
        );
        // Chatham: +12:45, in summer +13:45; its jumps are at 2:45 and 3:45.
        assert_eq!(
            night(
                "Pacific/Chatham",
                "2026-09-26T00:00:00Z",
                "2026-09-26T23:00:00Z"
            ),
            ["2026-09-26T09:15:00Z", "2026-09-26T16:15:00Z"]
        );
        assert_eq!(
            night(
                "Pacific/Chatham",
                "2026-04-04T00:00:00Z",
                "2026-04-04T23:00:00Z"
            ),
            ["2026-04-04T08:15:00Z", "2026-04-04T17:15:00Z"]
        );
    }

    #[test]
    fn edges_within_a_jump_are_the_moment_after_it_or_the_first_of_two() {
        let berlin =
            |hours, from, to| open(&Day::ALL, hours, "Europe/Berlin", [from, to]);
        // 2:30 is not there on 29 March: 3:30 in its place.
        assert_eq!(
            berlin(
                ["02:30", "04:00"],
                "2026-03-29T00:00:00Z",
                "2026-03-29T06:00:00Z"
            ),
            ["2026-03-29T01:30:00Z", "2026-03-29T02:00:00Z"]
        );
        // 2:30 is there twice on 25 October: from the first one on.
        assert_eq!(
            berlin(
                ["02:30", "04:00"],
                "2026-10-25T00:00:00Z",
                "2026-10-25T06:00:00Z"
            ),
            ["2026-10-25T00:30:00Z", "2026-10-25T03:00:00Z"]
        );
        assert_eq!(
            berlin(
                ["01:00", "02:30"],
                "2026-10-24T22:00:00Z",
                "2026-10-25T06:00:00Z"
            ),
            ["2026-10-24T23:00:00Z", "2026-10-25T00:30:00Z"]
        );
    }

    #[test]
    fn a_mute_begins_and_ends_for_good() {
        let mute = Mute {
            select: "all".to_owned(),
            rules: Vec::new(),
            from: "2026-01-05T10:00:00Z".parse().unwrap(),
            until: "2026-01-07T10:00:00Z".parse().unwrap(),
            weekly: None,
            reason: String::new(),
        };
        let is_muted_at = |mute: &Mute, time: &str| is_muted(mute, time.parse().unwrap());
        assert!(!is_muted_at(&mute, "2026-01-05T09:59:59Z"));
        assert!(is_muted_at(&mute, "2026-01-05T10:00:00Z"));
        assert!(!is_muted_at(&mute, "2026-01-07T10:00:00Z"));

        let weekly = Mute {
            weekly: Some(Weekly {
                days: Day::ALL.to_vec(),
                from: ClockTime::parse("09:00").unwrap(),
                to: ClockTime::parse("11:00").unwrap(),
                zone: "UTC".to_owned(),
            }),
            ..mute
        };
        assert!(is_muted_at(&weekly, "2026-01-06T10:59:59Z"));
        assert!(!is_muted_at(&weekly, "2026-01-06T11:00:00Z"));
        assert!(is_muted_at(&weekly, "2026-01-07T09:59:59Z"));
        assert!(!is_muted_at(&weekly, "2026-01-07T10:00:00Z"));
    }
}
