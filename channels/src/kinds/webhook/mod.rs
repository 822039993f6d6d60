//! A URL that takes messages, in one of many formats.

mod document;
mod preset;
mod signature;
mod template;

use std::time::{Duration, Instant};

use crate::error::{ErrorClass, Remark, SendError, Sent};
use crate::fields::{Fields, Need};
use crate::kind::Peer;
use crate::message::Message;
use crate::sender::{Request, Sender};
use crate::url::Url;
use preset::{PRESETS, Preset, Target};
use template::Template;

/// The formats that are not a preset.
const FORMATS: [&str; 3] = ["fleetbeat", "alertmanager", "template"];
/// Where PagerDuty takes events; Europe has another address.
const PAGERDUTY: &str = "https://events.pagerduty.com";
/// Longest template, in characters.
const MAX_TEMPLATE: usize = 20_000;
/// After this time no further request of the same message is begun.
const LAST_START: Duration = Duration::from_secs(45);

/// A URL that takes messages.
struct Webhook {
    url: Url,
    format: Format,
}

/// What is sent to the URL.
enum Format {
    /// Our own JSON, or Alertmanager's, or what a template of the channel makes.
    Document {
        body: Body,
        /// Signs the body.
        secret: Option<String>,
        authorization: Option<String>,
    },
    /// The format of a known service.
    Preset {
        preset: &'static Preset,
        target: Target,
    },
}

/// What makes the body.
enum Body {
    Fleetbeat,
    Alertmanager,
    Template {
        template: Box<Template>,
        content_type: &'static str,
    },
}

pub(super) fn build(fields: &mut Fields<'_>) -> Option<Box<dyn Peer>> {
    let presets = PRESETS.iter().map(|preset| preset.name);
    let formats: Vec<_> = FORMATS.into_iter().chain(presets).collect();
    let format = fields.choice("format", &formats)?;

    let usual = (format == "pagerduty").then_some(PAGERDUTY);
    let url = fields.secret_url("url", usual);
    let preset = PRESETS.iter().find(|preset| preset.name == format);
    let format = match preset {
        Some(preset) => build_preset(preset, fields),
        None => build_document(format, fields),
    };
    Some(Box::new(Webhook {
        url: url?,
        format: format?,
    }))
}

fn build_preset(preset: &'static Preset, fields: &mut Fields<'_>) -> Option<Format> {
    let room = preset
        .needs_room
        .then(|| fields.text("room", 255, Need::Required));
    let token = preset
        .needs_token
        .then(|| fields.secret("token", 500, Need::Required));
    let target = Target {
        room: room.map_or(Some(String::new()), |room| room)?,
        token: token.map_or(Some(String::new()), |token| token)?,
    };
    Some(Format::Preset { preset, target })
}

fn build_document(format: &str, fields: &mut Fields<'_>) -> Option<Format> {
    let body = match format {
        "alertmanager" => Some(Body::Alertmanager),
        "template" => build_template(fields),
        _ => Some(Body::Fleetbeat),
    };
    let secret = fields.secret("secret", 200, Need::Optional);
    let authorization = fields.secret("authorization", 500, Need::Optional);
    Some(Format::Document {
        body: body?,
        secret,
        authorization,
    })
}

fn build_template(fields: &mut Fields<'_>) -> Option<Body> {
    let types = ["application/json", "text/plain; charset=utf-8"];
    let content_type = fields.choice("content_type", &types);
    let text = fields.long_text("template", MAX_TEMPLATE, Need::Required)?;
    match Template::parse(text) {
        Ok(template) => Some(Body::Template {
            template: Box::new(template),
            content_type: content_type?,
        }),
        Err(message) => {
            fields.fault("template", message);
            None
        }
    }
}

impl Peer for Webhook {
    fn send(&self, message: &Message, sender: &Sender) -> Result<Sent, SendError> {
        let started = Instant::now();
        let mut sent = Sent::default();
        let requests = match &self.format {
            Format::Preset { preset, target } => {
                preset.requests(message, &self.url, target)
            }
            Format::Document {
                body,
                secret,
                authorization,
            } => {
                let (body, content_type, remark) = body.write(message);
                sent.remarks.extend(remark);
                let mut request = Request::json(&self.url.text, body)
                    .with("X-Fleetbeat-Delivery", &message.id);
                request.headers[0].1 = content_type.to_owned();
                if let Some(secret) = secret {
                    let signature =
                        signature::sign(secret, sender.now().as_second(), &request.body);
                    request = request.with("X-Fleetbeat-Signature", signature);
                }
                if let Some(authorization) = authorization {
                    request = request.with("Authorization", authorization);
                }
                vec![request]
            }
        };

        for request in requests {
            if started.elapsed() > LAST_START {
                return Err(SendError::passing(ErrorClass::Timeout));
            }
            sender.call(&request)?.judge()?;
        }
        Ok(sent)
    }
}

impl Body {
    /// The body, its type, and what is to be said of it. A template that fails does not
    /// hold the message up: our own JSON is sent instead.
    fn write(&self, message: &Message) -> (String, &'static str, Option<Remark>) {
        const JSON: &str = "application/json";
        let document = document::fleetbeat(message);
        let (template, content_type) = match self {
            Body::Fleetbeat => return (document.to_string(), JSON, None),
            Body::Alertmanager => {
                return (document::alertmanager(message).to_string(), JSON, None);
            }
            Body::Template {
                template,
                content_type,
            } => (template, *content_type),
        };

        let is_whole = |text: &String| {
            let is_json = || serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
            content_type != JSON || is_json()
        };
        let fallback = |reason| {
            let remark = Remark::Template(reason);
            (document.to_string(), JSON, Some(remark))
        };
        match template.render(&document) {
            Ok(text) if is_whole(&text) => (text, content_type, None),
            Ok(_) => fallback("the result is not JSON".to_owned()),
            Err(reason) => fallback(reason),
        }
    }
}
