//! `GET /fleet/history`: how the fleet and its countries were, as charts.

use std::collections::BTreeMap;

use fleetbeat_daemon::clock;
use fleetbeat_history::chart::{Chart, ChartQuery, Wanted};
use fleetbeat_history::{DAY_SECONDS, Series};
use fleetbeat_protocol::{FieldError, Timestamp};
use serde::Serialize;

use super::history::{DEFAULT_POINTS, MAX_POINTS, ShownColumn, parse_time, range, show};
use super::list;
use super::phases::time;
use super::state::ApiState;
use crate::auth::Caller;
use crate::fleet::groups::{ACTIVE, CLIENTS, DOWN};
use crate::fleet::view::View;
use crate::http::{Failure, Reply, Request};
use crate::parameters;
use crate::store::{GroupHistory, Groups};

/// How long a chart of all countries may be, in days: each country is read by itself.
const MAX_COUNTRY_DAYS: i64 = 31;
/// The series of a group, as they are called here; the loads are called as those of hosts.
const NAMES: [&str; 6] = [ACTIVE, DOWN, CLIENTS, "cpu", "ram", "net"];
/// The parameters.
const PARAMETERS: &str = "is not a parameter: use group, from, to, series or points";

/// Answers with the charts. A range outside of what is kept has what there is, and
/// `kept_from` says so; so does `incomplete`, where a part of history cannot be read.
pub(super) fn chart(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let asked = Asked::parse(request.query(), clock::now()).map_err(Failure::invalid)?;
    let hosts = api.hosts.of(caller);
    let charts = hosts.group_history(asked.groups, &asked.query)?;
    let answer = Answer::of(&charts, &asked);
    Ok(list::answer(request, &View::new(&answer, false)))
}

/// The body.
#[derive(Serialize)]
struct Answer<'a> {
    from: Timestamp,
    to: Timestamp,
    #[serde(flatten)]
    charts: ShownCharts<'a>,
    /// Whether a part of history cannot be read.
    incomplete: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_from: Option<Timestamp>,
}

/// The charts that are asked for.
#[derive(Serialize)]
#[serde(untagged)]
enum ShownCharts<'a> {
    Fleet(ShownChart<'a>),
    Countries {
        countries: BTreeMap<&'a str, ShownChart<'a>>,
    },
}

/// A group's chart.
#[derive(Default, Serialize)]
struct ShownChart<'a> {
    step_s: i64,
    t: &'a [i64],
    series: BTreeMap<String, ShownColumn<'a>>,
}

impl Answer<'_> {
    fn of<'a>(groups: &'a [GroupHistory], asked: &Asked) -> Answer<'a> {
        let charts = match asked.groups {
            Groups::Fleet => {
                let fleet = groups.first().map(|group| &group.chart.chart);
                ShownCharts::Fleet(fleet.map(ShownChart::of).unwrap_or_default())
            }
            Groups::Countries => {
                let countries = groups.iter().filter_map(|group| {
                    let chart = &group.chart.chart;
                    let country = group.host.as_country()?;
                    (!chart.t.is_empty()).then(|| (country, ShownChart::of(chart)))
                });
                ShownCharts::Countries {
                    countries: countries.collect(),
                }
            }
        };
        let kept_from = groups.iter().filter_map(|group| group.chart.kept_from);
        Answer {
            from: time(asked.from),
            to: time(asked.to),
            charts,
            incomplete: groups.iter().any(|group| group.chart.is_incomplete),
            kept_from: kept_from.min().map(time),
        }
    }
}

impl ShownChart<'_> {
    fn of(chart: &Chart) -> ShownChart<'_> {
        let series = chart.series.iter();
        let series = series.map(|(series, column)| {
            let name = series.to_string();
            let own = name.strip_prefix("metrics.").unwrap_or(&name);
            (own.to_owned(), show(column))
        });
        ShownChart {
            step_s: chart.step_s,
            t: &chart.t,
            series: series.collect(),
        }
    }
}

/// What the parameters say.
struct Asked {
    groups: Groups,
    from: i64,
    to: i64,
    query: ChartQuery,
}

/// The parameters as they are read.
#[derive(Default)]
struct Parameters {
    groups: Option<Groups>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    series: Option<Vec<Wanted>>,
    points: Option<usize>,
}

impl Parameters {
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "group" => self.groups = Some(parse_groups(value)?),
            "from" => self.from = Some(parse_time(value)?),
            "to" => self.to = Some(parse_time(value)?),
            "series" => self.series = Some(parse_series(value)?),
            "points" => self.points = Some(parameters::limit(value, MAX_POINTS)?),
            _ => return Err(PARAMETERS.to_owned()),
        }
        Ok(())
    }
}

impl Asked {
    /// The query behind the `?`, asked at `now`.
    ///
    /// # Errors
    /// Every parameter that is unknown, given twice, or makes no sense.
    fn parse(query: &str, now: Timestamp) -> Result<Asked, Vec<FieldError>> {
        let mut asked = Parameters::default();
        parameters::parse(query, |name, value| asked.set(name, value))?;

        let (from, to) = range(asked.from, asked.to, now);
        let groups = asked.groups.unwrap_or(Groups::Fleet);
        if groups == Groups::Countries && to - from > MAX_COUNTRY_DAYS * DAY_SECONDS {
            let message = format!(
                "must be at most {MAX_COUNTRY_DAYS} days after from, if countries are \
                 asked for"
            );
            return Err(vec![FieldError::new("to", message)]);
        }
        let all = || NAMES.iter().filter_map(|name| wanted(name)).collect();
        let series = asked.series.unwrap_or_else(all);
        let points = asked.points.unwrap_or(DEFAULT_POINTS);
        let query = ChartQuery::new(from, to, series, points)
            .map_err(|error| vec![FieldError::new(error.field(), error.to_string())])?;
        Ok(Asked {
            groups,
            from,
            to,
            query,
        })
    }
}

fn parse_groups(value: &str) -> Result<Groups, String> {
    match value {
        "none" => Ok(Groups::Fleet),
        "country" => Ok(Groups::Countries),
        _ => Err("must be none or country".to_owned()),
    }
}

fn parse_series(value: &str) -> Result<Vec<Wanted>, String> {
    let series = value.split(',').map(|name| {
        wanted(name).ok_or_else(|| {
            let names = NAMES.join(", ");
            format!("{name:?} is not a series: use {names}, with commas between")
        })
    });
    series.collect()
}

/// The series of this name.
fn wanted(name: &str) -> Option<Wanted> {
    let load = || Series::parse(name);
    let series = match name {
        ACTIVE | DOWN | CLIENTS => Series::metric(name),
        _ => NAMES.contains(&name).then(load).flatten(),
    };
    series.map(Wanted::One)
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
            "group=city",
            "from=yesterday",
            "series=",
            "series=disk",
            "series=metrics.active",
            "points=0",
            "step=60",
        ] {
            let name = query.split('=').next().unwrap();
            let errors = Asked::parse(query, now()).err().unwrap();
            assert_eq!(
                (errors.len(), errors[0].field.as_str()),
                (1, name),
                "{query}"
            );
        }
        let long = "from=2025-12-01T00:00:00Z";
        assert!(Asked::parse(long, now()).is_ok());
        let errors = Asked::parse(&format!("{long}&group=country"), now());
        assert_eq!(errors.err().unwrap()[0].field, "to");
    }

    #[test]
    fn a_query_without_a_word_is_a_day_of_all_series_of_the_fleet() {
        let asked = Asked::parse("", now()).unwrap_or_else(|_| panic!("no parameters"));
        assert_eq!(asked.groups, Groups::Fleet);
        assert_eq!(asked.to - asked.from, DAY_SECONDS);
        let names = NAMES.join(",");
        assert_eq!(parse_series(&names).unwrap().len(), NAMES.len());
    }
}
