//! The authorization table: every route of the OpenAPI document and every identity.
//!
//! Who may call a route is read from the document, which a unit test of the server holds to
//! its routes. Here each route has a row that says how the route is called so that whoever
//! is admitted has success. A route without a row fails.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fleetbeat_protocol::{Scope, Timestamp};
use fleetbeat_tools::client::Answer;
use fleetbeat_tools::server::{AGENT_KEY, FleetbeatServer, SECRET_KEY};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::agent_keys::Host;
use crate::codes::code;

const HEARTBEAT: &str = include_str!("../../protocol/golden/heartbeat-minimal.json");

/// How a route is called.
struct Row {
    /// The method and the path as the document has them.
    route: &'static str,
    /// Makes what the call by this user works on, and gives target and body.
    prepare: fn(&World, &str) -> (String, String),
    /// The status for whoever is admitted.
    success: u16,
}

const fn row(
    route: &'static str,
    success: u16,
    prepare: fn(&World, &str) -> (String, String),
) -> Row {
    Row {
        route,
        prepare,
        success,
    }
}

/// Every route.
const ROWS: &[Row] = &[
    row("POST /heartbeat", 200, |_, _| with("/heartbeat", HEARTBEAT)),
    row("POST /heartbeats", 200, |_, _| with("/heartbeats", "[]")),
    // A password takes a quarter of a second; this is as far as nobody is refused.
    row("POST /token", 422, |_, _| with("/token", "username=x")),
    row("GET /me", 200, |_, _| with("/me", "")),
    row("POST /me/password", 200, |_, user| {
        let password = password_of(user);
        let body = json!({"current_password": password, "new_password": password});
        with("/me/password", &body.to_string())
    }),
    row("POST /me/logout-all", 204, |_, _| {
        with("/me/logout-all", "")
    }),
    row("POST /me/totp", 200, |_, user| {
        let body = json!({"password": password_of(user)});
        with("/me/totp", &body.to_string())
    }),
    row("POST /me/totp/confirm", 200, |world, user| {
        let body = json!({"password": password_of(user)});
        let setup = world.as_user(user, "POST", "/me/totp", Some(&body));
        let secret = setup.json()["secret"].as_str().unwrap().to_owned();
        let body = json!({"code": code(&secret, 0)});
        with("/me/totp/confirm", &body.to_string())
    }),
    row("GET /users", 200, |_, _| with("/users", "")),
    row("POST /users", 201, |world, _| {
        let body = json!({
            "username": world.name("new"),
            "role": "readonly",
            "password": "a password",
        });
        with("/users", &body.to_string())
    }),
    row("PATCH /users/{username}", 200, |world, _| {
        let name = world.user("changed");
        with(&format!("/users/{name}"), "{\"role\": \"admin\"}")
    }),
    row("DELETE /users/{username}", 204, |world, _| {
        with(&format!("/users/{}", world.user("removed")), "")
    }),
    row("GET /tokens", 200, |_, _| with("/tokens", "")),
    row("POST /tokens", 201, |_, _| {
        with("/tokens", &new_token(Scope::ServersRead).to_string())
    }),
    row("DELETE /tokens/{id}", 204, |world, user| {
        let body = new_token(Scope::ServersRead);
        let made = world.as_user(user, "POST", "/tokens", Some(&body)).json();
        with(&format!("/tokens/{}", made["id"].as_str().unwrap()), "")
    }),
    row("GET /servers", 200, |_, _| with("/servers", "")),
    row("GET /servers/changes", 200, |_, _| {
        with("/servers/changes", "")
    }),
    row("POST /servers/bulk", 200, |_, _| {
        let body = json!({"select": "not all", "set": {"gaming": true}, "expect": 0});
        with("/servers/bulk", &body.to_string())
    }),
    row("GET /server/{ip}", 200, |_, _| with("/server/1.2.3.4", "")),
    row("GET /server/{ip}/history", 200, |_, _| {
        with("/server/1.2.3.4/history", "")
    }),
    row("GET /server/{ip}/uptime", 200, |_, _| {
        with("/server/1.2.3.4/uptime", "")
    }),
    row("GET /servers/uptime", 200, |_, _| {
        with("/servers/uptime", "")
    }),
    row("GET /traffic", 200, |_, _| with("/traffic", "")),
    row("GET /fleet/history", 200, |_, _| with("/fleet/history", "")),
    row("DELETE /server/{ip}", 204, |world, _| {
        let ip = format!("10.0.0.{}", world.number());
        let body = HEARTBEAT.replace("1.2.3.4", &ip);
        world.server.post_heartbeat("/heartbeat", body.as_bytes());
        with(&format!("/server/{ip}"), "")
    }),
    row("PATCH /server/{ip}/config", 200, |_, _| {
        with("/server/1.2.3.4/config", "{\"gaming\": true}")
    }),
    row("PATCH /server/{ip}/tags", 200, |_, _| {
        with("/server/1.2.3.4/tags", "{\"env\": \"prod\"}")
    }),
    row("PATCH /server/{ip}/state", 200, |_, _| {
        with("/server/1.2.3.4/state", "{\"mode\": \"drain\"}")
    }),
    row("PATCH /server/{ip}/settings", 200, |_, _| {
        with("/server/1.2.3.4/settings", "{\"capacity\": 2}")
    }),
    row("GET /events", 200, |_, _| with("/events", "")),
    row("GET /alert-rules", 200, |_, _| with("/alert-rules", "")),
    row("POST /alert-rules", 201, |_, _| {
        with("/alert-rules", &new_rule().to_string())
    }),
    row("GET /alert-rules/{id}", 200, |world, _| {
        with(&format!("/alert-rules/{}", made_rule(world)), "")
    }),
    row("PUT /alert-rules/{id}", 200, |world, _| {
        let target = format!("/alert-rules/{}", made_rule(world));
        with(&target, &new_rule().to_string())
    }),
    row("DELETE /alert-rules/{id}", 204, |world, _| {
        with(&format!("/alert-rules/{}", made_rule(world)), "")
    }),
    row("POST /alert-rules/test", 200, |_, _| {
        with("/alert-rules/test", &new_rule().to_string())
    }),
    row("GET /channels", 200, |_, _| with("/channels", "")),
    row("POST /channels", 201, |_, _| {
        with("/channels", &new_channel().to_string())
    }),
    row("GET /channels/{id}", 200, |world, _| {
        with(&format!("/channels/{}", made_channel(world)), "")
    }),
    row("PUT /channels/{id}", 200, |world, _| {
        let target = format!("/channels/{}", made_channel(world));
        with(&target, &new_channel().to_string())
    }),
    row("DELETE /channels/{id}", 204, |world, _| {
        with(&format!("/channels/{}", made_channel(world)), "")
    }),
    row("POST /channels/{id}/test", 200, |world, _| {
        with(&format!("/channels/{}/test", made_channel(world)), "")
    }),
    // A link that nobody has been sent.
    row("GET /ack/{link}", 404, |_, _| with("/ack/dlv-1.1.00", "")),
    row("POST /ack/{link}", 404, |_, _| with("/ack/dlv-1.1.00", "")),
    row("GET /mutes", 200, |_, _| with("/mutes", "")),
    row("POST /mutes", 201, |_, _| {
        with("/mutes", &new_mute().to_string())
    }),
    row("DELETE /mutes/{id}", 204, |world, _| {
        let made = world.as_user("admin", "POST", "/mutes", Some(&new_mute()));
        let id = made.json()["id"].as_str().unwrap().to_owned();
        with(&format!("/mutes/{id}"), "")
    }),
    row("GET /alerts", 200, |_, _| with("/alerts", "")),
    // There is no alert, and no message about one.
    row("GET /alerts/{id}", 404, |_, _| with("/alerts/alr-1", "")),
    row("POST /alerts/{id}/ack", 404, |_, _| {
        with("/alerts/alr-1/ack", "{}")
    }),
    row("DELETE /alerts/{id}/ack", 404, |_, _| {
        with("/alerts/alr-1/ack", "")
    }),
    row("GET /deliveries", 200, |_, _| with("/deliveries", "")),
    row("POST /deliveries/{id}/retry", 404, |_, _| {
        with("/deliveries/dlv-1/retry", "")
    }),
    row("DELETE /deliveries/{id}", 404, |_, _| {
        with("/deliveries/dlv-1", "")
    }),
    // A host that has neither a code nor a key.
    row("POST /enroll", 422, |_, _| with("/enroll", "{}")),
    row("GET /enrollment-codes", 200, |_, _| {
        with("/enrollment-codes", "")
    }),
    row("POST /enrollment-codes", 201, |_, _| {
        with("/enrollment-codes", "{}")
    }),
    row("DELETE /enrollment-codes/{id}", 200, |world, _| {
        let made = new_code(world);
        let id = made["id"].as_str().unwrap();
        with(&format!("/enrollment-codes/{id}"), "")
    }),
    row("GET /agent-keys", 200, |_, _| with("/agent-keys", "")),
    row("DELETE /agent-keys/{agent_id}", 200, |world, _| {
        with(&format!("/agent-keys/{}", enrolled(world)), "")
    }),
    row("POST /agent-keys/{agent_id}/rotate", 200, |world, _| {
        with(&format!("/agent-keys/{}/rotate", enrolled(world)), "")
    }),
    row("POST /agent-keys/{agent_id}/readmit", 200, |world, _| {
        with(&format!("/agent-keys/{}/readmit", removed(world)), "")
    }),
    row("GET /sd/prometheus", 200, |_, _| with("/sd/prometheus", "")),
    row("GET /metrics", 200, |_, _| with("/metrics", "")),
    row("GET /healthz", 200, |_, _| with("/healthz", "")),
    row("GET /readyz", 200, |_, _| with("/readyz", "")),
    row("GET /openapi.json", 200, |_, _| with("/openapi.json", "")),
];

/// The routes by which a user's login ends: the next call needs another one.
const ENDS_LOGIN: [&str; 3] = [
    "POST /me/password",
    "POST /me/logout-all",
    "POST /me/totp/confirm",
];

/// The roles; each has a user.
const USERS: [&str; 3] = ["readonly", "admin", "superadmin"];

fn with(target: &str, body: &str) -> (String, String) {
    (target.to_owned(), body.to_owned())
}

/// The user of this role.
fn name_of(user: &str) -> String {
    format!("some-{user}")
}

fn password_of(user: &str) -> String {
    format!("password of {user}")
}

fn new_rule() -> Value {
    json!({"name": "host down", "severity": "critical", "when": "down"})
}

/// The id of a new rule.
fn made_rule(world: &World) -> String {
    let made = world.as_user("admin", "POST", "/alert-rules", Some(&new_rule()));
    made.json()["id"].as_str().unwrap().to_owned()
}

/// A channel of mail, which sends nothing: the server has no mail server.
fn new_channel() -> Value {
    json!({"name": "mail", "kind": "email", "settings": {"to": ["ops@example.com"]}})
}

/// The id of a new channel.
fn made_channel(world: &World) -> String {
    let new = new_channel();
    let made = world.as_user("superadmin", "POST", "/channels", Some(&new));
    made.json()["id"].as_str().unwrap().to_owned()
}

fn new_mute() -> Value {
    let until = Timestamp::now() + std::time::Duration::from_secs(3600);
    json!({"where": "all", "until": until.to_string()})
}

/// A new code, which enrols one host.
fn new_code(world: &World) -> Value {
    let wish = json!({});
    let made = world.as_user("superadmin", "POST", "/enrollment-codes", Some(&wish));
    made.json()
}

/// The `agent_id` of a host with a key of its own.
fn enrolled(world: &World) -> String {
    enrolled_host(world).id.expose()
}

fn enrolled_host(world: &World) -> Host {
    let host = Host::new((world.number() as u128) << 96);
    let code = new_code(world);
    let answer = host.enroll(&world.server, code["code"].as_str().unwrap());
    assert_eq!(answer.status, 201, "{answer:?}");
    host
}

/// The `agent_id` of a host that was removed.
fn removed(world: &World) -> String {
    let host = enrolled_host(world);
    let ip = format!("2001:db8::{}", world.number());
    assert_eq!(host.beat(&world.server, &ip).status, 200);
    let gone = world.as_user("superadmin", "DELETE", &format!("/server/{ip}"), None);
    assert_eq!(gone.status, 204, "{gone:?}");
    host.id.expose()
}

fn new_token(scope: Scope) -> Value {
    json!({"name": "a test", "scopes": [scope], "expires_in": "1d"})
}

/// A server with a user of each role.
struct World {
    server: FleetbeatServer,
    logins: RefCell<BTreeMap<String, String>>,
    count: Cell<usize>,
}

/// What a request shows.
struct Identity {
    name: String,
    header: Option<(&'static str, String)>,
    is: Is,
}

/// Who an identity is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is {
    /// Nobody: no token, or none that is valid.
    Nobody,
    Agent,
    User(&'static str),
    /// A superadmin's API token.
    Program(Scope),
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Admitted,
    Unknown,
    Forbidden,
}

impl World {
    fn new() -> World {
        let server = FleetbeatServer::start();
        for user in USERS {
            server.add_user(&name_of(user), user, &password_of(user));
        }
        server.post_heartbeat("/heartbeat", HEARTBEAT.as_bytes());
        World {
            server,
            logins: RefCell::default(),
            count: Cell::default(),
        }
    }

    /// A number that was never given before.
    fn number(&self) -> usize {
        self.count.set(self.count.get() + 1);
        self.count.get()
    }

    fn name(&self, what: &str) -> String {
        format!("{what}{}", self.number())
    }

    /// Makes a user.
    fn user(&self, what: &str) -> String {
        let name = self.name(what);
        let body =
            json!({"username": name, "role": "readonly", "password": "a password"});
        let made = self.as_user("superadmin", "POST", "/users", Some(&body));
        assert_eq!(made.status, 201, "{made:?}");
        name
    }

    /// The user's login, which is made anew if it has ended.
    fn login(&self, user: &str) -> String {
        let known = self.logins.borrow().get(user).cloned();
        known.unwrap_or_else(|| {
            let token = self.server.token(&name_of(user), &password_of(user));
            let mut logins = self.logins.borrow_mut();
            logins.insert(user.to_owned(), token.clone());
            token
        })
    }

    fn as_user(
        &self,
        user: &str,
        method: &str,
        target: &str,
        body: Option<&Value>,
    ) -> Answer {
        self.server.api(&self.login(user), method, target, body)
    }

    /// The user's login has ended, and with it a second factor.
    fn forget(&self, user: &str) {
        let name = name_of(user);
        let output = self.server.command(&["user", "reset-totp", &name], "");
        assert!(output.status.success(), "{output:?}");
        self.logins.borrow_mut().remove(user);
    }

    /// An API token of a user for one scope.
    fn api_token(&self, user: &str, scope: Scope) -> String {
        let made = self.as_user(user, "POST", "/tokens", Some(&new_token(scope)));
        assert_eq!(made.status, 201, "{made:?}");
        made.json()["token"].as_str().unwrap().to_owned()
    }
}

/// A token signed with `key`, saying `claims` under `algorithm`.
fn forge(key: &str, algorithm: &str, claims: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = encode(&json!({"alg": algorithm, "typ": "JWT"}));
    let message = format!("{head}.{}", encode(claims));
    let signature = Hmac::<Sha256>::new_from_slice(key.as_bytes())
        .unwrap()
        .chain_update(&message)
        .finalize();
    let signature = URL_SAFE_NO_PAD.encode(signature.into_bytes());
    format!("{message}.{signature}")
}

fn claims_of(token: &str) -> Value {
    let claims = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

/// Tokens that are not valid, each with its name.
fn invalid_tokens(world: &World) -> Vec<(&'static str, String)> {
    let claims = claims_of(&world.login("superadmin"));
    let now = Timestamp::now().as_second();
    let life = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    assert_eq!(life, 30 * 86_400);
    let with = |name: &str, value: Value| {
        let mut changed = claims.clone();
        changed[name] = value;
        changed
    };
    let without_exp = json!({"sub": claims["sub"], "ver": claims["ver"]});
    let hs256 = |claims: &Value| forge(SECRET_KEY, "HS256", claims);
    let genuine = hs256(&claims);
    let asked = world.server.api(&genuine, "GET", "/me", None);
    assert_eq!(asked.status, 200, "the forger knows how");

    let gone = world.user("gone");
    let of_gone = world.server.token(&gone, "a password");
    let path = format!("/users/{gone}");
    assert_eq!(
        world.as_user("superadmin", "DELETE", &path, None).status,
        204
    );
    let revoked = world.api_token("superadmin", Scope::ServersRead);
    let id = revoked.split('_').nth(1).unwrap();
    let path = format!("/tokens/{id}");
    assert_eq!(
        world.as_user("superadmin", "DELETE", &path, None).status,
        204
    );
    let genuine = world.api_token("superadmin", Scope::ServersRead);
    let changed = genuine.replace(&genuine[30..33], "xyz");

    vec![
        ("garbage", "x.y.z".to_owned()),
        ("expired", hs256(&with("exp", json!(now - 60)))),
        ("of no algorithm", forge(SECRET_KEY, "none", &claims)),
        ("HS512", forge(SECRET_KEY, "HS512", &claims)),
        (
            "of another key",
            forge(
                "another key that is long enough, 32 bytes",
                "HS256",
                &claims,
            ),
        ),
        ("without an end", hs256(&without_exp)),
        ("of an unknown user", hs256(&with("sub", json!("nobody")))),
        ("of a removed user", of_gone),
        ("of an old version", hs256(&with("ver", json!("0")))),
        (
            "garbage that begins as an API token does",
            "fbt_x_y".to_owned(),
        ),
        ("an API token that was changed", changed),
        ("an API token that was revoked", revoked),
    ]
}

fn identities(world: &World) -> Vec<Identity> {
    let bearer = |token: &str| Some(("Authorization", format!("Bearer {token}")));
    let mut identities = vec![
        Identity {
            name: "no token".to_owned(),
            header: None,
            is: Is::Nobody,
        },
        Identity {
            name: "the agents' key".to_owned(),
            header: Some(("X-API-Key", AGENT_KEY.to_owned())),
            is: Is::Agent,
        },
        Identity {
            name: "another agents' key".to_owned(),
            header: Some(("X-API-Key", format!("{AGENT_KEY}x"))),
            is: Is::Nobody,
        },
        Identity {
            name: "basic authentication".to_owned(),
            header: Some(("Authorization", "Basic eDp5".to_owned())),
            is: Is::Nobody,
        },
    ];
    for (name, token) in invalid_tokens(world) {
        identities.push(Identity {
            name: format!("a token {name}"),
            header: bearer(&token),
            is: Is::Nobody,
        });
    }
    for user in USERS {
        // The header is made when it is needed, because a login may end.
        identities.push(Identity {
            name: user.to_owned(),
            header: None,
            is: Is::User(user),
        });
    }
    for scope in Scope::ALL {
        identities.push(Identity {
            name: format!("an API token for {scope}"),
            header: bearer(&world.api_token("superadmin", scope)),
            is: Is::Program(scope),
        });
    }
    identities
}

/// What the document says of a route and an identity. The client's `Host` is none of this
/// machine, so it is no local program; `metrics.rs` asks as one.
fn judge(security: &Value, is: Is) -> Verdict {
    let Some(needed) = security.get(0) else {
        return Verdict::Admitted;
    };
    if needed.get("agentKey").is_some() {
        return match is {
            Is::Agent => Verdict::Admitted,
            _ => Verdict::Unknown,
        };
    }
    let names = needed["bearer"].as_array().expect("a route says who may");
    let (role, scope) = (names[0].as_str().unwrap(), names.get(1));
    let rank = |role: &str| USERS.iter().position(|user| *user == role).unwrap();
    let is_allowed = match is {
        Is::Nobody | Is::Agent => return Verdict::Unknown,
        Is::User(user) => rank(user) >= rank(role),
        Is::Program(of) => scope == Some(&json!(of)),
    };
    match is_allowed {
        true => Verdict::Admitted,
        false => Verdict::Forbidden,
    }
}

/// Every operation of the document, with who may call it.
fn operations(server: &FleetbeatServer) -> BTreeMap<String, Value> {
    let document = server.request("GET", "/openapi.json", &[], b"").json();
    assert_eq!(document["openapi"], "3.1.0");
    let mut operations = BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let has = |name| operation.get(name).is_some();
            assert!(has("summary") && has("responses"), "{method} {path}");
            let route = format!("{} {path}", method.to_uppercase());
            operations.insert(route, operation["security"].clone());
        }
    }
    operations
}

#[test]
fn every_route_admits_exactly_the_identities_that_the_document_says() {
    let world = World::new();
    let operations = operations(&world.server);
    let rows: BTreeSet<&str> = ROWS.iter().map(|row| row.route).collect();
    let routes: BTreeSet<&str> = operations.keys().map(String::as_str).collect();
    assert_eq!(rows, routes, "each route has a row, and each row a route");

    let identities = identities(&world);
    let mut admitted = 0;
    for row in ROWS {
        let security = &operations[row.route];
        let judged = identities
            .iter()
            .map(|identity| (identity, judge(security, identity.is)));
        let (may, may_not): (Vec<_>, Vec<_>) =
            judged.partition(|(_, verdict)| *verdict == Verdict::Admitted);

        // What is refused works on the same thing, which then is as it was.
        let mut made = Some((row.prepare)(&world, "superadmin"));
        for (identity, verdict) in may_not {
            let answer = call(&world, row, identity, made.as_ref().unwrap());
            let expected = if verdict == Verdict::Unknown {
                401
            } else {
                403
            };
            assert_eq!(answer.status, expected, "{}: {}", row.route, identity.name);
            let challenge = answer.header("www-authenticate");
            let is_agents = security[0].get("agentKey").is_some();
            let scheme = if is_agents { "X-API-Key" } else { "Bearer" };
            assert!(verdict == Verdict::Forbidden || challenge == Some(scheme));
        }
        for (identity, _) in may {
            let user = match identity.is {
                Is::User(user) => user,
                _ => "superadmin",
            };
            let kept = made.take().filter(|_| user == "superadmin");
            let prepared = kept.unwrap_or_else(|| (row.prepare)(&world, user));
            let answer = call(&world, row, identity, &prepared);
            let (route, name) = (row.route, &identity.name);
            assert_eq!(answer.status, row.success, "{route}: {name}: {answer:?}");
            admitted += 1;
            if ENDS_LOGIN.contains(&route) {
                world.forget(user);
            }
        }
    }
    assert!(admitted > ROWS.len(), "{admitted}");
}

fn call(
    world: &World,
    row: &Row,
    identity: &Identity,
    (target, body): &(String, String),
) -> Answer {
    let (method, _) = row.route.split_once(' ').unwrap();
    let header = match identity.is {
        Is::User(user) => {
            let token = world.login(user);
            Some(("Authorization", format!("Bearer {token}")))
        }
        _ => identity.header.clone(),
    };
    let headers: Vec<(&str, &str)> = header
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    world
        .server
        .request(method, target, &headers, body.as_bytes())
}

#[test]
fn the_dashboards_files_are_for_anybody() {
    let server = FleetbeatServer::start();
    for file in ["/", "/licenses.md"] {
        for headers in [&[][..], &[("Authorization", "Bearer x.y.z")]] {
            assert_eq!(server.request("GET", file, headers, b"").status, 200);
        }
    }
}
