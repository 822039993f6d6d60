//! The formats of known services, each as a template in `templates/` with the service's
//! limits, and in a way that gives names of hosts no meaning there.

use std::sync::LazyLock;

use fleetbeat_protocol::Severity;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::kinds::webhook::template::Template;
use crate::message::{Group, Item, Message, MessageKind, Subject};
use crate::sender::{Method, Request};
use crate::text::{PLAIN, Style, Text, clean, count_chars, escape_html};
use crate::url::Url;

/// A service whose format is known.
pub(super) struct Preset {
    pub(super) name: &'static str,
    pub(super) needs_room: bool,
    pub(super) needs_token: bool,
    template: LazyLock<Option<Template>>,
    style: Style,
    /// Longest title, in characters.
    max_title: usize,
}

/// To whom a message goes at the service, besides the URL.
pub(super) struct Target {
    pub(super) room: String,
    pub(super) token: String,
}

/// A template that comes with the program.
macro_rules! template {
    ($name:literal) => {
        LazyLock::new(|| {
            let text = include_str!(concat!("templates/", $name, ".jinja"));
            Template::parse(text.to_owned()).ok()
        })
    };
}

/// The templates write links as buttons.
const BUTTONS: Style = Style {
    link: |_, _| String::new(),
    ..PLAIN
};

const HTML: Style = Style {
    max: 20_000,
    measure: str::len,
    escape: escape_html,
    link: |label, url| format!("<a href=\"{}\">{label}</a>", escape_html(url)),
};

pub(super) static PRESETS: [Preset; 6] = [
    Preset {
        name: "slack",
        needs_room: false,
        needs_token: false,
        template: template!("slack"),
        style: Style {
            max: 2900,
            ..BUTTONS
        },
        max_title: 145,
    },
    Preset {
        name: "discord",
        needs_room: false,
        needs_token: false,
        template: template!("discord"),
        style: Style {
            max: 2000,
            escape: escape_markdown,
            link: |label, url| format!("[{label}](<{url}>)"),
            ..PLAIN
        },
        max_title: 120,
    },
    Preset {
        name: "matrix",
        needs_room: true,
        needs_token: true,
        template: template!("matrix"),
        style: Style {
            max: 20_000,
            measure: str::len,
            ..PLAIN
        },
        max_title: 250,
    },
    Preset {
        name: "pagerduty",
        needs_room: false,
        needs_token: true,
        template: template!("pagerduty"),
        style: Style {
            max: 5000,
            ..BUTTONS
        },
        max_title: 1000,
    },
    Preset {
        name: "teams",
        needs_room: false,
        needs_token: false,
        template: template!("teams"),
        style: Style {
            max: 6000,
            measure: str::len,
            ..BUTTONS
        },
        max_title: 250,
    },
    Preset {
        name: "gotify",
        needs_room: false,
        needs_token: true,
        template: template!("gotify"),
        style: Style { max: 8000, ..PLAIN },
        max_title: 250,
    },
];

impl Preset {
    /// The requests that tell the service the message.
    pub(super) fn requests(
        &self,
        message: &Message,
        url: &Url,
        target: &Target,
    ) -> Vec<Request> {
        let body = |event: Event<'_>| self.body(message, target, &event);
        let whole = || body(Event::of(message));
        match self.name {
            "matrix" => vec![matrix(&message.id, url, target, whole())],
            "gotify" => {
                let request = Request::json(url.join("/message"), whole());
                vec![request.with("X-Gotify-Key", &target.token)]
            }
            "pagerduty" => pagerduty(self, message, url, target),
            _ => vec![Request::json(&url.text, whole())],
        }
    }

    fn body(&self, message: &Message, target: &Target, event: &Event<'_>) -> String {
        let text = Text::of(message);
        let title = text.title_within(self.max_title, count_chars);
        let body = text.body(&self.style);
        let data = json!({
            "title": title,
            "escaped_title": (self.style.escape)(&title),
            "html_title": escape_html(&title),
            "text": body,
            "lines": body.lines().collect::<Vec<_>>(),
            "html": text.body(&HTML).replace('\n', "<br>"),
            "look": look(message),
            "links": message.links,
            "made_at": message.made_at,
            "severity": message.severity,
            "token": target.token,
            "event": event.to_json(),
        });
        // The tests render every template: there is always a result.
        let template = self.template.as_ref();
        let rendered = template.and_then(|template| template.render(&data).ok());
        rendered.unwrap_or_default()
    }
}

/// An event of PagerDuty.
struct Event<'a> {
    action: &'static str,
    key: String,
    source: String,
    group: Option<&'a Group>,
}

impl<'a> Event<'a> {
    fn of(message: &'a Message) -> Event<'a> {
        let group = message.groups.first();
        let is_firing = group.is_none_or(|group| group.firing > 0);
        Event {
            action: if is_firing { "trigger" } else { "resolve" },
            key: group.map_or("fleetbeat-test".to_owned(), Group::key),
            source: source(&message.items),
            group,
        }
    }

    fn to_json(&self) -> Value {
        let rule = self.group.and_then(|group| group.rule.as_ref());
        let labels = self.group.map(|group| &group.labels);
        let labels: Vec<_> = labels
            .into_iter()
            .flatten()
            .map(|(label, value)| format!("{label} {value}"))
            .collect();
        json!({
            "action": self.action,
            // PagerDuty takes 255 characters.
            "key": clean(&self.key, 255),
            "source": self.source,
            "class": rule.map(|rule| clean(&rule.name, 100)),
            "group": labels.join(", "),
        })
    }
}

fn source(items: &[Item]) -> String {
    match items {
        [item] => match &item.subject {
            Subject::Host { name, .. } => clean(name, 255),
            Subject::Group { label, value } => clean(&format!("{label} {value}"), 255),
            Subject::Server => "Fleetbeat".to_owned(),
        },
        _ => "Fleetbeat".to_owned(),
    }
}

/// One event for each group: an incident is a group that fires, whatever its items are.
/// PagerDuty joins events by their key, so a repetition does no harm.
fn pagerduty(
    preset: &Preset,
    message: &Message,
    url: &Url,
    target: &Target,
) -> Vec<Request> {
    let url = url.join("/v2/enqueue");
    let request = |message: &Message, event: &Event<'_>| {
        Request::json(&url, preset.body(message, target, event))
    };
    if message.kind == MessageKind::Test {
        let trigger = Event::of(message);
        let resolve = Event {
            action: "resolve",
            ..Event::of(message)
        };
        return vec![request(message, &trigger), request(message, &resolve)];
    }

    let groups = message.groups.iter().enumerate();
    let part = |(index, group): (usize, &Group)| {
        let items = message.items.iter().filter(|item| item.group == index);
        let part = Message {
            kind: MessageKind::Alerts,
            groups: vec![group.clone()],
            items: items.cloned().collect(),
            ..message.clone()
        };
        request(&part, &Event::of(&part))
    };
    groups.map(part).collect()
}

/// Matrix knows a message that comes twice by the id in its path.
fn matrix(id: &str, url: &Url, target: &Target, body: String) -> Request {
    let room = utf8_percent_encode(&target.room, NON_ALPHANUMERIC);
    let id = utf8_percent_encode(id, NON_ALPHANUMERIC);
    let path = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/{id}");
    let mut request = Request::json(url.join(&path), body)
        .with("Authorization", format!("Bearer {}", target.token));
    request.method = Method::Put;
    request
}

/// Colour and urgency in the words of several services.
fn look(message: &Message) -> Value {
    let is_firing = message.items.iter().any(Item::is_firing);
    let (color, teams, gotify) = match message.severity {
        _ if message.kind == MessageKind::Test => (0x3b_82_f6, "Accent", 5),
        _ if !is_firing => (0x22_a0_55, "Good", 4),
        Severity::Critical => (0xd9_2d_20, "Attention", 8),
        Severity::Warning => (0xdc_8b_00, "Warning", 5),
        Severity::Info => (0x3b_82_f6, "Accent", 2),
    };
    json!({"color": color, "teams": teams, "gotify": gotify})
}

/// Takes the meaning from Discord's Markdown.
fn escape_markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\*_~|`<>[]@#".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    // Discord makes a link of every URL, also of one in a name.
    escaped.replace("://", ":\u{200b}//")
}

#[cfg(test)]
mod tests {
    use super::PRESETS;

    #[test]
    fn every_template_is_understood() {
        for preset in &PRESETS {
            assert!(preset.template.is_some(), "{}", preset.name);
        }
    }
}
