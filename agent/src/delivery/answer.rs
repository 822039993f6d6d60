//! How the server's answer to a request is judged.

use std::time::{Duration, SystemTime};

use fleetbeat_protocol::{BatchAnswer, FieldError, HeartbeatAnswer, Problem};

use super::request::RequestKind;

/// Most characters of the server's words in one line of the log.
const MAX_SHOWN_CHARS: usize = 300;

/// The fate of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The server has every heartbeat of the request. `rotate`: it asks for a new key of
    /// this host.
    Accepted { rotate: bool },
    /// The server has the good heartbeats of a batch, and will never accept the others.
    PartlyAccepted { rejected: usize, reason: String },
    /// The server will never accept this request.
    Refused { reason: String },
    /// The server does not know the key. An operator may tell the server later.
    Unauthorized { reason: String },
    /// Another try may succeed, after `retry_after` if the server has said so.
    Failed {
        reason: String,
        retry_after: Option<Duration>,
    },
}

impl Outcome {
    /// A failure without any wish of the server about when to try again.
    pub(crate) fn failed(reason: impl Into<String>) -> Outcome {
        Outcome::Failed {
            reason: reason.into(),
            retry_after: None,
        }
    }

    /// How long the server wants to hear nothing.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Outcome::Failed { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// The meaning of an answer with `status` and `body` to a request of a kind.
pub(super) fn judge(
    kind: RequestKind,
    status: u16,
    retry_after: Option<Duration>,
    body: &[u8],
) -> Outcome {
    let accepted = match (status, kind) {
        (200..=299, RequestKind::Newest) => judge_newest(body),
        (200..=299, RequestKind::Batch) => judge_batch(body),
        _ => None,
    };
    accepted.unwrap_or_else(|| judge_failure(status, retry_after, body))
}

/// `None` if fleetbeat-server does not answer a heartbeat so.
fn judge_newest(body: &[u8]) -> Option<Outcome> {
    let answer: HeartbeatAnswer = serde_json::from_slice(body).ok()?;
    let rotate = answer.rotate;
    (answer.status == "ok").then_some(Outcome::Accepted { rotate })
}

/// `None` if fleetbeat-server does not answer a batch so.
fn judge_batch(body: &[u8]) -> Option<Outcome> {
    let answer: BatchAnswer = serde_json::from_slice(body).ok()?;
    if answer.status != "ok" {
        return None;
    }
    let Some(first) = answer.rejected.first() else {
        return Some(Outcome::Accepted { rotate: false });
    };
    Some(Outcome::PartlyAccepted {
        rejected: answer.rejected.len(),
        reason: shorten(&show_fields(&first.errors)),
    })
}

fn judge_failure(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Outcome {
    let failed = |reason| Outcome::Failed {
        reason,
        retry_after,
    };

    let problem = find_problem(status, body);
    match status {
        200..=299 => failed(format!(
            "answer {status} is not fleetbeat-server's: is server.url right?"
        )),
        300..=399 => failed(format!(
            "answer {status} leads elsewhere, which is not followed: is server.url right?"
        )),
        // Whose heartbeat it is, and whether the host is known, an operator may change.
        403 if problem.is_some() => failed(show_problem(status, body)),
        408 | 409 | 429 => failed(show_problem(status, body)),
        // A server that knows no such path has not looked at the heartbeat.
        404 | 405 if problem.is_some() => failed(format!(
            "{}: is the path in server.url right?",
            show_problem(status, body)
        )),
        // What a proxy says is not the server's word about this heartbeat.
        400..=499 if problem.is_none() => failed(format!(
            "answer {status} is not fleetbeat-server's, but that of something before \
             it: is server.url right, and does the proxy there let heartbeats through?"
        )),
        401 => Outcome::Unauthorized {
            reason: format!(
                "the server does not know this key (401): is AGENT_API_KEY the same in \
                 the server's environment and in /etc/fleetbeat/agent.env? A host's own \
                 key may have been revoked. {}",
                show_problem(status, body)
            ),
        },
        422 if problem.is_some_and(|problem| is_about_address_alone(&problem)) => {
            failed(format!(
                "{} (host.ip in agent.toml sets the address)",
                show_problem(status, body)
            ))
        }
        400..=499 => Outcome::Refused {
            reason: show_problem(status, body),
        },
        _ => failed(show_problem(status, body)),
    }
}

/// The problem that fleetbeat-server tells in the `body` of an answer with this status;
/// `None` for an answer of anything else, such as a proxy on the way, which may also have
/// put its own status over the server's.
pub(crate) fn find_problem(status: u16, body: &[u8]) -> Option<Problem> {
    let problem: Problem = serde_json::from_slice(body).ok()?;
    (problem.status == status).then_some(problem)
}

/// Whether the server takes the heartbeat once it has an address, or another one.
fn is_about_address_alone(problem: &Problem) -> bool {
    !problem.errors.is_empty() && problem.errors.iter().all(|error| error.field == "ip")
}

/// The wait that a Retry-After header asks for: a number of seconds, however many, or the
/// time from `now` until a date. `now` is the answer's Date header, the server's own
/// clock, because this host's clock may be wrong.
pub(super) fn parse_retry_after(text: &str, now: Option<&str>) -> Option<Duration> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(text.parse().map_or(Duration::MAX, Duration::from_secs));
    }
    let parse = |text| httpdate::parse_http_date(text).ok();
    let (until, now): (SystemTime, SystemTime) = (parse(text)?, parse(now?)?);
    Some(until.duration_since(now).unwrap_or_default())
}

/// An answer for the log: the status, and the problem's text if the body is one of
/// fleetbeat-server's problems. Words of other servers do not get into the log.
pub(crate) fn show_problem(status: u16, body: &[u8]) -> String {
    let Some(problem) = find_problem(status, body) else {
        return format!("answer {status}");
    };
    let fields = show_fields(&problem.errors);
    let told = if fields.is_empty() {
        problem.detail
    } else if fields.contains(&problem.detail) {
        fields
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

/// The beginning of a text from the network, without control characters.
fn shorten(text: &str) -> String {
    let shown: String = text.chars().take(MAX_SHOWN_CHARS).collect();
    printable(&shown).replace('\n', "\\n")
}

/// A text of somebody else's, fit for a log and a terminal: without control characters and
/// characters that turn the direction of the text. Lines stay lines.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\'' | '\\' | '\n' => shown.push(c),
            _ => shown.extend(c.escape_debug()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(status: u16, body: &str) -> &'static str {
        match judge(RequestKind::Newest, status, None, body.as_bytes()) {
            Outcome::Accepted { .. } | Outcome::PartlyAccepted { .. } => "accepted",
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
            (403, "failed"),
            (404, "failed"),
            (405, "failed"),
            (408, "failed"),
            (409, "failed"),
            (413, "refused"),
            (422, "refused"),
            (429, "failed"),
            (500, "failed"),
            (503, "failed"),
        ] {
            let ours = problem_of(status, "bad", "[]");
            assert_eq!(kind(status, &ours), expected, "{status}");
            let rewritten = problem_of(599, "bad", "[]");
            assert_eq!(kind(status, &rewritten), "failed", "{status}");
            for proxys in ["<html>", "", "{}", r#"{"status":404}"#] {
                assert_eq!(kind(status, proxys), "failed", "{status}");
            }
        }
    }

    fn problem(detail: &str, errors: &str) -> String {
        problem_of(422, detail, errors)
    }

    fn problem_of(status: u16, detail: &str, errors: &str) -> String {
        format!(
            r#"{{"status":{status},"title":"t","detail":"{detail}","request_id":"r",
                "errors":{errors}}}"#
        )
    }

    #[test]
    fn a_heartbeat_is_kept_where_only_its_address_is_missing() {
        let ip = r#"{"field":"ip","message":"cannot be told"}"#;
        let name = r#"{"field":"hostname","message":"is too long"}"#;
        for (errors, expected) in [
            (format!("[{ip}]"), "failed"),
            (format!("[{ip},{name}]"), "refused"),
            (format!("[{name}]"), "refused"),
        ] {
            assert_eq!(kind(422, &problem("bad", &errors)), expected, "{errors}");
        }
    }

    #[test]
    fn what_the_detail_and_the_fields_say_is_said_once() {
        let fields = r#"[{"field":"ip","message":"is odd"}]"#;
        let shown = |detail| show_problem(422, problem(detail, fields).as_bytes());
        assert_eq!(shown("ip is odd"), "answer 422: ip is odd");
        assert_eq!(
            shown("a rule is broken"),
            "answer 422: a rule is broken; ip is odd"
        );
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
                Some(Outcome::Accepted { rotate: false }),
            ),
            (
                r#"{"status":"ok","accepted":0,"rejected":[{"index":1,"errors":[
                    {"field":"ip","message":"is\u001b missing"},
                    {"field":"seq","message":"is odd"}]}]}"#,
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
        let problem = r#"{"status":422,"title":"t","detail":"bad\u001b[2J",
            "request_id":"r",
            "errors":[{"field":"load.cpu","message":"must be from 0 to 100"}]}"#;
        let shown = show_problem(422, problem.as_bytes());
        assert_eq!(
            shown,
            r"answer 422: bad\u{1b}[2J; load.cpu must be from 0 to 100"
        );
        assert_eq!(show_problem(500, b"<html>\x1b"), "answer 500");
        let quoted = problem.replace("bad\\u001b[2J", "the host's\\n\\u202e");
        assert_eq!(
            show_problem(422, quoted.as_bytes()),
            r"answer 422: the host's\n\u{202e}; load.cpu must be from 0 to 100"
        );
        let long = problem.replace("bad", &"x".repeat(10_000));
        assert!(show_problem(422, long.as_bytes()).len() < 320);
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
