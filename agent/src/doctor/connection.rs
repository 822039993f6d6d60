//! The way to the server: its name, its port, its certificate, and what it says of the
//! key.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use fleetbeat_daemon::exit::explain;
use fleetbeat_daemon::thread::spawn;
use fleetbeat_protocol::BatchAnswer;
use ureq::{Error, Timeout};

use super::{Finding, Report, Trouble, clock, tls_error};
use crate::config::Server;
use crate::delivery::sender::{MAX_ANSWER_BYTES, client, show};

/// The checks of this file, each of which needs the one before.
pub(super) const CHECKS: [&str; 5] = ["dns", "tcp", "tls", "key", "clock"];

/// Limits, as a heartbeat has them.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Most addresses of a name that are tried.
const MAX_ADDRESSES: usize = 8;

/// What came back.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) date: Option<SystemTime>,
    location: Option<String>,
    body: Vec<u8>,
    pub(super) asked_at: SystemTime,
    pub(super) took: Duration,
}

/// Goes the way to `server` as far as it leads.
pub(super) fn check(server: &Server, report: &mut Report) {
    let reached = walk(server, report);
    if reached < CHECKS.len() {
        for name in &CHECKS[reached + 1..] {
            report.skip(name, CHECKS[reached]);
        }
    }
}

/// The number of checks before the first that failed and that the next ones need.
fn walk(server: &Server, report: &mut Report) -> usize {
    let (name, port) = server.target();
    let addresses = match resolve(&name, port) {
        Ok(addresses) => addresses,
        Err(trouble) => {
            report.add("dns", Err(trouble));
            return 0;
        }
    };
    report.add(
        "dns",
        Ok(tell_addresses(&name, &addresses, server.proxy.is_some())),
    );
    if !report.add("tcp", connect(&addresses)) {
        return 1;
    }
    let answer = ask(server);
    match &answer {
        Err(error) if server.url.is_https && ends_before_request(error) => {
            report.add("tls", Err(tell_failed_call(error, server)));
            return 2;
        }
        _ => report.add("tls", Ok(tell_tls(server))),
    };
    match answer {
        Err(error) => {
            report.add("key", Err(tell_failed_call(&error, server)));
            3
        }
        Ok(answer) => {
            report.add("key", judge(&answer, server));
            report.add("clock", clock::compare(&answer));
            CHECKS.len()
        }
    }
}

/// The addresses of `name`; a name server that is silent is not waited for.
fn resolve(name: &str, port: u16) -> Result<Vec<SocketAddr>, Trouble> {
    let (found, answer) = mpsc::channel();
    let target = (name.to_owned(), port);
    // It cannot be hurried: it may end with the process.
    let look_up = move || {
        drop(found.send(target.to_socket_addrs().map(Iterator::collect::<Vec<_>>)))
    };
    let _ = spawn("lookup", look_up);
    let advice = format!(
        "is the name in server.url (or server.proxy) right? Do the name servers in /etc/resolv.conf answer? \
         Try: getent hosts {name}"
    );
    match answer.recv_timeout(RESOLVE_TIMEOUT) {
        Ok(Ok(mut addresses)) if !addresses.is_empty() => {
            addresses.dedup();
            addresses.truncate(MAX_ADDRESSES);
            Ok(addresses)
        }
        Ok(Ok(_)) => Err(Trouble::new(format!("{name} has no address"), advice)),
        Ok(Err(error)) => Err(Trouble::new(
            format!("{name} is not found: {error}"),
            advice,
        )),
        Err(_) => Err(Trouble::new(
            format!("no name server has answered for {name} in {RESOLVE_TIMEOUT:?}"),
            advice,
        )),
    }
}

fn tell_addresses(name: &str, addresses: &[SocketAddr], is_proxy: bool) -> String {
    let list: Vec<_> = addresses
        .iter()
        .map(|address| address.ip().to_string())
        .collect();
    let of = if is_proxy { "the proxy " } else { "" };
    if name.parse::<IpAddr>().is_ok() {
        format!("{of}{name} is an address already")
    } else {
        format!("{of}{name} is {}", list.join(", "))
    }
}

/// Whether one of the addresses can be connected to, and which. They are tried together:
/// one that is silent takes nothing from the others.
fn connect(addresses: &[SocketAddr]) -> Finding {
    let try_one = |address: &SocketAddr| {
        let started = Instant::now();
        TcpStream::connect_timeout(address, CONNECT_TIMEOUT).map(|_| started.elapsed())
    };
    let results: Vec<io::Result<Duration>> = thread::scope(|scope| {
        let tries: Vec<_> = addresses
            .iter()
            .map(|address| scope.spawn(move || try_one(address)))
            .collect();
        let gone = |_| Err(io::Error::other("the thread panicked"));
        tries
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(gone))
            .collect()
    });
    let lines = addresses
        .iter()
        .zip(&results)
        .map(|(address, result)| match result {
            Ok(took) => format!(
                "{address} ({}) answers in {} ms",
                family(address),
                took.as_millis()
            ),
            Err(error) => format!("{address} ({}) does not: {error}", family(address)),
        });
    let told = lines.collect::<Vec<_>>().join("; ");
    match results.iter().find_map(|result| result.as_ref().err()) {
        Some(error) if results.iter().all(Result::is_err) => {
            Err(Trouble::new(told, tcp_advice(error.kind())))
        }
        _ => Ok(told),
    }
}

fn family(address: &SocketAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn tcp_advice(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::ConnectionRefused => {
            "nothing listens on that port, or a firewall says so: is the server running, and is the port in \
             server.url (or server.proxy) right?"
        }
        io::ErrorKind::TimedOut => {
            "what is sent there vanishes: is the server's machine up, and does each firewall on the way let this \
             port through?"
        }
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
            "this host knows no way there: is its network up? Try: ip route"
        }
        _ => "is this host's network up, and does its own firewall let this program out?",
    }
}

/// Sends no heartbeats at all: the server judges the key first, and then has nothing to
/// store.
fn ask(server: &Server) -> Result<Answer, Error> {
    let mut request = client(server).post(format!("{}/heartbeats", server.url.base));
    request = request
        .header("Connection", "close")
        .header("Content-Type", "application/json");
    if let Some(key) = &server.key {
        request = request.header("X-API-Key", key.expose());
    }
    let (asked_at, started) = (SystemTime::now(), Instant::now());
    let mut response = request.send("[]")?;
    let took = started.elapsed();
    let header = |name| {
        response
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let date = header("Date").and_then(|text| httpdate::parse_http_date(&text).ok());
    let (status, location) = (response.status().as_u16(), header("Location"));
    let body = response
        .body_mut()
        .with_config()
        .limit(MAX_ANSWER_BYTES)
        .read_to_vec()
        .unwrap_or_default();
    Ok(Answer {
        status,
        date,
        location,
        body,
        asked_at,
        took,
    })
}

/// Whether a call with TLS failed before a request could be sent.
fn ends_before_request(error: &Error) -> bool {
    use Timeout::{Global, RecvBody, RecvResponse, SendBody, SendRequest};
    !matches!(
        error,
        Error::Timeout(Global | SendRequest | SendBody | RecvResponse | RecvBody)
            | Error::Protocol(_)
            | Error::LargeResponseHeader(..)
    )
}

fn tell_tls(server: &Server) -> String {
    match (&server.ca, server.url.is_https) {
        (_, false) => "not used: server.url begins with http://".to_owned(),
        (None, true) => format!(
            "the certificate of {} is one that browsers trust",
            server.url.host
        ),
        (Some(_), true) => {
            format!(
                "the certificate of {} is one that server.ca_file trusts",
                server.url.host
            )
        }
    }
}

fn tell_failed_call(error: &Error, server: &Server) -> Trouble {
    if let Some(error) = tls_error::find(error) {
        return tls_error::tell(error, server);
    }
    let port = server.url.port;
    match error {
        Error::ConnectProxyFailed(reason) => Trouble::new(
            format!(
                "the proxy does not let the call through: {}",
                reason.escape_debug()
            ),
            format!(
                "does it allow CONNECT to port {port}, and does it want a user and password in server.proxy?"
            ),
        ),
        Error::Timeout(Timeout::Connect) => Trouble::new(
            format!(
                "{} takes connections, but has not shaken hands in {CONNECT_TIMEOUT:?}",
                server.url.host
            ),
            format!(
                "does it speak TLS on port {port} (not fleetbeat-server does, but the proxy before it), or is it overloaded?"
            ),
        ),
        Error::Timeout(_) => Trouble::new(
            format!("{} takes the request and does not answer", server.url.host),
            "is fleetbeat-server overloaded, or its database? Its log and /readyz tell",
        ),
        _ => Trouble::new(
            format!("the call broke off: {}", explain(error).escape_debug()),
            "is what listens there a proxy or a server that speaks HTTP? Does its log say something?",
        ),
    }
}

/// What the answer says of the key.
fn judge(answer: &Answer, server: &Server) -> Finding {
    let is_ours = serde_json::from_slice::<BatchAnswer>(&answer.body)
        .is_ok_and(|answer| answer.status == "ok");
    let told = show(answer.status, &answer.body);
    match answer.status {
        _ if server.key.is_none() && matches!(answer.status, 200 | 401) => {
            Err(Trouble::new(
                "there is none that this user can read",
                "put AGENT_API_KEY=… into agent.env beside agent.toml, or name its file in server.api_key_file; and call \
             this as the agent's user or as root, who may read it",
            ))
        }
        200 if is_ours => Ok("the server knows it".to_owned()),
        401 => Err(Trouble::new(
            "the server does not know it (401)",
            "take the one from AGENT_API_KEY in the server's environment, or from the file agent_api_key in its \
             storage folder, and restart the agent",
        )),
        300..=399 => Err(Trouble::new(
            format!(
                "{} leads to {}",
                server.url.base,
                answer
                    .location
                    .as_deref()
                    .unwrap_or("nowhere")
                    .escape_debug()
            ),
            "set server.url to where fleetbeat-server is: the agent follows no redirect, which would carry the key",
        )),
        408 | 429 | 500..=599 => Err(Trouble::new(
            format!("the server cannot tell now: {told}"),
            "what listens there answers, but something behind it does not work: its log and /readyz tell",
        )),
        _ => Err(Trouble::new(
            format!("this is not fleetbeat-server's: {told}"),
            format!(
                "is {} the server's own URL, with the right port and path, and https:// or http://?",
                server.url.base
            ),
        )),
    }
}
