//! Changes of many hosts at once: which hosts they reach, and what is told of them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use fleetbeat_tools::client::Answer;
use fleetbeat_tools::proxy::{Mode, Proxy};
use fleetbeat_tools::redis_server::RedisServer;
use fleetbeat_tools::server::{AGENT_KEY, Database, FleetbeatServer};
use fleetbeat_tools::wait::wait_for;
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

const PASSWORD: &str = "a password";
/// More than two chunks of 500.
const MANY: usize = 1200;

fn heartbeat(ip: &str) -> Value {
    let golden = include_str!("../../protocol/golden/heartbeat-minimal.json");
    let mut body: Value = serde_json::from_str(golden).unwrap();
    body["ip"] = ip.into();
    body["hostname"] = format!("host-{ip}").into();
    body
}

fn address(n: usize) -> String {
    format!("10.0.{}.{}", n / 200, n % 200)
}

/// Makes so many hosts, which the list shows then.
fn populate(server: &FleetbeatServer, token: &str, count: usize) {
    for first in (0..count).step_by(200) {
        let last = count.min(first + 200);
        let mut batch: Vec<Value> =
            (first..last).map(|n| heartbeat(&address(n))).collect();
        for body in &mut batch {
            body["collected_at"] = jiff::Timestamp::now().to_string().into();
        }
        let body = Value::Array(batch).to_string();
        let headers = [
            ("X-API-Key", AGENT_KEY),
            ("Content-Type", "application/json"),
        ];
        let answer = server.request("POST", "/heartbeats", &headers, body.as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    wait_for("the list to show all hosts", || {
        (server.servers(token).len() == count).then_some(())
    });
}

fn post(server: &FleetbeatServer, token: &str, order: &Value) -> Answer {
    server.api(token, "POST", "/servers/bulk", Some(order))
}

/// The order to set `set` on the hosts that `select` means, with further members.
fn order(select: &str, set: &Value, more: Value) -> Value {
    let mut order = json!({"select": select, "set": set});
    let Value::Object(more) = more else {
        panic!("{more} is not an object");
    };
    order.as_object_mut().unwrap().extend(more);
    order
}

fn events(server: &FleetbeatServer, token: &str, kind: &str) -> Vec<Value> {
    let target = format!("/events?kind={kind}&limit=1000");
    let events = server.api(token, "GET", &target, None).json();
    events["events"].as_array().unwrap().clone()
}

#[test]
fn a_bulk_changes_as_many_hosts_as_are_expected_or_none() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    populate(&server, &token, 25);
    let set = json!({
        "paid": true, "static": true, "tags": {"rack/a.1": "17", "old": null},
        "state": {"mode": "drain", "reason": "kernel"}, "settings": {"capacity": 2.5},
    });
    let hosts = |count: usize| -> Value {
        let named = (0..count.min(20)).map(address);
        let named = named.map(|ip| json!({"hostname": format!("host-{ip}"), "ip": ip}));
        json!({"hosts": count, "first": named.collect::<Vec<_>>()})
    };

    let etag = |server: &FleetbeatServer| {
        let list = server.api(&token, "GET", "/servers", None);
        list.header("etag").unwrap().to_owned()
    };
    let before = etag(&server);
    for more in [
        json!({"dry_run": true}),
        json!({"dry_run": true, "expect": 3}),
    ] {
        let dry = post(&server, &token, &order("all", &set, more));
        assert_eq!((dry.status, dry.json()), (200, hosts(25)));
    }
    for expect in [0, 24, 26] {
        let refused = post(
            &server,
            &token,
            &order("all", &set, json!({"expect": expect})),
        );
        assert_eq!(refused.status, 409, "{refused:?}");
        let told = refused.json();
        assert_eq!(told["matched"], hosts(25));
        let detail = format!("means 25 hosts, not {expect}: nothing was changed");
        assert!(told["detail"].as_str().unwrap().contains(&detail), "{told}");
    }
    let other = order("ip = 10.0.0.7", &set, json!({"dry_run": true}));
    assert_eq!(post(&server, &token, &other).json()["hosts"], 1);
    assert_eq!(etag(&server), before);
    assert!(events(&server, &token, "bulk.changed").is_empty());

    let changes = server.api(&token, "GET", "/servers/changes", None).json();
    let done = post(&server, &token, &order("all", &set, json!({"expect": 25})));
    assert_eq!(done.status, 200, "{done:?}");
    let id = done.json()["bulk_id"].clone();
    let expected = json!({"bulk_id": id, "changed": 25, "failed": 0, "stopped_at": null});
    assert_eq!(done.json(), expected);
    let since = changes["cursor"].as_str().unwrap();
    let mut told = BTreeSet::new();
    wait_for("a client that follows to be told", || {
        let target = format!("/servers/changes?since={since}");
        let changes = server.api(&token, "GET", &target, None).json();
        let changed = changes["changed"].as_array().unwrap();
        told.extend(changed.iter().map(|host| host["ip"].to_string()));
        (told.len() == 25).then_some(())
    });
    assert_ne!(etag(&server), before);
    for host in server.servers(&token) {
        assert_eq!(
            (&host["paid"], &host["static"]),
            (&json!(true), &json!(true))
        );
        assert_eq!(host["tags"], json!({"rack/a.1": "17"}));
        assert_eq!(host["state"]["mode"], "drain");
        assert_eq!(host["settings"]["capacity"], 2.5);
        assert_eq!(host["weight"], 0);
    }
    let told = events(&server, &token, "bulk.changed");
    let expected = json!({"bulk_id": id, "select": "all", "set": set, "hosts": 25});
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["data"], expected);
    assert_eq!(told[0]["actor"]["user"], "admin", "{told:?}");
    assert!(told[0]["ip"].is_null());
    let of_host = server.api(&token, "GET", "/events?ip=10.0.0.7", None);
    assert!(!of_host.json().to_string().contains("bulk"));
    let line = "has set the flags, tags, state, settings of 25 hosts (bulk ";
    assert!(server.log().contains(line), "{}", server.log());
}

#[test]
fn an_order_that_breaks_a_rule_is_named_and_changes_nothing() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    populate(&server, &token, 2);
    let set = json!({"paid": true});
    let all = |set: Value| order("all", &set, json!({"expect": 2}));
    for (order, field, told) in [
        (json!([]), "", "must be an object"),
        (
            order("", &set, json!({"expect": 2})),
            "select",
            "at character 1: is empty",
        ),
        (
            order("paid and wg", &set, json!({"expect": 2})),
            "select",
            "at character 10: \"wg\" is not a field",
        ),
        (order("all", &set, json!({})), "expect", "is missing"),
        (
            order("all", &set, json!({"dry_run": false})),
            "expect",
            "is missing",
        ),
        (
            order("all", &set, json!({"expect": "2"})),
            "expect",
            "must be a number",
        ),
        (
            order("all", &set, json!({"dryrun": true})),
            "dryrun",
            "is not a field",
        ),
        (all(json!({})), "set", "is empty"),
        (all(json!({"price": 2})), "set.price", "is not a field"),
        (all(json!({"paid": null})), "set.paid", "must be true"),
        (all(json!({"tags": {"Env": "x"}})), "set.tags.Env", "is not"),
        (
            all(json!({"state": {"mode": "maintenance"}})),
            "set.state.until",
            "",
        ),
        (
            all(json!({"settings": {"capacity": -1}})),
            "set.settings.capacity",
            "must be above 0",
        ),
    ] {
        let answer = post(&server, &token, &order);
        let errors = answer.json()["errors"].clone();
        assert_eq!(
            (answer.status, &errors[0]["field"]),
            (422, &json!(field)),
            "{order}: {answer:?}"
        );
        let message = errors[0]["message"].as_str().unwrap();
        assert!(message.starts_with(told), "{order}: {message}");
    }

    // More tags than a host may have: told before anything is changed.
    let many = (0..32).map(|n| (format!("k{n}"), json!("")));
    let many = Value::Object(many.collect());
    let full = server.api(&token, "PATCH", "/server/10.0.0.1/tags", Some(&many));
    assert_eq!(full.status, 200);
    wait_for("the list to show the tags", || {
        (server.servers(&token)[1]["tags"] == many).then_some(())
    });
    let refused = post(&server, &token, &all(json!({"tags": {"env": "prod"}})));
    assert_eq!(refused.status, 409, "{refused:?}");
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.starts_with("10.0.0.1: the host would have 33 tags"));
    assert_eq!(server.servers(&token)[0]["tags"], json!({}));
    assert!(events(&server, &token, "bulk.changed").is_empty());
}

#[test]
fn a_bulk_reaches_the_hosts_of_the_callers_scope_and_leaves_them_there() {
    let server = FleetbeatServer::start();
    let root = server.admin_token();
    populate(&server, &root, 6);
    let acme = order(
        "ip in (10.0.0.1, 10.0.0.2)",
        &json!({"tags": {"customer": "acme"}}),
        json!({"expect": 2}),
    );
    assert_eq!(post(&server, &root, &acme).status, 200);
    let add = |name: &str, role: &str, scope: Value| {
        let new =
            json!({"username": name, "role": role, "password": PASSWORD, "scope": scope});
        assert_eq!(server.api(&root, "POST", "/users", Some(&new)).status, 201);
        server.token(name, PASSWORD)
    };
    let ann = add("ann", "admin", json!("tag.customer = acme"));
    let eve = add("eve", "readonly", Value::Null);
    let dry = order("all", &json!({"gaming": true}), json!({"dry_run": true}));
    wait_for("the list to show the tags", || {
        (post(&server, &ann, &dry).json()["hosts"] == 2).then_some(())
    });

    assert_eq!(post(&server, &eve, &dry).status, 403);
    let gaming = |expect: usize| {
        let set = json!({"gaming": true});
        order("all", &set, json!({"expect": expect}))
    };
    let refused = post(&server, &ann, &gaming(6));
    assert_eq!(refused.status, 409);
    let shown = refused.json().to_string();
    assert!(!shown.contains("10.0.0.3"), "{shown}");

    // A change that would take one of them out of sight is refused for all.
    for more in [json!({"expect": 2}), json!({"dry_run": true})] {
        let set = json!({"tags": {"customer": "other"}});
        let refused = post(&server, &ann, &order("all", &set, more));
        assert_eq!(refused.status, 403, "{refused:?}");
        assert!(refused.json().to_string().contains("out of your scope"));
    }

    // Her API token, too.
    let make = |scope: &str| {
        let new = json!({"name": "x", "scopes": [scope], "expires_in": "1d"});
        let made = server.api(&ann, "POST", "/tokens", Some(&new));
        made.json()["token"].as_str().unwrap().to_owned()
    };
    let reads = post(&server, &make("servers:read"), &gaming(2));
    assert_eq!(reads.status, 403, "{reads:?}");
    let writes = make("flags:write");
    let done = post(&server, &writes, &gaming(2));
    assert_eq!(done.json()["changed"], 2, "{done:?}");
    let told = events(&server, &root, "bulk.changed");
    assert_eq!(told[0]["actor"]["user"], "ann");
    assert!(writes.contains(told[0]["data"]["token"].as_str().unwrap()));
    assert!(events(&server, &ann, "bulk.changed").is_empty());

    let is_set = |ip: &str| {
        let host = server.api(&root, "GET", &format!("/server/{ip}"), None);
        host.json()["gaming"] == true
    };
    let set: Vec<String> = (0..6).map(address).filter(|ip| is_set(ip)).collect();
    assert_eq!(set, ["10.0.0.1", "10.0.0.2"]);
}

/// Sets it on [`MANY`] hosts while heartbeats come, each of which is answered.
fn change_many(server: &FleetbeatServer) {
    let token = server.admin_token();
    populate(server, &token, MANY);
    let (is_over, beats) = (AtomicBool::new(false), AtomicUsize::new(0));
    let set = json!({"enabled": false, "tags": {"env": "prod"}});
    let order = |set: &Value| order("all", set, json!({"expect": MANY}));
    let done = thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0;
            while !is_over.load(Ordering::Acquire) {
                let answer = server.heartbeat(&heartbeat(&address(n % MANY)));
                assert_eq!(answer.status, 200, "{answer:?}");
                beats.fetch_add(1, Ordering::Release);
                n += 97;
            }
        });
        wait_for("heartbeats", || {
            (beats.load(Ordering::Acquire) > 3).then_some(())
        });
        let before = beats.load(Ordering::Acquire);
        let done = post(server, &token, &order(&set));
        let between = beats.load(Ordering::Acquire) - before;
        is_over.store(true, Ordering::Release);
        assert!(between > 0, "heartbeats go between chunks");
        done
    });
    assert_eq!(done.status, 200, "{done:?}");
    let done = done.json();
    assert_eq!(
        (&done["changed"], &done["failed"]),
        (&json!(MANY), &json!(0))
    );
    wait_for("the list to show them", || {
        let hosts = server.servers(&token);
        let is_set =
            |host: &Value| host["enabled"] == false && host["tags"]["env"] == "prod";
        (hosts.len() == MANY && hosts.iter().all(is_set)).then_some(())
    });

    let told = wait_for("the events", || {
        let told = events(server, &token, "bulk.changed");
        (told.len() >= 3).then_some(told)
    });
    let hosts: Vec<&Value> = told
        .iter()
        .rev()
        .map(|told| &told["data"]["hosts"])
        .collect();
    assert_eq!(hosts, [500, 500, 200], "{told:?}");
    let ids: BTreeSet<&str> = told
        .iter()
        .filter_map(|told| told["data"]["bulk_id"].as_str())
        .collect();
    assert_eq!(ids, [done["bulk_id"].as_str().unwrap()].into());

    let again = post(server, &token, &order(&set)).json();
    assert_eq!(again["changed"], MANY);
    assert_ne!(again["bulk_id"], done["bulk_id"]);
}

#[test]
fn twelve_hundred_hosts_are_three_chunks_with_heartbeats_between() {
    change_many(&FleetbeatServer::start());
}

#[test]
fn twelve_hundred_hosts_on_mongodb_are_three_chunks_with_heartbeats_between() {
    let (database, redis) = (Database::new(), RedisServer::start());
    let url = database.url.clone();
    change_many(&FleetbeatServer::start_on_mongodb(
        &database,
        &url,
        &redis.url(),
        "",
    ));
}

#[test]
fn a_bulk_tells_where_it_stopped_when_the_database_went_away() {
    const HOSTS: usize = 3000;
    let database = Database::new();
    let proxy = Proxy::start(crate::mongodb::address(&database.url));
    let url = format!("mongodb://{}/?directConnection=true", proxy.address());
    let server = FleetbeatServer::start_on_mongodb(&database, &url, "", "");
    let token = server.admin_token();
    populate(&server, &token, HOSTS);
    let records = database.connect().collection::<Document>("servers");
    let count = |paid: bool| records.count_documents(doc! {"paid": paid}).run().unwrap();

    // A bulk may be done before the database is away: then the next one undoes it.
    let mut attempts = [true, false].into_iter().cycle().take(20);
    let (paid, order, stopped) = loop {
        let paid = attempts.next().expect("a bulk is stopped");
        let order = order("all", &json!({"paid": paid}), json!({"expect": HOSTS}));
        let answer = thread::scope(|scope| {
            let answer = scope.spawn(|| post(&server, &token, &order));
            wait_for("the second chunk", || (count(paid) > 500).then_some(()));
            // No other change of many hosts begins meanwhile.
            let other = post(&server, &token, &order);
            assert!([200, 503].contains(&other.status), "{other:?}");
            proxy.set(Mode::Cut);
            answer.join().unwrap()
        });
        assert_eq!(answer.status, 200, "{answer:?}");
        let answer = answer.json();
        if !answer["stopped_at"].is_null() {
            break (paid, order, answer);
        }
        proxy.set(Mode::Forward);
        wait_for("the database to be back", || {
            (post(&server, &token, &order).status == 200).then_some(())
        });
    };
    let changed = usize::try_from(stopped["changed"].as_u64().unwrap()).unwrap();
    assert!(changed > 0 && changed.is_multiple_of(500), "{stopped}");
    assert_eq!(stopped["failed"], 0);
    let mut addresses: Vec<std::net::IpAddr> =
        (0..HOSTS).map(|n| address(n).parse().unwrap()).collect();
    addresses.sort_unstable();
    assert_eq!(stopped["stopped_at"], addresses[changed].to_string());
    let away = post(&server, &token, &order);
    assert_eq!(away.status, 500, "{away:?}");

    proxy.set(Mode::Forward);
    let again = wait_for("the database to be back", || {
        let again = post(&server, &token, &order);
        (again.status == 200).then(|| again.json())
    });
    assert_eq!(
        (&again["changed"], &again["stopped_at"]),
        (&json!(HOSTS), &Value::Null)
    );
    assert_eq!(count(paid), u64::try_from(HOSTS).unwrap());
    let of = |id: &Value| {
        let told = events(&server, &token, "bulk.changed");
        let told = told.iter().filter(|event| event["data"]["bulk_id"] == *id);
        told.count()
    };
    wait_for("all events", || {
        (of(&again["bulk_id"]) == HOSTS / 500).then_some(())
    });
    // Of the first one, the chunk that failed may have been changed. What could not be
    // delivered any more when the database went away is told within a minute.
    let (first, chunks) = (of(&stopped["bulk_id"]), changed / 500);
    assert!(
        (chunks - 1..=chunks + 1).contains(&first),
        "{first} of {chunks}"
    );
}
