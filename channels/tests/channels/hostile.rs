//! Names of hosts that were made to do harm, and more of them than a peer takes.

use fleetbeat_channels::{Channel, Item, Message, Subject};
use fleetbeat_tools::fake_http::{FakeHttp, Received};
use serde_json::Value;

use crate::sample::{channels, down, message, sender};

fn named(number: usize, name: &str) -> Item {
    let mut item = down(number);
    if let Subject::Host { name: of, city, .. } = &mut item.subject {
        name.clone_into(of);
        *city = Some(name.to_owned());
    }
    item
}

fn sent(peer: &FakeHttp, channel: &Channel, message: &Message) -> Received {
    let sent = channel.send(message, &sender(None, None)).unwrap();
    assert_eq!(sent.remarks, []);
    peer.received().pop().unwrap()
}

/// All strings in a JSON value.
fn strings(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(elements) => elements.iter().flat_map(strings).collect(),
        Value::Object(members) => members.values().flat_map(strings).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn five_hundred_long_names_fit_everywhere() {
    let peer = FakeHttp::start([]);
    let names = [
        "🦊".repeat(253),
        "<".repeat(253),
        "*_`|".repeat(63),
        "\"\\".repeat(126),
    ];
    for name in names {
        let items = (0..500).map(|number| named(number, &name)).collect();
        let message = message(items);
        for (kind, channel) in channels(&peer.url("")) {
            let body = sent(&peer, &channel, &message).json();
            let text = |pointer: &str| body.pointer(pointer).unwrap().as_str().unwrap();
            let chars = |pointer: &str| text(pointer).chars().count();
            let fits = match kind {
                "telegram" => text("/text").encode_utf16().count() <= 4096,
                "ntfy" => text("/message").len() <= 4096 && text("/title").len() <= 250,
                "slack" => {
                    chars("/blocks/0/text/text") <= 150
                        && chars("/blocks/1/text/text") <= 3000
                }
                "discord" => {
                    chars("/embeds/0/description") <= 2048
                        && chars("/embeds/0/title") <= 256
                }
                "matrix" => body.to_string().len() <= 60_000,
                "pagerduty" => chars("/payload/summary") <= 1024,
                "teams" => body.to_string().len() <= 28_000,
                "fleetbeat" | "webhook-alertmanager" => body.to_string().len() <= 300_000,
                _ => body.to_string().len() <= 2_000_000,
            };
            assert!(fits, "{kind}: {body}");
            let counts =
                !["template", "alertmanager", "webhook-alertmanager"].contains(&kind);
            let has_count = || strings(&body).iter().any(|text| text.contains(" more"));
            assert!(!counts || has_count(), "{kind}: {body}");
        }
    }
}

#[test]
fn a_name_is_nothing_but_a_name() {
    let peer = FakeHttp::start([]);
    let name = "<b>x</b><!channel> @everyone [a](https://evil.example) \
                \u{202e}gnp\u{200b}\r\n\
                Subject: y \u{e0041}{{ 7*7 }} & \"q\" *bold*";
    let message = message(vec![named(1, name)]);
    for (kind, channel) in channels(&peer.url("")) {
        let received = sent(&peer, &channel, &message);
        let body = received.json();
        for text in strings(&body) {
            let is_hidden = |c: char| matches!(c, '\u{202e}' | '\u{e0041}' | '\r' | '\0');
            assert!(!text.contains(is_hidden), "{kind}: {text:?}");
            assert!(!text.contains("\nSubject"), "{kind}: {text:?}");
            assert!(!text.contains("49"), "{kind}: {text:?}");
        }

        let text = |pointer: &str| body.pointer(pointer).unwrap().as_str().unwrap();
        match kind {
            "telegram" => {
                assert!(text("/text").contains("&lt;b&gt;x&lt;/b&gt;"), "{body}");
                assert!(!text("/text").contains("@everyone"), "{body}");
            }
            "slack" => {
                assert!(text("/text").contains("&lt;!channel&gt;"), "{body}");
                assert_eq!(text("/blocks/1/text/type"), "plain_text");
            }
            "discord" => {
                assert!(text("/embeds/0/description").contains("\\[a\\]("), "{body}");
                assert!(
                    !text("/embeds/0/description").contains("https://evil"),
                    "{body}"
                );
                assert_eq!(body["allowed_mentions"]["parse"], serde_json::json!([]));
            }
            "matrix" => {
                assert!(text("/formatted_body").contains("&lt;b&gt;"), "{body}");
                assert_eq!(body["m.mentions"], serde_json::json!({}));
            }
            _ => {}
        }
    }
}
