//! HTTP to peers that nobody trusts.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::http::{self, Response};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::transport::{Connector, RustlsConnector, TcpConnector};
use ureq::{Agent, Body, Error};

use crate::error::{ErrorClass, SendError, Sent};
use crate::guard::Guard;
use crate::sender::deadlines::Deadlines;
use crate::sender::resolver::{Forbidden, GuardedResolver, Lookup};

/// Longest call, from the look-up of the name to the head of the answer.
pub(super) const DEADLINE: Duration = Duration::from_secs(15);
/// What is read of an answer at most. Only answers of failures are read at all.
const MAX_ANSWER_BYTES: u64 = 4 * 1024;
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// Longest time that a peer may ask to be left alone.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);

/// How a request is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Post,
    Put,
    Get,
}

/// A request. Its URL and headers may be secrets, so there is no `Debug`.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// A POST of a JSON text.
    pub(crate) fn json(url: impl Into<String>, body: impl Into<Vec<u8>>) -> Request {
        Request {
            method: Method::Post,
            url: url.into(),
            headers: vec![("Content-Type", "application/json".to_owned())],
            body: body.into(),
        }
    }

    /// The same request with one header more.
    pub(crate) fn with(
        mut self,
        name: &'static str,
        value: impl Into<String>,
    ) -> Request {
        self.headers.push((name, value.into()));
        self
    }
}

/// A peer's answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    /// The first 4 KiB of the answer of a failure, for what the peer's API says there.
    /// Never shown to anybody.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// What the status says of the message.
    ///
    /// # Errors
    /// The peer has not taken the message.
    pub(crate) fn judge(&self) -> Result<Sent, SendError> {
        let passing = |class| Err(SendError::passing(class).with_status(self.status));
        let permanent = |class| Err(SendError::permanent(class).with_status(self.status));
        let judged = match self.status {
            200..=299 => Ok(Sent::default()),
            429 => passing(ErrorClass::Rate),
            408 | 425 | 500..=599 => passing(ErrorClass::Refused),
            400..=499 => permanent(ErrorClass::Refused),
            // A redirect would carry secrets to another host.
            _ => permanent(ErrorClass::Status),
        };
        judged.map_err(|error| SendError {
            retry_after: self.retry_after,
            ..error
        })
    }
}

/// The clients: one that trusts Mozilla's list, and one for the operator's authorities.
#[derive(Debug)]
pub(super) struct Http {
    usual: Agent,
    own: Option<Agent>,
}

impl Http {
    pub(super) fn new(
        guard: &Guard,
        lookup: &Arc<dyn Lookup>,
        authorities: Option<&[Certificate<'static>]>,
    ) -> Http {
        let own = authorities.map(RootCerts::new_with_certs);
        let agent = |roots| build(roots, guard.clone(), Arc::clone(lookup));
        Http {
            usual: agent(RootCerts::WebPki),
            own: own.map(agent),
        }
    }

    /// A certificate that Mozilla's list does not know may be the operator's own. The
    /// first try has then ended before anything was sent.
    pub(super) fn call(&self, request: &Request) -> Result<Answer, SendError> {
        let ends_at = Instant::now() + DEADLINE;
        let answer = call(&self.usual, request, ends_at);
        match (answer, &self.own) {
            (Err(error), Some(own)) if error.class == ErrorClass::Tls => {
                call(own, request, ends_at)
            }
            (answer, _) => answer,
        }
    }
}

fn build(roots: RootCerts, guard: Guard, lookup: Arc<dyn Lookup>) -> Agent {
    let tls = TlsConfig::builder()
        .root_certs(roots)
        .unversioned_rustls_crypto_provider(Arc::new(
            rustls::crypto::ring::default_provider(),
        ))
        .build();
    let config = Agent::config_builder()
        .max_redirects(0)
        .max_redirects_will_error(false)
        // Without this line ureq would take the proxy from the environment.
        .proxy(None)
        .http_status_as_error(false)
        .user_agent(concat!("fleetbeat-server/", env!("CARGO_PKG_VERSION")))
        .accept("*/*")
        .max_idle_connections(0)
        .max_response_header_size(MAX_HEADER_BYTES)
        .tls_config(tls)
        .build();
    let connector =
        ().chain(TcpConnector::default())
            .chain(Deadlines)
            .chain(RustlsConnector::default());
    Agent::with_parts(config, connector, GuardedResolver { guard, lookup })
}

fn call(agent: &Agent, request: &Request, ends_at: Instant) -> Result<Answer, SendError> {
    let left = ends_at.saturating_duration_since(Instant::now());
    let method = match request.method {
        Method::Post => http::Method::POST,
        Method::Put => http::Method::PUT,
        Method::Get => http::Method::GET,
    };
    let mut builder = http::Request::builder()
        .method(method)
        .uri(&request.url)
        .header("Connection", "close");
    for (name, value) in &request.headers {
        builder = builder.header(*name, value);
    }
    let built = builder.body(request.body.as_slice());
    let built = built.map_err(|_| SendError::permanent(ErrorClass::Settings))?;
    let built = agent.configure_request(built).timeout_global(Some(left));

    let mut response = agent.run(built.build()).map_err(|error| classify(&error))?;
    Ok(Answer {
        status: response.status().as_u16(),
        retry_after: retry_after(&response),
        body: read_failure(&mut response),
    })
}

/// The beginning of an answer that is not a success. Such an answer that breaks off is
/// still one.
fn read_failure(response: &mut Response<Body>) -> Vec<u8> {
    let mut body = Vec::new();
    if !response.status().is_success() {
        let mut reader = response.body_mut().as_reader().take(MAX_ANSWER_BYTES);
        let _ = reader.read_to_end(&mut body);
    }
    body
}

fn retry_after(response: &Response<Body>) -> Option<Duration> {
    let value = response.headers().get("Retry-After")?.to_str().ok()?.trim();
    let seconds = value.parse::<f64>().ok();
    let seconds = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let until = || {
        let date = httpdate::parse_http_date(value).ok()?;
        date.duration_since(std::time::SystemTime::now()).ok()
    };
    Some(at_most_a_day(seconds.or_else(until)?))
}

/// What a peer asks for, within reason.
pub(crate) fn at_most_a_day(wait: Duration) -> Duration {
    wait.min(MAX_RETRY_AFTER)
}

fn classify(error: &Error) -> SendError {
    match error {
        Error::HostNotFound => SendError::passing(ErrorClass::Dns),
        Error::Timeout(_) => SendError::passing(ErrorClass::Timeout),
        Error::Tls(_) | Error::Rustls(_) => SendError::passing(ErrorClass::Tls),
        Error::ConnectionFailed => SendError::passing(ErrorClass::Connect),
        Error::Io(error) => SendError::passing(classify_io(error)),
        Error::Other(other) if other.is::<Forbidden>() => {
            SendError::permanent(ErrorClass::Address)
        }
        Error::Http(_) | Error::BadUri(_) => SendError::permanent(ErrorClass::Settings),
        _ => SendError::passing(ErrorClass::Protocol),
    }
}

/// The cause of a failure below HTTP and SMTP.
pub(super) fn classify_io(error: &io::Error) -> ErrorClass {
    let inner = error.get_ref();
    if inner.is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>) {
        return ErrorClass::Tls;
    }
    match error.kind() {
        // A read with a timeout ends with WouldBlock.
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => ErrorClass::Timeout,
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => ErrorClass::Protocol,
        _ => ErrorClass::Connect,
    }
}
