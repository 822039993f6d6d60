//! What Telegram does besides taking messages.

use std::time::Duration;

use fleetbeat_channels::{ErrorClass, Remark, SendError, Sent};
use fleetbeat_tools::fake_http::{FakeHttp, Received, Reply};
use serde_json::json;

use crate::sample::{channel, down, message, sender};

fn send(replies: Vec<Reply>) -> (Result<Sent, SendError>, Vec<Received>) {
    let peer = FakeHttp::start(replies);
    let settings = json!({"url": peer.url(""), "token": "1:a", "chat_id": "-5"});
    let channel = channel("telegram", &settings);
    let sent = channel.send(&message(vec![down(1)]), &sender(None, None));
    (sent, peer.received())
}

fn unparsed() -> Reply {
    let body = json!({"ok": false, "error_code": 400,
                      "description": "Bad Request: can't parse entities: x"});
    Reply::status(400, &body.to_string())
}

fn moved(to: i64) -> Reply {
    let body = json!({"ok": false, "error_code": 400,
        "description": "Bad Request: group chat was upgraded to a supergroup chat",
        "parameters": {"migrate_to_chat_id": to}});
    Reply::status(400, &body.to_string())
}

#[test]
fn markup_that_is_not_understood_becomes_plain_text() {
    let (sent, received) = send(vec![unparsed()]);
    assert_eq!(sent.unwrap().remarks, [Remark::Plain]);
    let second = received[1].json();
    assert_eq!(second.get("parse_mode"), None);
    assert!(
        second["text"]
            .as_str()
            .unwrap()
            .starts_with("[critical] vpn-de-01: down\n")
    );

    let (sent, received) = send(vec![unparsed(), unparsed()]);
    assert!(sent.unwrap_err().is_permanent);
    assert_eq!(received.len(), 2);
}

#[test]
fn a_chat_that_has_moved_is_followed() {
    let (sent, received) = send(vec![moved(-100_777), unparsed()]);
    let remarks = [Remark::ChatMoved("-100777".to_owned()), Remark::Plain];
    assert_eq!(sent.unwrap().remarks, remarks);
    assert_eq!(received[1].json()["chat_id"], "-100777");
    assert_eq!(received[2].json()["chat_id"], "-100777");

    let (sent, received) = send(vec![moved(-1), moved(-2), moved(-3)]);
    assert!(sent.unwrap_err().is_permanent);
    assert_eq!(received.len(), 2, "a chat that moves for ever");
}

#[test]
fn telegram_says_how_long_it_wants_peace() {
    let body = json!({"ok": false, "parameters": {"retry_after": 35}});
    let (sent, _) = send(vec![Reply::status(429, &body.to_string())]);
    let error = sent.unwrap_err();
    assert_eq!(error.class, ErrorClass::Rate);
    assert_eq!(error.retry_after, Some(Duration::from_secs(35)));
    assert!(!error.is_permanent);
}
