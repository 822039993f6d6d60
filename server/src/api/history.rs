//! `GET /server/{ip}/history`: what a host has measured, as a chart.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fleetbeat_daemon::clock;
use fleetbeat_history::chart::{ChartQuery, Column, Wanted};
use fleetbeat_history::{HostChart, Series};
use fleetbeat_protocol::{FieldError, Timestamp};
use jiff::SignedDuration;
use serde::Serialize;

use super::phases::{ShownPhase, ShownRange, time};
use super::state::ApiState;
use super::{list, servers};
use crate::auth::Caller;
use crate::fleet::uptime::phases;
use crate::fleet::view::View;
use crate::http::{Failure, Reply, Request};
use crate::parameters;
use crate::store::{HostHistory, HostName, Turn};

/// The most points, and how many there are without a word.
pub(super) const MAX_POINTS: usize = 1000;
pub(super) const DEFAULT_POINTS: usize = 300;
/// How far a chart without `from` reaches back.
const DEFAULT_RANGE: SignedDuration = SignedDuration::from_hours(24);
/// The series of a chart without `series`.
const DEFAULT_SERIES: [Series; 3] = [Series::Cpu, Series::Ram, Series::Net];
/// The parameters.
const PARAMETERS: &str = "is not a parameter: use from, to, series or points";

/// Answers with the chart. A range outside of what is kept has what there is, and
/// `kept_from` says so; so does `incomplete`, where a part of history cannot be read.
pub(super) fn chart(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let host = servers::host(request)?;
    let now = clock::now();
    let query = parse(request.query(), now).map_err(Failure::invalid)?;
    let hosts = api.hosts.of(caller);
    let history = hosts.history(&host, &query)?;
    let host = HostName::ServerId(history.server_id.clone());
    let life = hosts.life(&host, time(history.chart.chart.from))?;
    let answer = Answer::of(&history, &life.turns, now);
    Ok(list::answer(request, &View::new(&answer, false)))
}

/// The body.
#[derive(Serialize)]
struct Answer<'a> {
    ip: IpAddr,
    server_id: &'a str,
    from: Timestamp,
    to: Timestamp,
    step_s: i64,
    t: &'a [i64],
    series: BTreeMap<String, ShownColumn<'a>>,
    status: Vec<ShownPhase>,
    not_reached: Vec<ShownRange>,
    /// Whether there are more series than a chart shows.
    more: bool,
    /// Whether a part of history cannot be read.
    incomplete: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_from: Option<Timestamp>,
}

/// The points of a series.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum ShownColumn<'a> {
    Numbers {
        avg: &'a [Option<f64>],
        min: &'a [Option<f64>],
        max: &'a [Option<f64>],
    },
    States {
        up: &'a [Option<f64>],
    },
}

impl Answer<'_> {
    /// The answer at `now`, behind which nobody knows what the host is.
    fn of<'a>(history: &'a HostHistory, turns: &[Turn], now: Timestamp) -> Answer<'a> {
        let HostChart {
            chart,
            kept_from,
            is_incomplete,
        } = &history.chart;
        let known_to = chart.to.min(now.as_second()).max(chart.from);
        let phases = phases(turns, chart.from, known_to);
        let series = chart.series.iter();
        let series = series.map(|(series, column)| (series.to_string(), show(column)));
        Answer {
            ip: history.ip,
            server_id: &history.server_id,
            from: time(chart.from),
            to: time(chart.to),
            step_s: chart.step_s,
            t: &chart.t,
            series: series.collect(),
            status: phases.iter().map(ShownPhase::of).collect(),
            not_reached: chart.not_reached.iter().map(ShownRange::of).collect(),
            more: chart.has_left_out,
            incomplete: *is_incomplete,
            kept_from: kept_from.map(time),
        }
    }
}

pub(super) fn show(column: &Column) -> ShownColumn<'_> {
    match column {
        Column::Numbers { avg, min, max } => ShownColumn::Numbers { avg, min, max },
        Column::States { up } => ShownColumn::States { up },
    }
}

/// What the parameters say.
#[derive(Default)]
struct Asked {
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    series: Option<Vec<Wanted>>,
    points: Option<usize>,
}

/// The query behind the `?`, asked at `now`.
///
/// # Errors
/// Every parameter that is unknown, given twice, or makes no sense.
fn parse(query: &str, now: Timestamp) -> Result<ChartQuery, Vec<FieldError>> {
    let mut asked = Asked::default();
    parameters::parse(query, |name, value| set(&mut asked, name, value))?;

    let (from, to) = range(asked.from, asked.to, now);
    let series = asked
        .series
        .unwrap_or_else(|| DEFAULT_SERIES.map(Wanted::One).into());
    let points = asked.points.unwrap_or(DEFAULT_POINTS);
    ChartQuery::new(from, to, series, points)
        .map_err(|error| vec![FieldError::new(error.field(), error.to_string())])
}

fn set(asked: &mut Asked, name: &str, value: &str) -> Result<(), String> {
    match name {
        "from" => asked.from = Some(parse_time(value)?),
        "to" => asked.to = Some(parse_time(value)?),
        "series" => asked.series = Some(parse_series(value)?),
        "points" => asked.points = Some(parameters::limit(value, MAX_POINTS)?),
        _ => return Err(PARAMETERS.to_owned()),
    }
    Ok(())
}

/// The range of a chart, asked at `now`, in seconds since 1970. A chart up to now has what
/// comes in this second.
pub(super) fn range(
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    now: Timestamp,
) -> (i64, i64) {
    let to = to.map_or(now.as_second() + 1, Timestamp::as_second);
    let from = from.map(Timestamp::as_second);
    (from.unwrap_or(to - DEFAULT_RANGE.as_secs()), to)
}

pub(super) fn parse_time(value: &str) -> Result<Timestamp, String> {
    let time = value.parse();
    time.map_err(|_| "must be a time such as 2026-01-31T12:00:00Z".to_owned())
}

/// Names with commas between. A comma within the name of a service or metric belongs to
/// the name if what follows it is not a series.
fn parse_series(value: &str) -> Result<Vec<Wanted>, String> {
    let mut names: Vec<String> = Vec::new();
    for part in value.split(',') {
        let is_name = Wanted::parse(part).is_some();
        match names.last_mut() {
            Some(last) if !is_name => {
                last.push(',');
                last.push_str(part);
            }
            _ => names.push(part.to_owned()),
        }
    }
    let wanted = names.iter().map(|name| {
        Wanted::parse(name).ok_or_else(|| {
            format!(
                "{name:?} is not a series: use cpu, ram, net, services, services.NAME, \
                 metrics or metrics.NAME, with commas between"
            )
        })
    });
    wanted.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-01-31T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_parameter_that_makes_no_sense_is_named() {
        for query in [
            "from=yesterday",
            "from=",
            "to=2026-13-01T00:00:00Z",
            "to=1600000000",
            "series=",
            "series=disk",
            "series=disk,cpu",
            "points=0",
            "points=1001",
            "points=x",
            "step=60",
            "=1",
        ] {
            let name = query.split('=').next().unwrap();
            let errors = parse(query, now()).unwrap_err();
            assert_eq!(
                (errors.len(), errors[0].field.as_str()),
                (1, name),
                "{query}"
            );
        }
        let ranges = [
            "from=2026-02-01T00:00:00Z",
            "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z",
            "from=2000-01-01T00:00:00Z",
            "from=1960-01-01T00:00:00Z&to=1961-01-01T00:00:00Z",
        ];
        for query in ranges {
            let errors = parse(query, now()).unwrap_err();
            assert_eq!(errors[0].field, "to", "{query}");
        }
        let many: Vec<String> = (0..33).map(|n| format!("metrics.m{n}")).collect();
        let errors = parse(&format!("series={}", many.join(",")), now()).unwrap_err();
        assert_eq!(errors[0].field, "series");
        let twice = parse("points=1&points=2&series=x", now()).unwrap_err();
        assert_eq!(twice.len(), 2);
    }

    #[test]
    fn a_query_without_a_word_is_a_day_of_the_loads() {
        let day = SignedDuration::from_hours(24).as_secs();
        let to = now().as_second() + 1;
        let loads = DEFAULT_SERIES.map(Wanted::One).into();
        let expected = ChartQuery::new(to - day, to, loads, 300).unwrap();
        assert_eq!(parse("", now()).unwrap(), expected);
    }

    #[test]
    fn a_comma_may_be_a_part_of_a_name() {
        let parsed = parse_series("cpu,metrics.disk{a=\"1\",b=\"2\"},services").unwrap();
        let metric = Series::metric("disk{a=\"1\",b=\"2\"}").unwrap();
        assert_eq!(
            parsed,
            [
                Wanted::One(Series::Cpu),
                Wanted::One(metric),
                Wanted::Services
            ]
        );
    }
}
