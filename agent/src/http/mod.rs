//! The agent's HTTP client: short calls to the server, and to nobody else.

mod deadlines;
mod resolver;
mod tls;

pub(crate) use tls::provider as tls_provider;

use std::time::Duration;

use fleetbeat_settings::Secret;
use ureq::http::Response;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::unversioned::transport::{
    ConnectProxyConnector, Connector, RustlsConnector, TcpConnector,
};
use ureq::{Agent, Body, Error};

use crate::config::ServerSettings;
use crate::dns::RESOLVE_TIMEOUT;
use deadlines::Deadlines;
use resolver::NameServers;
pub(crate) use tls::sha256;

/// Longest wait for a connection, TLS handshake included.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest call, from the lookup of the name to the last byte of the answer.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest body of an answer.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// ureq's own buffers are larger, because downloads need that.
const BUFFER_BYTES: usize = 8 * 1024;

/// A client for calls to a single server, with the server's key.
pub(crate) struct Client {
    agent: Agent,
    base_url: String,
    key: Option<Secret>,
}

impl Client {
    /// The client for `server`. Without a configured key, calls have no key.
    pub(crate) fn new(server: &ServerSettings) -> Client {
        Client {
            agent: build(server),
            base_url: server.url.base.clone(),
            key: server.key.clone(),
        }
    }

    /// The same client with another key, or with none.
    pub(crate) fn with_key(&self, key: Option<Secret>) -> Client {
        Client {
            agent: self.agent.clone(),
            base_url: self.base_url.clone(),
            key,
        }
    }

    /// The key that calls have.
    pub(crate) fn key(&self) -> Option<&Secret> {
        self.key.as_ref()
    }

    /// The URL of `path` on the server.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.base_url)
    }

    /// Posts the JSON text `body` to `path`. An answer of any status is a success here.
    ///
    /// # Errors
    /// There is no answer.
    pub(crate) fn post(&self, path: &str, body: &[u8]) -> Result<Response<Body>, Error> {
        let mut request = self
            .agent
            .post(self.url(path))
            .header("Connection", "close")
            .header("Content-Type", "application/json");
        if let Some(key) = &self.key {
            request = request.header("X-API-Key", key.expose());
        }
        request.send(body)
    }
}

/// The value of the answer's header `name`; `None` also for a value that is not text.
pub(crate) fn header<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// Whether the call failed in the TLS library, whose words need explaining.
pub(crate) fn is_tls_error(error: &Error) -> bool {
    match error {
        Error::Rustls(_) => true,
        Error::Io(error) => error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>())
            .is_some(),
        _ => false,
    }
}

/// The answer's body.
///
/// # Errors
/// The body breaks off, or is longer than 64 KiB.
pub(crate) fn read_body(response: &mut Response<Body>) -> Result<Vec<u8>, Error> {
    let body = response.body_mut().with_config();
    body.limit(MAX_ANSWER_BYTES).read_to_vec()
}

fn build(server: &ServerSettings) -> Agent {
    let authorities = match &server.ca {
        Some(certificates) => RootCerts::new_with_certs(certificates),
        None => RootCerts::WebPki,
    };
    let tls = TlsConfig::builder()
        .root_certs(authorities)
        .unversioned_rustls_crypto_provider(tls::provider())
        .build();

    let config = Agent::config_builder()
        .https_only(server.url.is_https)
        // A redirect would carry the key to another host.
        .max_redirects(0)
        .max_redirects_will_error(false)
        // Without this line ureq would take the proxy from the environment.
        .proxy(server.proxy.clone())
        .http_status_as_error(false)
        .user_agent(concat!("fleetbeat-agent/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(Some(RESOLVE_TIMEOUT))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_global(Some(CALL_TIMEOUT))
        // A fleet of a hundred thousand agents must not hold as many of the server's
        // sockets open between heartbeats.
        .max_idle_connections(0)
        .max_response_header_size(MAX_HEADER_BYTES)
        .input_buffer_size(BUFFER_BYTES)
        .output_buffer_size(BUFFER_BYTES)
        .tls_config(tls)
        .build();
    // As ureq's own connector, and within the deadlines.
    let connector =
        ().chain(ConnectProxyConnector::default())
            .chain(TcpConnector::default())
            .chain(Deadlines)
            .chain(RustlsConnector::default());
    Agent::with_parts(config, connector, NameServers)
}
