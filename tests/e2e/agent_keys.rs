//! Hosts' own keys as the API has them: codes, enrolments, conflicts, modes, and what one
//! stolen key can do.

use std::thread;
use std::time::{Duration, Instant};

use fleetbeat_protocol::{AgentId, KeyHash, new_agent_key};
use fleetbeat_tools::client::Answer;
use fleetbeat_tools::server::{AGENT_KEY, Database, FleetbeatServer};
use fleetbeat_tools::wait::wait_for;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const MINIMAL: &str = include_str!("../../protocol/golden/heartbeat-minimal.json");

/// A host with a key of its own, as a program would play it.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) id: AgentId,
    pub(crate) key: String,
}

impl Host {
    pub(crate) fn new(id: u128) -> Host {
        let id = AgentId::from_bits(id);
        let secret = std::array::from_fn(|_| fastrand::u8(..));
        Host {
            id,
            key: new_agent_key(id, secret),
        }
    }

    /// The same host with another key.
    pub(crate) fn with_new_key(&self) -> Host {
        let secret = std::array::from_fn(|_| fastrand::u8(..));
        Host {
            id: self.id,
            key: new_agent_key(self.id, secret),
        }
    }

    fn hash(&self) -> String {
        KeyHash(Sha256::digest(&self.key).into()).show()
    }

    /// What the host sends to have its key taken.
    fn wish(&self, code: Option<&str>) -> Value {
        let mut wish = json!({
            "agent_id": self.id.expose(), "key_sha256": self.hash(), "hostname": "vpn-1",
        });
        if let Some(code) = code {
            wish["code"] = code.into();
        }
        wish
    }

    pub(crate) fn enroll(&self, server: &FleetbeatServer, code: &str) -> Answer {
        post(server, "/enroll", None, &self.wish(Some(code)))
    }

    /// A heartbeat from `ip`, with the host's own key.
    pub(crate) fn beat(&self, server: &FleetbeatServer, ip: &str) -> Answer {
        let body = heartbeat(ip, Some(self.id));
        post(server, "/heartbeat", Some(&self.key), &body)
    }
}

pub(crate) fn heartbeat(ip: &str, id: Option<AgentId>) -> Value {
    let mut body: Value = serde_json::from_str(MINIMAL).unwrap();
    body["ip"] = ip.into();
    if let Some(id) = id {
        body["agent_id"] = id.expose().into();
    }
    body
}

pub(crate) fn post(
    server: &FleetbeatServer,
    target: &str,
    key: Option<&str>,
    body: &Value,
) -> Answer {
    let mut headers = vec![("Content-Type", "application/json")];
    headers.extend(key.map(|key| ("X-API-Key", key)));
    server.request("POST", target, &headers, body.to_string().as_bytes())
}

/// A new code.
pub(crate) fn code(server: &FleetbeatServer, token: &str, wish: &Value) -> String {
    let made = server.api(token, "POST", "/enrollment-codes", Some(wish));
    assert_eq!(made.status, 201, "{made:?}");
    made.json()["code"].as_str().unwrap().to_owned()
}

fn shown(server: &FleetbeatServer, token: &str, ip: &str) -> Value {
    let answer = server.api(token, "GET", &format!("/server/{ip}"), None);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

#[test]
fn a_code_enrols_hosts_and_is_shown_once() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    let made = server.api(
        &token,
        "POST",
        "/enrollment-codes",
        Some(&json!({
            "max_uses": 2, "expires_in": "12h", "flags": {"paid": true, "enabled": false},
            "networks": ["127.0.0.0/8", "::1"], "note": "rack 7",
        })),
    );
    let made = made.json();
    let code = made["code"].as_str().unwrap();
    assert!(code.starts_with("fbe_") && code.len() == 45, "{code}");
    assert_eq!(made["networks"], json!(["127.0.0.0/8", "::1/128"]));
    let listed = server.api(&token, "GET", "/enrollment-codes", None).json();
    assert_eq!(listed[0]["id"], made["id"]);
    assert!(listed[0].get("code").is_none(), "{listed}");

    let [first, second, third] = [1, 2, 3].map(Host::new);
    for (host, expected) in [(&first, 201), (&first, 200), (&second, 201), (&third, 403)]
    {
        let answer = host.enroll(&server, code);
        assert_eq!(answer.status, expected, "{answer:?}");
    }
    assert_eq!(
        first.beat(&server, "10.0.0.1").json(),
        json!({"status": "ok"})
    );
    let host = shown(&server, &token, "10.0.0.1");
    assert_eq!(
        (&host["paid"], &host["enabled"]),
        (&json!(true), &json!(false))
    );

    // An agent that says nothing of its id is the one that the key names.
    let anonymous = heartbeat("10.0.0.2", None);
    let answer = post(&server, "/heartbeat", Some(&second.key), &anonymous);
    assert_eq!(answer.status, 200);
    let keys = server.api(&token, "GET", "/agent-keys", None).json();
    let summary: Vec<(&Value, &Value)> = keys
        .as_array()
        .unwrap()
        .iter()
        .map(|key| (&key["agent_id"], &key["ip"]))
        .collect();
    let zeros = json!("00000000");
    let expected = [(&zeros, &json!("10.0.0.1")), (&zeros, &json!("10.0.0.2"))];
    assert!(summary.len() == 2 && expected.iter().all(|one| summary.contains(one)));

    let id = made["id"].as_str().unwrap();
    let target = format!("/enrollment-codes/{id}");
    let removed = server.api(&token, "DELETE", &target, None);
    assert_eq!((removed.status, &removed.json()["uses"]), (200, &json!(2)));
    assert_eq!(server.api(&token, "DELETE", &target, None).status, 404);
    assert_eq!(third.enroll(&server, code).status, 403);

    // Nothing tells a key, a code, or the whole of an id.
    let events = server.api(&token, "GET", "/events?limit=1000", None);
    let events = String::from_utf8(events.body).unwrap();
    let everything = format!("{}{events}{keys}{listed}", server.log());
    for secret in [code, &first.key, &second.key, &first.id.expose()] {
        assert!(!everything.contains(secret), "{secret}");
    }
    for kind in ["code.created", "key.enrolled", "code.deleted"] {
        assert!(events.contains(kind), "{kind}: {events}");
    }
}

#[test]
fn a_wrong_code_or_enrolment_is_told_what_is_wrong() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    for (wish, field) in [
        (json!({"max_uses": 0}), "max_uses"),
        (json!({"expires_in": "31d"}), "expires_in"),
        (json!({"networks": ["10.0.0.0/33"]}), "networks[0]"),
        (json!({"flags": {"fast": true}}), "flags.fast"),
        (json!({"color": "red"}), "color"),
        (json!([]), ""),
    ] {
        let answer = server.api(&token, "POST", "/enrollment-codes", Some(&wish));
        assert_eq!(answer.status, 422, "{wish}");
        assert_eq!(answer.json()["errors"][0]["field"], field, "{wish}");
    }
    let listed = server.api(&token, "GET", "/enrollment-codes", None);
    assert_eq!(listed.json(), json!([]), "nothing is stored");

    let host = Host::new(7);
    for (change, status, field) in [
        (json!({"agent_id": "7"}), 422, "agent_id"),
        (json!({"key_sha256": "ff"}), 422, "key_sha256"),
        (json!({"code": 7}), 422, "code"),
        (json!({"code": "fbe_"}), 403, ""),
        (
            json!({"code": "fbe_0badc0de_00112233445566778899aabbccddeeff"}),
            403,
            "",
        ),
        (json!({"code": null}), 401, ""),
    ] {
        let mut wish = host.wish(None);
        for (name, value) in change.as_object().unwrap() {
            wish[name] = value.clone();
        }
        let answer = post(&server, "/enroll", None, &wish);
        assert_eq!(answer.status, status, "{change}: {answer:?}");
        if !field.is_empty() {
            assert_eq!(answer.json()["errors"][0]["field"], field);
        }
    }
    let far = code(&server, &token, &json!({"networks": ["192.0.2.0/24"]}));
    let refused = host.enroll(&server, &far);
    assert_eq!(refused.status, 403);
    let told = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(told.contains("network"), "{told}");
    // The shared key is no proof of a host.
    let answer = post(&server, "/enroll", Some(AGENT_KEY), &host.wish(None));
    assert_eq!(answer.status, 401);
    assert!(server.log().contains("refused 127.0.0.1: enrolment"));
}

#[test]
fn a_host_with_a_key_is_written_by_that_key_alone() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    let [host, other] = [1, 2].map(Host::new);
    let code = code(&server, &token, &json!({"max_uses": 9}));
    // It was known by the shared key before, and keeps its record.
    let known = heartbeat("10.0.0.1", Some(host.id));
    assert_eq!(
        post(&server, "/heartbeat", Some(AGENT_KEY), &known).status,
        200
    );
    let before = shown(&server, &token, "10.0.0.1");
    assert_eq!(host.enroll(&server, &code).status, 201);
    assert_eq!(other.enroll(&server, &code).status, 201);
    assert_eq!(host.beat(&server, "10.0.0.1").status, 200);
    assert_eq!(other.beat(&server, "10.0.0.2").status, 200);
    let after = shown(&server, &token, "10.0.0.1");
    assert_eq!(after["server_id"], before["server_id"]);

    for (named, key, body, status) in [
        (
            "its id",
            AGENT_KEY,
            heartbeat("10.0.0.1", Some(host.id)),
            409,
        ),
        (
            "its id elsewhere",
            AGENT_KEY,
            heartbeat("10.0.0.9", Some(host.id)),
            409,
        ),
        ("its address", AGENT_KEY, heartbeat("10.0.0.1", None), 409),
        (
            "its address and a new id",
            AGENT_KEY,
            heartbeat("10.0.0.1", Some(AgentId::from_bits(9))),
            409,
        ),
        (
            "another id",
            &other.key,
            heartbeat("10.0.0.2", Some(host.id)),
            422,
        ),
        ("a new key", &host.with_new_key().key, known.clone(), 401),
    ] {
        let answer = post(&server, "/heartbeat", Some(key), &body);
        assert_eq!(answer.status, status, "{named}: {answer:?}");
        if status == 409 {
            assert_eq!(answer.json()["code"], "identity_conflict");
        }
        if status == 422 {
            assert_eq!(answer.json()["errors"][0]["field"], "agent_id");
        }
    }
    // In a batch each element has its own judge.
    let mut batch = [
        heartbeat("10.0.0.5", None),
        heartbeat("10.0.0.1", None),
        heartbeat("10.0.0.6", Some(host.id)),
        heartbeat("not an address", None),
    ];
    for element in &mut batch {
        element["collected_at"] = fleetbeat_protocol::Timestamp::now().to_string().into();
    }
    let answer = post(&server, "/heartbeats", Some(AGENT_KEY), &json!(batch)).json();
    assert_eq!(answer["accepted"], 1);
    let rejected: Vec<(&Value, &str)> = answer["rejected"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (&one["index"], one["errors"][0]["field"].as_str().unwrap()))
        .collect();
    let [one, two, three] = [json!(1), json!(2), json!(3)];
    assert_eq!(rejected, [(&one, "ip"), (&two, "agent_id"), (&three, "ip")]);
    let of_another = heartbeat("10.0.0.2", Some(host.id));
    let answer = post(
        &server,
        "/heartbeats",
        Some(&other.key),
        &json!([of_another]),
    );
    assert_eq!(
        answer.json()["rejected"][0]["errors"][0]["field"],
        "agent_id"
    );

    assert_eq!(
        shown(&server, &token, "10.0.0.1"),
        after,
        "nothing has come through"
    );
    let conflict = wait_for("the event", || {
        let events = server.api(&token, "GET", "/events?kind=host.conflict", None);
        events.json()["events"].get(0).cloned()
    });
    assert_eq!(conflict["data"]["kind"], "key", "{conflict}");
}

#[test]
fn a_code_for_one_host_is_used_by_one_of_many_at_once() {
    const HOSTS: u128 = 32;
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    let database = Database::new();
    let on_mongodb =
        || FleetbeatServer::start_on_mongodb(&database, &database.url, "", "");
    let instances = [on_mongodb(), on_mongodb()];
    let token_there = instances[0].admin_token();

    for (token, servers) in [
        (&token, [&server, &server]),
        (&token_there, [&instances[0], &instances[1]]),
    ] {
        let code = code(servers[0], token, &json!({"max_uses": 1}));
        let hosts: Vec<Host> = (1..=HOSTS).map(Host::new).collect();
        let statuses: Vec<u16> = thread::scope(|scope| {
            let enrolling: Vec<_> = hosts
                .iter()
                .zip(servers.iter().cycle())
                .map(|(host, server)| {
                    let code = &code;
                    scope.spawn(move || host.enroll(server, code).status)
                })
                .collect();
            let ended = enrolling.into_iter().map(|thread| thread.join().unwrap());
            ended.collect()
        });

        let count = |status| statuses.iter().filter(|one| **one == status).count();
        assert_eq!((count(201), count(403)), (1, 31), "{statuses:?}");
        let listed = servers[1].api(token, "GET", "/agent-keys", None).json();
        assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
        let codes = servers[1]
            .api(token, "GET", "/enrollment-codes", None)
            .json();
        assert_eq!(codes[0]["uses"], 1);
        for (host, status) in hosts.iter().zip(&statuses) {
            let answer = post(servers[1], "/heartbeats", Some(&host.key), &json!([]));
            let expected = if *status == 201 { 200 } else { 401 };
            assert_eq!(answer.status, expected);
        }
    }
}

/// What one stolen key can do: nothing but its own host.
#[test]
fn a_stolen_key_opens_no_route_but_those_of_its_host() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    let code = code(&server, &token, &json!({"max_uses": 9}));
    let [stolen, other] = [1, 2].map(Host::new);
    for (host, ip) in [(&stolen, "10.0.0.1"), (&other, "10.0.0.2")] {
        assert_eq!(host.enroll(&server, &code).status, 201);
        assert_eq!(host.beat(&server, ip).status, 200);
    }
    let shared = heartbeat("10.0.0.3", None);
    assert_eq!(
        post(&server, "/heartbeat", Some(AGENT_KEY), &shared).status,
        200
    );
    let others = || ["10.0.0.2", "10.0.0.3"].map(|ip| shown(&server, &token, ip));
    let before = others();

    let document = server.request("GET", "/openapi.json", &[], b"").json();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            if method == "parameters" || operation["security"] == json!([]) {
                continue;
            }
            let is_agents = operation["security"][0].get("agentKey").is_some();
            let target = path
                .replace("{ip}", "10.0.0.2")
                .replace("{agent_id}", &other.id.expose())
                .replace("{id}", "0badc0de")
                .replace("{username}", "admin");
            let bearer = format!("Bearer {}", stolen.key);
            let headers = [("X-API-Key", &*stolen.key), ("Authorization", &*bearer)];
            let method = method.to_uppercase();
            let status = server.request(&method, &target, &headers, b"{}").status;
            let expected = if is_agents { 422 } else { 401 };
            assert_eq!(status, expected, "{method} {target}");
        }
    }
    // Where it is let in, it speaks for its own host alone.
    for ip in ["10.0.0.2", "10.0.0.3"] {
        let answer = stolen.beat(&server, ip);
        assert_eq!(answer.status, 200, "it stays where it is: {answer:?}");
    }
    let wish = post(&server, "/enroll", Some(&stolen.key), &other.wish(None));
    assert_eq!(wish.status, 401, "another host's key is not its own");
    let further = post(
        &server,
        "/enroll",
        Some(&stolen.key),
        &Host::new(9).wish(None),
    );
    assert_eq!(further.status, 401);
    // Nor do spooled heartbeats, whose elements have one judge each.
    let of = |ip, id: Option<AgentId>| {
        let mut element = heartbeat(ip, id);
        element["collected_at"] = fleetbeat_protocol::Timestamp::now().to_string().into();
        element
    };
    let batch = json!([
        of("10.0.0.2", Some(other.id)),
        of("10.0.0.2", None),
        of("10.0.0.3", None),
        of("10.0.0.3", Some(AgentId::from_bits(9))),
    ]);
    let answer = post(&server, "/heartbeats", Some(&stolen.key), &batch).json();
    let rejected: Vec<&Value> = answer["rejected"].as_array().unwrap().iter().collect();
    let fields: Vec<(&Value, &Value)> = rejected
        .iter()
        .map(|one| (&one["index"], &one["errors"][0]["field"]))
        .collect();
    let [first, last, agent_id] = [json!(0), json!(3), json!("agent_id")];
    assert!(fields.contains(&(&first, &agent_id)), "{answer}");
    assert!(fields.contains(&(&last, &agent_id)), "{answer}");
    assert_eq!(others(), before);
    assert_eq!(server.servers(&token).len(), 3);
    // When it is revoked, not even its own.
    server.api(&token, "DELETE", "/agent-keys/10.0.0.1", None);
    assert_eq!(stolen.beat(&server, "10.0.0.1").status, 401);
    let answer = post(&server, "/heartbeats", Some(&stolen.key), &batch);
    assert_eq!(answer.status, 401);
    let wish = stolen.with_new_key().wish(None);
    assert_eq!(
        post(&server, "/enroll", Some(&stolen.key), &wish).status,
        401
    );
}

#[test]
fn a_revoked_key_ends_and_its_host_comes_back_by_a_code() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    let code_text = code(&server, &token, &json!({"max_uses": 9}));
    let host = Host::new(0x00c0_ffee_0000_0000_0000_0000_0000_0001);
    assert_eq!(host.enroll(&server, &code_text).status, 201);
    assert_eq!(host.beat(&server, "10.0.0.1").status, 200);

    // By the digits that lists show.
    let revoked = server.api(&token, "DELETE", "/agent-keys/00c0ffee", None);
    assert_eq!(
        (revoked.status, &revoked.json()["state"]),
        (200, &json!("revoked"))
    );
    assert_eq!(host.beat(&server, "10.0.0.1").status, 401);
    let shared = heartbeat("10.0.0.1", Some(host.id));
    assert_eq!(
        post(&server, "/heartbeat", Some(AGENT_KEY), &shared).status,
        409
    );
    let rotate = "/agent-keys/00c0ffee/rotate";
    assert_eq!(server.api(&token, "POST", rotate, None).status, 409);
    // The same key never comes back, and presenting it proves nothing.
    assert_eq!(host.enroll(&server, &code_text).status, 409);
    let new = host.with_new_key();
    let answer = post(&server, "/enroll", Some(&host.key), &new.wish(None));
    assert_eq!(answer.status, 401);
    assert_eq!(new.enroll(&server, &code_text).status, 201);
    assert_eq!(new.beat(&server, "10.0.0.1").status, 200);
    assert_eq!(host.beat(&server, "10.0.0.1").status, 401);
    for target in ["/agent-keys/ffffffff", "/agent-keys/srv-00000000"] {
        assert_eq!(server.api(&token, "DELETE", target, None).status, 404);
    }
    let of_host = shown(&server, &token, "10.0.0.1")["server_id"].clone();
    let target = format!("/agent-keys/{}", of_host.as_str().unwrap());
    assert_eq!(server.api(&token, "DELETE", &target, None).status, 200);
    assert_eq!(new.beat(&server, "10.0.0.1").status, 401);
}

#[test]
fn a_host_that_is_removed_stays_away_until_a_code_enrols_it() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    let code_text = code(&server, &token, &json!({"max_uses": 9}));
    let host = Host::new(1);
    assert_eq!(host.enroll(&server, &code_text).status, 201);
    assert_eq!(host.beat(&server, "10.0.0.1").status, 200);
    let before = shown(&server, &token, "10.0.0.1")["server_id"].clone();

    let removed = server.api(&token, "DELETE", "/server/10.0.0.1", None);
    assert_eq!(removed.status, 204);
    assert_eq!(removed.header("x-fleetbeat-returns"), None);
    let is_refused = |answer: &Answer| {
        let problem = answer.json();
        assert_eq!((answer.status, &problem["code"]), (403, &json!("deleted")));
    };
    is_refused(&host.beat(&server, "10.0.0.1"));
    let shared = heartbeat("10.0.0.1", Some(host.id));
    is_refused(&post(&server, "/heartbeat", Some(AGENT_KEY), &shared));
    let other = host.with_new_key().beat(&server, "10.0.0.1");
    assert_eq!(other.status, 401, "a stranger learns nothing");
    assert!(server.servers(&token).is_empty());
    let listed = server.api(&token, "GET", "/agent-keys", None).json();
    assert_eq!(listed[0]["state"], "removed");

    let new = host.with_new_key();
    assert_eq!(new.enroll(&server, &code_text).status, 201);
    assert_eq!(new.beat(&server, "10.0.0.1").status, 200);
    let after = shown(&server, &token, "10.0.0.1")["server_id"].clone();
    assert_ne!(after, before, "it is another record");
}

#[test]
fn a_removed_host_comes_back_when_a_superadmin_readmits_it() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    let id = AgentId::from_bits(5 << 96);
    let one = heartbeat("10.0.0.5", Some(id));
    let mut spooled = one.clone();
    spooled["collected_at"] = fleetbeat_protocol::Timestamp::now().to_string().into();
    let beat = || post(&server, "/heartbeat", Some(AGENT_KEY), &one);
    let batch = || post(&server, "/heartbeats", Some(AGENT_KEY), &json!([spooled]));
    assert_eq!(beat().status, 200);
    let removed = server.api(&token, "DELETE", "/server/10.0.0.5", None);
    assert_eq!(removed.status, 204);
    assert_eq!(removed.header("x-fleetbeat-returns"), None);
    for _ in 0..2 {
        let answer = beat();
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (403, &json!("deleted"))
        );
        let batch = batch().json();
        assert_eq!(batch["accepted"], 0);
        let error = &batch["rejected"][0]["errors"][0];
        assert_eq!(error["field"], "agent_id");
        let message = error["message"].as_str().unwrap();
        assert!(message.starts_with("deleted: "), "{message}");
    }
    // Others are let in at its address.
    let other = heartbeat("10.0.0.5", Some(AgentId::from_bits(6 << 96)));
    assert_eq!(
        post(&server, "/heartbeat", Some(AGENT_KEY), &other).status,
        200
    );

    let readmit = "/agent-keys/00000005/readmit";
    let readmitted = server.api(&token, "POST", readmit, None);
    assert_eq!(readmitted.status, 200);
    let readmitted = readmitted.json();
    assert_eq!(readmitted["state"], "none");
    assert_eq!(readmitted["removed_at"], Value::Null);
    assert_eq!(server.api(&token, "POST", readmit, None).status, 409);
    let all = server.api(&token, "GET", "/agent-keys", None).json();
    assert_eq!(all, json!([]));
    let rotate = "/agent-keys/00000005/rotate";
    assert_eq!(server.api(&token, "POST", rotate, None).status, 404);
    assert_eq!(beat().status, 200);
}

#[test]
fn a_host_that_has_lost_its_key_needs_a_code_for_that() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    let usual = code(&server, &token, &json!({"max_uses": 9}));
    let reinstall = code(&server, &token, &json!({"max_uses": 9, "reinstall": true}));
    let host = Host::new(1);
    assert_eq!(host.enroll(&server, &usual).status, 201);
    let again = host.with_new_key();
    assert_eq!(again.enroll(&server, &usual).status, 409);
    assert_eq!(
        again.enroll(&server, &reinstall).status,
        409,
        "it has no record yet"
    );
    assert_eq!(host.beat(&server, "10.0.0.1").status, 200);
    assert_eq!(
        again.enroll(&server, &reinstall).status,
        409,
        "from elsewhere"
    );
    // The record's address is the connection's.
    let near = Host::new(2);
    assert_eq!(near.enroll(&server, &usual).status, 201);
    assert_eq!(near.beat(&server, "127.0.0.1").status, 200);
    let again = near.with_new_key();
    assert_eq!(again.enroll(&server, &reinstall).status, 201);
    assert_eq!(near.beat(&server, "127.0.0.1").status, 401);
    assert_eq!(again.beat(&server, "127.0.0.1").status, 200);
}

#[test]
fn a_key_is_replaced_at_the_servers_wish_and_ends_with_the_new_ones_first_use() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    let code = code(&server, &token, &json!({}));
    let old = Host::new(1);
    assert_eq!(old.enroll(&server, &code).status, 201);
    assert_eq!(
        old.beat(&server, "10.0.0.1").json(),
        json!({"status": "ok"})
    );
    let target = "/agent-keys/10.0.0.1/rotate";
    let asked = server.api(&token, "POST", target, None);
    assert_eq!((asked.status, &asked.json()["rotate"]), (200, &json!(true)));
    let told = old.beat(&server, "10.0.0.1").json();
    assert_eq!(told, json!({"status": "ok", "rotate": true}));

    let new = old.with_new_key();
    for status in [201, 200] {
        let answer = post(&server, "/enroll", Some(&old.key), &new.wish(None));
        assert_eq!(answer.status, status);
    }
    assert_eq!(
        old.beat(&server, "10.0.0.1").status,
        200,
        "until the new one is used"
    );
    let listed = server.api(&token, "GET", "/agent-keys", None).json();
    assert_eq!(listed[0]["state"], "rotating");
    assert_eq!(
        new.beat(&server, "10.0.0.1").json(),
        json!({"status": "ok"})
    );
    assert_eq!(old.beat(&server, "10.0.0.1").status, 401);
}

#[test]
fn the_modes_say_which_hosts_may_speak_with_which_key() {
    let known = heartbeat("10.0.0.1", Some(AgentId::from_bits(1)));
    let unknown = heartbeat("10.0.0.2", Some(AgentId::from_bits(2)));
    let mut server = FleetbeatServer::start_with("", &[]);
    let send = |server: &FleetbeatServer, body: &Value| {
        post(server, "/heartbeat", Some(AGENT_KEY), body)
    };
    assert_eq!(send(&server, &known).status, 200);
    let config = std::fs::read_to_string(server.config()).unwrap();
    let restart = |server: &mut FleetbeatServer, agents: &str| {
        server.stop();
        let text = format!("{config}\n[agents]\n{agents}");
        std::fs::write(server.config(), text).unwrap();
        server.restart();
    };

    restart(&mut server, "mode = \"enroll\"\nnew_hosts = \"disabled\"\n");
    assert_eq!(send(&server, &known).status, 200, "known hosts go on");
    let refused = send(&server, &unknown);
    assert_eq!(refused.status, 403);
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("fleetbeat-agent enroll"), "{detail}");
    let token = server.admin_token();
    let usual = code(&server, &token, &json!({"max_uses": 9}));
    let enabled = code(&server, &token, &json!({"flags": {"enabled": true}}));
    for (id, code, is_enabled) in [(3, &usual, false), (4, &enabled, true)] {
        let host = Host::new(id);
        assert_eq!(host.enroll(&server, code).status, 201);
        let ip = format!("10.0.0.{id}");
        assert_eq!(host.beat(&server, &ip).status, 200);
        assert_eq!(shown(&server, &token, &ip)["enabled"], is_enabled, "{ip}");
    }

    restart(&mut server, "mode = \"strict\"\nfollow_moves = false\n");
    let token = server.admin_token();
    let refused = send(&server, &known);
    assert_eq!(refused.status, 401);
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("fleetbeat-agent enroll"), "{detail}");
    let usual = code(&server, &token, &json!({}));
    let host = Host::new(5);
    assert_eq!(host.enroll(&server, &usual).status, 201);
    assert_eq!(host.beat(&server, "10.0.0.5").status, 200);
    let is_enabled = &shown(&server, &token, "10.0.0.5")["enabled"];
    assert_eq!(*is_enabled, false, "new hosts wait for an admin");
    let moved = host.beat(&server, "10.0.0.6");
    assert_eq!(
        (moved.status, &moved.json()["code"]),
        (409, &json!("identity_conflict"))
    );
}

#[test]
fn a_key_counts_and_ends_on_every_instance() {
    let database = Database::new();
    let start = || FleetbeatServer::start_on_mongodb(&database, &database.url, "", "");
    let [here, there] = [start(), start()];
    let token = here.admin_token();
    let code_text = code(&here, &token, &json!({"max_uses": 10}));

    for id in 1..6 {
        let host = Host::new(id);
        let ip = format!("10.0.0.{id}");
        assert_eq!(host.enroll(&here, &code_text).status, 201);
        // The other instance does not know the key yet, and asks.
        assert_eq!(host.beat(&there, &ip).status, 200);
        let target = format!("/agent-keys/{ip}");
        let revoked = here.api(&token, "DELETE", &target, None);
        assert_eq!(revoked.status, 200, "{revoked:?}");
        let since = Instant::now();
        assert_eq!(host.beat(&here, &ip).status, 401, "at once");
        while host.beat(&there, &ip).status != 401 {
            assert!(since.elapsed() < Duration::from_secs(2), "host {id}");
        }
        // A new key counts at once, there as well.
        let new = host.with_new_key();
        assert_eq!(new.enroll(&here, &code_text).status, 201);
        assert_eq!(new.beat(&there, &ip).status, 200);
        let shared = heartbeat(&ip, Some(host.id));
        assert_eq!(
            post(&there, "/heartbeat", Some(AGENT_KEY), &shared).status,
            409
        );
    }
}
