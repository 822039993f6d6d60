//! A call to the server for the sake of the reply.

use std::time::{Duration, Instant, SystemTime};

use ureq::Error;

use crate::config::ServerSettings;
use crate::http::{self, Client};

/// The server's reply.
pub(super) struct Reply {
    pub(super) status: u16,
    /// The reply's Date header.
    pub(super) date: Option<SystemTime>,
    /// How a proxy wants its clients to log in.
    pub(super) authenticate: Option<String>,
    /// Where a redirect leads.
    pub(super) location: Option<String>,
    /// Empty if the body could not be read.
    pub(super) body: Vec<u8>,
    /// When the call began, by the host's clock.
    pub(super) asked_at: SystemTime,
    /// The time from the call's beginning until the reply's header was there.
    pub(super) took: Duration,
}

/// Calls `server` with a batch of no heartbeats: the server judges the key first, and
/// then has nothing to store.
pub(super) fn call(server: &ServerSettings) -> Result<Reply, Error> {
    let client = Client::new(server);
    let (asked_at, started) = (SystemTime::now(), Instant::now());
    let mut response = client.post("heartbeats", b"[]")?;
    let took = started.elapsed();

    let date = http::header(&response, "Date");
    let location = http::header(&response, "Location");
    let authenticate = http::header(&response, "WWW-Authenticate");
    Ok(Reply {
        status: response.status().as_u16(),
        date: date.and_then(|text| httpdate::parse_http_date(text).ok()),
        authenticate: authenticate.map(str::to_owned),
        location: location.map(str::to_owned),
        body: http::read_body(&mut response).unwrap_or_default(),
        asked_at,
        took,
    })
}
