//! Sends heartbeats and judges the answer.

use std::time::{Duration, SystemTime};

use fleetbeat_protocol::{BatchAnswer, FieldError, HeartbeatAnswer, Problem};
use fleetbeat_settings::Secret;
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};

use crate::config::Server;
use crate::http::tls;
use fleetbeat_daemon::exit::explain;

/// Limits of one call.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
pub(crate) const MAX_ANSWER_BYTES: u64 = 64 * 1024;
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// ureq's own buffers are made for downloads.
const BUFFER_BYTES: usize = 8 * 1024;
/// Most that the log shows of what the server says.
const MAX_SHOWN_CHARS: usize = 300;

/// What became of a heartbeat.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The server has it.
    Accepted,
    /// The server has those of a batch that break no rule, and will never take the
    /// others.
    PartlyAccepted { rejected: usize, reason: String },
    /// The server will never take this one.
    Refused { reason: String },
    /// The server does not know the key; it may be told.
    Unauthorized { reason: String },
    /// Another try may succeed, after `retry_after` if the server says so.
    Failed {
        reason: String,
        retry_after: Option<Duration>,
    },
}

impl Outcome {
    /// A failure of which the server has said nothing.
    pub(crate) fn failed(reason: impl Into<String>) -> Outcome {
        Outcome::Failed {
            reason: reason.into(),
            retry_after: None,
        }
    }
}

/// The way to the server.
pub(crate) struct Sender {
    agent: Agent,
    base: String,
    key: Secret,
}

impl Sender {
    /// The way to `server`, whose key is known.
    pub(crate) fn new(server: &Server) -> Sender {
        let key = server
            .key
            .clone()
            .expect("the configuration was loaded for sending");
        Sender {
            agent: client(server),
            base: server.url.base.clone(),
            key,
        }
    }

    /// Sends the heartbeat `body` once; takes at most the call's timeout.
    pub(crate) fn send(&self, body: &[u8]) -> Outcome {
        self.post("heartbeat", body, judge_one)
    }

    /// As [`Sender::send`], for a JSON array of heartbeats that were made earlier.
    pub(crate) fn send_batch(&self, body: &[u8]) -> Outcome {
        self.post("heartbeats", body, judge_batch)
    }

    fn post(
        &self,
        path: &str,
        body: &[u8],
        judge_success: fn(&[u8]) -> Option<Outcome>,
    ) -> Outcome {
        let url = format!("{}/{path}", self.base);
        self.call(&url, body, judge_success)
            .unwrap_or_else(|error| {
                Outcome::failed(format!("no answer from {url}: {}", explain(&error)))
            })
    }

    fn call(
        &self,
        url: &str,
        body: &[u8],
        judge_success: fn(&[u8]) -> Option<Outcome>,
    ) -> Result<Outcome, ureq::Error> {
        let request = self.agent.post(url).header("Connection", "close");
        let request = request
            .header("Content-Type", "application/json")
            .header("X-API-Key", self.key.expose());
        let mut response = request.send(body)?;
        let header = |name| {
            response
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let retry_after = header("Retry-After")
            .and_then(|text| parse_retry_after(text, header("Date")));
        let status = response.status();
        let answer = response
            .body_mut()
            .with_config()
            .limit(MAX_ANSWER_BYTES)
            .read_to_vec();
        // What a failure's body says is only for the log.
        let answer = answer.or_else(|error| {
            if status.is_success() {
                Err(error)
            } else {
                Ok(Vec::new())
            }
        })?;
        let accepted = status
            .is_success()
            .then(|| judge_success(&answer))
            .flatten();
        Ok(accepted
            .unwrap_or_else(|| judge_failure(status.as_u16(), retry_after, &answer)))
    }
}

/// An HTTP client for calls to `server` and nothing else.
pub(crate) fn client(server: &Server) -> Agent {
    let roots = server
        .ca
        .as_ref()
        .map_or(RootCerts::WebPki, |ca| RootCerts::new_with_certs(ca));
    let tls = TlsConfig::builder().root_certs(roots);
    let tls = tls
        .unversioned_rustls_crypto_provider(tls::provider())
        .build();
    let config = Agent::config_builder()
        .https_only(server.url.is_https)
        // A redirect would carry the key to another host.
        .max_redirects(0)
        .max_redirects_will_error(false)
        // Without this, the environment would decide.
        .proxy(server.proxy.clone())
        .http_status_as_error(false)
        .user_agent(concat!("fleetbeat-agent/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(Some(RESOLVE_TIMEOUT))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_global(Some(CALL_TIMEOUT))
        // A hundred thousand agents must not hold as many of the server's sockets between
        // heartbeats.
        .max_idle_connections(0)
        .max_response_header_size(MAX_HEADER_BYTES)
        .input_buffer_size(BUFFER_BYTES)
        .output_buffer_size(BUFFER_BYTES)
        .tls_config(tls)
        .build();
    config.new_agent()
}

/// How long to wait: a number of seconds, however many, or the time from `now` until a
/// date. `now` is what the server's own clock says: this host's may be wrong.
fn parse_retry_after(text: &str, now: Option<&str>) -> Option<Duration> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(text.parse().map_or(Duration::MAX, Duration::from_secs));
    }
    let parse = |text| httpdate::parse_http_date(text).ok();
    let (until, now): (SystemTime, SystemTime) = (parse(text)?, parse(now?)?);
    Some(until.duration_since(now).unwrap_or_default())
}

fn judge_failure(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Outcome {
    let failed = |reason| Outcome::Failed {
        reason,
        retry_after,
    };
    match status {
        200..=299 => failed(format!("answer {status} is not fleetbeat-server's: is server.url right?")),
        300..=399 => {
            failed(format!("answer {status} leads elsewhere, which is not followed: is server.url right?"))
        }
        401 => Outcome::Unauthorized {
            reason: "the server does not know this key (401): is AGENT_API_KEY the same in the server's \
                     environment and in /etc/fleetbeat/agent.env, and was the agent restarted since?"
                .to_owned(),
        },
        408 | 429 => failed(show(status, body)),
        400..=499 => Outcome::Refused { reason: show(status, body) },
        _ => failed(show(status, body)),
    }
}

/// `None` if the answer to a heartbeat is none of fleetbeat-server's.
fn judge_one(body: &[u8]) -> Option<Outcome> {
    let answer: HeartbeatAnswer = serde_json::from_slice(body).ok()?;
    (answer.status == "ok").then_some(Outcome::Accepted)
}

/// `None` if the answer to a batch is none of fleetbeat-server's.
fn judge_batch(body: &[u8]) -> Option<Outcome> {
    let answer: BatchAnswer = serde_json::from_slice(body)
        .ok()
        .filter(|answer: &BatchAnswer| answer.status == "ok")?;
    let Some(first) = answer.rejected.first() else {
        return Some(Outcome::Accepted);
    };
    let reason = shorten(&show_fields(&first.errors));
    Some(Outcome::PartlyAccepted {
        rejected: answer.rejected.len(),
        reason,
    })
}

/// The server's own words, if they are fleetbeat-server's; nobody else gets into the log.
pub(crate) fn show(status: u16, body: &[u8]) -> String {
    let Ok(problem) = serde_json::from_slice::<Problem>(body) else {
        return format!("answer {status}");
    };
    let fields = show_fields(&problem.errors);
    let told = if fields.is_empty() {
        problem.detail
    } else {
        format!("{}; {fields}", problem.detail)
    };
    format!("answer {status}: {}", shorten(&told))
}

fn show_fields(errors: &[FieldError]) -> String {
    let fields: Vec<String> = errors
        .iter()
        .map(|error| format!("{} {}", error.field, error.message))
        .collect();
    fields.join("; ")
}

fn shorten(text: &str) -> String {
    let shown: String = text.chars().take(MAX_SHOWN_CHARS).collect();
    shown.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(status: u16, body: &str) -> &'static str {
        let accepted = (status < 300).then(|| judge_one(body.as_bytes())).flatten();
        match accepted.unwrap_or_else(|| judge_failure(status, None, body.as_bytes())) {
            Outcome::Accepted | Outcome::PartlyAccepted { .. } => "accepted",
            Outcome::Refused { .. } => "refused",
            Outcome::Unauthorized { .. } => "unauthorized",
            Outcome::Failed { .. } => "failed",
        }
    }

    #[test]
    fn the_status_decides_whether_to_try_again() {
        assert_eq!(kind(200, r#"{"status":"ok"}"#), "accepted");
        for (status, expected) in [
            (200, "failed"),
            (204, "failed"),
            (301, "failed"),
            (308, "failed"),
            (400, "refused"),
            (401, "unauthorized"),
            (403, "refused"),
            (404, "refused"),
            (408, "failed"),
            (413, "refused"),
            (422, "refused"),
            (429, "failed"),
            (500, "failed"),
            (503, "failed"),
        ] {
            assert_eq!(kind(status, "<html>"), expected, "{status}");
        }
    }

    #[test]
    fn the_answer_to_a_batch_names_what_is_rejected() {
        let partly = |rejected, reason: &str| {
            Some(Outcome::PartlyAccepted {
                rejected,
                reason: reason.to_owned(),
            })
        };
        for (body, expected) in [
            (
                r#"{"status":"ok","accepted":2,"rejected":[]}"#,
                Some(Outcome::Accepted),
            ),
            (
                r#"{"status":"ok","accepted":0,"rejected":[{"index":1,"errors":[
                    {"field":"ip","message":"is\u001b missing"},{"field":"seq","message":"is odd"}]}]}"#,
                partly(1, r"ip is\u{1b} missing; seq is odd"),
            ),
            (
                r#"{"status":"ok","accepted":0,"rejected":[{"index":1,"errors":[]}]}"#,
                partly(1, ""),
            ),
            (r#"{"status":"no","accepted":2,"rejected":[]}"#, None),
            (r#"{"status":"ok"}"#, None),
            ("<html>", None),
        ] {
            assert_eq!(judge_batch(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn only_our_servers_words_are_shown_and_without_control_characters() {
        let problem = r#"{"status":422,"title":"t","detail":"bad\u001b[2J","request_id":"r",
            "errors":[{"field":"load.cpu","message":"must be from 0 to 100"}]}"#;
        let shown = show(422, problem.as_bytes());
        assert_eq!(
            shown,
            r"answer 422: bad\u{1b}[2J; load.cpu must be from 0 to 100"
        );
        assert_eq!(show(500, b"<html>\x1b"), "answer 500");
        let long = problem.replace("bad", &"x".repeat(10_000));
        assert!(show(422, long.as_bytes()).len() < 320);
    }

    #[test]
    fn retry_after_is_a_number_of_seconds_or_a_date() {
        let now = Some("Wed, 21 Oct 2026 07:28:00 GMT");
        for (text, seconds) in [
            ("0", 0),
            ("30", 30),
            ("Wed, 21 Oct 2026 07:28:30 GMT", 30),
            ("Wed, 21 Oct 2026 07:27:30 GMT", 0),
            ("Wednesday, 21-Oct-26 07:29:00 GMT", 60),
        ] {
            assert_eq!(
                parse_retry_after(text, now),
                Some(Duration::from_secs(seconds)),
                "{text}"
            );
        }
        assert_eq!(
            parse_retry_after("99999999999999999999", None),
            Some(Duration::MAX)
        );
        for bad in [
            "",
            "-1",
            "+1",
            "1.5",
            "soon",
            "Wed, 32 Oct 2026 07:28:00 GMT",
        ] {
            assert_eq!(parse_retry_after(bad, now), None, "{bad:?}");
        }
        assert_eq!(
            parse_retry_after("Wed, 21 Oct 2026 07:28:30 GMT", None),
            None
        );
    }
}
