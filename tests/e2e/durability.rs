//! A heartbeat with a 200 is there after the process is killed. A unit test of the store
//! proves that a commit also waits for the disk: no test can pull the plug.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use fleetbeat_tools::client;
use fleetbeat_tools::server::{AGENT_KEY, FleetbeatServer};
use fleetbeat_tools::wait::wait_for;
use serde_json::Value;

const KILLS: usize = 20;
const SENDERS: usize = 8;

#[test]
fn every_acknowledged_heartbeat_survives_twenty_kills_under_load() {
    let mut server = FleetbeatServer::start();
    let token = server.admin_token();
    let minimal: Value = serde_json::from_str(include_str!(
        "../../protocol/golden/heartbeat-minimal.json"
    ))
    .unwrap();
    // The last acknowledged number of each host, and the last one sent.
    let acknowledged: Mutex<BTreeMap<String, (u64, u64)>> = Mutex::default();
    for round in 0..KILLS {
        let address = server.address();
        thread::scope(|scope| {
            for sender in 0..SENDERS {
                let (minimal, acknowledged) = (&minimal, &acknowledged);
                scope.spawn(move || {
                    send_until_refused(
                        address,
                        minimal,
                        &format!("10.{round}.0.{sender}"),
                        acknowledged,
                    );
                });
            }
            wait_for("some acknowledgements", || {
                let acknowledged = acknowledged.lock().unwrap();
                let of_round = acknowledged
                    .keys()
                    .filter(|ip| ip.starts_with(&format!("10.{round}.")))
                    .count();
                (of_round == SENDERS).then_some(())
            });
            // At another moment of the commit each time.
            thread::sleep(Duration::from_millis(20 + 7 * round as u64));
            server.kill();
        });
        server.restart();
    }

    let stored: BTreeMap<String, f64> = server
        .servers(&token)
        .iter()
        .map(|server| {
            (
                server["ip"].as_str().unwrap().to_owned(),
                server["metrics"]["n"].as_f64().unwrap(),
            )
        })
        .collect();
    let acknowledged = acknowledged.into_inner().unwrap();
    assert_eq!(acknowledged.len(), KILLS * SENDERS);
    for (ip, (acknowledged, sent)) in acknowledged {
        let stored = stored.get(&ip).copied().unwrap_or(0.0);
        assert!(
            (acknowledged as f64..=sent as f64).contains(&stored),
            "{ip}: {acknowledged} was acknowledged and {sent} sent, but {stored} is stored"
        );
    }
}

/// Sends numbered heartbeats and notes the acknowledged numbers, until the server is
/// gone.
fn send_until_refused(
    address: std::net::SocketAddr,
    minimal: &Value,
    ip: &str,
    acknowledged: &Mutex<BTreeMap<String, (u64, u64)>>,
) {
    let mut body = minimal.clone();
    body["ip"] = ip.into();
    for n in 1.. {
        body["metrics"] = serde_json::json!({"n": n});
        let answer = client::request(
            address,
            "POST",
            "/heartbeat",
            &[("X-API-Key", AGENT_KEY)],
            body.to_string().as_bytes(),
        );
        let mut acknowledged = acknowledged.lock().unwrap();
        match answer {
            Ok(answer) => {
                assert_eq!(answer.status, 200, "{answer:?}");
                acknowledged.insert(ip.to_owned(), (n, n));
            }
            Err(_) => {
                // The heartbeat may have been stored just before the kill:
                // unacknowledged, but harmless.
                acknowledged.entry(ip.to_owned()).or_default().1 = n;
                return;
            }
        }
    }
}
