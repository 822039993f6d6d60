//! A fleet, a store and channels for tests: the store keeps what plans and settlements
//! say in the order of the writes, and can end between any two of them.

#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(unreachable_pub, reason = "it is a module of several tests")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fleetbeat_alerts::*;
use fleetbeat_protocol::{
    Flags, HostState, Json, Load, Quiet, Rule, Server, Service, Settings, Severity,
    Status, Timestamp,
};
use fleetbeat_selector::{Field, Host, Value};

/// A host that selectors may ask for its name, its country and its status.
#[derive(Debug, Clone)]
pub struct TestHost(pub Server);

impl Host for TestHost {
    fn value(&self, field: &Field) -> Value<'_> {
        match field {
            Field::Hostname => Value::text(&self.0.hostname),
            Field::Country => Value::text(&self.0.country_code),
            Field::Status => Value::Text(self.0.status.as_str()),
            Field::LoadCpu => self.0.load.cpu.map_or(Value::Missing, Value::Number),
            Field::Enabled => Value::Switch(self.0.flags.enabled),
            _ => Value::Missing,
        }
    }
}

impl FleetHost for TestHost {
    fn server(&self) -> &Server {
        &self.0
    }
}

/// The time so many seconds after the beginning.
pub fn at(seconds: u64) -> Timestamp {
    let start = 1_767_225_600 + i64::try_from(seconds).unwrap();
    Timestamp::from_second(start).unwrap()
}

/// An active host, heard at the beginning.
pub fn host(number: usize, country: &str) -> TestHost {
    let octets = u32::try_from(number).unwrap() + 0x0a00_0000;
    TestHost(Server {
        server_id: format!("srv-{number:08x}"),
        ip: std::net::Ipv4Addr::from(octets).into(),
        hostname: format!("vpn-{number}"),
        country_code: country.to_owned(),
        country: country.to_owned(),
        region: None,
        city: String::new(),
        status: Status::Active,
        last_heartbeat: at(0),
        first_heartbeat: at(0),
        up_since: None,
        load: Load {
            cpu: Some(10.0),
            ram: Some(20.0),
            net: None,
        },
        services: vec![Service {
            name: "wg".to_owned(),
            active: true,
        }],
        metrics: BTreeMap::from([(r#"disk_used_percent{mount="/"}"#.to_owned(), 50.0)]),
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

/// A rule as its JSON says.
pub fn rule(id: &str, json: &str) -> StoredRule {
    let json: Json<'_> = serde_json::from_str(json).unwrap();
    StoredRule {
        id: id.to_owned(),
        version: 1,
        rule: Rule::from_json(&json, &Words).unwrap(),
    }
}

/// Quiet hours by the clock of UTC.
pub fn quiet(from: &str, to: &str) -> Quiet {
    let json = format!(r#"{{"from": "{from}", "to": "{to}", "zone": "UTC"}}"#);
    Quiet::from_json(&serde_json::from_str(&json).unwrap(), &Words).unwrap()
}

/// A channel that is told of everything.
pub fn channel(id: &str) -> ChannelPolicy {
    ChannelPolicy {
        id: id.to_owned(),
        name: id.to_owned(),
        enabled: true,
        min_severity: Severity::Info,
        quiet: None,
    }
}

/// Why something was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Killed;

/// A database: JSON, as in the real ones.
#[derive(Default)]
pub struct Store {
    alerts: BTreeMap<String, String>,
    state: Option<String>,
    deliveries: BTreeMap<String, Row>,
    /// The holder whose writes are taken.
    pub epoch: u32,
    /// So many writes are made before the process is killed.
    pub writes_left: Option<usize>,
    pub events: Vec<(String, AlertEventKind)>,
}

/// A delivery in the database.
#[derive(Clone)]
struct Row {
    body: String,
    state: DeliveryState,
    tries: u32,
    next_at: Timestamp,
    message: Option<String>,
}

impl Row {
    fn read(&self) -> SavedDelivery {
        SavedDelivery {
            delivery: serde_json::from_str(&self.body).unwrap(),
            state: self.state,
            tries: self.tries,
            next_at: self.next_at,
            message: self.message.clone(),
        }
    }
}

impl Store {
    fn write(&mut self, epoch: u32) -> Result<(), Killed> {
        if epoch < self.epoch {
            return Err(Killed);
        }
        match &mut self.writes_left {
            Some(0) => Err(Killed),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub fn load(&self, now: Timestamp) -> Saved {
        let after = Saved::ended_after(now);
        let alerts = self.alerts();
        let rows = self.rows();
        Saved {
            state: self
                .state
                .as_ref()
                .map(|text| serde_json::from_str(text).unwrap()),
            alerts: alerts
                .into_iter()
                .filter(|alert| alert.ended_at.is_none_or(|ended| ended > after))
                .collect(),
            deliveries: rows
                .into_iter()
                .filter(|row| {
                    matches!(row.state, DeliveryState::Waiting | DeliveryState::Sending)
                        || row.delivery.created_at > after
                })
                .collect(),
        }
    }

    pub fn alerts(&self) -> Vec<Alert> {
        let texts = self.alerts.values();
        texts
            .map(|text| serde_json::from_str(text).unwrap())
            .collect()
    }

    pub fn rows(&self) -> Vec<SavedDelivery> {
        self.deliveries.values().map(Row::read).collect()
    }

    /// Those that somebody has had tried again.
    pub fn retried(&self) -> Vec<SavedDelivery> {
        let rows = self.deliveries.values();
        let waiting =
            rows.filter(|row| row.state == DeliveryState::Waiting && row.tries > 0);
        waiting.map(Row::read).collect()
    }

    /// Has dead deliveries tried again. Gives their ids.
    pub fn retry_dead(
        &mut self,
        now: Timestamp,
        is_meant: impl Fn(&Delivery) -> bool,
    ) -> Vec<String> {
        let dead = self.deliveries.iter_mut();
        let dead = dead.filter(|(_, row)| {
            row.state == DeliveryState::Dead
                && row.tries > 0
                && is_meant(&row.read().delivery)
        });
        dead.map(|(id, row)| {
            row.state = DeliveryState::Waiting;
            row.next_at = now;
            id.clone()
        })
        .collect()
    }

    /// The writes of a plan, in their order.
    pub fn write_plan(&mut self, plan: &Plan, epoch: u32) -> Result<(), Killed> {
        for (slice, alerts) in plan.alerts.chunks(2).enumerate() {
            self.write(epoch)?;
            for alert in alerts {
                let text = serde_json::to_string(alert).unwrap();
                self.alerts.insert(alert.id.clone(), text);
            }
            let places = slice * 2..slice * 2 + alerts.len();
            let events = plan.events.iter().filter(|e| places.contains(&e.alert));
            self.events.extend(
                events.map(|event| (plan.alerts[event.alert].id.clone(), event.kind)),
            );
        }
        if let Some(state) = &plan.state {
            self.write(epoch)?;
            self.state = Some(serde_json::to_string(state).unwrap());
        }
        for delivery in &plan.deliveries {
            self.write(epoch)?;
            let row = Row {
                body: serde_json::to_string(delivery).unwrap(),
                state: DeliveryState::Waiting,
                tries: 0,
                next_at: delivery.created_at,
                message: None,
            };
            self.deliveries.insert(delivery.id.clone(), row);
        }
        for change in &plan.changed_waiting {
            self.write(epoch)?;
            let row = self.deliveries.get_mut(&change.delivery.id);
            if let Some(row) = row.filter(|row| row.state == DeliveryState::Waiting) {
                row.body = serde_json::to_string(&change.delivery).unwrap();
                row.state = change.state;
            }
        }
        Ok(())
    }

    pub fn claim(&mut self, claim: &Claim, epoch: u32) -> Result<(), Killed> {
        self.write(epoch)?;
        let row = self.deliveries.get_mut(&claim.id).unwrap();
        assert!(matches!(
            row.state,
            DeliveryState::Waiting | DeliveryState::Sending
        ));
        row.state = DeliveryState::Sending;
        row.tries += 1;
        row.message = Some(claim.message.clone());
        Ok(())
    }

    pub fn settle(
        &mut self,
        id: &str,
        settlement: &Settlement,
        epoch: u32,
    ) -> Result<(), Killed> {
        self.write(epoch)?;
        let row = self.deliveries.get_mut(id).unwrap();
        match settlement {
            Settlement::Sent => row.state = DeliveryState::Sent,
            Settlement::Dead { .. } => row.state = DeliveryState::Dead,
            Settlement::Again { at, .. } => {
                row.state = DeliveryState::Waiting;
                row.next_at = *at;
            }
        }
        Ok(())
    }
}

/// What a message says: of alerts the news, in order.
pub type Items = Vec<(String, News)>;

/// The text of a message, which is its items.
pub fn render(draft: &Draft<'_>) -> String {
    let items = draft.items.iter();
    let items: Items = items
        .map(|item| (item.alert.id.clone(), item.news))
        .collect();
    serde_json::to_string(&items).unwrap()
}

/// How a channel behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Works,
    /// Nothing arrives.
    Fails,
    /// It arrives, and the answer is lost.
    Loses,
    Refuses,
    /// Nothing arrives, and that is known only [`HANGS_S`] later.
    Hangs,
}

/// The deadline of a try, in seconds: looks go on meanwhile.
pub const HANGS_S: u64 = 15;

/// What a channel has got.
#[derive(Default)]
pub struct Inbox {
    /// Each delivery once, in the order of their first arrivals.
    pub got: Vec<(String, Items)>,
    ids: BTreeSet<String>,
    pub arrivals: usize,
}

impl Inbox {
    pub fn take(&mut self, claim: &Claim) {
        self.arrivals += 1;
        if self.ids.insert(claim.id.clone()) {
            let items = serde_json::from_str(&claim.message).unwrap();
            self.got.push((claim.id.clone(), items));
        }
    }
}

/// Everything: hosts, admins' settings, the store, an engine, and channels.
pub struct World {
    pub now_s: u64,
    pub hosts: Vec<TestHost>,
    pub rules: Vec<StoredRule>,
    pub mutes: Vec<StoredMute>,
    pub channels: Vec<ChannelPolicy>,
    pub acks: Vec<(String, Acknowledgement)>,
    pub events: Vec<HostEvent>,
    pub hearing: Hearing,
    pub store: Store,
    pub engine: Option<Engine>,
    pub inboxes: BTreeMap<String, Inbox>,
    pub moods: BTreeMap<String, Mood>,
    pub epoch: u32,
    /// The tries that hang, and when each is given up.
    hanging: Vec<(u64, String)>,
    last_look_s: Option<u64>,
    seed: u64,
}

fn failed() -> Outcome {
    Outcome::Failed {
        error: "timeout".to_owned(),
        retry_after: None,
    }
}

pub const DOWN_AFTER_S: u64 = 240;

impl World {
    pub fn new(hosts: Vec<TestHost>, rules: Vec<StoredRule>, channels: &[&str]) -> World {
        World {
            now_s: 0,
            hosts,
            rules,
            mutes: Vec::new(),
            channels: channels.iter().map(|id| channel(id)).collect(),
            acks: Vec::new(),
            events: Vec::new(),
            hearing: Hearing::Well,
            store: Store::default(),
            engine: None,
            inboxes: BTreeMap::new(),
            moods: BTreeMap::new(),
            epoch: 0,
            hanging: Vec::new(),
            last_look_s: None,
            seed: 1,
        }
    }

    pub fn now(&self) -> Timestamp {
        at(self.now_s)
    }

    /// An engine of what the store has.
    pub fn load(&mut self) -> Engine {
        self.seed += 1;
        let mut random = fastrand::Rng::with_seed(self.seed);
        Engine::load(
            self.store.load(self.now()),
            Box::new(move || random.u64(..)),
        )
    }

    /// The process ends, and another one starts.
    pub fn restart(&mut self) {
        self.engine = None;
        self.hanging.clear();
        self.store.writes_left = None;
    }

    /// The host is heard now.
    pub fn hear(&mut self, place: usize) {
        let now = self.now();
        let server = &mut self.hosts[place].0;
        server.last_heartbeat = now;
        server.status = Status::Active;
    }

    /// What the sweep does.
    pub fn sweep(&mut self) {
        let now_s = self.now().as_second();
        for host in &mut self.hosts {
            let age = now_s - host.0.last_heartbeat.as_second();
            if age >= i64::try_from(DOWN_AFTER_S).unwrap() {
                host.0.status = Status::Down;
            }
        }
    }

    /// One look, with all that follows: whatever cannot be written ends the process.
    pub fn tick(&mut self) {
        let mut engine = match self.engine.take() {
            Some(engine) => engine,
            None => {
                self.last_look_s = None;
                self.load()
            }
        };
        let result = self.look(&mut engine).and_then(|()| self.send(&mut engine));
        match result {
            Ok(()) => self.engine = Some(engine),
            Err(Killed) => self.restart(),
        }
    }

    /// One look of an engine, written.
    pub fn look(&mut self, engine: &mut Engine) -> Result<(), Killed> {
        let elapsed = self.last_look_s.map_or(0, |last| self.now_s - last);
        self.last_look_s = Some(self.now_s);
        let after = engine.state().events_after;
        let events = self.events.iter().filter(|event| event.number > after);
        let events: Vec<HostEvent> = events.cloned().collect();
        let through = self.events.last().map_or(0, |event| event.number);
        let retried = self.store.retried();
        let plan = engine.tick(&Look {
            now: self.now(),
            elapsed: Duration::from_secs(elapsed),
            down_after: Duration::from_secs(DOWN_AFTER_S),
            hearing: self.hearing,
            hosts: &self.hosts,
            events: &events,
            events_through: through,
            rules: &self.rules,
            mutes: &self.mutes,
            channels: &self.channels,
            acks: &self.acks,
            retried: &retried,
        });
        self.store.write_plan(&plan, self.epoch)
    }

    /// Sends what is due.
    pub fn send(&mut self, engine: &mut Engine) -> Result<(), Killed> {
        let now_s = self.now_s;
        let (over, hanging) = self
            .hanging
            .drain(..)
            .partition(|(until, _)| *until <= now_s);
        self.hanging = hanging;
        let over: Vec<(u64, String)> = over;
        for (_, id) in over {
            self.settle(engine, &id, failed())?;
        }
        for id in engine.busy_channels() {
            while let Some(claim) = engine.next_message(&id, self.now(), render) {
                self.store.claim(&claim, self.epoch)?;
                let mood = self.moods.get(&id).copied().unwrap_or(Mood::Works);
                if matches!(mood, Mood::Works | Mood::Loses) {
                    self.inboxes.entry(id.clone()).or_default().take(&claim);
                }
                let outcome = match mood {
                    Mood::Works => Outcome::Sent,
                    Mood::Refuses => Outcome::Refused {
                        error: "refused".to_owned(),
                    },
                    Mood::Fails | Mood::Loses => failed(),
                    Mood::Hangs => {
                        self.hanging.push((self.now_s + HANGS_S, claim.id));
                        continue;
                    }
                };
                self.settle(engine, &claim.id, outcome)?;
            }
        }
        Ok(())
    }

    fn settle(
        &mut self,
        engine: &mut Engine,
        id: &str,
        outcome: Outcome,
    ) -> Result<(), Killed> {
        let settlement = engine.settled(id, outcome, self.now()).unwrap();
        self.store.settle(id, &settlement, self.epoch)
    }

    /// Looks each ten seconds for so long; `each` changes the world before each look.
    pub fn run(&mut self, seconds: u64, mut each: impl FnMut(&mut World)) {
        let end = self.now_s + seconds;
        while self.now_s < end {
            self.now_s += 10;
            each(self);
            self.sweep();
            self.tick();
        }
    }

    /// Every host in its turn is heard each two minutes, if `is_up` says so.
    pub fn hear_all(&mut self, is_up: impl Fn(usize) -> bool) {
        for place in 0..self.hosts.len() {
            let turn = (place as u64 * 10) % 120;
            if self.now_s % 120 == turn && is_up(place) {
                self.hear(place);
            }
        }
    }

    /// What a channel has got, each message as its news.
    pub fn got(&self, channel: &str) -> Vec<Vec<News>> {
        let inbox = self.inboxes.get(channel);
        let got = inbox.into_iter().flat_map(|inbox| &inbox.got);
        got.map(|(_, items)| items.iter().map(|(_, news)| *news).collect())
            .collect()
    }
}
