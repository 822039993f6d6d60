//! SECRET_KEY is exchanged, and what happens where another one counts: docs/operating.md
//! has the steps.

use std::time::{Duration, Instant};

use fleetbeat_tools::fake_http::FakeHttp;
use fleetbeat_tools::process::program;
use fleetbeat_tools::server::{Database, FleetbeatServer, SECRET_KEY};
use serde_json::{Value, json};

const NEW_KEY: &str = "the secret key that replaces the other one";
const THIRD_KEY: &str = "a secret key that nobody has sealed anything with";
const SETTINGS: &str = "[alerts]\nallow_private = [\"127.0.0.0/8\"]\n";
/// Longest wait: some looks at alerts on a busy machine.
const LIMIT: Duration = Duration::from_secs(90);

/// Waits until `condition` is true.
fn eventually(what: &str, condition: impl Fn() -> bool) {
    let ends_at = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < ends_at, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn hook(peer: &FakeHttp) -> Value {
    json!({"name": "On call", "kind": "webhook", "settings": {"url": peer.url("/hook")}})
}

/// Makes a channel, and gives its path.
fn make_channel(server: &FleetbeatServer, token: &str, peer: &FakeHttp) -> String {
    let made = server.api(token, "POST", "/channels", Some(&hook(peer)));
    assert_eq!(made.status, 201, "{made:?}");
    format!("/channels/{}", made.json()["id"].as_str().unwrap())
}

/// Starts the server again with these keys.
fn restart_with(server: &mut FleetbeatServer, key: &str, previous: &str) {
    assert!(server.stop().success());
    server.set_environment("SECRET_KEY", key);
    server.set_environment("SECRET_KEY_PREVIOUS", previous);
    server.restart();
}

fn ready(server: &FleetbeatServer) -> Value {
    let answer = server.request("GET", "/readyz", &[], b"");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// What `check-config` says with this key.
fn check_config(server: &FleetbeatServer, environment: &[(&str, &str)]) -> String {
    let mut command = program("fleetbeat-server");
    command.envs(environment.iter().copied());
    let output = command.arg("-c").arg(server.config()).arg("check-config");
    let output = output.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let [told, warned] =
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    format!("{told}{warned}")
}

#[test]
fn secret_key_is_exchanged_and_neither_logins_nor_channels_are_lost() {
    let peer = FakeHttp::start([]);
    let mut server = FleetbeatServer::start_with(SETTINGS, &[]);
    let before = server.admin_token();
    let channel = make_channel(&server, &before, &peer);
    let status = |server: &FleetbeatServer, token: &str| {
        server.api(token, "GET", "/me", None).status
    };
    let works = |server: &FleetbeatServer, token: &str| {
        let target = format!("{channel}/test");
        server.api(token, "POST", &target, None).json()["ok"] == true
    };

    restart_with(&mut server, NEW_KEY, SECRET_KEY);
    assert_eq!(status(&server, &before), 200);
    assert!(works(&server, &before));
    let sealed = "the secrets of 1 channels, which SECRET_KEY_PREVIOUS had sealed, are \
                  sealed with SECRET_KEY now";
    assert_eq!(server.log().matches(sealed).count(), 1, "{}", server.log());
    let events = server.api(&before, "GET", "/events?kind=channel.changed", None);
    assert_eq!(events.json()["events"].as_array().unwrap().len(), 1);
    let after = server.admin_token();

    // Once more with both: there is nothing to do.
    restart_with(&mut server, NEW_KEY, SECRET_KEY);
    assert_eq!(server.log().matches(sealed).count(), 1, "{}", server.log());
    let told = check_config(
        &server,
        &[("SECRET_KEY", NEW_KEY), ("SECRET_KEY_PREVIOUS", SECRET_KEY)],
    );
    assert!(
        told.contains("former key:  SECRET_KEY_PREVIOUS of"),
        "{told}"
    );
    assert!(!told.contains("sends nothing"), "{told}");

    restart_with(&mut server, NEW_KEY, "");
    assert_eq!(
        (status(&server, &before), status(&server, &after)),
        (401, 200)
    );
    assert!(works(&server, &after));
    assert_eq!(ready(&server)["status"], "ok");
}

#[test]
fn channels_that_nobody_can_open_are_told_of_and_can_be_cured() {
    let (peer, pings) = (FakeHttp::start([]), FakeHttp::start([]));
    let watchdog = format!(
        "[watchdog]\ninterval = \"10s\"\nurl = {:?}\n",
        pings.url("/")
    );
    let settings = format!("{SETTINGS}{watchdog}");
    let mut server = FleetbeatServer::start_with(&settings, &[]);
    let channel = make_channel(&server, &server.admin_token(), &peer);
    assert_eq!(ready(&server)["status"], "ok");
    let told = check_config(&server, &[("SECRET_KEY", SECRET_KEY)]);
    assert!(!told.contains("sends nothing"), "{told}");

    restart_with(&mut server, THIRD_KEY, "");
    let token = server.admin_token();
    let degraded = ready(&server);
    assert_eq!(degraded["status"], "degraded", "{degraded}");
    assert_eq!(degraded["channels"], json!({"closed": 1}));
    assert_eq!(degraded["storage"]["status"], "ok");
    let listed = server.api(&token, "GET", "/channels", None).json();
    assert_eq!(listed[0]["state"], "closed", "{listed}");
    let log = server.log();
    let id = channel.trim_start_matches("/channels/");
    assert!(
        log.contains(&format!("channel \"On call\" ({id}) sends nothing")),
        "{log}"
    );
    let told = check_config(&server, &[("SECRET_KEY", THIRD_KEY)]);
    let warning = format!("warning: the channel On call ({id}) sends nothing");
    assert!(
        told.contains(&warning) && told.contains("SECRET_KEY_PREVIOUS"),
        "{told}"
    );
    eventually("the watchdog's trouble", || {
        let trouble = "nobody can open these channels: On call";
        server.log().contains(trouble)
    });

    // The former key opens them again, and else the secrets are typed anew.
    let both = [
        ("SECRET_KEY", THIRD_KEY),
        ("SECRET_KEY_PREVIOUS", SECRET_KEY),
    ];
    let told = check_config(&server, &both);
    assert!(!told.contains("sends nothing"), "{told}");
    let cured = server.api(&token, "PUT", &channel, Some(&hook(&peer)));
    assert_eq!(
        (cured.status, &cured.json()["state"]),
        (200, &json!("well"))
    );
    eventually("a server that is well", || ready(&server)["status"] == "ok");
    let told = check_config(&server, &[("SECRET_KEY", THIRD_KEY)]);
    assert!(!told.contains("sends nothing"), "{told}");
}

#[test]
fn an_instance_with_another_key_says_so_for_itself() {
    let (database, peer) = (Database::new(), FakeHttp::start([]));
    let start = || {
        let url = &database.url;
        FleetbeatServer::start_on_mongodb(&database, url, "", SETTINGS)
    };
    let (first, mut second) = (start(), start());
    make_channel(&first, &first.admin_token(), &peer);
    restart_with(&mut second, THIRD_KEY, "");
    assert_eq!(ready(&second)["channels"], json!({"closed": 1}));
    assert_eq!(ready(&first)["status"], "ok");
    let environment = [
        ("SECRET_KEY", THIRD_KEY),
        ("AGENT_API_KEY", "a-key-of-the-tests-of-agents"),
        ("MONGODB_URL", &database.url),
    ];
    let told = check_config(&second, &environment);
    assert!(told.contains("the channel On call"), "{told}");
}
