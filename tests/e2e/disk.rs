//! A full disk: heartbeats are refused, nothing that was acknowledged is lost, and all is
//! well once there is room.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fleetbeat_tools::server::FleetbeatServer;
use fleetbeat_tools::wait::wait_for;
use serde_json::Value;

#[test]
fn a_full_disk_refuses_heartbeats_and_loses_none() {
    // The data folder is a file system of two mebibytes, in a mount namespace that ends
    // with the process.
    let mut server = FleetbeatServer::start_on_small_disk("2m");
    let token = server.admin_token();
    let minimal: Value = serde_json::from_str(include_str!(
        "../../protocol/golden/heartbeat-minimal.json"
    ))
    .unwrap();
    let beat = |server: &FleetbeatServer, n: usize| {
        let mut body = minimal.clone();
        body["ip"] = format!("10.0.{}.{}", n / 250, n % 250 + 1).into();
        body["metrics"] = (0..60)
            .map(|m| (format!("metric {m} {}", "x".repeat(50)), Value::from(m)))
            .collect();
        let started = Instant::now();
        let answer = server.heartbeat(&body);
        assert!(
            started.elapsed() < Duration::from_secs(3),
            "{:?}",
            started.elapsed()
        );
        answer.status
    };
    let stored = (0..2000).take_while(|n| beat(&server, *n) == 200).count();
    assert!((10..1999).contains(&stored), "{stored}");
    assert_eq!(beat(&server, 1999), 500);
    assert_eq!(server.servers(&token).len(), stored, "reading goes on");
    for n in 0..50 {
        assert_eq!(beat(&server, 1999 - n), 500);
        let ready = server.request("GET", "/readyz", &[], b"");
        assert_eq!(ready.status, 503, "{}", ready.json());
        assert_eq!(ready.json()["storage"]["status"], "not writable");
    }
    assert_eq!(server.request("GET", "/healthz", &[], b"").status, 200);
    let lines = |part: &str| server.log().matches(part).count();
    for part in ["heartbeats cannot be stored: ", "not ready: "] {
        let told = lines(part);
        assert!(
            (1..=3).contains(&told),
            "{told} times {part}\n{}",
            server.log()
        );
    }

    let outside = |path: PathBuf| {
        PathBuf::from(format!("/proc/{}/root{}", server.pid(), path.display()))
    };
    fs::remove_file(outside(server.data().join("filler"))).unwrap();
    assert_eq!(beat(&server, 1999), 200, "there is room again");
    assert_eq!(server.request("GET", "/readyz", &[], b"").status, 200);
    wait_for("the log to tell that it is over", || {
        assert_eq!(server.request("GET", "/readyz", &[], b"").status, 200);
        server.log().contains("ready again").then_some(())
    });
    assert_eq!(beat(&server, 1999), 200);
    assert_eq!(lines("heartbeats are stored again"), 1, "{}", server.log());
    assert_eq!(
        server.api(&token, "GET", "/server/10.0.0.1", None).status,
        200
    );
    let check = server.data().join("copy.db");
    let copy = outside(check.clone());
    assert!(
        server
            .command_inside(&["backup", check.to_str().unwrap()])
            .status
            .success()
    );
    assert!(fs::metadata(copy).unwrap().len() > 0);
    assert!(server.stop().success());
}
