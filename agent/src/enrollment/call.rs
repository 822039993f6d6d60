//! `POST /enroll`: asks the server to take a key.

use fleetbeat_daemon::exit::explain;
use fleetbeat_protocol::{AgentId, Enrollment, EnrollmentAnswer, KeyHash};
use fleetbeat_settings::Secret;

use crate::delivery::{find_problem, show_problem};
use crate::http::{self, Client, sha256};

/// What the server says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The key is taken, now or before.
    Taken,
    /// The server has another key of this host, or does not take this one any more.
    Conflict(String),
    /// The server does not take the key.
    Refused(String),
    /// Nobody knows whether the key is taken: ask again.
    Unknown(String),
}

/// Asks the server to take `key`. `code` may be left out where the client's own key
/// speaks for the host.
pub(super) fn ask(
    client: &Client,
    id: AgentId,
    key: &Secret,
    hostname: &str,
    code: Option<&str>,
) -> Verdict {
    let mut hash = [0; 32];
    hash.copy_from_slice(&sha256(key.expose().as_bytes()));
    let enrollment = Enrollment {
        code: code.map(str::to_owned),
        agent_id: id,
        key_sha256: KeyHash(hash),
        hostname: hostname.to_owned(),
    };
    let body = serde_json::to_vec(&enrollment).expect("an enrolment is plain JSON");

    let answer = client.post("enroll", &body).and_then(|mut response| {
        let status = response.status().as_u16();
        Ok((status, http::read_body(&mut response)?))
    });
    match answer {
        Ok((status, body)) => judge(status, &body),
        Err(error) => {
            let url = client.url("enroll");
            Verdict::Unknown(format!("no answer from {url}: {}", explain(&error)))
        }
    }
}

fn judge(status: u16, body: &[u8]) -> Verdict {
    let is_taken = serde_json::from_slice::<EnrollmentAnswer>(body)
        .is_ok_and(|answer| answer.status == "ok");
    let is_ours = find_problem(status, body).is_some();
    let told = || show_problem(status, body);
    match status {
        200 | 201 if is_taken => Verdict::Taken,
        409 if is_ours => Verdict::Conflict(told()),
        404 | 405 => Verdict::Refused(format!(
            "{}: a server of an older version, or a wrong path in server.url, knows no \
             enrolment",
            told()
        )),
        400..=499 if is_ours && status != 429 => Verdict::Refused(told()),
        200..=499 if !is_ours => Verdict::Unknown(format!(
            "answer {status} is not fleetbeat-server's: is server.url right, and does a \
             proxy there let /enroll through?"
        )),
        _ => Verdict::Unknown(told()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(status: u16, body: &str) -> &'static str {
        match judge(status, body.as_bytes()) {
            Verdict::Taken => "taken",
            Verdict::Conflict(_) => "conflict",
            Verdict::Refused(_) => "refused",
            Verdict::Unknown(_) => "unknown",
        }
    }

    #[test]
    fn only_the_servers_own_word_counts() {
        for (status, expected) in [
            (200, "taken"),
            (201, "taken"),
            (204, "unknown"),
            (302, "unknown"),
        ] {
            assert_eq!(word(status, r#"{"status":"ok"}"#), expected, "{status}");
        }
        assert_eq!(word(200, "<html>"), "unknown");
        for (status, expected) in [
            (400, "refused"),
            (401, "refused"),
            (403, "refused"),
            (404, "refused"),
            (409, "conflict"),
            (422, "refused"),
            (429, "unknown"),
            (500, "unknown"),
            (503, "unknown"),
        ] {
            let problem = format!(
                r#"{{"status":{status},"title":"t","detail":"d","request_id":"r"}}"#
            );
            assert_eq!(word(status, &problem), expected, "{status}");
            if status != 404 {
                let by_a_proxy = if status < 500 { "unknown" } else { expected };
                assert_eq!(word(status, "<html>"), by_a_proxy, "{status}");
            }
        }
    }
}
