//! What a look costs: 100 rules over 10,000 and 100,000 hosts, each heard every two
//! minutes, in milliseconds of CPU time for one look of ten seconds. Then the same with
//! an open alert for each host.
//!
//! `cargo run --release -p fleetbeat-alerts --example evaluate`

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use fleetbeat_alerts::{
    ChannelPolicy, Engine, FleetHost, Hearing, Look, Saved, StoredRule, Words,
};
use fleetbeat_protocol::{
    Flags, HostState, Json, Load, Rule, Server, Service, Settings, Severity, Status,
    Timestamp,
};
use fleetbeat_selector::{Field, Host, Value};
use rustix::time::{ClockId, clock_gettime};

/// A host that selectors may ask for a country, a name and a load.
struct BenchHost(Server);

impl Host for BenchHost {
    fn value(&self, field: &Field) -> Value<'_> {
        match field {
            Field::Country => Value::text(&self.0.country_code),
            Field::Hostname => Value::text(&self.0.hostname),
            Field::LoadCpu => self.0.load.cpu.map_or(Value::Missing, Value::Number),
            _ => Value::Missing,
        }
    }
}

impl FleetHost for BenchHost {
    fn server(&self) -> &Server {
        &self.0
    }
}

const START_S: i64 = 1_767_225_600;
const LOOKS: usize = 12;

fn main() {
    for count in [10_000, 100_000] {
        let mut fleet: Vec<BenchHost> = (0..count).map(host).collect();
        let mut random = fastrand::Rng::with_seed(1);
        let mut engine = Engine::load(Saved::default(), Box::new(move || random.u64(..)));

        let (rules, mut now_s) = (rules(), START_S);
        measure(&mut engine, &mut fleet, &rules, &mut now_s, "first look", 1);
        measure(
            &mut engine,
            &mut fleet,
            &rules,
            &mut now_s,
            "nothing wrong",
            LOOKS,
        );
        for host in &mut fleet {
            host.0.services[0].active = false;
        }
        measure(
            &mut engine,
            &mut fleet,
            &rules,
            &mut now_s,
            "all break",
            LOOKS,
        );
        measure(
            &mut engine,
            &mut fleet,
            &rules,
            &mut now_s,
            "all open",
            LOOKS,
        );
        let open = engine.alerts().filter(|alert| alert.is_open()).count();
        println!("{count} hosts: {open} open alerts at the end");
    }
}

fn measure(
    engine: &mut Engine,
    fleet: &mut [BenchHost],
    rules: &[StoredRule],
    now_s: &mut i64,
    what: &str,
    looks: usize,
) {
    let mut spent = Vec::new();
    for _ in 0..looks {
        *now_s += 10;
        let now = Timestamp::from_second(*now_s).unwrap_or(Timestamp::MAX);
        let turn = usize::try_from(*now_s / 10 % 12).unwrap_or_default();
        for host in fleet.iter_mut().skip(turn).step_by(12) {
            host.0.last_heartbeat = now;
        }

        let before = cpu_ms();
        engine.tick(&look(now, fleet, rules, &channels()));
        spent.push(cpu_ms() - before);
        // What is to be sent is sent.
        for channel in engine.busy_channels() {
            while let Some(claim) = engine.next_message(&channel, now, |_| String::new())
            {
                engine.settled(&claim.id, fleetbeat_alerts::Outcome::Sent, now);
            }
        }
    }
    spent.sort_by(f64::total_cmp);
    let (median, most) = (spent[spent.len() / 2], spent[spent.len() - 1]);
    let hosts = fleet.len();
    println!("{hosts} hosts, {what}: {median:.1} ms of CPU a look, at most {most:.1} ms");
}

fn look<'a>(
    now: Timestamp,
    hosts: &'a [BenchHost],
    rules: &'a [StoredRule],
    channels: &'a [ChannelPolicy],
) -> Look<'a, BenchHost> {
    Look {
        now,
        elapsed: Duration::from_secs(10),
        down_after: Duration::from_secs(240),
        hearing: Hearing::Well,
        hosts,
        events: &[],
        events_through: 0,
        rules,
        mutes: &[],
        channels,
        acks: &[],
        retried: &[],
    }
}

fn channels() -> Vec<ChannelPolicy> {
    let channel = |id: &str| ChannelPolicy {
        id: id.to_owned(),
        name: id.to_owned(),
        enabled: true,
        min_severity: Severity::Info,
        quiet: None,
    };
    vec![channel("chn-a"), channel("chn-b")]
}

/// A hundred rules, each with a selector of its own; one of them is about a service.
fn rules() -> Vec<StoredRule> {
    let rule = |number: usize| {
        let condition = match number % 5 {
            0 => r#""when": "metric", "metric": "disk_used_percent", "above": 95"#,
            1 => r#""when": "load", "load": "cpu", "above": 98, "for": "10m""#,
            2 => r#""when": "down", "for": "1m""#,
            3 => r#""when": "metric", "metric": "peers", "below": -1"#,
            _ => r#""when": "many_down", "group_by": ["country"]"#,
        };
        let condition = match number {
            0 => r#""when": "service", "service": "wg*""#,
            _ => condition,
        };
        let select = match number {
            0 => "all".to_owned(),
            _ => format!("country in (DE, NL) and load.cpu < {}", 50 + number),
        };
        let json = format!(
            r#"{{"name": "rule {number}", "severity": "warning", {condition},
                "where": "{select}", "channels": ["chn-a", "chn-b"]}}"#
        );
        StoredRule {
            id: format!("rul-{number}"),
            version: 1,
            rule: parse(&json),
        }
    };
    (0..100).map(rule).collect()
}

fn parse(json: &str) -> Rule {
    let json: Json<'_> = serde_json::from_str(json).expect("the rule is JSON");
    Rule::from_json(&json, &Words).expect("the rule keeps the rules")
}

fn host(number: u32) -> BenchHost {
    let start = Timestamp::from_second(START_S).unwrap_or(Timestamp::MIN);
    let metric = |number: u32| match number {
        0 => (r#"disk_used_percent{mount="/"}"#.to_owned(), 40.0),
        1 => ("peers".to_owned(), 12.0),
        other => (format!("metric_{other}"), f64::from(other)),
    };
    BenchHost(Server {
        server_id: format!("srv-{number:08x}"),
        ip: Ipv4Addr::from(0x0a00_0000 + number).into(),
        hostname: format!("vpn-{number}"),
        country_code: ["DE", "NL", "FR"][number as usize % 3].to_owned(),
        country: String::new(),
        region: None,
        city: String::new(),
        status: Status::Active,
        last_heartbeat: start,
        first_heartbeat: start,
        up_since: None,
        load: Load {
            cpu: Some(f64::from(number % 100)),
            ram: Some(30.0),
            net: Some(10.0),
        },
        services: vec![Service {
            name: "wg".to_owned(),
            active: true,
        }],
        metrics: (0..20).map(metric).collect::<BTreeMap<_, _>>(),
        agent_version: None,
        agent_tags: BTreeMap::new(),
        observed_ip: None,
        ip_confirmed: false,
        tags: BTreeMap::new(),
        state: HostState::default(),
        settings: Settings::default(),
        flags: Flags::default(),
    })
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds of a short run")]
fn cpu_ms() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}
