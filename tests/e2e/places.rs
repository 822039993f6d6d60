//! Where hosts are, by a database that the operator names.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use fleetbeat_tools::mmdb::database;
use fleetbeat_tools::server::{FleetbeatServer, run};
use fleetbeat_tools::wait::wait_for;
use serde_json::{Value, json};

fn heartbeat(ip: &str, country_code: &str) -> Value {
    let mut body: Value = serde_json::from_str(include_str!(
        "../../protocol/golden/heartbeat-minimal.json"
    ))
    .unwrap();
    body["ip"] = json!(ip);
    body["countryCode"] = json!(country_code);
    body["country"] = json!("");
    body["city"] = json!("");
    body
}

/// Vienna in `MaxMind`'s form, Munich in the flat one.
fn places() -> Vec<u8> {
    let vienna = json!({
        "country": {"iso_code": "AT", "names": {"en": "Austria"}},
        "city": {"names": {"de": "Wien", "en": "Vienna"}},
        "location": {"latitude": 48.2, "longitude": 16.4},
    });
    let munich = json!({
        "country_code": "DE", "city": "Munich", "latitude": 48.1, "longitude": 11.6,
    });
    database(&[
        (([192, 0, 2, 0].into(), 24), vienna),
        (([198, 51, 100, 0].into(), 25), munich),
    ])
}

fn settings(file: &Path) -> String {
    format!("[geo]\nmmdb = \"{}\"\n", file.display())
}

fn shown(server: &FleetbeatServer, token: &str, ip: &str) -> [Value; 4] {
    let host = server
        .api(token, "GET", &format!("/server/{ip}"), None)
        .json();
    ["countryCode", "country", "city", "geo"].map(|name| host[name].clone())
}

#[test]
fn a_database_fills_what_neither_agents_nor_admins_say() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("places.mmdb");
    fs::write(&file, places()).unwrap();
    let server = FleetbeatServer::start_with(&settings(&file), &[]);
    let token = server.admin_token();
    let nobody = json!({"source": null, "latitude": null, "longitude": null});
    let of_agent = json!({"source": "agent", "latitude": null, "longitude": null});
    let vienna = json!({"source": "database", "latitude": 48.2, "longitude": 16.4});
    let munich = json!({"source": "database", "latitude": 48.1, "longitude": 11.6});
    for (ip, said, expected) in [
        (
            "192.0.2.7",
            "",
            [
                json!("AT"),
                json!("Austria"),
                json!("Vienna"),
                vienna.clone(),
            ],
        ),
        (
            "198.51.100.7",
            "",
            [json!("DE"), json!(""), json!("Munich"), munich],
        ),
        (
            "198.51.100.8",
            "CH",
            [json!("CH"), json!(""), json!(""), of_agent],
        ),
        (
            "203.0.113.7",
            "",
            [json!(""), json!(""), json!(""), nobody.clone()],
        ),
        ("2001:db8::7", "", [json!(""), json!(""), json!(""), nobody]),
    ] {
        assert_eq!(server.heartbeat(&heartbeat(ip, said)).status, 200);
        assert_eq!(shown(&server, &token, ip), expected, "{ip}");
    }
    wait_for("the list to show it", || {
        let answer = server.api(&token, "GET", "/servers?country=austria", None);
        (answer.json()[0]["geo"] == vienna).then_some(())
    });

    let geo = json!({"geo": {"city": "Graz", "latitude": 47.1, "longitude": 15.4}});
    let target = "/server/192.0.2.7/settings";
    let set = server.api(&token, "PATCH", target, Some(&geo)).json();
    assert_eq!(set["city"], "Graz");
    assert_eq!(
        (&set["geo"]["latitude"], &set["countryCode"]),
        (&json!(47.1), &json!("AT"))
    );
}

#[test]
fn a_missing_or_damaged_database_is_told_and_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("places.mmdb");
    let server = FleetbeatServer::start_with(&settings(&file), &[]);
    let token = server.admin_token();
    assert_eq!(server.heartbeat(&heartbeat("192.0.2.7", "")).status, 200);
    assert_eq!(shown(&server, &token, "192.0.2.7")[0], "");
    assert!(
        server.log().contains("geo.mmdb: cannot read"),
        "{}",
        server.log()
    );
    let check = || {
        let output = run(&server.config(), &["check-config"], "");
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(check().contains("warning: geo.mmdb: cannot read"));

    // It is read when it is there, and when it has changed.
    fs::write(&file, places()).unwrap();
    wait_for("the database", || {
        (shown(&server, &token, "192.0.2.7")[2] == "Vienna").then_some(())
    });
    assert!(!check().contains("geo.mmdb"));
    fs::write(&file, "nothing").unwrap();
    let later = SystemTime::now() + Duration::from_secs(5);
    fs::File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_modified(later)
        .unwrap();
    wait_for("the log", || {
        shown(&server, &token, "192.0.2.7");
        server
            .log()
            .contains("is not a database of places")
            .then_some(())
    });
    assert_eq!(
        shown(&server, &token, "192.0.2.7")[2],
        "Vienna",
        "as before"
    );
    assert!(check().contains("is not a database of places"));

    // Whole at first sight: only a look at all of it finds what is wrong.
    let mut damaged = places();
    damaged[..6].fill(0xff);
    fs::write(&file, damaged).unwrap();
    assert!(check().contains("warning: geo.mmdb: "));
}
