//! `GET /servers/changes`: a client that follows has the list, without reading it again.

use std::collections::BTreeMap;

use fleetbeat_tools::redis_server::RedisServer;
use fleetbeat_tools::server::{Database, FleetbeatServer};
use fleetbeat_tools::wait::wait_for;
use serde_json::{Value, json};

/// A client that follows the fleet.
struct Follower<'a> {
    server: &'a FleetbeatServer,
    token: &'a str,
    cursor: Option<String>,
    /// The hosts by address.
    held: BTreeMap<String, Value>,
    resets: usize,
}

impl<'a> Follower<'a> {
    fn new(server: &'a FleetbeatServer, token: &'a str) -> Follower<'a> {
        Follower {
            server,
            token,
            cursor: None,
            held: BTreeMap::new(),
            resets: 0,
        }
    }

    /// Asks once. Gives how many hosts the answer tells of.
    fn ask(&mut self) -> usize {
        let query = self
            .cursor
            .as_ref()
            .map(|cursor| format!("?since={cursor}"));
        let target = format!("/servers/changes{}", query.unwrap_or_default());
        let answer = self.server.api(self.token, "GET", &target, None);
        assert_eq!(answer.status, 200, "{answer:?}");
        let answer = answer.json();
        self.cursor = Some(answer["cursor"].as_str().unwrap().to_owned());

        if answer["reset"] == true {
            self.resets += 1;
            self.held = list(self.server, self.token);
            return 0;
        }
        let changed = answer["changed"].as_array().unwrap();
        let removed = answer["removed"].as_array().unwrap();
        for host in changed {
            self.held.insert(ip(host), host.clone());
        }
        for ip in removed {
            self.held.remove(ip.as_str().unwrap());
        }
        changed.len() + removed.len()
    }

    /// Asks until what is held is what was `expected`.
    fn follow_until(
        &mut self,
        what: &str,
        expected: impl Fn(&BTreeMap<String, Value>) -> bool,
    ) {
        wait_for(what, || {
            self.ask();
            expected(&self.held).then_some(())
        });
    }
}

/// The hosts of the list, by address.
fn list(server: &FleetbeatServer, token: &str) -> BTreeMap<String, Value> {
    let list = server.servers(token).into_iter();
    list.map(|host| (ip(&host), host)).collect()
}

fn ip(host: &Value) -> String {
    host["ip"].as_str().unwrap().to_owned()
}

fn beat(server: &FleetbeatServer, host: usize, cpu: f64) {
    let golden = include_str!("../../protocol/golden/heartbeat-minimal.json");
    let mut body: Value = serde_json::from_str(golden).unwrap();
    body["ip"] = format!("10.0.0.{host}").into();
    body["load"]["cpu"] = cpu.into();
    assert_eq!(server.heartbeat(&body).status, 200);
}

/// Hosts that come, change and go, as a client sees them that reads the list once.
fn follow(server: &FleetbeatServer) {
    let token = server.admin_token();
    for host in 1..=40 {
        beat(server, host, 1.0);
    }
    wait_for("the list to show all", || {
        (server.servers(&token).len() == 40).then_some(())
    });

    let mut follower = Follower::new(server, &token);
    follower.ask();
    assert_eq!((follower.resets, follower.held.len()), (1, 40));

    beat(server, 7, 50.0);
    beat(server, 41, 2.0);
    follower.follow_until("the changed host and the new one", |held| {
        held["10.0.0.7"]["load"]["cpu"] == 50.0 && held.contains_key("10.0.0.41")
    });

    let patch = json!({"paid": true});
    server.api(&token, "PATCH", "/server/10.0.0.8/config", Some(&patch));
    let removed = server.api(&token, "DELETE", "/server/10.0.0.9", None);
    assert_eq!(removed.status, 204);
    follower.follow_until("the flag, and the host that is gone", |held| {
        held["10.0.0.8"]["paid"] == true && !held.contains_key("10.0.0.9")
    });

    // The hosts have just come, so that their weights rise now and then.
    follower.follow_until("all that the list shows", |held| {
        *held == list(server, &token)
    });
    assert_eq!(follower.resets, 1, "the list was read once");
    wait_for("an answer without changes", || {
        (follower.ask() == 0).then_some(())
    });
}

#[test]
fn a_client_that_follows_an_embedded_store_reads_the_list_once() {
    let mut server = FleetbeatServer::start();
    follow(&server);

    let token = server.admin_token();
    let mut follower = Follower::new(&server, &token);
    follower.ask();
    let cursor = follower.cursor.clone();
    server.stop();
    server.restart();
    let mut follower = Follower::new(&server, &token);
    follower.cursor = cursor;
    follower.ask();
    assert_eq!(follower.resets, 1, "a cursor of the process before");

    for query in ["since=", "since=1", "since=x&since=y", "after=1"] {
        let target = format!("/servers/changes?{query}");
        let answer = server.api(&token, "GET", &target, None);
        assert_eq!(answer.status, 422, "{query}");
    }
}

#[test]
fn a_client_that_follows_an_instance_on_mongodb_reads_the_list_once() {
    let (database, redis) = (Database::new(), RedisServer::start());
    let server =
        FleetbeatServer::start_on_mongodb(&database, &database.url, &redis.url(), "");
    follow(&server);
}
