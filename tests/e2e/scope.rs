//! Users' scopes: what a user with a scope sees and changes, over every route.
//!
//! A table has a row for each route of the OpenAPI document. A row says how the route is
//! asked about a host, or which hosts its answer tells of; a route without a row fails.
//! Every identity with a scope that the document admits then meets a host inside of the
//! scope, one outside, and one that is not there.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use fleetbeat_protocol::Scope;
use fleetbeat_tools::client::Answer;
use fleetbeat_tools::redis_server::RedisServer;
use fleetbeat_tools::server::{Database, FleetbeatServer};
use fleetbeat_tools::wait::wait_for;
use serde_json::{Value, json};

const PASSWORD: &str = "a password";
const SCOPE: &str = "tag.customer = acme";
const INSIDE: &str = "10.0.0.1";
const OUTSIDE: &str = "10.0.0.2";
const UNKNOWN: &str = "10.0.0.3";
const NO_SERVER_ID: &str = "srv-00000000";
/// Within this, a change of a user is known to every instance.
const LIMIT: Duration = Duration::from_secs(2);

/// What a route has to do with hosts.
enum About {
    /// Nothing: the own account, agents, or the server itself.
    NoHost,
    /// The whole fleet: closed to users with a scope.
    Fleet,
    /// One host: what is behind `/server/{ip}`, the body, and the status of success.
    Host(&'static str, &'static str, u16),
    /// Hosts: gives the addresses that the answer to this token tells of.
    Hosts(fn(&World, &str) -> BTreeSet<String>),
}
use About::{Fleet, Host, Hosts, NoHost};

/// Every route.
const ROWS: &[(&str, About)] = &[
    ("POST /heartbeat", NoHost),
    ("POST /heartbeats", NoHost),
    ("POST /enroll", NoHost),
    ("POST /token", NoHost),
    ("GET /me", NoHost),
    ("POST /me/password", NoHost),
    ("POST /me/logout-all", NoHost),
    ("POST /me/totp", NoHost),
    ("POST /me/totp/confirm", NoHost),
    ("GET /users", Fleet),
    ("POST /users", Fleet),
    ("PATCH /users/{username}", Fleet),
    ("DELETE /users/{username}", Fleet),
    ("GET /tokens", NoHost),
    ("POST /tokens", NoHost),
    ("DELETE /tokens/{id}", NoHost),
    (
        "GET /servers",
        Hosts(|world, token| {
            let list = world.get(token, "/servers?all_servers=true");
            ips(&list, "")
        }),
    ),
    ("GET /servers/changes", Hosts(changes)),
    ("POST /servers/bulk", Hosts(bulk)),
    ("GET /server/{ip}", Host("", "", 200)),
    ("DELETE /server/{ip}", Host("", "", 204)),
    ("GET /server/{ip}/history", Host("/history", "", 200)),
    ("GET /server/{ip}/uptime", Host("/uptime", "", 200)),
    (
        "GET /servers/uptime",
        Hosts(|world, token| ips(&world.get(token, "/servers/uptime"), "/servers")),
    ),
    (
        "GET /traffic",
        Hosts(|world, token| ips(&world.get(token, "/traffic"), "/servers")),
    ),
    ("GET /fleet/history", Fleet),
    (
        "PATCH /server/{ip}/config",
        Host("/config", r#"{"gaming": true}"#, 200),
    ),
    (
        "PATCH /server/{ip}/tags",
        Host("/tags", r#"{"env": "prod"}"#, 200),
    ),
    (
        "PATCH /server/{ip}/state",
        Host("/state", r#"{"mode": "drain"}"#, 200),
    ),
    (
        "PATCH /server/{ip}/settings",
        Host("/settings", r#"{"capacity": 2}"#, 200),
    ),
    ("GET /enrollment-codes", Fleet),
    ("POST /enrollment-codes", Fleet),
    ("DELETE /enrollment-codes/{id}", Fleet),
    ("GET /agent-keys", Fleet),
    ("DELETE /agent-keys/{agent_id}", Fleet),
    ("POST /agent-keys/{agent_id}/rotate", Fleet),
    ("POST /agent-keys/{agent_id}/readmit", Fleet),
    ("GET /alert-rules", Fleet),
    ("POST /alert-rules", Fleet),
    ("GET /alert-rules/{id}", Fleet),
    ("PUT /alert-rules/{id}", Fleet),
    ("DELETE /alert-rules/{id}", Fleet),
    ("POST /alert-rules/test", Fleet),
    ("GET /channels", Fleet),
    ("POST /channels", Fleet),
    ("GET /channels/{id}", Fleet),
    ("PUT /channels/{id}", Fleet),
    ("DELETE /channels/{id}", Fleet),
    ("POST /channels/{id}/test", Fleet),
    // Whoever has the message may read what it says.
    ("GET /ack/{link}", NoHost),
    ("POST /ack/{link}", NoHost),
    ("GET /mutes", Fleet),
    ("POST /mutes", Fleet),
    ("DELETE /mutes/{id}", Fleet),
    ("GET /alerts", Fleet),
    ("GET /alerts/{id}", Fleet),
    ("POST /alerts/{id}/ack", Fleet),
    ("DELETE /alerts/{id}/ack", Fleet),
    ("GET /deliveries", Fleet),
    ("POST /deliveries/{id}/retry", Fleet),
    ("DELETE /deliveries/{id}", Fleet),
    (
        "GET /events",
        Hosts(|world, token| {
            let events = world.get(token, "/events?limit=1000");
            ips(&events, "/events")
        }),
    ),
    (
        "GET /sd/prometheus",
        Hosts(|world, token| {
            let targets = world.get(token, "/sd/prometheus");
            let targets = targets.as_array().unwrap().iter();
            let labels = targets.map(|target| &target["labels"]);
            labels
                .map(|labels| text(&labels["__meta_fleetbeat_ip"]))
                .collect()
        }),
    ),
    ("GET /metrics", Fleet),
    ("GET /healthz", NoHost),
    ("GET /readyz", NoHost),
    ("GET /openapi.json", NoHost),
];

/// The roles; of each there is a user with the scope.
const ROLES: [&str; 3] = ["readonly", "admin", "superadmin"];

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// The `ip` of each element of the array at `pointer`.
fn ips(answer: &Value, pointer: &str) -> BTreeSet<String> {
    let elements = answer.pointer(pointer).unwrap().as_array().unwrap();
    elements
        .iter()
        .map(|element| text(&element["ip"]))
        .collect()
}

/// The hosts of an answer to a client that follows, after all hosts have changed.
fn changes(world: &World, token: &str) -> BTreeSet<String> {
    let reset = world.get(token, "/servers/changes");
    assert_eq!(reset["reset"], true);
    let target = format!("/servers/changes?since={}", text(&reset["cursor"]));
    world.heartbeats();
    wait_for("hosts to have changed", || {
        let told = world.get(token, &target);
        assert_eq!(told["removed"], json!([]), "{told}");
        let ips = ips(&told, "/changed");
        (!ips.is_empty()).then_some(ips)
    })
}

/// The hosts that a change of all hosts has reached.
fn bulk(world: &World, token: &str) -> BTreeSet<String> {
    let order = |members: Value| {
        let mut order = json!({"select": "all", "set": {"streaming": true}});
        order
            .as_object_mut()
            .unwrap()
            .extend(members.as_object().unwrap().clone());
        world
            .server
            .api(token, "POST", "/servers/bulk", Some(&order))
    };
    let dry = order(json!({"dry_run": true})).json();
    let done = order(json!({"expect": dry["hosts"]}));
    assert_eq!(done.status, 200, "{done:?}");
    assert_eq!(done.json()["changed"], dry["hosts"]);
    let hosts = world.get(&world.root, "/servers?all_servers=true&streaming=true");
    assert!(ips(&hosts, "").is_subset(&ips(&dry, "/first")), "{hosts}");
    ips(&dry, "/first")
}

fn heartbeat(server: &FleetbeatServer, ip: &str, cpu: f64) {
    let golden = include_str!("../../protocol/golden/heartbeat-minimal.json");
    let mut body: Value = serde_json::from_str(golden).unwrap();
    body["ip"] = ip.into();
    body["load"]["cpu"] = cpu.into();
    // What an agent says of itself gives nobody its host.
    body["tags"] = json!({"customer": "acme"});
    assert_eq!(server.heartbeat(&body).status, 200);
}

fn add_user(server: &FleetbeatServer, root: &str, name: &str, role: &str, scope: &str) {
    let new =
        json!({"username": name, "role": role, "password": PASSWORD, "scope": scope});
    let added = server.api(root, "POST", "/users", Some(&new));
    assert_eq!(added.status, 201, "{added:?}");
}

fn set_tag(server: &FleetbeatServer, root: &str, ip: &str, customer: &Value) {
    let patch = json!({"customer": customer});
    let target = format!("/server/{ip}/tags");
    let set = server.api(root, "PATCH", &target, Some(&patch));
    assert_eq!(set.status, 200, "{set:?}");
}

/// An answer's body but for what differs in every answer.
fn body(answer: &Answer) -> Value {
    let mut body = answer.json();
    let members = body.as_object_mut().unwrap();
    assert!(members.remove("request_id").is_some());
    body
}

/// A server with a host inside of the scope and one outside.
struct World {
    server: FleetbeatServer,
    root: String,
    count: Cell<u8>,
}

/// Who asks: a user's role or an API token's scope, and the token.
struct Identity {
    role: usize,
    scope: Option<Scope>,
    token: String,
}

impl World {
    fn new() -> World {
        let server = FleetbeatServer::start();
        let root = server.admin_token();
        let world = World {
            server,
            root,
            count: Cell::new(0),
        };
        world.heartbeats();
        world.set_up();
        wait_for("the list to show both", || {
            (world.server.servers(&world.root).len() == 2).then_some(())
        });
        world
    }

    /// Both hosts are heard, each time with another load.
    fn heartbeats(&self) {
        self.count.set(self.count.get() + 1);
        for ip in [INSIDE, OUTSIDE] {
            heartbeat(&self.server, ip, f64::from(self.count.get()));
        }
    }

    /// One host is inside, also if it was removed.
    fn set_up(&self) {
        heartbeat(&self.server, INSIDE, 1.0);
        set_tag(&self.server, &self.root, INSIDE, &json!("acme"));
    }

    fn get(&self, token: &str, target: &str) -> Value {
        let answer = self.server.api(token, "GET", target, None);
        assert_eq!(answer.status, 200, "{target}: {answer:?}");
        answer.json()
    }

    /// Users with the scope, and API tokens of the one who may do most.
    fn identities(&self) -> Vec<Identity> {
        let mut identities = Vec::new();
        for (role, name) in ROLES.into_iter().enumerate() {
            let user = format!("some-{name}");
            add_user(&self.server, &self.root, &user, name, SCOPE);
            identities.push(Identity {
                role,
                scope: None,
                token: self.server.token(&user, PASSWORD),
            });
        }
        let superadmin = identities[2].token.clone();
        for scope in Scope::ALL {
            let new = json!({"name": "x", "scopes": [scope], "expires_in": "1d"});
            let made = self.server.api(&superadmin, "POST", "/tokens", Some(&new));
            assert_eq!(made.status, 201, "{made:?}");
            identities.push(Identity {
                role: 2,
                scope: Some(scope),
                token: text(&made.json()["token"]),
            });
        }
        identities
    }

    /// A call of a route about one host, by address or `server_id`.
    fn call(&self, token: &str, row: &(&str, About), host: &str) -> Answer {
        let (route, Host(rest, body, _)) = row else {
            panic!("{} is not about one host", row.0);
        };
        let (method, _) = route.split_once(' ').unwrap();
        let body = (!body.is_empty()).then(|| serde_json::from_str(body).unwrap());
        let target = format!("/server/{host}{rest}");
        self.server.api(token, method, &target, body.as_ref())
    }
}

/// Every operation that takes a bearer token: the least role, the scope, and whether it is
/// closed to users with a scope.
fn operations(document: &Value) -> BTreeMap<String, (Option<(usize, Value)>, bool)> {
    let mut operations = BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let needed = operation["security"][0].get("bearer");
            let needed = needed.map(|names| {
                let role = ROLES.iter().position(|role| names[0] == *role).unwrap();
                (role, names[1].clone())
            });
            let is_closed = operation["x-over-all-hosts"] == true;
            let route = format!("{} {path}", method.to_uppercase());
            operations.insert(route, (needed, is_closed));
        }
    }
    operations
}

#[test]
fn every_route_shows_and_changes_the_hosts_of_the_scope_alone() {
    let world = World::new();
    let document = world.get(&world.root, "/openapi.json");
    let operations = operations(&document);
    let rows: BTreeSet<&str> = ROWS.iter().map(|(route, _)| *route).collect();
    let routes: BTreeSet<&str> = operations.keys().map(String::as_str).collect();
    assert_eq!(rows, routes, "each route has a row, and each row a route");

    let identities = world.identities();
    let inside: BTreeSet<String> = [INSIDE.to_owned()].into();
    let before = world.get(&world.root, &format!("/server/{OUTSIDE}"));
    let outside_id = text(&before["server_id"]);
    let mut met = 0;
    for row in ROWS {
        let (route, about) = row;
        let (needed, is_closed) = &operations[*route];
        assert_eq!(*is_closed, matches!(about, Fleet), "{route}");
        let is_admitted = |identity: &&Identity| {
            let needed = needed.as_ref();
            needed.is_some_and(|(role, scope)| match identity.scope {
                None => identity.role >= *role,
                Some(of) => *scope == json!(of),
            })
        };
        for Identity { token, scope, .. } in identities.iter().filter(is_admitted) {
            met += 1;
            match about {
                NoHost => {}
                Fleet => {
                    let (method, path) = route.split_once(' ').unwrap();
                    let path = path.replace(['{', '}'], "");
                    let answer = world.server.api(token, method, &path, None);
                    assert_eq!(answer.status, 403, "{route} {scope:?}: {answer:?}");
                    let detail = text(&answer.json()["detail"]);
                    assert!(detail.contains("has a scope"), "{route}: {detail}");
                }
                Host(_, _, success) => {
                    world.set_up();
                    let met = world.call(token, row, INSIDE);
                    assert_eq!(met.status, *success, "{route} {scope:?}: {met:?}");
                    for (there, not_there) in
                        [(OUTSIDE, UNKNOWN), (&outside_id, NO_SERVER_ID)]
                    {
                        let answer = world.call(token, row, there);
                        assert_eq!(answer.status, 404, "{route} {scope:?}: {answer:?}");
                        let unknown = world.call(token, row, not_there);
                        assert_eq!(body(&answer), body(&unknown), "{route}");
                    }
                }
                Hosts(read) => {
                    world.set_up();
                    wait_for(route, || {
                        let told = read(&world, token);
                        assert!(told.is_subset(&inside), "{route} {scope:?}: {told:?}");
                        (told == inside).then_some(())
                    });
                }
            }
        }
    }
    assert!(met > ROWS.len(), "{met}");

    let after = world.get(&world.root, &format!("/server/{OUTSIDE}"));
    for member in [
        "gaming",
        "streaming",
        "tags",
        "state",
        "settings",
        "server_id",
    ] {
        assert_eq!(after[member], before[member], "{member}");
    }
}

#[test]
fn a_host_is_in_the_scope_as_soon_as_an_admin_says_so_and_by_no_word_of_its_own() {
    let world = World::new();
    add_user(&world.server, &world.root, "ann", "admin", SCOPE);
    let ann = world.server.token("ann", PASSWORD);
    let status = |ip: &str| {
        let target = format!("/server/{ip}");
        world.server.api(&ann, "GET", &target, None).status
    };
    assert_eq!((status(INSIDE), status(OUTSIDE)), (200, 404));
    set_tag(&world.server, &world.root, OUTSIDE, &json!("acme"));
    assert_eq!(status(OUTSIDE), 200, "at once");
    set_tag(&world.server, &world.root, OUTSIDE, &json!("other"));
    assert_eq!(status(OUTSIDE), 404);
    set_tag(&world.server, &world.root, OUTSIDE, &Value::Null);

    // What an admin with a scope sets leaves the host in it.
    let patch = |rest: &str, body: Value| {
        let target = format!("/server/{INSIDE}/{rest}");
        world.server.api(&ann, "PATCH", &target, Some(&body))
    };
    for gone in [json!("other"), Value::Null] {
        let refused = patch("tags", json!({"customer": gone, "env": "prod"}));
        assert_eq!(refused.status, 403, "{refused:?}");
        let detail = text(&refused.json()["detail"]);
        assert!(detail.contains("out of your scope"), "{detail}");
    }
    let set = patch("tags", json!({"customer": "ACME", "env": "test"}));
    assert_eq!(set.status, 200, "{set:?}");
    let tags = json!({"customer": "ACME", "env": "test"});
    assert_eq!(set.json()["tags"], tags);
    assert_eq!(patch("config", json!({"enabled": false})).status, 200);
}

#[test]
fn lists_of_two_scopes_are_two_lists() {
    let world = World::new();
    let etag = |token: &str, target: &str| {
        let answer = world.server.api(token, "GET", target, None);
        answer.header("etag").unwrap().to_owned()
    };
    set_tag(&world.server, &world.root, OUTSIDE, &json!("other"));
    let mut tokens = vec![world.root.clone()];
    for customer in ["acme", "other", "nobody"] {
        let scope = format!("tag.customer = {customer}");
        add_user(&world.server, &world.root, customer, "readonly", &scope);
        tokens.push(world.server.token(customer, PASSWORD));
    }
    wait_for("the list to show the tag", || {
        let list = world.get(&tokens[2], "/servers");
        (ips(&list, "") == BTreeSet::from([OUTSIDE.to_owned()])).then_some(())
    });
    let etags: BTreeSet<String> =
        tokens.iter().map(|token| etag(token, "/servers")).collect();
    assert_eq!(etags.len(), 4);
    assert_eq!(world.get(&tokens[3], "/servers"), json!([]));

    // What another one's cache holds is not taken for what a user may see.
    let of_root = etag(&tokens[0], "/servers");
    let authorization = format!("Bearer {}", tokens[1]);
    let headers = [
        ("Authorization", authorization.as_str()),
        ("If-None-Match", of_root.as_str()),
    ];
    let answer = world.server.request("GET", "/servers", &headers, b"");
    assert_eq!(answer.status, 200);
    assert_eq!(ips(&answer.json(), ""), [INSIDE.to_owned()].into());
}

#[test]
fn a_client_with_a_scope_follows_hosts_that_enter_and_leave() {
    let world = World::new();
    for (name, scope) in [("ann", SCOPE), ("bob", "tag.customer = other")] {
        add_user(&world.server, &world.root, name, "readonly", scope);
    }
    let [ann, bob] = ["ann", "bob"].map(|name| world.server.token(name, PASSWORD));
    let ask = |token: &str, cursor: &str| {
        world.get(token, &format!("/servers/changes?since={cursor}"))
    };
    wait_for("the list to show the tag", || {
        let list = world.get(&ann, "/servers");
        (ips(&list, "").len() == 1).then_some(())
    });
    let mut cursor = text(&world.get(&ann, "/servers/changes")["cursor"]);
    for token in [&bob, &world.root] {
        assert_eq!(ask(token, &cursor)["reset"], true, "of another scope");
    }
    let own = text(&world.get(&world.root, "/servers/changes")["cursor"]);
    assert_eq!(
        ask(&ann, &own)["reset"],
        true,
        "of somebody without a scope"
    );

    let mut follow = |what: &str, changed: &[&str], removed: &[&str]| {
        wait_for(what, || {
            let told = ask(&ann, &cursor);
            assert!(told.get("reset").is_none(), "{told}");
            cursor = text(&told["cursor"]);
            let is_told = !removed.is_empty() && told["removed"] == json!(removed)
                || !changed.is_empty()
                    && changed
                        .iter()
                        .all(|ip| ips(&told, "/changed").contains(*ip));
            let is_quiet = !told.to_string().contains(&format!("{OUTSIDE}\""));
            assert!(is_told || is_quiet, "{told}");
            is_told.then_some(())
        });
    };
    set_tag(&world.server, &world.root, OUTSIDE, &json!("acme"));
    follow("a host that enters", &[OUTSIDE], &[]);
    set_tag(&world.server, &world.root, OUTSIDE, &json!("other"));
    follow("a host that leaves", &[], &[OUTSIDE]);
    let gone =
        world
            .server
            .api(&world.root, "DELETE", &format!("/server/{OUTSIDE}"), None);
    assert_eq!(gone.status, 204);
    let gone =
        world
            .server
            .api(&world.root, "DELETE", &format!("/server/{INSIDE}"), None);
    assert_eq!(gone.status, 204);
    follow("a host that is gone", &[], &[INSIDE]);
}

#[test]
fn the_events_of_hosts_outside_are_told_to_nobody_with_a_scope() {
    let world = World::new();
    add_user(&world.server, &world.root, "ann", "superadmin", SCOPE);
    let ann = world.server.token("ann", PASSWORD);
    wait_for("both hosts to be told", || {
        let told = world.get(&world.root, "/events?kind=host.new");
        (ips(&told, "/events").len() == 2).then_some(())
    });
    let set = |ip: &str, paid: bool| {
        let target = format!("/server/{ip}/config");
        let patch = json!({"paid": paid});
        let set = world
            .server
            .api(&world.root, "PATCH", &target, Some(&patch));
        assert_eq!(set.status, 200);
    };
    for round in 0..5 {
        set(INSIDE, round % 2 == 0);
        set(OUTSIDE, round % 2 == 0);
    }

    // All that a reader is told who follows, the oldest first.
    let mut told: Vec<Value> = Vec::new();
    let mut after = "0".to_owned();
    wait_for("all events of the host", || {
        let page = world.get(&ann, &format!("/events?limit=2&after={after}"));
        after = text(&page["cursor"]);
        told.extend(page["events"].as_array().unwrap().iter().cloned());
        let is_flag = |event: &&Value| event["kind"] == "flag.changed";
        (told.iter().filter(is_flag).count() == 5).then_some(())
    });
    let everything = world.get(&world.root, "/events?limit=1000");
    let everything = everything["events"].as_array().unwrap().iter().rev();
    let id = |event: &Value| text(&event["id"]);
    let expected = everything.filter(|event| event["ip"] == INSIDE).map(id);
    let seen: Vec<String> = told.iter().map(id).collect();
    assert_eq!(
        seen,
        expected.collect::<Vec<_>>(),
        "nothing twice, nothing missed"
    );
    let has_address = |event: &Value| event["actor"].get("address").is_some();
    assert!(!told.iter().any(has_address), "{told:?}");

    // A host outside is as one that was never there.
    let of = |host: &str| {
        let answer = world.get(&ann, &format!("/events?ip={host}"));
        (answer["events"].clone(), answer["more"].clone())
    };
    assert_eq!(of(OUTSIDE), of(UNKNOWN));
    assert_eq!(of(UNKNOWN), (json!([]), json!(false)));
    let server_id = text(&told[0]["server_id"]);
    assert_eq!(of(INSIDE), of(&server_id));
    assert_ne!(of(INSIDE), of(UNKNOWN));
    for kind in ["user.*", "login.*", "server.*", "fleet.*"] {
        let answer = world.get(&ann, &format!("/events?kind={kind}"));
        assert_eq!(answer["events"], json!([]), "{kind}");
    }
    let ahead = world
        .server
        .api(&ann, "GET", "/events?after=999999999", None);
    assert_eq!(ahead.status, 422, "{ahead:?}");
}

#[test]
fn a_host_that_has_moved_out_of_sight_is_not_pointed_at() {
    let world = World::new();
    let golden = include_str!("../../protocol/golden/heartbeat-minimal.json");
    let mut sent: Value = serde_json::from_str(golden).unwrap();
    sent["agent_id"] = json!("0123456789abcdef0123456789abcdef");
    sent["boot_id"] = json!("6fd9f5a6-4b4c-4b3f-8f7e-0d3d6a2c9a11");
    for ip in ["10.0.1.1", "10.0.1.2"] {
        sent["ip"] = ip.into();
        assert_eq!(world.server.heartbeat(&sent).status, 200);
    }
    add_user(&world.server, &world.root, "ann", "readonly", SCOPE);
    let ann = world.server.token("ann", PASSWORD);
    let ask = |token: &str, ip: &str| {
        let target = format!("/server/{ip}");
        world.server.api(token, "GET", &target, None)
    };
    assert_eq!(ask(&world.root, "10.0.1.1").json()["moved_to"], "10.0.1.2");
    let (moved, unknown) = (ask(&ann, "10.0.1.1"), ask(&ann, UNKNOWN));
    assert_eq!((moved.status, body(&moved)), (404, body(&unknown)));
    set_tag(&world.server, &world.root, "10.0.1.2", &json!("acme"));
    assert_eq!(ask(&ann, "10.0.1.1").json()["moved_to"], "10.0.1.2");
}

#[test]
fn a_scope_is_set_shown_told_and_taken_away() {
    let world = World::new();
    let server = &world.server;
    let call = |method: &str, target: &str, body: Value| {
        server.api(&world.root, method, target, Some(&body))
    };
    add_user(
        server,
        &world.root,
        "ann",
        "admin",
        "(tag.customer=acme)and paid",
    );
    let canonical = "tag.customer = acme and paid";
    let ann = server.token("ann", PASSWORD);
    assert_eq!(world.get(&ann, "/me")["scope"], canonical);
    let scopes = |users: &Value| {
        let users = users.as_array().unwrap().iter();
        users.map(|user| user["scope"].clone()).collect::<Vec<_>>()
    };
    let users = world.get(&world.root, "/users");
    assert_eq!(scopes(&users), [Value::Null, json!(canonical)]);

    for (scope, told) in [
        (
            json!("country = de"),
            "at character 1: country cannot be used here",
        ),
        (
            json!("paid and service.wg"),
            "at character 10: service.wg cannot be used",
        ),
        (
            json!("paid and wg"),
            "at character 10: \"wg\" is not a field",
        ),
        (json!(""), "at character 1: is empty"),
        (json!("x".repeat(2000)), "is longer than"),
        (json!(true), "must be a string"),
    ] {
        let new = json!({"username": "eve", "role": "admin", "password": PASSWORD,
            "scope": scope});
        let patch = json!({"scope": scope});
        for answer in [
            call("POST", "/users", new),
            call("PATCH", "/users/ann", patch),
        ] {
            assert_eq!(answer.status, 422, "{scope}: {answer:?}");
            let errors = answer.json()["errors"].clone();
            assert_eq!(errors[0]["field"], "scope", "{errors}");
            let message = text(&errors[0]["message"]);
            assert!(message.starts_with(told), "{scope}: {message}");
        }
    }

    let same = call("PATCH", "/users/ann", json!({"scope": canonical}));
    assert_eq!(same.status, 200);
    assert_eq!(
        world.get(&ann, "/me")["username"],
        "ann",
        "nothing has changed"
    );
    let changed = call("PATCH", "/users/ann", json!({"scope": "paid"}));
    assert_eq!(changed.json()["scope"], "paid", "{changed:?}");
    let ended = server.api(&ann, "GET", "/me", None);
    assert_eq!(ended.status, 401, "as with another role");
    let role = call("PATCH", "/users/ann", json!({"role": "readonly"}));
    assert_eq!(role.json()["scope"], "paid", "it stays");
    let changed = call("PATCH", "/users/ann", json!({"scope": null}));
    assert_eq!(changed.json()["scope"], Value::Null);

    for (words, told) in [
        (
            &["gaming or static"][..],
            "the selector gaming or static means",
        ),
        (&["--all"], "every host"),
    ] {
        let command = [&["user", "scope", "ann"], words].concat();
        let output = server.command(&command, "");
        assert!(output.status.success(), "{output:?}");
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(printed.contains(told), "{printed}");
    }
    let events = world.get(&world.root, "/events?kind=user.scope");
    let events = events["events"].as_array().unwrap().iter().rev();
    let told: Vec<Value> = events.map(|event| event["data"].clone()).collect();
    let changes = [
        json!({"from": canonical, "to": "paid"}),
        json!({"from": "paid", "to": null}),
        json!({"from": null, "to": "gaming or static"}),
        json!({"from": "gaming or static", "to": null}),
    ];
    assert_eq!(told, changes);
}

#[test]
fn the_last_superadmin_without_a_scope_gets_none() {
    let world = World::new();
    let scope = |name: &str, scope: Value| {
        let target = format!("/users/{name}");
        let patch = json!({"scope": scope});
        let answer = world
            .server
            .api(&world.root, "PATCH", &target, Some(&patch));
        answer.status
    };
    add_user(&world.server, &world.root, "ann", "superadmin", "all");
    assert_eq!(scope("admin", json!("all")), 409);
    let command = ["user", "scope", "admin", "all"];
    let output = world.server.command(&command, "");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(scope("ann", Value::Null), 200);
    assert_eq!(scope("admin", json!("all")), 200);
}

#[test]
fn a_scope_counts_on_every_instance_within_two_seconds_for_api_tokens_too() {
    let (database, redis) = (Database::new(), RedisServer::start());
    let start =
        || FleetbeatServer::start_on_mongodb(&database, &database.url, &redis.url(), "");
    let (one, other) = (start(), start());
    let root = one.admin_token();
    for ip in [INSIDE, OUTSIDE] {
        heartbeat(&one, ip, 1.0);
    }
    set_tag(&one, &root, INSIDE, &json!("acme"));
    one.add_user("ann", "admin", PASSWORD);
    let ann = one.token("ann", PASSWORD);
    let new = json!({"name": "x", "scopes": ["servers:read"], "expires_in": "1d"});
    let made = one.api(&ann, "POST", "/tokens", Some(&new));
    let program = text(&made.json()["token"]);
    let sees = |token: &str, ip: &str| {
        other
            .api(token, "GET", &format!("/server/{ip}"), None)
            .status
    };
    wait_for("the other instance to know the token", || {
        (sees(&program, OUTSIDE) == 200).then_some(())
    });

    let patch = |scope: Value| {
        let patch = json!({"scope": scope});
        let changed = one.api(&root, "PATCH", "/users/ann", Some(&patch));
        assert_eq!(changed.status, 200, "{changed:?}");
        Instant::now()
    };
    let changed = patch(json!(SCOPE));
    wait_for("the scope to count", || {
        (sees(&program, OUTSIDE) == 404).then_some(())
    });
    assert!(changed.elapsed() < LIMIT, "{:?}", changed.elapsed());
    assert_eq!(sees(&program, INSIDE), 200);
    let list = other.api(&program, "GET", "/servers", None);
    assert_eq!(ips(&list.json(), ""), [INSIDE.to_owned()].into());
    let login = other.token("ann", PASSWORD);
    assert_eq!(sees(&login, OUTSIDE), 404);

    let changed = patch(Value::Null);
    wait_for("the scope to be gone", || {
        (sees(&program, OUTSIDE) == 200).then_some(())
    });
    assert!(changed.elapsed() < LIMIT, "{:?}", changed.elapsed());
}
