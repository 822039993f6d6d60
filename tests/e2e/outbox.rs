//! Messages that wait, and arrive once and in their order all the same: at a peer that
//! was a black hole, and of a channel that nobody could open for a while.

use std::fs;
use std::thread;

use fleetbeat_tools::fake_http::FakeHttp;
use serde_json::{Value, json};

use crate::alerting::{
    Scene, eventually, files_with, statuses, text, told, wait_for_told,
};

/// Side by side, because most of the time is spent on waiting for the server's looks.
#[test]
fn what_waits_arrives_once_and_in_order() {
    thread::scope(|scope| {
        scope.spawn(after_a_black_hole_and_a_kill);
        scope.spawn(after_another_secret_key);
    });
}

/// The ids of the messages on their way to a channel, or that were, the oldest first.
fn ids(deliveries: &[Value]) -> Vec<String> {
    deliveries.iter().map(|one| text(&one["id"])).collect()
}

/// The ids of the messages that a peer was sent.
fn received(peer: &FakeHttp) -> Vec<String> {
    let received = peer.received().into_iter();
    received.map(|one| text(&one.json()["id"])).collect()
}

fn after_a_black_hole_and_a_kill() {
    let (peer, other) = (FakeHttp::start([]), FakeHttp::start([]));
    let mut scene = Scene::start("");
    let hook = scene.webhook(&peer);
    scene.webhook(&other);
    scene.rule(json!({"when": "down"}));
    peer.begin_black_hole();
    scene.hosts.fall_silent(1);
    wait_for_told(&other, 1, 1);
    let swallows = |count: usize| {
        eventually("a try that is swallowed", || {
            (peer.swallowed() >= count).then_some(())
        });
    };
    swallows(1);

    scene.server.kill();
    scene.server.restart();
    scene.hosts.come_back(1);
    scene.hosts.fall_silent(2);
    swallows(2);
    wait_for_told(&other, 1, 2);
    wait_for_told(&other, 2, 1);
    assert_eq!(scene.deliveries(&hook).len(), 3);
    assert_eq!(received(&peer), [""; 0]);

    peer.end_black_hole();
    let sent = scene.wait_for_sent(&hook, 3);
    assert_eq!(received(&peer), ids(&sent));
    assert_eq!(statuses(&told(&peer, 1)), ["firing", "resolved"]);
    assert_eq!(statuses(&told(&peer, 2)), ["firing"]);
    assert_eq!(statuses(&told(&other, 1)), ["firing", "resolved"]);
}

const SECRETS: [&str; 5] = [
    "path-41c7d2",
    "signs-0b6e88",
    "authorizes-93aa15",
    "path-of-another-6f20",
    ANOTHER_KEY,
];
const ANOTHER_KEY: &str = "another secret key of the tests, 32 bytes or more";

/// No place has a secret in it: the data folder, a backup, the log, and what is answered.
fn search(scene: &Scene) {
    let data = scene.server.data();
    let backup = data.with_file_name("backup.db");
    let _ = fs::remove_file(&backup);
    let saved = scene
        .server
        .command(&["backup", backup.to_str().unwrap()], "");
    assert!(saved.status.success(), "{saved:?}");
    let targets = [
        "/channels",
        "/deliveries",
        "/alerts",
        "/alert-rules",
        "/events",
        "/metrics",
    ];
    let answers = targets.map(|target| {
        let answer = scene.api("GET", target, None);
        assert_eq!(answer.status, 200, "{target}");
        String::from_utf8_lossy(&answer.body).into_owned()
    });
    for secret in SECRETS {
        // The folder above has the log and the backup, too.
        let folder = data.parent().unwrap();
        assert_eq!(files_with(folder, secret), [""; 0], "{secret}");
        assert!(!answers.iter().any(|answer| answer.contains(secret)));
    }
}

/// Starts the server again, with this SECRET_KEY.
fn restart_with(scene: &mut Scene, key: &str) {
    scene.server.set_environment("SECRET_KEY", key);
    scene.server.restart();
    // A token is signed with the key.
    scene.token = scene.server.admin_token();
}

fn after_another_secret_key() {
    let (peer, other) = (FakeHttp::start([]), FakeHttp::start([]));
    let [path, secret, authorization, other_path, _] = SECRETS;
    let mut scene = Scene::start("");
    let settings = json!({
        "url": peer.url(&format!("/{path}")), "secret": secret,
        "authorization": format!("Bearer {authorization}"),
    });
    let hook = scene.channel("webhook", &settings);
    scene.rule(json!({"when": "down"}));
    peer.begin_black_hole();
    scene.hosts.fall_silent(1);
    scene.hosts.fall_silent(2);
    eventually("two messages", || {
        (scene.deliveries(&hook).len() == 2 && peer.swallowed() > 0).then_some(())
    });
    let waiting = ids(&scene.deliveries(&hook));
    search(&scene);
    scene.server.kill();
    peer.end_black_hole();

    // Nobody can open the channel, and what waits goes on waiting.
    restart_with(&mut scene, ANOTHER_KEY);
    eventually("the failure to be known", || {
        let first = scene.deliveries(&hook).remove(0);
        (first["error"] == "closed" && first["state"] == "waiting").then_some(())
    });
    let state =
        |scene: &Scene, id: &str| text(&scene.get(&format!("/channels/{id}"))["state"]);
    assert_eq!(state(&scene, &hook), "closed");
    let test = |scene: &Scene, id: &str| {
        let tested = scene.api("POST", &format!("/channels/{id}/test"), None);
        tested.json()
    };
    assert_eq!(test(&scene, &hook)["class"], "settings");
    let settings = json!({"url": other.url(&format!("/{other_path}"))});
    let sealed_anew = scene.channel("webhook", &settings);
    assert_eq!(test(&scene, &sealed_anew)["ok"], true);
    let closed = format!("channel \"webhook\" ({hook}) sends nothing");
    assert!(
        scene.server.log().contains(&closed),
        "{}",
        scene.server.log()
    );
    assert!(scene.server.is_running());
    assert_eq!(received(&peer), [""; 0]);
    search(&scene);
    scene.server.stop();

    // The key is back.
    restart_with(&mut scene, fleetbeat_tools::server::SECRET_KEY);
    let sent = scene.wait_for_sent(&hook, 2);
    assert_eq!(ids(&sent), waiting);
    assert_eq!(received(&peer), waiting);
    let first = peer.received().remove(0);
    let authorization = format!("Bearer {authorization}");
    assert_eq!(first.header("authorization"), Some(authorization.as_str()));
    assert_eq!(state(&scene, &hook), "well");
    assert_eq!(state(&scene, &sealed_anew), "closed");
    search(&scene);
}
