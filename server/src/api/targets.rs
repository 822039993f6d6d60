//! `GET /sd/prometheus`: the fleet's hosts as targets, for Prometheus's HTTP service
//! discovery.
//!
//! Prometheus keeps its targets when this answer fails, and forgets those that an answer
//! leaves out. So hosts that are down are targets, too (or nobody would be told that they
//! are silent), and a list that may be wrong is 503 and never short.

use std::net::SocketAddr;
use std::time::Duration;

use fleetbeat_daemon::clock;
use fleetbeat_protocol::{FieldError, Server, Timestamp};
use serde::Serialize;

use super::state::ApiState;
use crate::auth::Caller;
use crate::fleet::query::is_in;
use crate::fleet::selection::Selection;
use crate::fleet::shown::Shown;
use crate::http::{Failure, Reply, Request, Response, negotiation};
use crate::parameters;

/// Where `node_exporter` listens.
const DEFAULT_PORT: u16 = 9100;
/// A list that was last known to be right longer ago is not told.
const MAX_AGE: Duration = Duration::from_secs(60);

/// One host.
#[derive(Serialize)]
struct Target<'a> {
    targets: [SocketAddr; 1],
    labels: Labels<'a>,
}

/// What relabelling can use.
#[derive(Serialize)]
struct Labels<'a> {
    #[serde(rename = "__meta_fleetbeat_server_id")]
    server_id: &'a str,
    #[serde(rename = "__meta_fleetbeat_ip")]
    ip: String,
    #[serde(rename = "__meta_fleetbeat_hostname")]
    hostname: &'a str,
    #[serde(rename = "__meta_fleetbeat_country_code")]
    country_code: &'a str,
    #[serde(rename = "__meta_fleetbeat_country")]
    country: &'a str,
    #[serde(rename = "__meta_fleetbeat_region")]
    region: &'a str,
    #[serde(rename = "__meta_fleetbeat_city")]
    city: &'a str,
    #[serde(rename = "__meta_fleetbeat_status")]
    status: &'static str,
    /// The names with commas around each, as Prometheus writes lists.
    #[serde(rename = "__meta_fleetbeat_services")]
    services: String,
    #[serde(rename = "__meta_fleetbeat_flag_gaming")]
    gaming: &'static str,
    #[serde(rename = "__meta_fleetbeat_flag_streaming")]
    streaming: &'static str,
    #[serde(rename = "__meta_fleetbeat_flag_paid")]
    paid: &'static str,
    #[serde(rename = "__meta_fleetbeat_flag_enabled")]
    enabled: &'static str,
    #[serde(rename = "__meta_fleetbeat_flag_static")]
    is_static: &'static str,
}

/// Which hosts, and at which port.
#[derive(Debug, PartialEq, Eq)]
struct Query {
    port: u16,
    select: Option<Selection>,
    /// A country's code or name, in lower case.
    country: Option<String>,
    /// A service that the host has, active or not.
    service: Option<String>,
}

/// The hosts that the query asks for, whether they are up or down, enabled or not.
pub(super) fn list(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let query = Query::parse(request.query(), clock::now()).map_err(Failure::invalid)?;
    let hosts = api.hosts.of(caller);
    let fleet = hosts
        .fleet()
        .map_err(|error| not_known().because(error.to_string()))?;
    if fleet.is_stale() || api.hosts.age().is_none_or(|age| age > MAX_AGE) {
        return Err(not_known());
    }

    let wanted = fleet.servers().filter(|server| query.wants(server));
    let targets: Vec<Target<'_>> = wanted
        .map(|server| Target::of(server, query.port))
        .collect();
    let response = Response::json(200, &targets);
    Ok(Reply::Now(negotiation::compress(response, request)))
}

fn not_known() -> Failure {
    Failure::unavailable("which hosts there are is not known at present")
}

impl Query {
    /// The query behind the `?`, asked at `now`.
    ///
    /// # Errors
    /// Every parameter that is unknown, given twice, or makes no sense.
    fn parse(query: &str, now: Timestamp) -> Result<Query, Vec<FieldError>> {
        let mut parsed = Query {
            port: DEFAULT_PORT,
            select: None,
            country: None,
            service: None,
        };
        parameters::parse(query, |name, value| parsed.set(name, value, now))?;
        Ok(parsed)
    }

    fn set(&mut self, name: &str, value: &str, now: Timestamp) -> Result<(), String> {
        match name {
            "port" => self.port = parse_port(value)?,
            "select" => self.select = Some(Selection::parse(value, now)?),
            "country" => self.country = Some(parameters::text(value)?.to_lowercase()),
            "service" => self.service = Some(parameters::text(value)?.to_owned()),
            _ => {
                let message = "is not a parameter: use port, select, country or service";
                return Err(message.to_owned());
            }
        }
        Ok(())
    }

    fn wants(&self, server: &Shown) -> bool {
        let has = |wanted: &String| {
            let mut services = server.services.iter();
            services.any(|service| service.name == *wanted)
        };
        self.country
            .as_ref()
            .is_none_or(|country| is_in(server, country))
            && self.service.as_ref().is_none_or(has)
            && self
                .select
                .as_ref()
                .is_none_or(|select| select.wants(server))
    }
}

fn parse_port(value: &str) -> Result<u16, String> {
    let is_digits = value.bytes().all(|byte| byte.is_ascii_digit());
    let port = value.parse().ok().filter(|port| is_digits && *port > 0);
    port.ok_or_else(|| "must be a number from 1 to 65535".to_owned())
}

impl Target<'_> {
    fn of(server: &Server, port: u16) -> Target<'_> {
        let flag = |is_set| if is_set { "true" } else { "false" };
        let mut services = String::from(",");
        for service in &server.services {
            services.push_str(&service.name);
            services.push(',');
        }

        Target {
            targets: [SocketAddr::new(server.ip, port)],
            labels: Labels {
                server_id: &server.server_id,
                ip: server.ip.to_string(),
                hostname: &server.hostname,
                country_code: &server.country_code,
                country: &server.country,
                region: server.region.as_deref().unwrap_or_default(),
                city: &server.city,
                status: server.status.as_str(),
                services,
                gaming: flag(server.flags.gaming),
                streaming: flag(server.flags.streaming),
                paid: flag(server.flags.paid),
                enabled: flag(server.flags.enabled),
                is_static: flag(server.flags.is_static),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;

    fn server(change: impl FnOnce(&mut Server)) -> Server {
        let golden = include_str!("../../../protocol/golden/server.json");
        let mut server = serde_json::from_str(golden).unwrap();
        change(&mut server);
        server
    }

    fn parse(query: &str) -> Result<Query, Vec<FieldError>> {
        Query::parse(query, Timestamp::UNIX_EPOCH)
    }

    fn fields(query: &str) -> Vec<String> {
        let errors = parse(query).unwrap_err().into_iter();
        errors.map(|error| error.field).collect()
    }

    #[test]
    fn a_target_has_an_address_and_labels_of_text_alone() {
        let ipv6 = server(|server| server.ip = "2001:db8::1".parse().unwrap());
        let target = serde_json::to_value(Target::of(&ipv6, 9100)).unwrap();
        assert_eq!(target["targets"], json!(["[2001:db8::1]:9100"]));

        let labels = target["labels"].as_object().unwrap();
        for (name, value) in [
            ("server_id", "srv-0a1b2c3d"),
            ("ip", "2001:db8::1"),
            ("hostname", "vpn-de-01"),
            ("country_code", "DE"),
            ("country", "Germany"),
            ("region", ""),
            ("city", "Munich"),
            ("status", "active"),
            ("services", ",wg,ov,"),
            ("flag_streaming", "true"),
            ("flag_paid", "false"),
        ] {
            assert_eq!(labels[&format!("__meta_fleetbeat_{name}")], value, "{name}");
        }
        assert!(labels.values().all(Value::is_string), "{labels:?}");
    }

    #[test]
    fn a_port_is_a_port_and_other_fields_are_named() {
        for (query, port) in [("", 9100), ("port=1", 1), ("port=65535", 65535)] {
            assert_eq!(parse(query).unwrap().port, port, "{query}");
        }
        for port in ["", "0", "65536", "-1", "+1", "9100%20", "http", "1e3"] {
            assert_eq!(fields(&format!("port={port}")), ["port"], "{port}");
        }
        assert_eq!(fields("port=1&port=1"), ["port"]);
        assert_eq!(
            fields("country=&service=&select=wg&prot=1"),
            ["country", "service", "select", "prot"]
        );
    }

    #[test]
    fn hosts_are_chosen_by_country_service_and_selector_alone() {
        let down = server(|server| {
            server.status = fleetbeat_protocol::Status::Down;
            server.flags.enabled = false;
        });
        let down = Shown::new(Arc::new(down), Timestamp::UNIX_EPOCH, None);
        let wants = |query: &str| parse(query).unwrap().wants(&down);
        for query in [
            "",
            "country=de",
            "country=GERMANY",
            "service=wg",
            // Not active, and so all the more worth to be watched.
            "service=ov",
            "country=de&service=ov",
            "select=status+=+down+and+not+enabled&service=ov",
        ] {
            assert!(wants(query), "{query}");
        }
        for query in [
            "country=at",
            "service=WG",
            "country=de&service=none",
            "select=enabled",
        ] {
            assert!(!wants(query), "{query}");
        }
    }
}
