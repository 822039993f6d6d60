//! The section `[server]`: where heartbeats go, and how.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use fleetbeat_protocol::{AgentId, owner_of_key};
use fleetbeat_settings::{Fault, Secret, Table, read_file};
use ureq::http::Uri;
use ureq::tls::{Certificate, PemItem, parse_pem};
use ureq::{Proxy, ProxyProtocol};

use super::api_key::{self, FoundKey, Key, KeyNeed};
use super::ascii_name;
use crate::dns;

/// Longest file of certificates: all of a distribution's have room.
const MAX_CA_BYTES: u64 = 8 << 20;
/// What editors of other systems put before a text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The server that heartbeats go to, and the way there.
pub(crate) struct ServerSettings {
    pub(crate) url: ServerUrl,
    /// The certificate authorities to trust, instead of the browsers' usual list.
    pub(crate) ca: Option<Vec<Certificate<'static>>>,
    pub(crate) proxy: Option<Proxy>,
    /// The server accepts nothing without a key; measuring and checking do without.
    pub(crate) key: Option<Secret>,
    /// Where the key was found, for people.
    pub(crate) key_source: Option<String>,
    /// The file that holds the key and nothing else, where there is one.
    pub(crate) key_file: Option<PathBuf>,
}

/// A checked URL of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerUrl {
    /// The URL without a slash at its end.
    pub(crate) base: String,
    pub(crate) is_https: bool,
    /// A name, or an address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Where a URL with http:// may lead: the key travels unencrypted there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PlainHttp {
    ToLoopback,
    Anywhere,
}

/// How heartbeats travel, as far as the host's own address depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Way {
    /// The name or address of the first machine on the way: the proxy or the server.
    pub(crate) next: String,
    /// The server sees the proxy's address in place of the host's.
    pub(crate) is_proxied: bool,
    /// server.url itself says that the server is on this machine.
    pub(crate) is_loopback: bool,
}

impl ServerSettings {
    /// The host whose own key the key is; `None` for a key that hosts share.
    pub(crate) fn key_owner(&self) -> Option<AgentId> {
        owner_of_key(self.key.as_ref()?.expose())
    }

    /// The way of heartbeats.
    pub(crate) fn way(&self) -> Way {
        let (next, _) = self.target();
        let is_proxied = self.proxy.is_some();
        Way {
            next,
            is_proxied,
            is_loopback: !is_proxied && is_loopback(&self.url.host),
        }
    }

    /// Name and port of the first machine on the way: the proxy, or else the server.
    pub(crate) fn target(&self) -> (String, u16) {
        match &self.proxy {
            Some(proxy) => (without_brackets(proxy.host()), proxy.port()),
            None => (self.url.host.clone(), self.url.port),
        }
    }
}

/// Reads the section. `None` if the URL is missing or wrong: the reason is among the
/// problems. `found` is the key from outside of the file.
pub(super) fn read_server(
    table: &mut Table<'_>,
    found: FoundKey,
    need: KeyNeed,
) -> Option<ServerSettings> {
    table.require("url");
    let plain_http = match table.boolean("allow_insecure") {
        Some(true) => PlainHttp::Anywhere,
        _ => PlainHttp::ToLoopback,
    };
    let url = table.parsed("url", |text| parse_url(text, plain_http));
    let ca = table.opened("ca_file", read_ca);
    let proxy = table.parsed("proxy", parse_proxy);

    let key = read_key(table, found, need);

    let (key_source, key_file) = match &key {
        Some(key) => (Some(key.source.clone()), key.file.clone()),
        None => (None, None),
    };
    Some(ServerSettings {
        url: url?,
        ca,
        proxy,
        key: key.map(|key| key.secret),
        key_source,
        key_file,
    })
}

/// The key: the one that was found elsewhere, or that of `api_key_file`.
fn read_key(table: &mut Table<'_>, found: FoundKey, need: KeyNeed) -> Option<Key> {
    const FILE: &str = "api_key_file";
    let of_file = table.opened(FILE, |path| {
        let secret = api_key::read(Path::new(path))?;
        Ok(Key {
            secret,
            source: format!("server.api_key_file: {path}"),
            file: Some(path.into()),
        })
    });

    match (found, of_file) {
        (FoundKey::Usable(key), Some(other)) if key.secret != other.secret => {
            table.problem(FILE, api_key::differs_from(&key.source));
            None
        }
        (FoundKey::Usable(key), _) => Some(key),
        (FoundKey::Unusable, _) => None,
        (_, Some(key)) => Some(key),
        (FoundKey::Nowhere(file), None) => {
            if need == KeyNeed::Required && !table.has(FILE) {
                let file = file.display();
                let message = format!(
                    "is missing, and there is no key elsewhere: fleetbeat-agent enroll \
                     gets this host a key of its own; or put AGENT_API_KEY=... into {file} \
                     (on the server: cat /var/lib/fleetbeat/agent_api_key)"
                );
                table.problem(FILE, message);
            }
            None
        }
        (FoundKey::Hidden(path), None) => {
            if need == KeyNeed::Required && !table.has(FILE) {
                let shown = path.display();
                let message = format!(
                    "is missing, and {shown} cannot be read by this user: chgrp \
                     fleetbeat-agent {shown}; chmod 640 {shown}"
                );
                table.problem(FILE, Fault::temporary(message));
            }
            None
        }
    }
}

fn parse_url(text: &str, plain_http: PlainHttp) -> Result<ServerUrl, String> {
    let wrong = "must be a URL such as \"https://fleet.example.com\"";
    if !text.is_ascii() {
        return Err(advise_ascii(text).unwrap_or_else(|| wrong.to_owned()));
    }
    let uri: Uri = text.parse().map_err(|_| wrong)?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(wrong.into());
    };
    let (is_https, usual_port) = match scheme {
        "https" => (true, 443),
        "http" => (false, 80),
        _ => return Err(wrong.into()),
    };
    if authority.as_str().contains('@') || uri.query().is_some() || text.contains('#') {
        return Err("must hold no user, no password, no query and no fragment".into());
    }

    let port = match authority.as_str().strip_prefix(authority.host()) {
        Some("") => usual_port,
        _ => authority
            .port_u16()
            .filter(|port| *port > 0)
            .ok_or("has a port that is not from 1 to 65535")?,
    };
    let host = without_brackets(authority.host());
    check_host(&host)?;
    if !is_https && plain_http == PlainHttp::ToLoopback && !is_loopback(&host) {
        return Err("would show the key to the network: use https://, or set \
                    allow_insecure = true"
            .into());
    }

    Ok(ServerUrl {
        base: text.trim_end_matches('/').to_owned(),
        is_https,
        host,
        port,
    })
}

/// What to say of a URL whose name has letters beyond ASCII.
fn advise_ascii(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let (name, path) = rest.split_at(rest.find(['/', ':']).unwrap_or(rest.len()));
    let Some(name) = ascii_name::to_ascii(name) else {
        let message = "must have its name in ASCII: write the name in small letters, and \
                       the next message tells the ASCII form";
        return Some(message.to_owned());
    };
    let path = if path.is_ascii() { path } else { "/..." };
    Some(format!(
        "must have its name in ASCII, probably as {scheme}://{name}{path}"
    ))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// The host of a URL, where an IPv6 address has brackets.
fn without_brackets(host: &str) -> String {
    host.trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned()
}

/// An error for what is neither an address nor a name that a name server can know. An
/// address with a zone is for this machine alone.
fn check_host(host: &str) -> Result<(), String> {
    let is_name = |host: &str| !host.contains([':', '%']) && dns::is_name(host);
    if host.parse::<IpAddr>().is_ok() || is_name(host) {
        return Ok(());
    }
    Err("must have a host that is a name or an address (without a zone)".to_owned())
}

fn parse_proxy(text: &str) -> Result<Proxy, String> {
    let is_spoken = |proxy: &Proxy| {
        matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https)
    };
    let proxy = Proxy::new(text).ok().filter(is_spoken).ok_or_else(|| {
        "must be a URL such as \"http://proxy.example.com:3128\"".to_owned()
    })?;
    check_host(&without_brackets(proxy.host()))?;

    // A port that is out of range would be taken for a missing one.
    let place = text.rsplit(['/', '@']).find(|part| !part.is_empty());
    let as_port = Some(proxy.port()).filter(|port| *port > 0);
    let port = place.and_then(|place| place.rsplit_once(':'));
    match port {
        Some((_, port)) if !port.ends_with(']') && port.parse().ok() != as_port => {
            Err("has a port that is not from 1 to 65535".to_owned())
        }
        _ => Ok(proxy),
    }
}

fn read_ca(path: &str) -> Result<Vec<Certificate<'static>>, Fault> {
    let text = read_file(Path::new(path), MAX_CA_BYTES)
        .map_err(|error| Fault::unreadable(Path::new(path), &error))?;

    // A file that is just being written ends anywhere.
    let cut_off = |what: &str| Fault::temporary(format!("{path}: {what}"));
    let mut certificates = Vec::new();
    for item in parse_pem(text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&text)) {
        match item {
            Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
            Ok(_) => {}
            Err(_) => return Err(cut_off("breaks off, or is damaged")),
        }
    }

    if certificates.is_empty() {
        let what = "holds no certificate in PEM form";
        return Err(match text.trim_ascii().is_empty() {
            true => cut_off(what),
            false => format!("{path}: {what}").into(),
        });
    }
    // A bundle may have one of an old form among others.
    let is_usable = |certificate: &Certificate<'_>| {
        webpki::anchor_from_trusted_cert(&certificate.der().into()).is_ok()
    };
    if !certificates.iter().any(is_usable) {
        return Err(format!("{path}: holds no certificate that can be used").into());
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lead_to_host_and_port() {
        for (text, base, host, port) in [
            (
                "https://fleet.example.com",
                "https://fleet.example.com",
                "fleet.example.com",
                443,
            ),
            (
                "https://fleet.example.com/",
                "https://fleet.example.com",
                "fleet.example.com",
                443,
            ),
            (
                "https://a.b:8443/fleet/",
                "https://a.b:8443/fleet",
                "a.b",
                8443,
            ),
            (
                "http://localhost:8080",
                "http://localhost:8080",
                "localhost",
                8080,
            ),
            ("http://127.0.0.9", "http://127.0.0.9", "127.0.0.9", 80),
            ("http://[::1]:8080", "http://[::1]:8080", "::1", 8080),
        ] {
            let is_https = text.starts_with("https");
            let expected = ServerUrl {
                base: base.into(),
                is_https,
                host: host.into(),
                port,
            };
            assert_eq!(
                parse_url(text, PlainHttp::ToLoopback),
                Ok(expected),
                "{text}"
            );
        }
        parse_url("http://fleet.example.com", PlainHttp::Anywhere).unwrap();
        for bad in [
            "",
            "fleet.example.com",
            "ftp://a",
            "https://",
            "https://a b",
            "https://u:p@a",
            "https://a?x",
        ] {
            parse_url(bad, PlainHttp::Anywhere).unwrap_err();
        }
        let long = format!("https://{}.test", "a".repeat(64));
        for bad in [
            "https://a..b",
            "https://.",
            "http://[fe80::1%25eth0]",
            &long,
            "https://a:0",
            "https://a:65536",
            "https://a:",
            "https://a:b",
            "https://[::1]:99999",
        ] {
            parse_url(bad, PlainHttp::Anywhere).unwrap_err();
        }
        for plain in [
            "http://fleet.example.com",
            "http://10.0.0.1",
            "http://localhost.example.com",
            "http://[::2]",
        ] {
            assert!(
                parse_url(plain, PlainHttp::ToLoopback)
                    .unwrap_err()
                    .contains("allow_insecure"),
                "{plain}"
            );
        }
    }

    #[test]
    fn a_proxy_has_a_host_and_a_port_that_can_be() {
        for (text, port) in [
            ("http://proxy.test:3128", 3128),
            ("http://proxy.test:3128/", 3128),
            ("http://user:pass@proxy.test:3128", 3128),
            ("http://user:pass@proxy.test", 80),
            ("http://[2001:db8::2]:3128", 3128),
            ("http://[2001:db8::2]", 80),
            ("https://proxy.test", 443),
        ] {
            let proxy = parse_proxy(text).unwrap();
            assert_eq!(proxy.port(), port, "{text}");
        }
        for bad in [
            "http://proxy.test:99999",
            "http://proxy.test:0",
            "http://a..b:3128",
            "http://[fe80::1%25eth0]:3128",
            "socks5://proxy.test:1080",
        ] {
            parse_proxy(bad).unwrap_err();
        }
    }

    #[test]
    fn packets_go_to_the_proxy_where_there_is_one() {
        let url = parse_url("https://[2001:db8::1]", PlainHttp::ToLoopback).unwrap();
        let mut server = ServerSettings {
            url,
            ca: None,
            proxy: None,
            key: None,
            key_source: None,
            key_file: None,
        };
        assert_eq!(server.target(), ("2001:db8::1".to_owned(), 443));
        server.proxy = Some(Proxy::new("http://[2001:db8::2]:3128").unwrap());
        assert_eq!(server.target(), ("2001:db8::2".to_owned(), 3128));
    }
}
