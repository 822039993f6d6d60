//! What each kind of channel sends, byte for byte. `FLEETBEAT_WRITE=1` writes the files
//! in `golden/` anew.

use std::fmt::Write;
use std::path::Path;

use fleetbeat_channels::{KINDS, Message};
use fleetbeat_tools::fake_http::{FakeHttp, Received};

use crate::sample::{channels, digest, disk, down, message, over, sender, test};

fn messages() -> Vec<(&'static str, Message)> {
    let many = (1..=30).map(down).collect();
    let mixed = message(vec![down(1), disk(), over(down(2))]);
    let mut recovery = message(vec![over(down(1))]);
    recovery.reply_to = Some("dlv-0000000000000090".to_owned());
    vec![
        ("one host is down", message(vec![down(1)])),
        ("one host is up again", recovery),
        ("many hosts are down", message(many)),
        ("news of several sorts", mixed),
        ("digest", digest()),
        ("test", test()),
    ]
}

/// Headers that a program of the peer may look at.
const HEADERS: [&str; 5] = [
    "content-type",
    "authorization",
    "x-gotify-key",
    "x-fleetbeat-delivery",
    "x-fleetbeat-signature",
];

fn show(received: &Received) -> String {
    let mut text = format!("{} {}\n", received.method, received.path);
    for name in HEADERS {
        if let Some(value) = received.header(name) {
            let value = value.split("v1=").next().unwrap();
            let value = if value.starts_with("t=") {
                "t=…,v1=…"
            } else {
                value
            };
            let _ = writeln!(text, "{name}: {value}");
        }
    }
    let mut body = received.json();
    for alert in body.as_array_mut().into_iter().flatten() {
        // Alertmanager is told how long an alert lives from now on.
        let ends_at = alert["endsAt"].as_str().unwrap();
        if ends_at != "2026-11-27T03:05:30Z" {
            alert["endsAt"] = "(in five minutes)".into();
        }
    }
    let body = serde_json::to_string_pretty(&body).unwrap();
    let _ = writeln!(text, "\n{body}\n");
    text
}

#[test]
fn bodies_are_those_of_the_golden_files() {
    let peer = FakeHttp::start([]);
    let sender = sender(None, None);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");

    for (name, channel) in channels(&peer.url("")) {
        let mut text = String::new();
        for (title, message) in messages() {
            let before = peer.received().len();
            let sent = channel.send(&message, &sender);
            assert_eq!(sent.unwrap().remarks, [], "{name}: {title}");
            for received in &peer.received()[before..] {
                let _ = writeln!(text, "# {title}\n{}", show(received));
            }
        }

        let file = folder.join(format!("{name}.txt"));
        if std::env::var_os("FLEETBEAT_WRITE").is_some() {
            std::fs::write(&file, &text).unwrap();
        }
        let golden = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(golden == text, "{} is:\n{text}", file.display());
    }
}

#[test]
fn every_kind_is_tried() {
    let names: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
    let tried = ["telegram", "email", "webhook", "ntfy", "alertmanager"];
    assert_eq!(
        names, tried,
        "a new kind needs a golden file, or a test as in mail.rs"
    );
}
