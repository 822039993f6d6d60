//! What the server would refuse is left out of a heartbeat before it is sent: one bad
//! name must not make a silent host.

use fleetbeat_protocol::{
    FieldError, Heartbeat, MAX_HEARTBEAT_BYTES, MAX_METRICS, MAX_SERVICES, MAX_TAGS,
    MAX_TEXT_CHARS,
};

/// Most characters of a name in a line of the log.
const MAX_SHOWN_CHARS: usize = 80;

/// Leaves out of `heartbeat` whatever breaks a rule of the server. Gives a line for each
/// thing that was left out.
pub(super) fn fit(heartbeat: &mut Heartbeat) -> Vec<String> {
    let mut told = Vec::new();
    // Too long a list hides what is wrong with its elements, so there is a second look.
    for _ in 0..2 {
        let Err(errors) = heartbeat.check() else {
            break;
        };
        told.extend(errors.iter().map(|error| describe(heartbeat, error)));
        // From the end, so that the places of the services before stay the same.
        for error in errors.iter().rev() {
            leave_out(heartbeat, &error.field);
        }
    }
    if !heartbeat.agent_tags.is_empty() && is_too_long(heartbeat) {
        heartbeat.agent_tags.clear();
        told.push("tags would make the heartbeat too long".to_owned());
    }
    told
}

/// Whether the server would refuse the heartbeat for its length. Without tags it never
/// would: what else a heartbeat holds fits at every limit.
fn is_too_long(heartbeat: &Heartbeat) -> bool {
    serde_json::to_vec(heartbeat).is_ok_and(|body| body.len() > MAX_HEARTBEAT_BYTES)
}

/// The broken rule, with the name of what breaks it.
fn describe(heartbeat: &Heartbeat, error: &FieldError) -> String {
    let service = service_at(&error.field).and_then(|at| heartbeat.services.get(at));
    let name = match service {
        Some(service) => format!("the service {}", shorten(&service.name)),
        None => shorten(&error.field),
    };
    format!("{name} {}", error.message)
}

fn shorten(text: &str) -> String {
    let shown: String = text.chars().take(MAX_SHOWN_CHARS).collect();
    shown.escape_debug().to_string()
}

/// The place of the service that `field` names: 3 for `services[3].name`.
fn service_at(field: &str) -> Option<usize> {
    let (place, _) = field.strip_prefix("services[")?.split_once(']')?;
    place.parse().ok()
}

fn leave_out(heartbeat: &mut Heartbeat, field: &str) {
    if let Some(at) = service_at(field) {
        if at < heartbeat.services.len() {
            heartbeat.services.remove(at);
        }
        return;
    }
    if let Some(name) = field.strip_prefix("metrics.") {
        heartbeat.metrics.remove(name);
        return;
    }
    if let Some(key) = field.strip_prefix("tags.") {
        heartbeat.agent_tags.remove(key);
        return;
    }

    match field {
        "services" => heartbeat.services.truncate(MAX_SERVICES),
        "metrics" => {
            while heartbeat.metrics.len() > MAX_METRICS {
                heartbeat.metrics.pop_last();
            }
        }
        "tags" => {
            while heartbeat.agent_tags.len() > MAX_TAGS {
                heartbeat.agent_tags.pop_last();
            }
        }
        "load.cpu" => heartbeat.load.cpu = None,
        "load.ram" => heartbeat.load.ram = None,
        "load.net" => heartbeat.load.net = None,
        "countryCode" => cut(&mut heartbeat.country_code),
        "country" => cut(&mut heartbeat.country),
        "city" => cut(&mut heartbeat.city),
        "hostname" => cut(&mut heartbeat.hostname),
        "ip" => heartbeat.ip = None,
        "region" => heartbeat.region = None,
        "boot_id" => heartbeat.boot_id = None,
        "agent_version" => heartbeat.agent_version = None,
        "seq" => heartbeat.seq = None,
        _ => {}
    }
}

/// As much of a text that has to be there as the server takes.
fn cut(text: &mut String) {
    *text = text
        .chars()
        .filter(|character| *character != '\0')
        .take(MAX_TEXT_CHARS)
        .collect();
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fleetbeat_protocol::{Load, Service};

    use super::*;

    fn heartbeat() -> Heartbeat {
        Heartbeat {
            ip: None,
            country_code: String::new(),
            country: String::new(),
            region: None,
            city: String::new(),
            hostname: "vpn-1".to_owned(),
            services: Vec::new(),
            load: Load::default(),
            metrics: BTreeMap::new(),
            agent_tags: BTreeMap::new(),
            collected_at: None,
            boot_id: None,
            seq: None,
            agent_version: None,
            agent_id: None,
        }
    }

    fn service(name: impl Into<String>) -> Service {
        Service {
            name: name.into(),
            active: true,
        }
    }

    #[test]
    fn one_long_name_costs_itself_and_nothing_else() {
        let mut heartbeat = heartbeat();
        let long = "ov:customer-acme-frankfurt-datacenter-two-primary-gateway-prod-01";
        heartbeat.services = [long, "wg", &"x".repeat(65), "sq"].map(service).into();
        heartbeat.metrics = [("load1", 0.5), ("bad\0name", 1.0), ("nan", f64::NAN)]
            .map(|(name, value)| (name.to_owned(), value))
            .into();

        let told = fit(&mut heartbeat);
        assert_eq!(heartbeat.services, ["wg", "sq"].map(service));
        assert_eq!(heartbeat.metrics.keys().collect::<Vec<_>>(), ["load1"]);
        assert_eq!(
            told[0],
            format!("the service {long} is longer than 64 characters")
        );
        assert_eq!(
            told[2..],
            [
                r"metrics.bad\0name must not contain a NUL character",
                "metrics.nan must be a number, not null"
            ]
        );
        assert_eq!(fit(&mut heartbeat), [""; 0]);
    }

    #[test]
    fn nothing_of_this_host_can_make_a_heartbeat_that_is_refused() {
        let mut heartbeat = heartbeat();
        let text = "\u{1}".repeat(300);
        for field in [
            &mut heartbeat.country_code,
            &mut heartbeat.country,
            &mut heartbeat.city,
            &mut heartbeat.hostname,
        ] {
            field.clone_from(&text);
        }
        heartbeat.hostname.insert(0, '\0');
        for field in [
            &mut heartbeat.region,
            &mut heartbeat.boot_id,
            &mut heartbeat.agent_version,
        ] {
            *field = Some(text.clone());
        }
        heartbeat.ip = Some([255; 4].into());
        heartbeat.seq = Some(u64::MAX);
        heartbeat.load = Load {
            cpu: Some(101.0),
            ram: Some(-1.0),
            net: Some(7.0),
        };
        let name = |at: usize| format!("{}{at:02}", "\u{1}".repeat(62));
        heartbeat.services = (0..70).map(|at| service(name(at))).collect();
        heartbeat.metrics = (0..70).map(|at| (name(at), -1.0e300 / 3.0)).collect();

        heartbeat.metrics.insert("\u{1}".repeat(65), 1.0);
        let tag = |at: usize| (format!("{}{at:02}", "k".repeat(61)), "\u{1}".repeat(63));
        heartbeat.agent_tags = (0..40).map(tag).collect();
        heartbeat.agent_tags.insert("K".to_owned(), String::new());
        heartbeat.agent_tags.insert("a".to_owned(), "x".repeat(64));
        assert!(!fit(&mut heartbeat).is_empty());
        assert_eq!(fit(&mut heartbeat), [""; 0]);
        assert_eq!(heartbeat.check(), Ok(()));
        assert_eq!(heartbeat.ip, None);
        assert_eq!(heartbeat.hostname, text[..253]);
        assert_eq!(
            (heartbeat.services.len(), heartbeat.metrics.len()),
            (64, 63)
        );
        assert!(
            heartbeat.agent_tags.is_empty(),
            "they would make it too long"
        );
        assert_eq!(heartbeat.load.net, Some(7.0));
        let bytes = serde_json::to_vec(&heartbeat).unwrap().len();
        assert!(bytes <= MAX_HEARTBEAT_BYTES, "{bytes}");
    }
}
