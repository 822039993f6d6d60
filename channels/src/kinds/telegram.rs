//! Telegram, by a bot: `sendMessage`.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::{ErrorClass, Remark, SendError, Sent};
use crate::fields::{Fields, Need};
use crate::kind::Peer;
use crate::message::Message;
use crate::sender::{Answer, Request, Sender, at_most_a_day};
use crate::text::{PLAIN, Style, Text, count_utf16, escape_html};

/// What Telegram takes, in units of UTF-16. The markup counts less there than here.
const MAX_UNITS: usize = 4096;

const HTML: Style = Style {
    max: MAX_UNITS - 300,
    measure: count_utf16,
    escape: |text| escape_html(&without_mentions(text)),
    link: |label, url| format!("<a href=\"{}\">{label}</a>", escape_html(url)),
};

/// Longest title, so that the rest has its place.
const MAX_TITLE: usize = 250;

/// A chat of Telegram.
struct Telegram {
    /// `https://api.telegram.org/bot…/sendMessage`.
    url: String,
    chat_id: String,
    topic_id: Option<i64>,
}

/// What Telegram says of a message that it does not take.
#[derive(Default, Deserialize)]
struct Failure {
    #[serde(default)]
    description: String,
    #[serde(default)]
    parameters: Parameters,
}

/// What a program can do about a failure.
#[derive(Default, Deserialize)]
struct Parameters {
    retry_after: Option<u64>,
    migrate_to_chat_id: Option<i64>,
}

pub(super) fn build(fields: &mut Fields<'_>) -> Option<Box<dyn Peer>> {
    let base = fields.url("url", Some("https://api.telegram.org"));
    let token = fields.secret("token", 100, Need::Required);
    let chat_id = fields.text("chat_id", 64, Need::Required);
    let topic_id = fields.whole("topic_id", 1, i64::from(i32::MAX));

    // The token is a part of the path.
    let is_token = |token: &String| {
        let is_allowed =
            |byte: u8| byte.is_ascii_alphanumeric() || b":_-".contains(&byte);
        token.bytes().all(is_allowed)
    };
    if token.as_ref().is_some_and(|token| !is_token(token)) {
        fields.fault("token", "must be a bot's token such as 123456:ABC-def");
    }
    let is_chat = |id: &String| id.starts_with('@') || id.parse::<i64>().is_ok();
    if chat_id.as_ref().is_some_and(|id| !is_chat(id)) {
        fields.fault("chat_id", "must be a number such as -100123, or @name");
    }

    let path = format!("/bot{}/sendMessage", token?);
    Some(Box::new(Telegram {
        url: base?.join(&path),
        chat_id: chat_id?,
        topic_id,
    }))
}

impl Peer for Telegram {
    fn send(&self, message: &Message, sender: &Sender) -> Result<Sent, SendError> {
        let text = Text::of(message);
        let mut body = self.body(&text);
        let mut sent = Sent::default();

        // Each of the two remedies at most once.
        for _ in 0..3 {
            let request = Request::json(&self.url, body.to_string());
            let answer = sender.call(&request)?;
            if answer.judge().is_ok() {
                return Ok(sent);
            }
            let failure: Failure =
                serde_json::from_slice(&answer.body).unwrap_or_default();
            let is_moved = matches!(sent.remarks.as_slice(), [Remark::ChatMoved(_), ..]);
            let is_plain = body.get("parse_mode").is_none();
            match failure.parameters.migrate_to_chat_id {
                Some(id) if !is_moved => {
                    body["chat_id"] = json!(id.to_string());
                    sent.remarks.insert(0, Remark::ChatMoved(id.to_string()));
                }
                _ if is_unparsed(&answer, &failure) && !is_plain => {
                    make_plain(&mut body, &text);
                    sent.remarks.push(Remark::Plain);
                }
                _ => return Err(judge(&answer, &failure)),
            }
        }
        Err(SendError::permanent(ErrorClass::Refused))
    }
}

impl Telegram {
    fn body(&self, text: &Text) -> Value {
        let title = (HTML.escape)(&text.title_within(MAX_TITLE, count_utf16));
        let mut body = json!({
            "chat_id": self.chat_id,
            "text": format!("<b>{title}</b>\n{}", text.body(&HTML)),
            "parse_mode": "HTML",
            "link_preview_options": {"is_disabled": true},
        });
        if let Some(id) = self.topic_id {
            body["message_thread_id"] = json!(id);
        }
        body
    }
}

/// A name of a host must not call anybody.
fn without_mentions(text: &str) -> String {
    text.replace('@', "@\u{200b}")
}

fn make_plain(body: &mut Value, text: &Text) {
    let style = Style {
        max: HTML.max,
        measure: count_utf16,
        escape: without_mentions,
        ..PLAIN
    };
    let title = without_mentions(&text.title_within(MAX_TITLE, count_utf16));
    body["text"] = json!(format!("{title}\n{}", text.body(&style)));
    if let Value::Object(members) = body {
        members.remove("parse_mode");
    }
}

fn is_unparsed(answer: &Answer, failure: &Failure) -> bool {
    answer.status == 400 && failure.description.contains("can't parse")
}

fn judge(answer: &Answer, failure: &Failure) -> SendError {
    let judged = answer.judge().err();
    let judged = judged.unwrap_or(SendError::permanent(ErrorClass::Refused));
    let wait = failure.parameters.retry_after.map(Duration::from_secs);
    SendError {
        retry_after: wait.map(at_most_a_day).or(judged.retry_after),
        ..judged
    }
}
