//! The connection to the server: the steps "dns", "tcp", "tls" and "key". Each step needs
//! the step before.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use fleetbeat_daemon::exit::explain;
use fleetbeat_protocol::{BatchAnswer, OWN_KEY_NEEDED};
use ureq::{Error, Timeout};

use super::finding::{Finding, Obstacle, Trouble};
use super::found::Found;
use super::probe::{self, Reply};
use super::tls_error;
use crate::config::ServerSettings;
use crate::delivery::{find_problem, show_problem};
use crate::dns::{self, RESOLVE_TIMEOUT};
use crate::http::CONNECT_TIMEOUT;

/// Most addresses to try of a name.
const MAX_ADDRESSES: usize = 8;

/// The step "dns": finds the addresses of the server, or of the proxy.
pub(super) fn resolve(found: &mut Found) -> Finding {
    let server = found.server()?;
    let (name, port) = server.target();
    let addresses = look_up(&name, port)?;
    let told = show_addresses(&name, &addresses, server);

    found.addresses = Some(addresses);
    Ok(told)
}

/// The addresses of `name`, found as for a heartbeat, and with the same patience.
fn look_up(name: &str, port: u16) -> Result<Vec<SocketAddr>, Trouble> {
    let addresses = dns::look_up(name, Instant::now() + RESOLVE_TIMEOUT);
    let addresses = addresses.map_err(|error| {
        let advice = format!(
            "is the name in server.url (or server.proxy) right? Do the name servers in \
             /etc/resolv.conf answer? Try: getent hosts {name}"
        );
        Trouble::new(format!("{name} is not found: {error}"), advice)
    })?;

    let addresses = addresses.into_iter().take(MAX_ADDRESSES);
    Ok(addresses.map(|ip| (ip, port).into()).collect())
}

fn show_addresses(
    name: &str,
    addresses: &[SocketAddr],
    server: &ServerSettings,
) -> String {
    let of = match server.proxy {
        Some(_) => "the proxy ",
        None => "",
    };
    if name.parse::<IpAddr>().is_ok() {
        return format!("{of}{name} is an address already");
    }
    let list: Vec<_> = addresses
        .iter()
        .map(|address| address.ip().to_string())
        .collect();
    format!("{of}{name} is {}", list.join(", "))
}

/// The step "tcp": connects to all addresses at the same time, so that a silent address
/// does not hold up the others. A single connection is enough.
pub(super) fn connect(found: &mut Found) -> Finding {
    let addresses = found.addresses.as_ref().ok_or(Obstacle::Missing)?;
    let results = connect_to_each(addresses);

    let lines = addresses.iter().zip(&results).map(show_connection);
    let told = lines.collect::<Vec<_>>().join("; ");
    if results.iter().all(Result::is_err)
        && let Some(Err(error)) = results.first()
    {
        return Err(Trouble::new(told, tcp_advice(error.kind())).into());
    }

    found.connected = Some(());
    Ok(told)
}

/// How long each address took to accept a connection.
fn connect_to_each(addresses: &[SocketAddr]) -> Vec<io::Result<Duration>> {
    let connect = |address: &SocketAddr| {
        let started = Instant::now();
        TcpStream::connect_timeout(address, CONNECT_TIMEOUT).map(|_| started.elapsed())
    };

    thread::scope(|scope| {
        let tries: Vec<_> = addresses
            .iter()
            .map(|address| scope.spawn(move || connect(address)))
            .collect();
        let panicked = |_| Err(io::Error::other("the thread panicked"));
        tries
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(panicked))
            .collect()
    })
}

fn show_connection((address, result): (&SocketAddr, &io::Result<Duration>)) -> String {
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    match result {
        Ok(took) => {
            format!("{address} ({family}) answers in {} ms", took.as_millis())
        }
        Err(error) => format!("{address} ({family}) does not: {error}"),
    }
}

fn tcp_advice(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::ConnectionRefused => {
            "nothing listens on that port, or a firewall says so: is the server running, \
             and is the port in server.url (or server.proxy) right?"
        }
        io::ErrorKind::TimedOut => {
            "what is sent there vanishes: is the server's machine up, and does each \
             firewall on the way let this port through?"
        }
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
            "this host knows no way there: is its network up? Try: ip route"
        }
        _ => "is this host's network up, and does its own firewall let this program out?",
    }
}

fn no_key() -> Trouble {
    Trouble::new(
        "there is none that the service's user can read",
        "put AGENT_API_KEY=... into agent.env beside agent.toml, or name its file in \
         server.api_key_file; then chgrp fleetbeat-agent FILE, and chmod 640 FILE",
    )
}

/// The step "tls": calls the server, and tells whether the call came as far as HTTP.
pub(super) fn shake_hands(found: &mut Found) -> Finding {
    found.connected.ok_or(Obstacle::Missing)?;
    let server = found.server()?;
    let call = probe::call(server);
    if let Err(error) = &call
        && server.url.is_https
        && (ends_before_request(error) || is_nonsense_of_proxy(error, server))
    {
        let address = found.addresses.iter().flatten().next();
        let trouble = tls_error::explain_short_key(error, server, address.copied())
            .unwrap_or_else(|| explain_failed_call(error, server));
        return Err(trouble.into());
    }

    let told = show_trust(server);
    found.call = Some(call);
    Ok(told)
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

/// Whether the call ended with an answer that is not HTTP, where a proxy is the first who
/// answers.
fn is_nonsense_of_proxy(error: &Error, server: &ServerSettings) -> bool {
    server.proxy.is_some() && matches!(error, Error::Protocol(_))
}

fn show_trust(server: &ServerSettings) -> String {
    let name = &server.url.host;
    match (&server.ca, server.url.is_https) {
        (_, false) => "not used: server.url begins with http://".to_owned(),
        (None, true) => {
            format!("the certificate of {name} is one that browsers trust")
        }
        (Some(_), true) => {
            format!("the certificate of {name} is one that server.ca_file trusts")
        }
    }
}

fn explain_failed_call(error: &Error, server: &ServerSettings) -> Trouble {
    if let Some(error) = tls_error::find(error) {
        return tls_error::explain(error, server);
    }

    let (name, port) = (&server.url.host, server.url.port);
    match error {
        Error::ConnectProxyFailed(reason) => Trouble::new(
            format!(
                "the proxy does not let the call through: {}",
                reason.escape_debug()
            ),
            format!(
                "does it allow CONNECT to port {port}, and does it want a user and \
                 password in server.proxy?"
            ),
        ),
        Error::Timeout(Timeout::Connect) if server.proxy.is_some() => Trouble::new(
            format!("the proxy has made no connection to {name} in {CONNECT_TIMEOUT:?}"),
            "is it overloaded, and does it reach the server? Its log tells",
        ),
        Error::Timeout(Timeout::Connect) => Trouble::new(
            format!(
                "{name} takes connections, but has not shaken hands in \
                 {CONNECT_TIMEOUT:?}"
            ),
            format!("does it speak TLS on port {port}, or is it overloaded?"),
        ),
        Error::Timeout(_) => Trouble::new(
            format!("{name} takes the request and does not answer"),
            "is fleetbeat-server overloaded, or its database? Its log and /readyz tell",
        ),
        _ if server.proxy.is_some() => Trouble::new(
            format!("the proxy does not answer as one: {}", explain(error)),
            "is server.proxy right, and is what listens there an HTTP proxy?",
        ),
        _ => Trouble::new(
            format!("the call broke off: {}", explain(error).escape_debug()),
            "is what listens there a proxy or a server that speaks HTTP? Does its log \
             say something?",
        ),
    }
}

/// The step "key": what the server's reply says about the key.
pub(super) fn show_key(found: &mut Found) -> Finding {
    let call = found.call.take();
    let server = found.server()?;
    // No way to the server is needed to see this.
    if call.is_none() && server.key.is_none() {
        return Err(no_key().into());
    }
    let call = call.ok_or(Obstacle::Missing)?;
    let reply = call.map_err(|error| explain_failed_call(&error, server))?;
    let judged = judge_key(&reply, server);

    found.reply = Some(reply);
    Ok(judged?)
}

fn judge_key(reply: &Reply, server: &ServerSettings) -> Result<String, Trouble> {
    let is_ours = serde_json::from_slice::<BatchAnswer>(&reply.body)
        .is_ok_and(|answer| answer.status == "ok");
    let problem = find_problem(reply.status, &reply.body);
    let code = problem.as_ref().and_then(|problem| problem.code.as_deref());
    match reply.status {
        401 if problem.is_none() => Err(wants_login(reply, &server.url.base)),
        200 | 401 if server.key.is_none() => Err(no_key()),
        200 if is_ours => Ok("the server knows it".to_owned()),
        401 | 403 if problem.is_some() && server.key_owner().is_some() => {
            Err(Trouble::new(
                show_problem(reply.status, &reply.body),
                "the key is this host's own, and the server does not take it any more: \
             fleetbeat-agent enroll gets the host another one",
            ))
        }
        401 if code == Some(OWN_KEY_NEEDED) => Err(Trouble::new(
            show_problem(401, &reply.body),
            "fleetbeat-agent enroll gets this host a key of its own",
        )),
        401 => Err(Trouble::new(
            "the server does not know it (401)",
            "take the one from AGENT_API_KEY in the server's environment, or from the \
             file agent_api_key in its storage folder, and restart the agent",
        )),
        _ => Err(explain_other_reply(reply, &server.url.base)),
    }
}

/// A proxy wants a login of its own.
fn wants_login(reply: &Reply, base_url: &str) -> Trouble {
    let scheme = reply.authenticate.as_deref().unwrap_or_default();
    let scheme = match scheme.split_whitespace().next() {
        Some(scheme) => format!(", WWW-Authenticate: {}", scheme.escape_debug()),
        None => String::new(),
    };
    Trouble::new(
        format!(
            "something before fleetbeat-server wants a login (401{scheme}): the key was \
             not looked at"
        ),
        format!(
            "let the proxy at {base_url} pass /heartbeat and /heartbeats on without a \
             login of its own: agents prove themselves by their key"
        ),
    )
}

/// A reply that says nothing about the key.
fn explain_other_reply(reply: &Reply, base_url: &str) -> Trouble {
    let shown = show_problem(reply.status, &reply.body);
    match reply.status {
        300..=399 => Trouble::new(
            format!("{base_url} leads to {}", show_location(reply)),
            "set server.url to where fleetbeat-server is: the agent follows no redirect, \
             which would carry the key",
        ),
        408 | 429 | 500..=599 => Trouble::new(
            format!("the server cannot tell now: {shown}"),
            "what listens there answers, but something behind it does not work: its log \
             and /readyz tell",
        ),
        _ => Trouble::new(
            format!("this is not fleetbeat-server's: {shown}"),
            format!(
                "is {base_url} the server's own URL, with the right port and path, and \
                 https:// or http://?"
            ),
        ),
    }
}

fn show_location(reply: &Reply) -> String {
    let location = reply.location.as_deref().unwrap_or("nowhere");
    location.escape_debug().to_string()
}
