//! The query of `GET /servers`: filters, order, limit.

use std::cmp::Ordering;

use fleetbeat_protocol::{FieldError, Server, Status, Timestamp};

use super::scope::HostScope;
use super::selection::Selection;
use super::shown::Shown;
use crate::parameters;

/// The largest `limit`.
const MAX_LIMIT: usize = 1_000_000;

/// Which servers, in which order, how many.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Query {
    /// Whether servers that are down or not enabled are wanted, too.
    all_servers: bool,
    select: Option<Selection>,
    /// A country's code or name, in lower case.
    country: Option<String>,
    status: Option<StatusWord>,
    /// A service that must be active.
    service: Option<String>,
    gaming: Option<bool>,
    streaming: Option<bool>,
    paid: Option<bool>,
    sort: Sort,
    limit: Option<usize>,
    /// The hosts that whoever asks may see; `None` for every host.
    scope: Option<HostScope>,
}

/// The word for a [`Status`], which is hashable.
type StatusWord = &'static str;

/// In which order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Sort {
    key: Key,
    descending: bool,
}

/// What servers are sorted by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
enum Key {
    #[default]
    Ip,
    Hostname,
    Country,
    City,
    Status,
    LastHeartbeat,
    Cpu,
    Ram,
    Net,
    Load,
    Weight,
}

/// The keys as they are written in a query.
const KEYS: [(&str, Key); 11] = [
    ("ip", Key::Ip),
    ("hostname", Key::Hostname),
    ("country", Key::Country),
    ("city", Key::City),
    ("status", Key::Status),
    ("last_heartbeat", Key::LastHeartbeat),
    ("cpu", Key::Cpu),
    ("ram", Key::Ram),
    ("net", Key::Net),
    ("load", Key::Load),
    ("weight", Key::Weight),
];

impl Query {
    /// The query behind the `?`, asked at `now`.
    ///
    /// # Errors
    /// Every parameter that is unknown, given twice, or makes no sense.
    pub(crate) fn parse(query: &str, now: Timestamp) -> Result<Query, Vec<FieldError>> {
        let mut parsed = Query::default();
        let set = |name: &str, value: &str| parsed.set(name, value, now);
        let result = parameters::parse(query, set);
        let mut errors = result.err().unwrap_or_default();

        if parsed.status == Some(Status::Down.as_str()) && !parsed.all_servers {
            let message = "down needs all_servers=true: without it only active hosts are \
                           listed";
            errors.push(FieldError::new("status", message.to_owned()));
        }
        let may_want_offered = |select: &Selection| select.may_want_offered();
        if !parsed.all_servers && !parsed.select.as_ref().is_none_or(may_want_offered) {
            let message = "selects only hosts that are down or not enabled: these need \
                           all_servers=true";
            errors.push(FieldError::new("select", message.to_owned()));
        }

        if errors.is_empty() {
            Ok(parsed)
        } else {
            Err(errors)
        }
    }

    fn set(&mut self, name: &str, value: &str, now: Timestamp) -> Result<(), String> {
        match name {
            "all_servers" => self.all_servers = parse_bool(value)?,
            "select" => self.select = Some(Selection::parse(value, now)?),
            "country" => self.country = Some(parameters::text(value)?.to_lowercase()),
            "status" => self.status = Some(parse_status(value)?),
            "service" => self.service = Some(parameters::text(value)?.to_owned()),
            "gaming" => self.gaming = Some(parse_bool(value)?),
            "streaming" => self.streaming = Some(parse_bool(value)?),
            "paid" => self.paid = Some(parse_bool(value)?),
            "sort" => self.sort = parse_sort(value)?,
            "limit" => self.limit = Some(parameters::limit(value, MAX_LIMIT)?),
            _ => {
                let message = "is no parameter: use all_servers, select, country, \
                               status, service, gaming, streaming, paid, sort or limit";
                return Err(message.to_owned());
            }
        }
        Ok(())
    }

    /// The same query for somebody who may see these hosts alone. A query with a scope has
    /// views of its own.
    pub(crate) fn within(self, scope: Option<&HostScope>) -> Query {
        Query {
            scope: scope.cloned(),
            ..self
        }
    }

    /// The country that is asked for, in lower case; `None` for all.
    pub(crate) fn country(&self) -> Option<&str> {
        self.country.as_deref()
    }

    /// How much memory the texts and the selector in the query take.
    pub(crate) fn text_bytes(&self) -> usize {
        let texts = [&self.country, &self.service].into_iter().flatten();
        let texts: usize = texts.map(String::len).sum();
        texts + self.select.as_ref().map_or(0, Selection::bytes)
    }

    /// The query for a fleet of so many hosts: a limit that leaves nobody out is none, so
    /// that one view serves all such limits.
    pub(super) fn of_fleet(&self, hosts: usize) -> Query {
        Query {
            limit: self.limit.filter(|limit| *limit < hosts),
            ..self.clone()
        }
    }

    /// The servers asked for; `servers` are sorted by address.
    pub(crate) fn select<'a>(
        &self,
        servers: impl IntoIterator<Item = &'a Shown>,
    ) -> Vec<&'a Shown> {
        let wanted = servers.into_iter().filter(|server| self.wants(server));
        let limit = self.limit.unwrap_or(usize::MAX);
        if self.sort == Sort::default() {
            return wanted.take(limit).collect();
        }

        let mut selected: Vec<&Shown> = wanted.collect();
        let compare = |a: &&Shown, b: &&Shown| self.sort.compare(a, b);
        // Only what is shown is sorted.
        if (1..selected.len()).contains(&limit) {
            selected.select_nth_unstable_by(limit - 1, compare);
        }
        selected.truncate(limit);
        selected.sort_unstable_by(compare);
        selected
    }

    fn wants(&self, server: &Shown) -> bool {
        let equals =
            |wanted: Option<bool>, flag: bool| wanted.is_none_or(|wanted| wanted == flag);
        let runs = |name: &String| {
            server
                .services
                .iter()
                .any(|service| service.active && service.name == *name)
        };

        let is_visible = |scope: &HostScope| scope.covers(server);

        self.scope.as_ref().is_none_or(is_visible)
            && (self.all_servers
                || (server.status == Status::Active && server.flags.enabled))
            && self
                .country
                .as_ref()
                .is_none_or(|country| is_in(server, country))
            && self
                .status
                .is_none_or(|status| server.status.as_str() == status)
            && self.service.as_ref().is_none_or(runs)
            && equals(self.gaming, server.flags.gaming)
            && equals(self.streaming, server.flags.streaming)
            && equals(self.paid, server.flags.paid)
            && self
                .select
                .as_ref()
                .is_none_or(|select| select.wants(server))
    }
}

/// Whether the server is in the country of this code or name, which is in lower case.
pub(crate) fn is_in(server: &Server, country: &str) -> bool {
    server.country_code.to_lowercase() == country
        || server.country.to_lowercase() == country
}

impl Sort {
    /// Servers that are equal stay sorted by address.
    fn compare(self, a: &Shown, b: &Shown) -> Ordering {
        let order = self.key.compare(a, b);
        let order = if self.descending {
            order.reverse()
        } else {
            order
        };
        order.then_with(|| a.ip.cmp(&b.ip))
    }
}

impl Key {
    fn compare(self, a: &Shown, b: &Shown) -> Ordering {
        // A load that was not measured counts as more than any that was: the least loaded
        // servers come first.
        let load = |a: Option<f64>, b: Option<f64>| {
            a.unwrap_or(f64::INFINITY)
                .total_cmp(&b.unwrap_or(f64::INFINITY))
        };

        match self {
            Key::Ip => a.ip.cmp(&b.ip),
            Key::Hostname => a.hostname.cmp(&b.hostname),
            Key::Country => a.country.cmp(&b.country),
            Key::City => a.city.cmp(&b.city),
            Key::Status => a.status.cmp(&b.status),
            Key::LastHeartbeat => a.last_heartbeat.cmp(&b.last_heartbeat),
            Key::Cpu => load(a.load.cpu, b.load.cpu),
            Key::Ram => load(a.load.ram, b.load.ram),
            Key::Net => load(a.load.net, b.load.net),
            Key::Load => {
                let percent = |server: &Shown| server.offer().load_percent.map(f64::from);
                load(percent(a), percent(b))
            }
            Key::Weight => a.offer().weight.cmp(&b.offer().weight),
        }
    }
}

fn parse_status(value: &str) -> Result<StatusWord, String> {
    [Status::Active, Status::Down]
        .map(Status::as_str)
        .into_iter()
        .find(|status| *status == value)
        .ok_or_else(|| "must be active or down".to_owned())
}

fn parse_bool(value: &str) -> Result<bool, String> {
    value
        .parse()
        .map_err(|_| "must be true or false".to_owned())
}

fn parse_sort(value: &str) -> Result<Sort, String> {
    let (name, descending) = value
        .strip_prefix('-')
        .map_or((value, false), |name| (name, true));

    let known = KEYS.iter().find(|(known, _)| *known == name);
    let key = known.map(|(_, key)| *key).ok_or_else(|| {
        let names: Vec<&str> = KEYS.iter().map(|(known, _)| *known).collect();
        format!(
            "must be one of {}, with - before it for the other way round",
            names.join(", ")
        )
    })?;

    Ok(Sort { key, descending })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn server(ip: &str, change: impl FnOnce(&mut Server)) -> Shown {
        let golden = include_str!("../../../protocol/golden/server.json");
        let mut server: Server = serde_json::from_str(golden).unwrap();
        server.ip = ip.parse().unwrap();
        server.load.ram = None;
        server.state = fleetbeat_protocol::HostState::default();
        change(&mut server);
        Shown::new(Arc::new(server), Timestamp::UNIX_EPOCH, None)
    }

    /// The last octets of the servers that `query` selects.
    #[track_caller]
    fn selected(query: &str, servers: &[Shown]) -> Vec<u8> {
        let query = Query::parse(query, Timestamp::UNIX_EPOCH).unwrap();
        let ips = query
            .select(servers)
            .into_iter()
            .map(|server| server.ip.to_string());
        ips.map(|ip| ip.rsplit('.').next().unwrap().parse().unwrap())
            .collect()
    }

    #[test]
    fn each_filter_and_order_selects_what_it_says() {
        let servers = [
            server("10.0.0.1", |_| {}),
            server("10.0.0.2", |server| server.status = Status::Down),
            server("10.0.0.3", |server| server.flags.enabled = false),
            server("10.0.0.4", |server| {
                server.country = "Österreich".to_owned();
                server.country_code = "AT".to_owned();
                server.load.cpu = None;
                server.flags.gaming = true;
            }),
            server("10.0.0.5", |server| {
                server.load.cpu = Some(1.0);
                server.services[0].active = false;
                server.flags.streaming = false;
                server.flags.paid = true;
                server.hostname = "a".to_owned();
            }),
        ];
        for (query, expected) in [
            ("", vec![1, 4, 5]),
            ("all_servers=false", vec![1, 4, 5]),
            ("all_servers=true", vec![1, 2, 3, 4, 5]),
            ("all_servers=true&status=down", vec![2]),
            ("status=active", vec![1, 4, 5]),
            ("country=at", vec![4]),
            ("country=%C3%B6sterreich", vec![4]),
            ("country=Austria", vec![]),
            ("service=wg", vec![1, 4]),
            ("service=nope", vec![]),
            ("gaming=true", vec![4]),
            ("streaming=false", vec![5]),
            ("paid=true&gaming=false", vec![5]),
            ("sort=cpu", vec![5, 1, 4]),
            ("sort=-cpu", vec![4, 1, 5]),
            ("sort=hostname&limit=2", vec![5, 1]),
            ("sort=load", vec![5, 1, 4]),
            ("sort=-weight", vec![5, 1, 4]),
            ("sort=-ip", vec![5, 4, 1]),
            ("limit=1", vec![1]),
            ("select=all", vec![1, 4, 5]),
            ("select=not+enabled+or+country+=+at", vec![4]),
            ("all_servers=true&select=status+=+down", vec![2]),
            ("select=load.cpu+<+5&gaming=false", vec![5]),
            ("select=service.wg&sort=cpu&limit=1", vec![1]),
        ] {
            assert_eq!(selected(query, &servers), expected, "{query}");
        }
    }

    #[test]
    fn a_scope_leaves_out_what_it_does_not_cover_whatever_is_asked_for() {
        let servers = [
            server("10.0.0.1", |server| server.flags.paid = true),
            server("10.0.0.2", |server| {
                server.flags.paid = true;
                server.status = Status::Down;
            }),
            server("10.0.0.3", |_| {}),
        ];
        let scope = HostScope::parse("paid").unwrap();
        for (text, expected) in [
            ("", &["10.0.0.1"][..]),
            ("all_servers=true&sort=-ip", &["10.0.0.2", "10.0.0.1"]),
            ("select=not+paid+or+all&limit=3", &["10.0.0.1"]),
            ("paid=false", &[]),
        ] {
            let query = Query::parse(text, Timestamp::UNIX_EPOCH).unwrap();
            assert_ne!(query, query.clone().within(Some(&scope)), "another view");
            let query = query.within(Some(&scope));
            let ips = query.select(&servers).into_iter();
            let ips: Vec<String> = ips.map(|server| server.ip.to_string()).collect();
            assert_eq!(ips, expected, "{text}");
        }
    }

    #[test]
    fn values_that_make_no_sense_are_all_named() {
        let fields = |query| {
            let errors = Query::parse(query, Timestamp::UNIX_EPOCH).unwrap_err();
            errors
                .into_iter()
                .map(|error| error.field)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            fields("all_servers=1&status=up&limit=0&sort=name&country=&gaming="),
            [
                "all_servers",
                "status",
                "limit",
                "sort",
                "country",
                "gaming"
            ]
        );
        assert_eq!(fields("limit=-1"), ["limit"]);
        // Never anything else than an empty list, which would say that no host is down.
        assert_eq!(fields("status=down"), ["status"]);
        assert_eq!(fields("all_servers=false&status=down"), ["status"]);
        assert_eq!(
            fields("status=down&all_servers="),
            ["all_servers", "status"]
        );
        assert_eq!(fields("select=status+=+down"), ["select"]);
        assert_eq!(fields("statsu=down"), ["statsu"]);
        assert_eq!(fields("limit=1&limit=2"), ["limit"]);
    }

    #[test]
    fn a_selector_that_is_wrong_is_told_with_the_place() {
        let message = |query| {
            let errors = Query::parse(query, Timestamp::UNIX_EPOCH).unwrap_err();
            let [error] = &errors[..] else {
                panic!("{errors:?}");
            };
            assert_eq!(error.field, "select");
            error.message.clone()
        };
        assert_eq!(
            message("select=gaming+and+wg"),
            r#"at character 12: "wg" is not a field: for a tag, write tag.wg"#
        );
        assert_eq!(
            message("select="),
            "at character 1: is empty: write all to select every host"
        );
        assert_eq!(
            message("select=not+enabled"),
            "selects only hosts that are down or not enabled: these need all_servers=true"
        );
    }
}
