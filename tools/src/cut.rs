//! A fleet of which countries are cut off, a server that is killed or hears nobody, and
//! what a channel is told meanwhile.
//!
//! One country is cut off whole, and of a larger one a part, which is too small for an
//! alert about the country. A single host elsewhere is the witness: when its silence is
//! told, the server has looked, and whatever it had to say besides has been said.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fake_http::FakeHttp;
use crate::fleet::Fleet;
use crate::load;
use crate::server::{AGENT_KEY, FleetbeatServer};
use crate::{client, wait};

/// The country that is cut off whole.
pub const WHOLE: &str = "IS";
/// The larger country, of which a part is.
pub const PART: &str = "NO";
/// The witness's country.
const WITNESS: &str = "GL";
/// The group of the alert that the server hears nobody.
const DEAF: &str = "server_deaf";
/// Connections at once.
const THREADS: usize = 4;
/// Heartbeats in one request while the fleet arrives.
const BATCH: usize = 500;
/// Pause between two looks at a condition.
const POLL: Duration = Duration::from_millis(50);
/// What an outage may be told by: messages until it is over, and messages of its end.
pub const MOST: [usize; 2] = [3, 2];

/// How large the fleet is, and how fast everything goes.
pub struct Plan {
    /// All hosts.
    pub hosts: usize,
    /// Hosts of the country that is cut off whole.
    pub whole: usize,
    /// Hosts of the larger country.
    pub larger: usize,
    /// How many of those are cut off: less than 30 %.
    pub part: usize,
    /// The time between two heartbeats of a host.
    pub interval: Duration,
    /// The server's `[sweep]`.
    pub sweep: &'static str,
    /// Which rules judge.
    pub rules: Rules,
    /// The outage takes at least so long, and in its middle the server is killed.
    pub outage: Duration,
    /// The server is off for so long.
    pub off: Duration,
    /// Longest wait for what has to come.
    pub limit: Duration,
}

/// Which rules judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// Those that a server makes at its first start.
    OfTheServer,
    /// Rules about the same with shorter times.
    Hasty,
}

/// How many messages there were about something: until it was over, and of its end.
pub type Messages = [usize; 2];

/// What a channel was told of an outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// Of the country that was cut off whole.
    pub whole: Messages,
    /// Of the larger country.
    pub part: Messages,
    /// Of either, after the server was killed and before the hosts were back.
    pub after_the_kill: usize,
    /// Of the rest of the fleet, but for the witness.
    pub others: usize,
}

/// A server, its fleet, and its channel's peer.
pub struct Stage<'a> {
    plan: &'a Plan,
    server: FleetbeatServer,
    token: String,
    peer: FakeHttp,
    beats: Beats,
}

impl Stage<'_> {
    /// A server that has heard all hosts.
    ///
    /// # Panics
    /// If the server does not take what it is sent, as in all that follows.
    pub fn start(plan: &Plan) -> Stage<'_> {
        let settings = format!(
            "[alerts]\nallow_private = [\"127.0.0.0/8\"]\n{}",
            plan.sweep
        );
        let server = FleetbeatServer::start_with(&settings, &[]);
        let token = server.admin_token();
        let peer = FakeHttp::start([]);
        let channel = json!({
            "name": "hook", "kind": "webhook", "settings": {"url": peer.url("/hook")},
        });
        make(&server, &token, "/channels", &channel);
        if plan.rules == Rules::Hasty {
            make_hasty_rules(&server, &token);
        }

        let mut fleet = fleet(plan);
        arrive(&server, &mut fleet, plan.hosts);
        let beats = Beats::start(&server, fleet, plan);
        let stage = Stage {
            plan,
            server,
            token,
            peer,
            beats,
        };
        stage.wait_for_hosts("active", plan.hosts);
        if plan.rules == Rules::OfTheServer {
            stage.eventually("the server's rules", || {
                let rules = stage.get("/alert-rules");
                (rules.as_array()?.len() >= 5).then_some(())
            });
        }
        stage
    }

    /// Countries are cut off, the server is killed meanwhile, and all hosts return.
    pub fn outage(&mut self) -> Outage {
        let began = Instant::now();
        self.beats.cut(whole(self.plan));
        self.beats.cut(part(self.plan));
        self.eventually("the outage to be told", || {
            let part = self.firing(PART) == self.plan.part as u64;
            (self.firing(WHOLE) > 0 && part).then_some(())
        });

        pause_until(began + self.plan.outage / 2);
        let before = self.told_of_outage();
        self.server.kill();
        self.server.restart();
        self.hear_of_witness();
        pause_until(began + self.plan.outage);
        let told = [self.told(WHOLE), self.told(PART)].map(|told| told.len());
        let after_the_kill = self.told_of_outage() - before;

        self.beats.restore();
        self.wait_for_peace();
        let whole = [told[0], self.told(WHOLE).len() - told[0]];
        let part = [told[1], self.told(PART).len() - told[1]];
        Outage {
            whole,
            part,
            after_the_kill,
            others: self.told_of_others(),
        }
    }

    /// The server is off. Gives how many messages there were besides those about the
    /// witness, and how many hosts besides it the server calls down once it is back.
    pub fn off(&mut self) -> (usize, usize) {
        let before = self.told_of_all();
        self.server.kill();
        thread::sleep(self.plan.off);
        self.server.restart();
        self.hear_of_witness();
        let down = self.get("/events?kind=host.down&after=0&limit=1000");
        let down = down["events"].as_array().expect("events").iter();
        let witness = hostname(self.plan);
        let down = down.filter(|event| !event.to_string().contains(&witness));
        let down = down.count();
        self.beats.restore();
        self.wait_for_peace();
        (self.told_of_all() - before, down)
    }

    /// The server's network is cut, until every host is called down. Gives the messages
    /// about the server, and how many others there were. The end is told five minutes
    /// after the beginning at the earliest, for which hasty rules do not wait.
    pub fn deaf(&mut self) -> (Messages, usize) {
        let before = self.told_of_all();
        self.beats.cut(0..self.plan.hosts);
        self.eventually("the server to say that it hears nobody", || {
            (self.firing(DEAF) > 0).then_some(())
        });
        self.wait_for_hosts("active", 0);
        let firing = self.told(DEAF).len();

        self.beats.restore();
        self.wait_for_hosts("active", self.plan.hosts);
        self.wait_for_alerts_to_end();
        if self.plan.rules == Rules::OfTheServer {
            self.wait_for_peace();
        }
        let told = self.told(DEAF).len();
        ([firing, told - firing], self.told_of_all() - before - told)
    }

    /// The witness falls silent, and it is told. It stays so until the hosts return.
    fn hear_of_witness(&self) {
        let told = self.told(WITNESS).len();
        self.beats.cut(witness(self.plan));
        self.eventually("the witness's silence to be told", || {
            (self.told(WITNESS).len() > told && self.firing(WITNESS) > 0).then_some(())
        });
    }

    /// Waits until nothing fires.
    fn wait_for_alerts_to_end(&self) {
        self.eventually("all alerts to be over", || {
            let alerts = self.get("/alerts?state=firing,pending&limit=1");
            is_empty(&alerts["alerts"]).then_some(())
        });
    }

    /// Waits until nothing fires and all of that was told.
    fn wait_for_peace(&self) {
        self.wait_for_alerts_to_end();
        self.eventually("all ends to be told", || {
            let waiting = self.get("/deliveries?state=waiting,sending&limit=1");
            let groups = self.last_of_groups();
            let is_over = groups.values().all(|firing| *firing == 0);
            (is_empty(&waiting["deliveries"]) && is_over).then_some(())
        });
    }

    /// How many alerts of a country fire, as its last messages have it.
    fn firing(&self, place: &str) -> u64 {
        let groups = self.last_of_groups().into_iter();
        let of_place = groups.filter(|(key, _)| is_about(key, place));
        of_place.map(|(_, firing)| firing).max().unwrap_or_default()
    }

    /// How many alerts of each group fire, as its last message has it.
    fn last_of_groups(&self) -> BTreeMap<String, u64> {
        self.messages().into_iter().collect()
    }

    /// The messages about a country, or that the server hears nobody.
    fn told(&self, place: &str) -> Vec<String> {
        let keys = self.messages().into_iter().map(|(key, _)| key);
        keys.filter(|key| is_about(key, place)).collect()
    }

    fn told_of_outage(&self) -> usize {
        self.told(WHOLE).len() + self.told(PART).len()
    }

    fn told_of_others(&self) -> usize {
        self.told_of_all() - self.told_of_outage()
    }

    /// All messages but those about the witness.
    fn told_of_all(&self) -> usize {
        self.messages().len() - self.told(WITNESS).len()
    }

    /// The group of each message, and how many of its alerts fire then. A message that was
    /// being sent when the server was killed may come twice, and counts once.
    fn messages(&self) -> Vec<(String, u64)> {
        let mut seen = BTreeSet::new();
        let received = self.peer.received().into_iter();
        let messages = received.filter_map(|received| {
            let message = received.json();
            let group = &message["groups"][0];
            let key = group["key"].as_str().unwrap_or_default().to_owned();
            let is_new = seen.insert(message["id"].to_string());
            is_new.then_some((key, group["firing"].as_u64().unwrap_or_default()))
        });
        messages.collect()
    }

    fn wait_for_hosts(&self, status: &str, count: usize) {
        let target = format!("/servers?all_servers=true&status={status}");
        self.eventually(&format!("{count} hosts that are {status}"), || {
            let shown = self.get(&target);
            (shown.as_array()?.len() == count).then_some(())
        });
    }

    fn get(&self, target: &str) -> Value {
        let answer = self.server.api(&self.token, "GET", target, None);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    fn eventually(&self, what: &str, condition: impl FnMut() -> Option<()>) {
        wait::within(self.plan.limit, POLL, what, condition);
    }
}

fn is_empty(list: &Value) -> bool {
    list.as_array().is_some_and(Vec::is_empty)
}

/// Whether a group is about the country, or the server itself.
fn is_about(key: &str, place: &str) -> bool {
    key == place || key.ends_with(&format!("/country={place}"))
}

fn whole(plan: &Plan) -> Range<usize> {
    0..plan.whole
}

fn part(plan: &Plan) -> Range<usize> {
    plan.whole..plan.whole + plan.part
}

fn witness(plan: &Plan) -> Range<usize> {
    plan.hosts - 1..plan.hosts
}

fn hostname(plan: &Plan) -> String {
    format!("vpn-{}-{:05}", WITNESS.to_lowercase(), plan.hosts)
}

fn fleet(plan: &Plan) -> Fleet {
    let hosts = u32::try_from(plan.hosts).expect("a fleet that can be");
    let mut fleet = Fleet::calm(1, hosts);
    fleet.settle(whole(plan), WHOLE);
    fleet.settle(plan.whole..plan.whole + plan.larger, PART);
    fleet.settle(witness(plan), WITNESS);
    fleet
}

fn pause_until(instant: Instant) {
    thread::sleep(instant.saturating_duration_since(Instant::now()));
}

fn make(server: &FleetbeatServer, token: &str, target: &str, body: &Value) {
    let made = server.api(token, "POST", target, Some(body));
    assert_eq!(made.status, 201, "{made:?}");
}

/// The server makes no rules where there are some.
fn make_hasty_rules(server: &FleetbeatServer, token: &str) {
    let country = json!(["country"]);
    for (name, wait, condition) in [
        // So long that the alert about the country comes first, as of the usual rules.
        ("Host down", "10s", json!({"when": "down", "where": "all"})),
        (
            "Many hosts down",
            "0s",
            json!({"when": "many_down", "hosts": 5, "percent": 30, "within": "10m"}),
        ),
        (
            "Witness",
            "0s",
            json!({"when": "down", "where": format!("country = {WITNESS}")}),
        ),
    ] {
        let mut rule = condition;
        for (member, value) in [
            ("name", json!(name)),
            ("severity", json!("critical")),
            ("group_by", country.clone()),
            ("group_wait", json!(wait)),
            ("group_interval", json!("10s")),
            ("channels", json!(["all"])),
        ] {
            rule[member] = value;
        }
        make(server, token, "/alert-rules", &rule);
    }
}

const HEADERS: [(&str, &str); 2] = [
    ("X-API-Key", AGENT_KEY),
    ("Content-Type", "application/json"),
];

/// Every host beats once.
fn arrive(server: &FleetbeatServer, fleet: &mut Fleet, hosts: usize) {
    let bodies = (0..hosts).filter_map(|host| fleet.next(host));
    let bodies: Vec<Value> = bodies
        .map(|body| {
            let mut body: Value = serde_json::from_slice(&body).expect("JSON");
            body["collected_at"] =
                fleetbeat_protocol::Timestamp::now().to_string().into();
            body
        })
        .collect();
    for batch in bodies.chunks(BATCH) {
        let body = Value::from(batch).to_string();
        let answer = server.post_heartbeat("/heartbeats", body.as_bytes());
        assert_eq!(answer.json()["accepted"], batch.len(), "{answer:?}");
    }
}

/// The heartbeats of all hosts that are not cut off; dropping the value ends them.
struct Beats {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread of the heartbeats is told.
struct Shared {
    stop: AtomicBool,
    cut: Vec<AtomicBool>,
}

impl Beats {
    fn start(server: &FleetbeatServer, mut fleet: Fleet, plan: &Plan) -> Beats {
        let hosts = plan.hosts;
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            cut: (0..hosts).map(|_| AtomicBool::new(false)).collect(),
        });
        let (told, address) = (Arc::clone(&shared), server.address());
        let gap = plan.interval.div_f64(hosts as f64);
        let thread = thread::spawn(move || {
            let (mut host, mut due) = (0, Instant::now());
            // A server that is dead takes nothing, as it is meant.
            load::run(address, THREADS, None, || {
                loop {
                    if told.stop.load(Ordering::Relaxed) {
                        return None;
                    }
                    // What could not be sent in time is not made up for.
                    due = (due + gap).max(Instant::now().checked_sub(POLL)?);
                    pause_until(due);
                    host = (host + 1) % hosts;
                    if told.cut[host].load(Ordering::Relaxed) {
                        continue;
                    }
                    let body = fleet.next(host)?;
                    return Some(client::encode("POST", "/heartbeat", &HEADERS, &body));
                }
            });
        });
        Beats {
            shared,
            thread: Some(thread),
        }
    }

    fn cut(&self, hosts: Range<usize>) {
        for cut in &self.shared.cut[hosts] {
            cut.store(true, Ordering::Relaxed);
        }
    }

    fn restore(&self) {
        for cut in &self.shared.cut {
            cut.store(false, Ordering::Relaxed);
        }
    }
}

impl Drop for Beats {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}
