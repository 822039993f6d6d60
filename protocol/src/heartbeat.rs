//! The heartbeat: an agent's report of the host, every two minutes unless the agent's
//! configuration says otherwise.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::agent_id::AgentId;
use crate::field::{self, Errors, Object};
use crate::ip::{is_nobodys, parse_ip};
use crate::json::Json;
use crate::limits::{MAX_METRICS, MAX_NAME_CHARS, MAX_SERVICES, MAX_TEXT_CHARS};
use crate::problem::FieldError;
use crate::tags::{self, Tags};
use crate::timestamp::Timestamp;

/// The largest integer that JSON readers in every language hold exactly, 2^53 - 1.
const MAX_SAFE_INTEGER: f64 = 9_007_199_254_740_991.0;
const SEQ_RULE: &str = "must be a whole number from 0 to 2^53 - 1";

/// The body of `POST /heartbeat`, and an element of `POST /heartbeats`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Heartbeat {
    /// The host's address, by which the server knows the host. Left out, the server takes
    /// the sender's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// ISO 3166 alpha-2, or empty.
    pub country_code: String,
    /// The country's name, or empty.
    pub country: String,
    /// The region within the country.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The city, or empty.
    pub city: String,
    /// The host's name.
    pub hostname: String,
    /// The watched services, in the order of the agent's configuration.
    pub services: Vec<Service>,
    /// The load over the interval.
    pub load: Load,
    /// Further measures by name, in Prometheus's form:
    /// `disk_used_percent{mount="/"}`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, f64>,
    /// The tags of the agent's configuration.
    #[serde(rename = "tags", skip_serializing_if = "BTreeMap::is_empty")]
    pub agent_tags: Tags,
    /// When the last sample was taken, by the host's clock.
    #[serde(rename = "collected_at", skip_serializing_if = "Option::is_none")]
    pub collected_at: Option<Timestamp>,
    /// Differs after each boot of the host.
    #[serde(rename = "boot_id", skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// Grows with every heartbeat since the boot: of two heartbeats of one boot, the
    /// greater number is the newer heartbeat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The agent's version.
    #[serde(rename = "agent_version", skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<String>,
    /// The name that the agent has given itself: the host's identity, whatever its
    /// address.
    #[serde(rename = "agent_id", skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentId>,
}

/// Means over the heartbeat's samples, each a percentage from 0 to 100. `None`, `null` in
/// JSON: the load could not be measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Share of CPU time that was not idle or waiting for I/O, over all CPUs.
    pub cpu: Option<f64>,
    /// Share of memory that is not available to new programs.
    pub ram: Option<f64>,
    /// Traffic in both directions as a share of the interface's speed.
    pub net: Option<f64>,
}

/// A service on the host, and whether the service runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// The short name from the agent's configuration: `wg`.
    pub name: String,
    /// Whether systemd calls the unit active.
    pub active: bool,
}

impl Heartbeat {
    /// The heartbeat that `json` holds. Unknown members are ignored.
    ///
    /// # Errors
    /// Every broken rule, each with the field's path.
    pub fn from_json(json: &Json<'_>) -> Result<Heartbeat, Vec<FieldError>> {
        let mut errors = Errors::default();
        let Some(body) = Object::new("", json, &mut errors) else {
            return Err(errors.into_vec());
        };

        let heartbeat = Heartbeat {
            ip: body
                .optional("ip")
                .and_then(|json| parse_host_ip(json, &mut errors)),
            country_code: required_text(&body, "countryCode", &mut errors),
            country: required_text(&body, "country", &mut errors),
            region: optional_text(&body, "region", &mut errors),
            city: required_text(&body, "city", &mut errors),
            hostname: required_text(&body, "hostname", &mut errors),
            services: parse_services(&body, &mut errors),
            load: parse_load(&body, &mut errors),
            metrics: parse_metrics(&body, &mut errors),
            agent_tags: tags::parse(&body, &mut errors),
            collected_at: body
                .optional("collected_at")
                .and_then(|json| field::timestamp("collected_at", json, &mut errors)),
            boot_id: optional_text(&body, "boot_id", &mut errors),
            seq: body
                .optional("seq")
                .and_then(|json| parse_seq(json, &mut errors)),
            agent_version: optional_text(&body, "agent_version", &mut errors),
            agent_id: body
                .optional("agent_id")
                .and_then(|json| field::agent_id("agent_id", json, &mut errors)),
        };

        errors.into_result(heartbeat)
    }

    /// Checks a heartbeat of one's own before it is sent: the rules are those of
    /// [`Heartbeat::from_json`], applied to what this heartbeat is as JSON.
    ///
    /// # Errors
    /// Every broken rule, as `from_json` would report it.
    pub fn check(&self) -> Result<(), Vec<FieldError>> {
        let mut errors = Errors::default();
        if let Some(ip) = self.ip {
            check_host_ip(ip.to_canonical(), &mut errors);
        }
        let texts = [
            ("countryCode", Some(&self.country_code)),
            ("country", Some(&self.country)),
            ("region", self.region.as_ref()),
            ("city", Some(&self.city)),
            ("hostname", Some(&self.hostname)),
        ];
        check_texts(&texts, &mut errors);
        check_services(&self.services, &mut errors);
        check_load(&self.load, &mut errors);
        check_metrics(&self.metrics, &mut errors);
        tags::check(&self.agent_tags, &mut errors);

        check_texts(&[("boot_id", self.boot_id.as_ref())], &mut errors);
        if self.seq.is_some_and(|seq| seq as f64 > MAX_SAFE_INTEGER) {
            errors.add("seq", SEQ_RULE);
        }
        check_texts(
            &[("agent_version", self.agent_version.as_ref())],
            &mut errors,
        );
        errors.into_result(())
    }
}

fn check_texts(texts: &[(&str, Option<&String>)], errors: &mut Errors) {
    for (field, text) in texts {
        let Some(text) = text else { continue };
        field::check_text(field, text, MAX_TEXT_CHARS, errors);
    }
}

fn check_services(services: &[Service], errors: &mut Errors) {
    if services.len() > MAX_SERVICES {
        return errors.add(
            "services",
            too_many("elements", services.len(), MAX_SERVICES),
        );
    }
    for (index, service) in services.iter().enumerate() {
        let field = format!("services[{index}].name");
        field::check_text(&field, &service.name, MAX_NAME_CHARS, errors);
    }
}

fn check_load(load: &Load, errors: &mut Errors) {
    for (field, value) in [
        ("load.cpu", load.cpu),
        ("load.ram", load.ram),
        ("load.net", load.net),
    ] {
        // In JSON, what is not a number is null: a load that could not be measured.
        let Some(value) = value.filter(|value| value.is_finite()) else {
            continue;
        };
        field::check_percentage(field, value, errors);
    }
}

fn check_metrics(metrics: &BTreeMap<String, f64>, errors: &mut Errors) {
    if metrics.len() > MAX_METRICS {
        return errors.add("metrics", too_many("members", metrics.len(), MAX_METRICS));
    }
    for (name, value) in metrics {
        let field = format!("metrics.{name}");
        field::check_text(&field, name, MAX_NAME_CHARS, errors);
        if !value.is_finite() {
            field::number(&field, &Json::Null, errors);
        }
    }
}

fn too_many(what: &str, count: usize, limit: usize) -> String {
    format!("has {count} {what}, more than {limit}")
}

fn parse_host_ip(json: &Json<'_>, errors: &mut Errors) -> Option<IpAddr> {
    let text = field::text("ip", json, MAX_TEXT_CHARS, errors)?;
    let Some(ip) = parse_ip(text) else {
        errors.add("ip", "must be an IPv4 or IPv6 address without a zone");
        return None;
    };
    check_host_ip(ip, errors).then_some(ip)
}

/// Whether a host can have the address.
fn check_host_ip(ip: IpAddr, errors: &mut Errors) -> bool {
    if is_nobodys(ip) {
        let message = "must be a host's own address, not unspecified, multicast or \
                       broadcast";
        errors.add("ip", message);
    }
    !is_nobodys(ip)
}

fn parse_seq(json: &Json<'_>, errors: &mut Errors) -> Option<u64> {
    let value = field::number("seq", json, errors)?;
    if value.fract() != 0.0 || !(0.0..=MAX_SAFE_INTEGER).contains(&value) {
        errors.add("seq", SEQ_RULE);
        return None;
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole and in range"
    )]
    Some(value as u64)
}

fn parse_services(body: &Object<'_>, errors: &mut Errors) -> Vec<Service> {
    let Some(json) = body.required("services", errors) else {
        return Vec::new();
    };
    let Json::Array(items) = json else {
        errors.add("services", format!("must be an array, not {}", json.kind()));
        return Vec::new();
    };
    if items.len() > MAX_SERVICES {
        errors.add("services", too_many("elements", items.len(), MAX_SERVICES));
        return Vec::new();
    }

    let services = items.iter().enumerate();
    services
        .filter_map(|(index, item)| parse_service(index, item, errors))
        .collect()
}

fn parse_service(index: usize, json: &Json<'_>, errors: &mut Errors) -> Option<Service> {
    let object = Object::new(&format!("services[{index}]"), json, errors)?;

    // Both fields are read before `?` may end the function: each broken rule is an error.
    let name = object.required("name", errors).and_then(|json| {
        field::text(&object.field("name"), json, MAX_NAME_CHARS, errors)
    });
    let active = object
        .required("active", errors)
        .and_then(|json| field::boolean(&object.field("active"), json, errors));

    Some(Service {
        name: name?.to_owned(),
        active: active?,
    })
}

fn parse_load(body: &Object<'_>, errors: &mut Errors) -> Load {
    let Some(load) = body
        .required("load", errors)
        .and_then(|json| Object::new("load", json, errors))
    else {
        return Load::default();
    };
    let mut percentage = |name: &str| {
        let json = load.required(name, errors)?;
        field::percentage(&load.field(name), json, errors)
    };
    Load {
        cpu: percentage("cpu"),
        ram: percentage("ram"),
        net: percentage("net"),
    }
}

fn parse_metrics(body: &Object<'_>, errors: &mut Errors) -> BTreeMap<String, f64> {
    let Some(object) = body
        .optional("metrics")
        .and_then(|json| Object::new("metrics", json, errors))
    else {
        return BTreeMap::new();
    };
    let count = object.members().count();
    if count > MAX_METRICS {
        errors.add("metrics", too_many("members", count, MAX_METRICS));
        return BTreeMap::new();
    }

    let mut metrics = BTreeMap::new();
    for (name, json) in object.members() {
        let field = object.field(name);
        // A name has the rules of any text.
        let name = field::text(&field, &Json::Text(name.into()), MAX_NAME_CHARS, errors)
            .map(str::to_owned);
        let value = field::number(&field, json, errors);
        metrics.extend(name.zip(value));
    }
    metrics
}

fn required_text(body: &Object<'_>, name: &str, errors: &mut Errors) -> String {
    let json = body.required(name, errors);
    json.and_then(|json| field::text(name, json, MAX_TEXT_CHARS, errors))
        .unwrap_or_default()
        .to_owned()
}

fn optional_text(body: &Object<'_>, name: &str, errors: &mut Errors) -> Option<String> {
    let json = body.optional(name)?;
    field::text(name, json, MAX_TEXT_CHARS, errors).map(str::to_owned)
}

/// The answer of `POST /heartbeat`: the heartbeat is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatAnswer {
    /// Always `ok`.
    pub status: String,
    /// Whether the agent is to replace its key by a new one (`POST /enroll`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub rotate: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "what serde asks for")]
fn is_false(value: &bool) -> bool {
    !value
}

/// The answer of `POST /heartbeats`: all but the rejected are stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchAnswer {
    /// Always `ok`.
    pub status: String,
    /// How many elements are stored, be it as the host's state or as the host's history.
    pub accepted: usize,
    /// The elements that broke a rule. Sending such an element again would not help.
    pub rejected: Vec<RejectedHeartbeat>,
}

/// An element of `POST /heartbeats` that broke a rule, in the answer to the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedHeartbeat {
    /// The element's place in the array that was sent, from 0.
    pub index: usize,
    /// The broken rules. Paths of fields begin at the element: `load.cpu`.
    pub errors: Vec<FieldError>,
}
