//! `GET /traffic`: the traffic of each host's billing cycle, as JSON or CSV.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::net::IpAddr;

use fleetbeat_daemon::clock;
use fleetbeat_protocol::{Billing, Counted, FieldError, Timestamp};
use jiff::civil::Date;
use jiff::tz::Offset;
use serde::Serialize;

use super::list;
use super::phases::time;
use super::state::ApiState;
use crate::auth::Caller;
use crate::fleet::selection::Selection;
use crate::fleet::shown::Shown;
use crate::fleet::traffic::{Month, Usage};
use crate::fleet::view::View;
use crate::http::{Body, Failure, Reply, Request, Response, negotiation};
use crate::parameters;

/// The parameters.
const PARAMETERS: &str = "is not a parameter: use month, select, sort or format";
/// The columns of CSV, in the order of [`HostUsage`].
const COLUMNS: &str = "ip,server_id,hostname,from,to,rx_bytes,tx_bytes,used_bytes,count,\
                       quota_bytes,forecast_bytes,over_quota,expires_on,days_left,\
                       known_from,complete\n";

/// Answers with the traffic of the hosts that are asked for, by address unless `sort` says
/// otherwise.
pub(super) fn list(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let now = clock::now();
    let asked = Asked::parse(request.query(), now).map_err(Failure::invalid)?;
    let visible = api.hosts.of(caller);
    let traffic = visible.traffic(asked.month, now)?;

    let is_wanted = |server: &Shown| {
        let select = asked.select.as_ref();
        select.is_none_or(|select| select.wants(server))
    };
    let hosts = traffic.hosts().filter(|(server, _)| is_wanted(server));
    let mut servers: Vec<HostUsage<'_>> = hosts
        .map(|(server, usage)| HostUsage::of(server, usage, now))
        .collect();
    asked.sort.apply(&mut servers);

    let format = asked.format.unwrap_or_else(|| Format::accepted(request));
    let stale = traffic.is_stale();
    Ok(match format {
        Format::Json => list::answer(request, &View::new(&Traffic { servers }, stale)),
        Format::Csv => Reply::Now(csv(&servers, asked.month, request)),
    })
}

/// The body as JSON.
#[derive(Serialize)]
struct Traffic<'a> {
    servers: Vec<HostUsage<'a>>,
}

/// A host's cycle.
#[derive(Serialize)]
struct HostUsage<'a> {
    ip: IpAddr,
    server_id: &'a str,
    hostname: &'a str,
    from: Timestamp,
    to: Timestamp,
    rx_bytes: Option<u64>,
    tx_bytes: Option<u64>,
    used_bytes: Option<u64>,
    count: Counted,
    quota_bytes: Option<u64>,
    forecast_bytes: Option<u64>,
    over_quota: Option<bool>,
    expires_on: Option<Date>,
    /// Days from today until the last one that is paid.
    days_left: Option<i32>,
    known_from: Option<Timestamp>,
    complete: bool,
}

impl HostUsage<'_> {
    fn of<'a>(server: &'a Shown, usage: &Usage, now: Timestamp) -> HostUsage<'a> {
        let billing = server.settings.billing.as_deref();
        let quota = billing.and_then(|billing| billing.quota_bytes);
        let count = billing.and_then(|billing| billing.count);
        HostUsage {
            ip: server.ip,
            server_id: &server.server_id,
            hostname: &server.hostname,
            from: time(usage.cycle.from),
            to: time(usage.cycle.to),
            rx_bytes: usage.received,
            tx_bytes: usage.sent,
            used_bytes: usage.used,
            count: count.unwrap_or(Counted::Sum),
            quota_bytes: quota,
            forecast_bytes: usage.forecast,
            over_quota: usage.is_over(quota),
            expires_on: billing.and_then(|billing| billing.expires_on),
            days_left: billing.and_then(|billing| days_left(billing, now)),
            known_from: usage.known_from.map(time),
            complete: usage.is_complete,
        }
    }

    /// The line in CSV.
    fn write_line(&self, out: &mut String) {
        let shown = |number: Option<u64>| {
            number.map_or_else(String::new, |number| number.to_string())
        };
        let over = self.over_quota.map(|is_over| is_over.to_string());
        let expires = self.expires_on.map(|day| day.to_string());
        let left = self.days_left.map(|days| days.to_string());
        let known = self.known_from.map(|from| from.to_string());
        let fields = [
            self.ip.to_string(),
            field(self.server_id),
            field(self.hostname),
            self.from.to_string(),
            self.to.to_string(),
            shown(self.rx_bytes),
            shown(self.tx_bytes),
            shown(self.used_bytes),
            name(self.count).to_owned(),
            shown(self.quota_bytes),
            shown(self.forecast_bytes),
            over.unwrap_or_default(),
            expires.unwrap_or_default(),
            left.unwrap_or_default(),
            known.unwrap_or_default(),
            self.complete.to_string(),
        ];
        let _ = writeln!(out, "{}", fields.join(","));
    }
}

fn name(counted: Counted) -> &'static str {
    match counted {
        Counted::Sum => "sum",
        Counted::Max => "max",
        Counted::Sent => "sent",
        Counted::Received => "received",
    }
}

/// Days from today until the last one that is paid; below zero when it is over.
fn days_left(billing: &Billing, now: Timestamp) -> Option<i32> {
    let today = Offset::UTC.to_datetime(now).date();
    let span = billing.expires_on?.since(today).ok()?;
    Some(span.get_days())
}

/// A text as a field of CSV (RFC 4180). A program that opens the file takes a text for a
/// formula that begins like one, so such a text gets an apostrophe.
fn field(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let mark = if is_formula { "'" } else { "" };
    if text.contains([',', '"', '\r', '\n']) {
        format!("\"{mark}{}\"", text.replace('"', "\"\""))
    } else {
        format!("{mark}{text}")
    }
}

fn csv(servers: &[HostUsage<'_>], month: Option<Month>, request: &Request) -> Response {
    let mut body = COLUMNS.to_owned();
    for server in servers {
        server.write_line(&mut body);
    }
    let file = match month {
        Some(month) => format!("traffic-{}.csv", month.show()),
        None => "traffic.csv".to_owned(),
    };
    let headers = vec![
        ("Content-Type", "text/csv; charset=utf-8".to_owned()),
        (
            "Content-Disposition",
            format!("attachment; filename=\"{file}\""),
        ),
        ("Cache-Control", "no-store".to_owned()),
        ("Vary", "Accept".to_owned()),
    ];
    let response = Response {
        status: 200,
        headers,
        body: Body::Owned(body.into_bytes()),
    };
    negotiation::compress(response, request)
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Csv,
}

impl Format {
    fn parse(value: &str) -> Result<Format, String> {
        match value {
            "json" => Ok(Format::Json),
            "csv" => Ok(Format::Csv),
            _ => Err("must be json or csv".to_owned()),
        }
    }

    /// The form that the request accepts: CSV if `Accept` names it and not JSON.
    fn accepted(request: &Request) -> Format {
        let types = request.headers("Accept").flat_map(|value| value.split(','));
        let types = types.map(|of| of.split(';').next().unwrap_or_default().trim());
        let mut format = Format::Json;
        for of in types {
            if of.eq_ignore_ascii_case("application/json") {
                return Format::Json;
            }
            if of.eq_ignore_ascii_case("text/csv") {
                format = Format::Csv;
            }
        }
        format
    }
}

/// By what hosts are sorted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Key {
    #[default]
    Ip,
    Hostname,
    Used,
    Forecast,
    ExpiresOn,
}

/// The keys as they are written in a query.
const KEYS: [(&str, Key); 5] = [
    ("ip", Key::Ip),
    ("hostname", Key::Hostname),
    ("used", Key::Used),
    ("forecast", Key::Forecast),
    ("expires_on", Key::ExpiresOn),
];

/// In which order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sort {
    key: Key,
    descending: bool,
}

impl Sort {
    fn parse(value: &str) -> Result<Sort, String> {
        let (name, descending) = match value.strip_prefix('-') {
            Some(name) => (name, true),
            None => (value, false),
        };
        let found = KEYS.iter().find(|(known, _)| *known == name);
        match found {
            Some((_, key)) => Ok(Sort {
                key: *key,
                descending,
            }),
            None => {
                let names = KEYS.map(|(name, _)| name).join(", ");
                Err(format!(
                    "must be one of {names}, with - before it to descend"
                ))
            }
        }
    }

    /// Sorts the hosts, which are sorted by address. What is not known goes last.
    fn apply(self, servers: &mut [HostUsage<'_>]) {
        servers.sort_by(|a, b| match self.key {
            Key::Ip => self.compare(Some(a.ip), Some(b.ip)),
            Key::Hostname => self.compare(Some(a.hostname), Some(b.hostname)),
            Key::Used => self.compare(a.used_bytes, b.used_bytes),
            Key::Forecast => self.compare(a.forecast_bytes, b.forecast_bytes),
            Key::ExpiresOn => self.compare(a.expires_on, b.expires_on),
        });
    }

    fn compare<T: Ord>(self, a: Option<T>, b: Option<T>) -> Ordering {
        match (a, b) {
            (Some(a), Some(b)) if self.descending => b.cmp(&a),
            (Some(a), Some(b)) => a.cmp(&b),
            (a, b) => b.is_some().cmp(&a.is_some()),
        }
    }
}

/// What the parameters say.
#[derive(Default)]
struct Asked {
    month: Option<Month>,
    select: Option<Selection>,
    sort: Sort,
    format: Option<Format>,
}

impl Asked {
    /// The query behind the `?`, asked at `now`.
    ///
    /// # Errors
    /// Every parameter that is unknown, given twice, or makes no sense.
    fn parse(query: &str, now: Timestamp) -> Result<Asked, Vec<FieldError>> {
        let mut asked = Asked::default();
        parameters::parse(query, |name, value| {
            match name {
                "month" => asked.month = Some(parse_month(value, now)?),
                "select" => asked.select = Some(Selection::parse(value, now)?),
                "sort" => asked.sort = Sort::parse(value)?,
                "format" => asked.format = Some(Format::parse(value)?),
                _ => return Err(PARAMETERS.to_owned()),
            }
            Ok(())
        })?;
        Ok(asked)
    }
}

fn parse_month(value: &str, now: Timestamp) -> Result<Month, String> {
    let month = Month::parse(value);
    let month = month.ok_or_else(|| "must be a month such as 2026-11".to_owned())?;
    if month > Month::at(now) {
        return Err("must not be a month to come".to_owned());
    }
    Ok(month)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-27T12:00:00Z".parse().unwrap()
    }

    fn usage(hostname: &str, used: Option<u64>) -> HostUsage<'_> {
        HostUsage {
            ip: "10.0.0.1".parse().unwrap(),
            server_id: "srv-00000001",
            hostname,
            from: now(),
            to: now(),
            rx_bytes: None,
            tx_bytes: used,
            used_bytes: used,
            count: Counted::Sent,
            quota_bytes: Some(10),
            forecast_bytes: None,
            over_quota: used.map(|used| used > 10),
            expires_on: None,
            days_left: Some(-3),
            known_from: Some(now()),
            complete: false,
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for query in [
            "month=2026-12",
            "month=11-2026",
            "month=",
            "sort=cpu",
            "format=xml",
            "select=(",
            "day=1",
        ] {
            let errors = Asked::parse(query, now()).err().unwrap();
            let name = query.split('=').next().unwrap();
            assert_eq!(errors[0].field, name, "{query}");
        }
        assert!(Asked::parse("month=2026-11&sort=-used&format=csv", now()).is_ok());
    }

    #[test]
    fn a_line_has_as_many_fields_as_there_are_columns() {
        let mut line = String::new();
        usage("host", Some(11)).write_line(&mut line);
        assert_eq!(
            line,
            "10.0.0.1,srv-00000001,host,2026-11-27T12:00:00Z,2026-11-27T12:00:00Z,,11,11,\
             sent,10,,true,,-3,2026-11-27T12:00:00Z,false\n"
        );
        assert_eq!(line.split(',').count(), COLUMNS.split(',').count());
    }

    #[test]
    fn no_text_becomes_a_formula() {
        for (text, expected) in [
            ("vpn-1", "vpn-1"),
            ("=1+1", "'=1+1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("-2", "'-2"),
            ("a,\"b\"", "\"a,\"\"b\"\"\""),
            ("=a,b", "\"'=a,b\""),
            ("\r=a", "\"'\r=a\""),
        ] {
            assert_eq!(field(text), expected);
        }
    }

    #[test]
    fn what_is_not_known_goes_last_in_either_direction() {
        let order = |sort: &str| {
            let mut servers =
                [("a", Some(1)), ("b", None), ("c", Some(3)), ("d", Some(2))]
                    .map(|(name, used)| usage(name, used));
            Sort::parse(sort).unwrap().apply(&mut servers);
            servers.map(|server| server.hostname).concat()
        };
        assert_eq!(order("used"), "adcb");
        assert_eq!(order("-used"), "cdab");
        assert_eq!(order("-hostname"), "dcba");
        assert_eq!(order("ip"), "abcd");
    }

    #[test]
    fn days_are_left_until_the_last_one_that_is_paid() {
        for (day, left) in [("2026-11-27", 0), ("2026-12-07", 10), ("2026-10-27", -31)] {
            let billing = Billing {
                expires_on: Some(day.parse().unwrap()),
                ..Billing::default()
            };
            assert_eq!(days_left(&billing, now()), Some(left), "{day}");
        }
    }
}
