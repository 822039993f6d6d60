//! Selectors, wherever a list of hosts takes one: the same hosts from each, and what a
//! wrong selector is told.

use fleetbeat_tools::redis_server::RedisServer;
use fleetbeat_tools::server::{Database, FleetbeatServer};
use fleetbeat_tools::wait::wait_for;
use serde_json::{Value, json};

/// Selectors, each with the last octets of the hosts of [`populate`] that it means.
const CASES: [(&str, &[u8]); 12] = [
    ("all", &[1, 2, 3]),
    ("country = de", &[1, 2]),
    ("country = AUSTRIA", &[3]),
    ("country not in (DE, FR)", &[3]),
    ("hostname ~ vpn-?e-*", &[1, 2]),
    ("ip in (10.0.0.1, ::ffff:10.0.0.3)", &[1, 3]),
    ("service.wg and load.cpu < 80", &[2]),
    ("not service.wg", &[3]),
    ("load.net > 0 or load.net <= 0", &[1, 3]),
    ("metric.\"disk{mount=\\\"/\\\"}\" >= 90", &[2]),
    ("(gaming or paid) and status = active", &[3]),
    ("last_heartbeat > 1h", &[]),
];

/// Texts that are not selectors, each with the place of the fault and what is told.
const WRONG: [(&str, &str); 6] = [
    (
        "",
        "at character 1: is empty: write all to select every host",
    ),
    (
        "gaming and wg",
        "at character 12: \"wg\" is not a field: for a tag, write tag.wg",
    ),
    (
        "country = de gaming",
        "at character 14: \"and\" or \"or\" is missing before gaming",
    ),
    ("(gaming or paid", "at character 1: this ( is not closed"),
    (
        "city = ü and gaming AND paid",
        "at character 21: write and in lower case",
    ),
    (
        "10.0.0.1",
        "at character 1: \"10.0.0.1\" is not a field: for an address, write ip = 10.0.0.1",
    ),
];

/// Three hosts; the third has the flag paid.
fn populate(server: &FleetbeatServer, token: &str) {
    let golden = include_str!("../../protocol/golden/heartbeat-minimal.json");
    let golden: Value = serde_json::from_str(golden).unwrap();
    let changes = [
        json!({"hostname": "vpn-de-1", "load": {"cpu": 90, "ram": 5, "net": 1}}),
        json!({"hostname": "vpn-de-2", "load": {"cpu": 10, "ram": 5, "net": null},
               "metrics": {"disk{mount=\"/\"}": 95.5}}),
        json!({"hostname": "vpn-at-1", "countryCode": "AT", "country": "Austria",
               "services": [{"name": "wg", "active": false}]}),
    ];
    for (n, changes) in (1..).zip(changes) {
        let mut body = golden.clone();
        body["ip"] = format!("10.0.0.{n}").into();
        for (name, value) in changes.as_object().unwrap() {
            body[name] = value.clone();
        }
        assert_eq!(server.heartbeat(&body).status, 200);
    }

    let patch = json!({"paid": true});
    let answer = server.api(token, "PATCH", "/server/10.0.0.3/config", Some(&patch));
    assert_eq!(answer.status, 200);
    wait_for("the list to show all of it", || {
        let shown = server.servers(token);
        (shown.len() == 3 && shown[2]["paid"] == true).then_some(())
    });
}

/// The path with `select=` and the selector.
fn asking(path: &str, selector: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("select", selector);
    format!("{path}?{}", query.finish())
}

fn last_octet(address: &str) -> u8 {
    let (_, last) = address.rsplit_once('.').unwrap();
    last.parse().unwrap()
}

/// The hosts that `servers list` prints, or what it tells with exit code 64.
fn listed(server: &FleetbeatServer, selector: &str) -> Result<Vec<u8>, String> {
    let words = ["servers", "list", "--select", selector];
    let output = server.command(&words, "");
    let [told, errors] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    if output.status.code() == Some(64) {
        assert_eq!(told, "");
        return Err(errors);
    }

    assert!(output.status.success(), "{errors}");
    let address = |line: &str| line.split('\t').next().map(last_octet);
    Ok(told.lines().filter_map(address).collect())
}

#[test]
fn every_list_has_the_hosts_that_the_selector_means() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    populate(&server, &token);
    let get = |path: &str, selector: &str| {
        let answer = server.api(&token, "GET", &asking(path, selector), None);
        assert_eq!(answer.status, 200, "{selector}: {answer:?}");
        answer.json().as_array().unwrap().clone()
    };

    for (selector, hosts) in CASES {
        let servers = get("/servers", selector);
        let ips = servers
            .iter()
            .map(|host| last_octet(host["ip"].as_str().unwrap()));
        assert_eq!(ips.collect::<Vec<_>>(), hosts, "{selector}");

        let targets = get("/sd/prometheus", selector);
        let labels = targets.iter().map(|target| &target["labels"]);
        let ips = labels.map(|labels| labels["__meta_fleetbeat_ip"].as_str().unwrap());
        assert_eq!(ips.map(last_octet).collect::<Vec<_>>(), hosts, "{selector}");

        assert_eq!(listed(&server, selector).unwrap(), hosts, "{selector}");
    }
}

#[test]
fn a_wrong_selector_is_told_with_the_place_wherever_it_is_written() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    for (selector, message) in WRONG {
        for path in ["/servers", "/sd/prometheus"] {
            let answer = server.api(&token, "GET", &asking(path, selector), None);
            let expected = json!([{"field": "select", "message": message}]);
            assert_eq!(
                (answer.status, &answer.json()["errors"]),
                (422, &expected),
                "{path}: {selector}"
            );
        }
        let told = listed(&server, selector).unwrap_err();
        assert!(told.contains(&format!("--select: {message}")), "{told}");
    }
}

#[test]
fn a_selector_means_hosts_that_are_not_listed_where_a_list_leaves_them_out() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    populate(&server, &token);
    let disable = json!({"enabled": false});
    let answer = server.api(&token, "PATCH", "/server/10.0.0.1/config", Some(&disable));
    assert_eq!(answer.status, 200);

    let refused = server.api(&token, "GET", &asking("/servers", "not enabled"), None);
    assert_eq!(refused.status, 422);
    let message = &refused.json()["errors"][0]["message"];
    assert!(
        message.as_str().unwrap().contains("all_servers=true"),
        "{message}"
    );

    let all = format!("{}&all_servers=true", asking("/servers", "not enabled"));
    wait_for("the list to show it", || {
        let shown = server.api(&token, "GET", &all, None).json();
        (shown.as_array().unwrap().len() == 1 && shown[0]["ip"] == "10.0.0.1")
            .then_some(())
    });
    assert_eq!(listed(&server, "not enabled").unwrap(), [1]);
    let offered = server.api(&token, "GET", &asking("/servers", "country = de"), None);
    assert_eq!(offered.json().as_array().unwrap().len(), 1);
}

#[test]
fn the_command_prints_every_host_so_that_no_terminal_obeys_a_name() {
    let server = FleetbeatServer::start();
    let token = server.admin_token();
    populate(&server, &token);
    let mut body: Value = serde_json::from_str(include_str!(
        "../../protocol/golden/heartbeat-minimal.json"
    ))
    .unwrap();
    body["ip"] = "2001:db8::1".into();
    body["hostname"] = "a\u{1b}[2J\tb".into();
    assert_eq!(server.heartbeat(&body).status, 200);

    let output = server.command(&["servers", "list"], "");
    let told = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Vec<&str>> = told
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    let shown: Vec<&str> = lines.iter().map(|line| line[0]).collect();
    assert_eq!(shown, ["10.0.0.1", "10.0.0.2", "10.0.0.3", "2001:db8::1"]);
    assert!(
        lines.iter().all(|line| line[1].starts_with("srv-")),
        "{told}"
    );
    assert_eq!(&lines[2][2..], ["active", "vpn-at-1", "AT", "Munich"]);
    assert_eq!(lines[3][3], "a\\u{1b}[2J\\u{9}b");
}

#[test]
fn the_command_selects_hosts_of_mongodb_too() {
    let (database, redis) = (Database::new(), RedisServer::start());
    let server =
        FleetbeatServer::start_on_mongodb(&database, &database.url, &redis.url(), "");
    populate(&server, &server.admin_token());
    for (selector, hosts) in CASES {
        assert_eq!(listed(&server, selector).unwrap(), hosts, "{selector}");
    }
}
