//! One call to the server: sends a request and judges the answer.

use fleetbeat_daemon::exit::explain;
use fleetbeat_settings::Secret;

use super::answer::{Outcome, judge, parse_retry_after};
use super::request::RequestKind;
use crate::config::ServerSettings;
use crate::http::{self, Client};

/// Sends heartbeats to the server of the configuration.
pub(crate) struct Sender {
    client: Client,
}

impl Sender {
    /// A sender to `server`, which accepts nothing without a key.
    pub(crate) fn new(server: &ServerSettings) -> Sender {
        Sender {
            client: Client::new(server),
        }
    }

    /// The same sender with another key.
    pub(crate) fn with_key(&self, key: Secret) -> Sender {
        Sender {
            client: self.client.with_key(Some(key)),
        }
    }

    /// The client, for other calls to the same server.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Sends the JSON text `body` once. The call takes 15 seconds at most.
    pub(crate) fn send(&self, kind: RequestKind, body: &[u8]) -> Outcome {
        let path = match kind {
            RequestKind::Newest => "heartbeat",
            RequestKind::Batch => "heartbeats",
        };
        self.call(path, kind, body).unwrap_or_else(|error| {
            let url = self.client.url(path);
            let hint = if http::is_tls_error(&error) {
                " (fleetbeat-agent doctor tells what to do)"
            } else {
                ""
            };
            Outcome::failed(format!("no answer from {url}: {}{hint}", explain(&error)))
        })
    }

    fn call(
        &self,
        path: &str,
        kind: RequestKind,
        body: &[u8],
    ) -> Result<Outcome, ureq::Error> {
        let mut response = self.client.post(path, body)?;
        let status = response.status();
        let retry_after = http::header(&response, "Retry-After")
            .and_then(|text| parse_retry_after(text, http::header(&response, "Date")));

        // Only the log needs the body of a refusal, so the refusal counts without it.
        let answer = match http::read_body(&mut response) {
            Err(error) if status.is_success() => return Err(error),
            answer => answer.unwrap_or_default(),
        };
        Ok(judge(kind, status.as_u16(), retry_after, &answer))
    }
}
