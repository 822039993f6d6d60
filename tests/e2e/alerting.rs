//! Alerts that are really sent: hosts fall silent, and the peers of channels are told, over
//! the real program.
//!
//! The server looks at alerts every ten seconds, which is what these tests take their time
//! with.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fleetbeat_tools::client::{self, Answer};
use fleetbeat_tools::fake_http::{FakeHttp, Received, Reply};
use fleetbeat_tools::fake_smtp::{Behaviour, FakeSmtp};
use fleetbeat_tools::server::{AGENT_KEY, Database, FleetbeatServer};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// Channels may be on loopback, and hosts are down soon.
pub(crate) const SETTINGS: &str = "[alerts]\nallow_private = [\"127.0.0.0/8\"]\n\
    external_url = \"https://fleet.example\"\n\
    [sweep]\ninterval = \"1s\"\ndown_after = \"5s\"\n";
/// Hosts of each test.
const HOSTS: u8 = 4;
/// The time between two heartbeats of a host.
const BEAT_EVERY: Duration = Duration::from_millis(300);
/// Longest wait: some looks, or the end of a lease and some looks, on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);
/// Pause between two looks at a condition.
const POLL: Duration = Duration::from_millis(20);

/// Waits until `condition` gives something.
pub(crate) fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let ends_at = Instant::now() + LIMIT;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < ends_at, "waited in vain for {what}");
        thread::sleep(POLL);
    }
}

/// Hosts that beat in a thread of their own; dropping the value ends the thread.
pub(crate) struct Hosts {
    bodies: Arc<Mutex<BTreeMap<u8, Value>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Hosts {
    /// All hosts beat, to the first of these servers that answers.
    pub(crate) fn start(servers: Vec<SocketAddr>) -> Hosts {
        let hosts = (1..=HOSTS).map(|number| (number, body(number)));
        let bodies = Arc::new(Mutex::new(hosts.collect::<BTreeMap<u8, Value>>()));
        let stop = Arc::new(AtomicBool::new(false));
        let (beating, stopped) = (bodies.clone(), stop.clone());
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let bodies: Vec<Value> =
                    beating.lock().unwrap().values().cloned().collect();
                bodies.iter().for_each(|body| beat(&servers, body));
                thread::sleep(BEAT_EVERY);
            }
        });
        Hosts {
            bodies,
            stop,
            thread: Some(thread),
        }
    }

    pub(crate) fn fall_silent(&self, number: u8) {
        self.bodies.lock().unwrap().remove(&number);
    }

    pub(crate) fn come_back(&self, number: u8) {
        self.set(number, body(number));
    }

    fn set(&self, number: u8, body: Value) {
        self.bodies.lock().unwrap().insert(number, body);
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

pub(crate) fn name(number: u8) -> String {
    format!("vpn-{number}")
}

fn body(number: u8) -> Value {
    let minimal = include_str!("../../protocol/golden/heartbeat-minimal.json");
    let mut body: Value = serde_json::from_str(minimal).unwrap();
    body["ip"] = format!("10.0.0.{number}").into();
    body["hostname"] = name(number).into();
    body["services"] = json!([{"name": "wg", "active": true}]);
    body
}

fn beat(servers: &[SocketAddr], body: &Value) {
    let headers = [
        ("X-API-Key", AGENT_KEY),
        ("Content-Type", "application/json"),
    ];
    let body = body.to_string();
    // A server that is dead takes nothing, as it is meant.
    let _ = servers.iter().find(|server| {
        let target = "/heartbeat";
        let answer = client::request(**server, "POST", target, &headers, body.as_bytes());
        answer.is_ok_and(|answer| answer.status == 200)
    });
}

/// A server, an admin's token for it, and its hosts.
pub(crate) struct Scene {
    pub(crate) hosts: Hosts,
    pub(crate) server: FleetbeatServer,
    pub(crate) token: String,
}

impl Scene {
    /// A server on the embedded store, with further settings, that has heard its hosts.
    pub(crate) fn start(settings: &str) -> Scene {
        let server = FleetbeatServer::start_with(&format!("{SETTINGS}{settings}"), &[]);
        let hosts = Hosts::start(vec![server.address()]);
        Scene::of(server, hosts)
    }

    pub(crate) fn of(server: FleetbeatServer, hosts: Hosts) -> Scene {
        let token = server.admin_token();
        let scene = Scene {
            hosts,
            server,
            token,
        };
        eventually("the hosts", || {
            let heard = scene.server.servers(&scene.token).len();
            (heard == usize::from(HOSTS)).then_some(())
        });
        scene
    }

    pub(crate) fn api(&self, method: &str, target: &str, body: Option<&Value>) -> Answer {
        self.server.api(&self.token, method, target, body)
    }

    pub(crate) fn get(&self, target: &str) -> Value {
        let answer = self.api("GET", target, None);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// Makes something, and gives its id.
    pub(crate) fn make(&self, target: &str, body: &Value) -> String {
        let made = self.api("POST", target, Some(body));
        assert_eq!(made.status, 201, "{made:?}");
        text(&made.json()["id"])
    }

    /// A channel that posts our own JSON to the peer.
    pub(crate) fn webhook(&self, peer: &FakeHttp) -> String {
        let settings = json!({"url": peer.url("/hook")});
        self.channel("webhook", &settings)
    }

    pub(crate) fn channel(&self, kind: &str, settings: &Value) -> String {
        let body = json!({"name": kind, "kind": kind, "settings": settings});
        self.make("/channels", &body)
    }

    /// A rule that tells every channel of each host at once. The rules that a server
    /// begins with, if they are there already, are removed.
    pub(crate) fn rule(&self, condition: Value) -> String {
        let mut rule = condition;
        for (member, value) in [
            ("name", json!("a rule of the tests")),
            ("severity", json!("critical")),
            ("group_by", json!(["hostname"])),
            ("group_wait", json!("0s")),
            ("group_interval", json!("10s")),
            ("channels", json!(["all"])),
        ] {
            rule[member] = value;
        }
        let id = self.make("/alert-rules", &rule);
        for other in self.get("/alert-rules").as_array().unwrap() {
            if other["created_by"] == "server" {
                let target = format!("/alert-rules/{}", text(&other["id"]));
                assert_eq!(self.api("DELETE", &target, None).status, 204);
            }
        }
        id
    }

    /// The alerts of a host in this state.
    fn alerts(&self, state: &str, host: u8) -> Vec<Value> {
        let target = format!("/alerts?state={state}&ip=10.0.0.{host}");
        self.get(&target)["alerts"].as_array().unwrap().clone()
    }

    /// The messages on their way to a channel, or that were, the oldest first.
    pub(crate) fn deliveries(&self, channel: &str) -> Vec<Value> {
        let target = format!("/deliveries?channel={channel}");
        let deliveries = self.get(&target)["deliveries"].as_array().unwrap().clone();
        deliveries.into_iter().rev().collect()
    }

    /// Waits until the server knows that so many messages have arrived.
    pub(crate) fn wait_for_sent(&self, channel: &str, count: usize) -> Vec<Value> {
        eventually("messages to be sent", || {
            let deliveries = self.deliveries(channel);
            let sent = deliveries.iter().filter(|one| one["state"] == "sent");
            (sent.count() == count).then_some(deliveries)
        })
    }
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// The messages about a host that a peer was sent.
pub(crate) fn told(peer: &FakeHttp, host: u8) -> Vec<Received> {
    let is_about = |received: &Received| {
        let message = received.json();
        let items = message["items"].as_array().unwrap();
        items
            .iter()
            .any(|item| item["subject"]["host"]["name"] == name(host))
    };
    let posted = peer.received().into_iter();
    posted.filter(is_about).collect()
}

pub(crate) fn wait_for_told(peer: &FakeHttp, host: u8, count: usize) -> Vec<Received> {
    eventually(&format!("message {count} about {}", name(host)), || {
        let told = told(peer, host);
        (told.len() >= count).then_some(told)
    })
}

/// What the messages say, in their order.
pub(crate) fn statuses(told: &[Received]) -> Vec<String> {
    told.iter().map(|one| text(&one.json()["status"])).collect()
}

/// The value of a header of a mail.
pub(crate) fn header<'a>(mail: &'a str, name: &str) -> Option<&'a str> {
    let (head, _) = mail.split_once("\n\n")?;
    let mut lines = head.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[test]
fn an_outage_and_its_end_are_told_once() {
    let (peer, smtp) = (FakeHttp::start([]), FakeSmtp::start(Behaviour::default()));
    let scene = Scene::start(&format!(
        "[smtp]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\n\
         from = \"fleetbeat@example.org\"\n",
        smtp.address().port()
    ));
    let hook = scene.webhook(&peer);
    let mail = scene.channel("email", &json!({"to": ["ops@example.org"]}));
    let rule = scene.rule(json!({"when": "down"}));
    scene.hosts.fall_silent(1);

    let firing = wait_for_told(&peer, 1, 1).remove(0);
    let message = firing.json();
    assert_eq!(
        (firing.method.as_str(), firing.path.as_str()),
        ("POST", "/hook")
    );
    assert_eq!(message["status"], "firing");
    assert_eq!(message["items"][0]["what"], "is down");
    let id = text(&message["id"]);
    assert_eq!(firing.header("x-fleetbeat-delivery"), Some(id.as_str()));
    let alert = scene.alerts("firing", 1).remove(0);
    assert_eq!(alert["id"], message["items"][0]["alert"]);
    assert_eq!(
        (&alert["rule"], &alert["ack"]),
        (&json!(rule), &Value::Null)
    );
    let sent = scene.wait_for_sent(&hook, 1).remove(0);
    assert_eq!((&sent["id"], &sent["tries"]), (&json!(id), &json!(1)));
    assert_eq!(sent["alerts"], json!([alert["id"]]));

    scene.hosts.come_back(1);
    let told = wait_for_told(&peer, 1, 2);
    let recovery = told[1].json();
    assert_eq!(recovery["status"], "resolved");
    assert_eq!(recovery["reply_to"], json!(id));
    assert_eq!(recovery["items"][0]["alert"], alert["id"]);
    assert_eq!(scene.alerts("resolved", 1)[0]["id"], alert["id"]);
    assert!(scene.alerts("firing", 1).is_empty());

    let mails = smtp.wait_for(2, LIMIT);
    assert_eq!(
        (mails[0].from.as_str(), mails[0].to.as_slice()),
        ("fleetbeat@example.org", &["ops@example.org".to_owned()][..])
    );
    assert!(mails[0].data.contains(&name(1)), "{:?}", mails[0]);
    let first = header(&mails[0].data, "Message-ID").unwrap();
    assert_eq!(header(&mails[0].data, "In-Reply-To"), None);
    assert_eq!(header(&mails[1].data, "In-Reply-To"), Some(first));

    for channel in [&hook, &mail] {
        assert_eq!(scene.wait_for_sent(channel, 2).len(), 2);
    }
    let kinds = eventually("the events", || {
        let events = scene.get("/events?kind=alert.*&after=0");
        let events = events["events"].as_array().unwrap().iter();
        let kinds: Vec<String> = events.map(|event| text(&event["kind"])).collect();
        (kinds.len() >= 2).then_some(kinds)
    });
    assert_eq!(kinds, ["alert.firing", "alert.resolved"]);
    assert_eq!((peer.received().len(), smtp.mails().len()), (2, 2));
}

#[test]
fn a_killed_server_goes_on_where_it_was() {
    // The second peer has the first message when the server is killed, and the server has
    // no answer.
    let (peer, slow) = (FakeHttp::start([]), FakeHttp::start([Reply::Drip]));
    let mut scene = Scene::start("");
    let hook = scene.webhook(&peer);
    scene.webhook(&slow);
    scene.rule(json!({"when": "down"}));
    scene.hosts.fall_silent(1);
    scene.wait_for_sent(&hook, 1);
    wait_for_told(&slow, 1, 1);

    scene.server.kill();
    scene.server.restart();
    let again = wait_for_told(&slow, 1, 2);
    assert_eq!(
        again[0].body, again[1].body,
        "as it was, so that the peer knows it"
    );

    // What is new is told, so the server has looked.
    scene.hosts.fall_silent(2);
    wait_for_told(&peer, 2, 1);
    assert_eq!(statuses(&told(&peer, 1)), ["firing"]);
    scene.hosts.come_back(1);
    assert_eq!(
        statuses(&wait_for_told(&peer, 1, 2)),
        ["firing", "resolved"]
    );
    let slow = wait_for_told(&slow, 1, 3);
    assert_eq!(statuses(&slow), ["firing", "firing", "resolved"]);
    assert_eq!(slow[2].json()["reply_to"], slow[0].json()["id"]);
}

#[test]
fn a_peer_that_refuses_is_asked_again_with_the_same_message() {
    const WAIT: Duration = Duration::from_secs(20);
    let replies = [
        Reply::status(500, "no"),
        Reply::status(429, "no").with("Retry-After", "20"),
    ];
    let peer = FakeHttp::start(replies);
    let scene = Scene::start("");
    let hook = scene.webhook(&peer);
    scene.rule(json!({"when": "down"}));
    scene.hosts.fall_silent(1);

    let state = || text(&scene.get(&format!("/channels/{hook}"))["state"]);
    wait_for_told(&peer, 1, 1);
    let waiting = eventually("the failure to be known", || {
        let waiting = scene.deliveries(&hook).remove(0);
        (waiting["state"] == "waiting" && waiting["tries"] == 1).then_some(waiting)
    });
    assert_eq!(waiting["error"], "refused 500");
    assert_eq!(state(), "failing");

    let tries = wait_for_told(&peer, 1, 3);
    assert!(
        tries.iter().all(|one| one.body == tries[0].body),
        "{tries:#?}"
    );
    let [second, third] = [&tries[1], &tries[2]].map(|one| one.at);
    assert!(third - second >= WAIT, "{:?}", third - second);
    let sent = scene.wait_for_sent(&hook, 1);
    assert_eq!((sent.len(), &sent[0]["tries"]), (1, &json!(3)));
    assert_eq!(state(), "well");
    assert_eq!(peer.received().len(), 3);
}

#[test]
fn what_is_muted_is_silent_and_a_link_takes_on_what_is_told() {
    let peer = FakeHttp::start([]);
    let scene = Scene::start("");
    scene.webhook(&peer);
    let until = Timestamp::now() + SignedDuration::from_hours(1);
    let mute = json!({"where": "hostname = vpn-2", "until": until.to_string()});
    let mute = scene.make("/mutes", &mute);
    scene.rule(json!({"when": "down"}));
    scene.rule(json!({"when": "service", "service": "w*"}));
    scene.hosts.fall_silent(2);
    let mut stopped = body(3);
    stopped["services"][0]["active"] = false.into();
    scene.hosts.set(3, stopped);

    let firing = wait_for_told(&peer, 3, 1).remove(0).json();
    assert_eq!(firing["items"][0]["what"], "service wg is not running");
    let muted = eventually("the muted alert", || scene.alerts("firing", 2).pop());
    assert_eq!(muted["held_by"], json!({"mute": mute}));

    // The link of the message.
    let link = text(&firing["links"]["ack"]);
    let path = link.strip_prefix("https://fleet.example").unwrap();
    let ack = || scene.alerts("firing", 3)[0]["ack"].clone();
    let open = |method: &str, path: &str| scene.server.request(method, path, &[], b"");
    let page = open("GET", path);
    assert_eq!(page.status, 200, "{page:?}");
    let page = String::from_utf8(page.body).unwrap();
    assert!(
        page.contains(&name(3)) && page.contains("<button>"),
        "{page}"
    );
    assert_eq!(ack(), Value::Null, "programs open links, too");
    let last = if path.ends_with('0') { '1' } else { '0' };
    let forged = format!("{}{last}", &path[..path.len() - 1]);
    for method in ["GET", "POST"] {
        assert_eq!(open(method, &forged).status, 404);
    }
    assert_eq!(ack(), Value::Null);
    assert_eq!(open("POST", path).status, 200);
    assert_eq!(ack()["by"], "the link in a message");

    scene.hosts.come_back(2);
    scene.hosts.come_back(3);
    let told_of_3 = wait_for_told(&peer, 3, 2);
    assert_eq!(statuses(&told_of_3), ["firing", "resolved"]);
    eventually("the end of the muted alert", || {
        scene.alerts("resolved", 2).pop()
    });
    assert!(told(&peer, 2).is_empty());
    let target = format!("/deliveries?alert={}", text(&muted["id"]));
    assert_eq!(scene.get(&target)["deliveries"], json!([]));
    let page = String::from_utf8(open("GET", path).body).unwrap();
    assert!(!page.contains("<button>"), "{page}");
}

/// What comes of a message to the URL: `set` if it cannot even be set, or the class of the
/// error.
fn try_url(server: &FleetbeatServer, token: &str, url: &str) -> String {
    let channel = json!({"name": "hook", "kind": "webhook", "settings": {"url": url}});
    let made = server.api(token, "POST", "/channels", Some(&channel));
    if made.status == 422 {
        assert_eq!(
            made.json()["errors"][0]["field"],
            "settings.url",
            "{made:?}"
        );
        return "set".to_owned();
    }
    assert_eq!(made.status, 201, "{made:?}");
    let target = format!("/channels/{}/test", text(&made.json()["id"]));
    let tested = server.api(token, "POST", &target, None).json();
    assert_eq!(tested["ok"], false, "{url}: {tested}");
    text(&tested["class"])
}

#[test]
fn channels_do_not_lead_inside() {
    let inside = FakeHttp::start([]);
    let port = inside.address().port();
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    for (url, expected) in [
        (format!("http://127.0.0.1:{port}/"), "set"),
        (format!("https://127.0.0.1:{port}/"), "set"),
        (format!("https://[::ffff:127.0.0.1]:{port}/"), "set"),
        (format!("https://localhost:{port}/"), "set"),
        (format!("https://2130706433:{port}/"), "address"),
        (format!("https://0x7f.1:{port}/"), "address"),
        (format!("https://127.1:{port}/"), "address"),
    ] {
        assert_eq!(try_url(&server, &token, &url), expected, "{url}");
    }

    // Where http is allowed somewhere, it is not allowed elsewhere, and a redirect leads
    // nowhere.
    let redirect =
        Reply::status(302, "").with("Location", &format!("http://127.0.0.1:{port}/"));
    let allowed = FakeHttp::start([redirect]);
    let settings = "[alerts]\nallow_private = [\"127.0.0.1/32\"]\n";
    let server = FleetbeatServer::start_with(settings, &[]);
    let token = server.admin_token();
    for (url, expected) in [
        (format!("http://127.0.0.2:{port}/"), "set"),
        (format!("http://[::ffff:127.0.0.2]:{port}/"), "set"),
        (format!("http://[::1]:{port}/"), "set"),
        (format!("http://2130706434:{port}/"), "address"),
        (format!("http://127.2:{port}/"), "address"),
        (allowed.url("/"), "status"),
    ] {
        assert_eq!(try_url(&server, &token, &url), expected, "{url}");
    }
    assert_eq!(allowed.received().len(), 1);
    assert!(inside.received().is_empty(), "{:?}", inside.received());
}

/// Every file below the folder that has the text in it.
pub(crate) fn files_with(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for file in fs::read_dir(folder).unwrap().flatten() {
        let path = file.path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
            continue;
        }
        let bytes = fs::read(&path).unwrap_or_default();
        if bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
        {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn secrets_of_channels_are_told_to_their_peer_alone() {
    const SECRETS: [&str; 3] = ["path-8d1f", "signs-5e2a", "Bearer authorizes-77c0"];
    let peer = FakeHttp::start([Reply::status(200, "{}"), Reply::status(403, "no")]);
    let server = FleetbeatServer::start_with(SETTINGS, &[]);
    let token = server.admin_token();
    let api = |method: &str, target: &str, body: Option<&Value>| {
        let answer = server.api(&token, method, target, body);
        let shown = String::from_utf8_lossy(&answer.body).into_owned();
        for secret in SECRETS {
            assert!(!shown.contains(secret), "{method} {target}: {shown}");
        }
        answer
    };
    let [path, secret, authorization] = SECRETS;
    let settings = json!({
        "url": peer.url(&format!("/{path}")), "secret": secret,
        "authorization": authorization,
    });
    let mut channel = json!({"name": "hook", "kind": "webhook", "settings": settings});
    let made = api("POST", "/channels", Some(&channel)).json();
    let target = format!("/channels/{}", text(&made["id"]));
    let shown = json!({"set": true, "host": "127.0.0.1"});
    assert_eq!(api("GET", &target, None).json()["settings"]["url"], shown);
    let test = || api("POST", &format!("{target}/test"), None).json();
    assert_eq!(test()["ok"], true);
    assert_eq!(test()["status"], 403);

    let received = peer.received().remove(0);
    assert_eq!(received.path, format!("/{path}"));
    assert_eq!(received.header("authorization"), Some(authorization));
    assert!(received.header("x-fleetbeat-signature").is_some());

    // What is not given stays, but for another URL it has to be given.
    channel["settings"] = json!({});
    assert_eq!(api("PUT", &target, Some(&channel)).status, 200);
    assert_eq!(test()["ok"], true);
    assert_eq!(
        peer.received()[2].header("authorization"),
        Some(authorization)
    );
    channel["settings"] = json!({"url": peer.url("/elsewhere")});
    assert_eq!(api("PUT", &target, Some(&channel)).status, 422);

    for target in ["/channels", "/events", "/deliveries", "/alerts", "/metrics"] {
        assert_eq!(api("GET", target, None).status, 200, "{target}");
    }
    for secret in SECRETS {
        assert!(!server.log().contains(secret), "{}", server.log());
        assert_eq!(files_with(&server.data(), secret), [""; 0]);
    }
}

#[test]
fn an_instance_that_is_killed_has_a_successor() {
    let (database, peer) = (Database::new(), FakeHttp::start([]));
    let pings = FakeHttp::start([]);
    let start = |number: usize| {
        let watchdog = format!("{SETTINGS}[watchdog]\ninterval = \"10s\"\nurl = ");
        let settings = format!("{watchdog}{:?}\n", pings.url(&format!("/{number}")));
        FleetbeatServer::start_on_mongodb(&database, &database.url, "", &settings)
    };
    let mut servers = [start(0), start(1)];
    let addresses = servers.each_ref().map(FleetbeatServer::address);
    let [first, second] = &servers;
    let hosts = Hosts::start(addresses.to_vec());
    let token = first.admin_token();
    eventually("the hosts", || {
        let heard = second.servers(&token).len();
        (heard == usize::from(HOSTS)).then_some(())
    });
    let post = |target: &str, body: &Value| {
        let made = first.api(&token, "POST", target, Some(body));
        assert_eq!(made.status, 201, "{made:?}");
    };
    let channel = json!({
        "name": "hook", "kind": "webhook", "settings": {"url": peer.url("/hook")},
    });
    post("/channels", &channel);
    post(
        "/alert-rules",
        &json!({
            "name": "down", "severity": "critical", "when": "down", "where": "hostname = vpn-1",
            "group_wait": "0s", "group_interval": "10s", "channels": ["all"],
        }),
    );
    hosts.fall_silent(1);
    wait_for_told(&peer, 1, 1);

    // Only the one that looks after the alerts says that all is well.
    let first_ping = eventually("a ping", || pings.received().pop());
    let number: usize = first_ping.path.trim_start_matches('/').parse().unwrap();
    assert_eq!(first_ping.method, "GET");
    assert_eq!(statuses(&told(&peer, 1)), ["firing"]);
    servers[number].kill();
    hosts.come_back(1);
    assert_eq!(
        statuses(&wait_for_told(&peer, 1, 2)),
        ["firing", "resolved"]
    );

    let successor = &servers[1 - number];
    let path = format!("/{}", 1 - number);
    eventually("a ping of the successor", || {
        pings.received().into_iter().find(|ping| ping.path == path)
    });
    let alerts = successor
        .api(&token, "GET", "/alerts?ip=10.0.0.1", None)
        .json();
    assert_eq!(alerts["alerts"].as_array().unwrap().len(), 1, "{alerts}");
    assert_eq!(alerts["alerts"][0]["state"], "resolved");
    assert_eq!(statuses(&told(&peer, 1)), ["firing", "resolved"]);
}

#[test]
fn the_watchdog_is_told_while_all_is_well() {
    let pings = FakeHttp::start([Reply::status(500, "no")]);
    let url = pings.url("/ping");
    let server = FleetbeatServer::start_with(
        &format!("{SETTINGS}[watchdog]\nurl = {url:?}\ninterval = \"10s\"\n"),
        &[],
    );
    let pinged = pings.wait_for(2, LIMIT);
    for ping in &pinged {
        assert_eq!((ping.method.as_str(), ping.path.as_str()), ("GET", "/ping"));
    }
    eventually("the end of the trouble", || {
        let end = "the watchdog is told again that all is well";
        server.log().contains(end).then_some(())
    });
    let log = server.log();
    assert!(
        log.contains("the watchdog is not told that all is well"),
        "{log}"
    );
    assert!(!log.contains("/ping"), "its URL is a secret: {log}");
}

#[test]
fn a_channel_that_fails_is_shown_by_every_instance() {
    let refusals = (0..9).map(|_| Reply::status(500, "no"));
    let (database, peer) = (Database::new(), FakeHttp::start(refusals));
    let start =
        || FleetbeatServer::start_on_mongodb(&database, &database.url, "", SETTINGS);
    let servers = [start(), start()];
    let addresses = servers.each_ref().map(FleetbeatServer::address);
    let hosts = Hosts::start(addresses.to_vec());
    let token = servers[0].admin_token();
    eventually("the hosts", || {
        let heard = servers[1].servers(&token).len();
        (heard == usize::from(HOSTS)).then_some(())
    });
    let url = peer.url("/hook");
    for (target, body) in [
        (
            "/channels",
            json!({"name": "hook", "kind": "webhook", "settings": {"url": url}}),
        ),
        (
            "/alert-rules",
            json!({
                "name": "down", "severity": "critical", "when": "down",
                "where": "hostname = vpn-1", "group_wait": "0s", "channels": ["all"],
            }),
        ),
    ] {
        let made = servers[0].api(&token, "POST", target, Some(&body));
        assert_eq!(made.status, 201, "{made:?}");
    }

    hosts.fall_silent(1);
    for server in &servers {
        eventually("a channel that fails", || {
            let channels = server.api(&token, "GET", "/channels", None).json();
            (channels[0]["state"] == "failing").then_some(())
        });
    }
    let failing = "fleetbeat_channels{state=\"failing\"}";
    let failed = "fleetbeat_deliveries_total{kind=\"webhook\",result=\"failed\"}";
    eventually("metrics of the instance that sends", || {
        let read = |server| crate::metrics::samples(&crate::metrics::metrics(server));
        let mut all = servers.iter().map(read);
        let sends = all.find(|samples| samples[failing] == 1.0)?;
        (sends[failed] >= 1.0).then_some(())
    });
}
