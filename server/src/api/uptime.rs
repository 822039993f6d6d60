//! `GET /server/{ip}/uptime` and `/servers/uptime`: for how long hosts were up.

use std::net::IpAddr;

use fleetbeat_daemon::clock;
use fleetbeat_history::chart::{ChartQuery, Wanted};
use fleetbeat_history::{DAY_SECONDS, Series};
use fleetbeat_protocol::{FieldError, Timestamp};
use serde::Serialize;

use super::phases::{ShownPhase, ShownRange, time};
use super::state::ApiState;
use super::{list, servers};
use crate::auth::Caller;
use crate::fleet::uptime::{Phase, Uptime, phases};
use crate::fleet::view::View;
use crate::http::{Failure, Reply, Request};
use crate::parameters;

/// The most days that are asked for.
const MAX_DAYS: usize = 400;
/// Days where nothing is said: of one host, and of all.
const DAYS_OF_HOST: usize = 90;
const DAYS_OF_ALL: usize = 30;
/// The parameters.
const PARAMETERS: &str = "is not a parameter: use days";

/// `GET /server/{ip}/uptime`: a host's uptime, day by day, with the times in which the
/// server was not reached.
pub(super) fn of_host(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let host = servers::host(request)?;
    let days = parse(request.query(), DAYS_OF_HOST).map_err(Failure::invalid)?;
    let asked = Asked::days_until(clock::now().as_second(), days);

    let hosts = api.hosts.of(caller);
    let life = hosts.life(&host, time(asked.from))?;
    let history = hosts.history(&host, &asked.chart()?)?;

    let phases = phases(&life.turns, asked.from, asked.to);
    let not_reached = &history.chart.chart.not_reached;
    let sum = |from, to| Uptime::between(&phases, not_reached, from, to);
    let day = |from: i64| Day {
        day: date(from),
        uptime: ShownUptime::of(sum(from, (from + DAY_SECONDS).min(asked.to))),
    };
    let answer = OfHost {
        ip: life.ip,
        server_id: &life.server_id,
        from: time(asked.from),
        to: time(asked.to),
        uptime: ShownUptime::of(sum(asked.from, asked.to)),
        days: asked.days().map(day).collect(),
        status: phases.iter().map(ShownPhase::of).collect(),
        not_reached: not_reached.iter().map(ShownRange::of).collect(),
        incomplete: history.chart.is_incomplete,
    };
    Ok(list::answer(request, &View::new(&answer, false)))
}

/// `GET /servers/uptime`: the uptime of every host, by address.
pub(super) fn of_all(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let days = parse(request.query(), DAYS_OF_ALL).map_err(Failure::invalid)?;
    let asked = Asked::days_until(clock::now().as_second(), days);

    let lives = api.hosts.of(caller).lives(time(asked.from))?;
    let uptimes = lives.iter().map(|life| {
        let phases: Vec<Phase> = phases(&life.turns, asked.from, asked.to);
        let Uptime {
            up, down, unknown, ..
        } = Uptime::between(&phases, &[], asked.from, asked.to);
        HostUptime {
            ip: life.ip,
            server_id: &life.server_id,
            uptime: share(up, down),
            up_s: up,
            down_s: down,
            unknown_s: unknown,
        }
    });
    let answer = OfAll {
        from: time(asked.from),
        to: time(asked.to),
        servers: uptimes.collect(),
    };
    Ok(list::answer(request, &View::new(&answer, false)))
}

/// The range that is asked for: whole days in UTC, and today up to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked {
    from: i64,
    to: i64,
}

impl Asked {
    /// The last `days` days, of which today is one.
    fn days_until(now: i64, days: usize) -> Asked {
        let before = i64::try_from(days).unwrap_or(1) - 1;
        let today = now - now.rem_euclid(DAY_SECONDS);
        Asked {
            from: today - before * DAY_SECONDS,
            // The day has begun with its first second.
            to: now.max(today + 1),
        }
    }

    /// When each day begins.
    fn days(self) -> impl Iterator<Item = i64> {
        let mut next = self.from;
        std::iter::from_fn(move || {
            let day = next;
            next += DAY_SECONDS;
            (day < self.to).then_some(day)
        })
    }

    /// A chart of the range that tells when the server was not reached.
    ///
    /// # Errors
    /// The clock says a time that history does not have.
    fn chart(self) -> Result<ChartQuery, Failure> {
        let series = vec![Wanted::One(Series::Cpu)];
        let chart = ChartQuery::new(self.from, self.to, series, 1);
        chart.map_err(|error| Failure::internal(error.to_string()))
    }
}

/// How many days are asked for.
fn parse(query: &str, usual: usize) -> Result<usize, Vec<FieldError>> {
    let mut days = usual;
    parameters::parse(query, |name, value| {
        if name != "days" {
            return Err(PARAMETERS.to_owned());
        }
        days = parameters::limit(value, MAX_DAYS)?;
        Ok(())
    })?;
    Ok(days)
}

/// The body of one host.
#[derive(Serialize)]
struct OfHost<'a> {
    ip: IpAddr,
    server_id: &'a str,
    from: Timestamp,
    to: Timestamp,
    #[serde(flatten)]
    uptime: ShownUptime,
    days: Vec<Day>,
    status: Vec<ShownPhase>,
    not_reached: Vec<ShownRange>,
    /// Whether a part of history cannot be read.
    incomplete: bool,
}

/// A day.
#[derive(Serialize)]
struct Day {
    day: String,
    #[serde(flatten)]
    uptime: ShownUptime,
}

/// For how many seconds a host was what.
#[derive(Serialize)]
struct ShownUptime {
    uptime: Option<f64>,
    up_s: i64,
    not_reached_s: i64,
    down_s: i64,
    unknown_s: i64,
}

impl ShownUptime {
    fn of(uptime: Uptime) -> ShownUptime {
        ShownUptime {
            uptime: share(uptime.up + uptime.not_reached, uptime.down),
            up_s: uptime.up,
            not_reached_s: uptime.not_reached,
            down_s: uptime.down,
            unknown_s: uptime.unknown,
        }
    }
}

/// The body of all hosts.
#[derive(Serialize)]
struct OfAll<'a> {
    from: Timestamp,
    to: Timestamp,
    servers: Vec<HostUptime<'a>>,
}

/// A host among all.
#[derive(Serialize)]
struct HostUptime<'a> {
    ip: IpAddr,
    server_id: &'a str,
    uptime: Option<f64>,
    up_s: i64,
    down_s: i64,
    unknown_s: i64,
}

/// The share of the known time in which a host was up, to the nearest millionth; `None` if
/// nothing is known.
fn share(up: i64, down: i64) -> Option<f64> {
    let known = up + down;
    (known > 0).then(|| (up as f64 / known as f64 * 1e6).round() / 1e6)
}

/// The day, as 2026-01-31.
fn date(second: i64) -> String {
    let text = time(second).to_string();
    let day = text.split_once('T').map(|(day, _)| day.to_owned());
    day.unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_whole_and_today_ends_now() {
        let now: Timestamp = "2024-03-01T12:00:00Z".parse().unwrap();
        let asked = Asked::days_until(now.as_second(), 3);
        let days: Vec<String> = asked.days().map(date).collect();
        assert_eq!(days, ["2024-02-28", "2024-02-29", "2024-03-01"]);
        assert_eq!(time(asked.to), now);

        let midnight: Timestamp = "2024-03-01T00:00:00Z".parse().unwrap();
        let asked = Asked::days_until(midnight.as_second(), 1);
        assert_eq!(asked.to - asked.from, 1);
        assert_eq!(asked.days().count(), 1);
        assert!(asked.chart().is_ok());
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for query in ["days=0", "days=401", "days=x", "days=", "from=2026-01-01"] {
            let errors = parse(query, 90).unwrap_err();
            let name = query.split('=').next().unwrap();
            assert_eq!(errors[0].field, name, "{query}");
        }
        assert_eq!((parse("", 90), parse("days=7", 90)), (Ok(90), Ok(7)));
    }

    #[test]
    fn nothing_known_is_no_share() {
        assert_eq!(share(0, 0), None);
        assert_eq!(share(2, 1), Some(0.666_667));
        assert_eq!(share(0, 5), Some(0.0));
    }
}
