//! `/ack/{link}`: the page behind the link of a message. It has a button that takes on
//! what the message tells. Opening the page changes nothing: programs that look through
//! mail open every link.

use fleetbeat_alerts::Acknowledgement;
use fleetbeat_daemon::clock;
use serde_json::Value;

use super::state::ApiState;
use crate::http::{Body, Failure, Reply, Request, Response};
use crate::store::{
    Act, AlertRow, AlertState, Conflict, DeliveryRow, EventKind, Expected, ObjectChange,
    ObjectKind, StoreError, facts,
};

/// Nothing is loaded, nothing runs, and the form goes to this server alone.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; \
    base-uri 'none'; frame-ancestors 'none'; form-action 'self'";
/// Alerts that the page names.
const MAX_NAMED: usize = 20;
/// Who has taken an alert on by a link.
const BY_LINK: &str = "the link in a message";

/// `GET`: the page with the button.
pub(super) fn show(api: &ApiState, request: &mut Request) -> Result<Reply, Failure> {
    let delivery = find(api, request)?;
    let firing = firing(api, &delivery)?;
    let body = if firing.is_empty() {
        "<p>Nothing of this message fires any more.</p>".to_owned()
    } else {
        let names = firing
            .iter()
            .take(MAX_NAMED)
            .map(|alert| format!("<li>{}</li>", escape(&describe(alert))));
        let more = match firing.len().saturating_sub(MAX_NAMED) {
            0 => String::new(),
            more => format!("<li>… and {more} more</li>"),
        };
        format!(
            "<ul>{}{more}</ul><form method=\"post\"><button>Acknowledge</button></form>\
             <p>Whoever acknowledges takes care of it: nobody is told again, and nobody \
             else is called.</p>",
            names.collect::<String>()
        )
    };
    Ok(Reply::Now(page(&body)))
}

/// `POST`: takes on every alert of the message that fires and that nobody has taken on.
pub(super) fn acknowledge(
    api: &ApiState,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let delivery = find(api, request)?;
    let now = clock::now();
    let mut count = 0;
    for alert in firing(api, &delivery)? {
        if api
            .alerts
            .alert_object(ObjectKind::Ack, &alert.id)?
            .is_some()
        {
            continue;
        }
        let ack = Acknowledgement {
            by: BY_LINK.to_owned(),
            at: now,
            note: String::new(),
        };
        let mut act = Act::program("acknowledge link", now);
        act.address = request.peer().ip();
        let told = facts([
            ("alert", alert.id.as_str().into()),
            ("rule", alert.rule.as_str().into()),
            ("delivery", delivery.id.as_str().into()),
        ]);
        let put = api.alerts.put_alert_object(&ObjectChange {
            kind: ObjectKind::Ack,
            id: &alert.id,
            body: &serde_json::to_string(&ack).expect("plain JSON"),
            expected: Expected::Nothing { most: usize::MAX },
            event: &act.event(EventKind::AlertAcknowledged, told),
        });
        match put {
            Ok(_) => count += 1,
            // Somebody else was faster.
            Err(StoreError::Conflict(Conflict::Taken(_))) => {}
            Err(error) => return Err(error.into()),
        }
    }
    log::info!("a link has acknowledged {count} alerts of {}", delivery.id);
    Ok(Reply::Now(page(&format!("<p>Acknowledged: {count}.</p>"))))
}

/// The message that the link is for.
fn find(api: &ApiState, request: &Request) -> Result<DeliveryRow, Failure> {
    let path = request.path();
    let link = path.get(1).copied().unwrap_or_default();
    let delivery = api.alerting.post().ack_links.read(link, clock::now());
    let delivery = match delivery {
        Some(id) => api.alerts.delivery(&id)?,
        None => None,
    };
    delivery.ok_or_else(|| Failure::not_found("this link is not good, or not any more"))
}

fn firing(api: &ApiState, delivery: &DeliveryRow) -> Result<Vec<AlertRow>, Failure> {
    let mut firing = Vec::new();
    for id in &delivery.alerts {
        let alert = api.alerts.alert(id)?;
        firing.extend(alert.filter(|alert| alert.state == AlertState::Firing));
    }
    Ok(firing)
}

/// The rule's name, and the host's.
fn describe(alert: &AlertRow) -> String {
    let body: Value = serde_json::from_str(&alert.body).unwrap_or_default();
    let rule = body["rule_name"].as_str().unwrap_or_default().to_owned();
    match body["subject"]["host"]["hostname"].as_str() {
        Some(host) => format!("{rule}: {host}"),
        None => rule,
    }
}

fn page(body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <meta name=\"robots\" content=\"noindex\"><title>Fleetbeat</title>\
         <style>body{{font:1rem/1.5 system-ui;max-width:40rem;margin:3rem auto;\
         padding:0 1rem}}button{{font:inherit;padding:.6rem 1.2rem}}</style>\
         <h1>Fleetbeat</h1>{body}</html>"
    );
    Response {
        status: 200,
        headers: vec![
            ("Content-Type", "text/html; charset=utf-8".to_owned()),
            ("Cache-Control", "no-store".to_owned()),
            (
                "Content-Security-Policy",
                CONTENT_SECURITY_POLICY.to_owned(),
            ),
            ("Referrer-Policy", "no-referrer".to_owned()),
        ],
        body: Body::Owned(html.into_bytes()),
    }
}

fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_never_markup() {
        assert_eq!(
            escape("<a href=\"x\">&"),
            "&lt;a href=&quot;x&quot;&gt;&amp;"
        );
    }
}
