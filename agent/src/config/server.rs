//! The section `[server]`: where heartbeats go, and how.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use fleetbeat_settings::{Secret, Table};
use ureq::http::Uri;
use ureq::tls::{Certificate, PemItem, parse_pem};
use ureq::{Proxy, ProxyProtocol};

use super::api_key::{self, FoundKey, KeyNeed};

/// The server that heartbeats go to, and the way there.
pub(crate) struct ServerSettings {
    pub(crate) url: ServerUrl,
    /// The certificate authorities to trust, instead of the browsers' usual list.
    pub(crate) ca: Option<Vec<Certificate<'static>>>,
    pub(crate) proxy: Option<Proxy>,
    /// The server accepts nothing without a key; measuring and checking do without.
    pub(crate) key: Option<Secret>,
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
    let ca = table.parsed("ca_file", read_ca);
    let proxy = table.parsed("proxy", parse_proxy);

    let key_of_file = table.parsed("api_key_file", |path| api_key::read(Path::new(path)));
    let is_missing = found == FoundKey::Nowhere && !table.has("api_key_file");
    if is_missing && need == KeyNeed::Required {
        table.problem(
            "api_key_file",
            format!("is missing, and so are {}", api_key::PLACES),
        );
    }

    Some(ServerSettings {
        url: url?,
        ca,
        proxy,
        key: found.into_secret().or(key_of_file),
    })
}

fn parse_url(text: &str, plain_http: PlainHttp) -> Result<ServerUrl, String> {
    let wrong = "must be a URL such as \"https://fleet.example.com\"";
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

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// The host of a URL, where an IPv6 address has brackets.
fn without_brackets(host: &str) -> String {
    host.trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned()
}

fn parse_proxy(text: &str) -> Result<Proxy, String> {
    let is_spoken = |proxy: &Proxy| {
        matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https)
    };
    let proxy = Proxy::new(text).ok().filter(is_spoken);
    proxy.ok_or_else(|| {
        "must be a URL such as \"http://proxy.example.com:3128\"".to_owned()
    })
}

fn read_ca(path: &str) -> Result<Vec<Certificate<'static>>, String> {
    let text = fs::read(path).map_err(|error| format!("{path}: {error}"))?;

    let mut certificates = Vec::new();
    for item in parse_pem(&text) {
        let item = item.map_err(|error| format!("{path}: {error}"))?;
        if let PemItem::Certificate(certificate) = item {
            certificates.push(certificate);
        }
    }

    if certificates.is_empty() {
        return Err(format!("{path}: holds no certificate in PEM form"));
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
        for bad in [
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
    fn packets_go_to_the_proxy_where_there_is_one() {
        let url = parse_url("https://[2001:db8::1]", PlainHttp::ToLoopback).unwrap();
        let mut server = ServerSettings {
            url,
            ca: None,
            proxy: None,
            key: None,
        };
        assert_eq!(server.target(), ("2001:db8::1".to_owned(), 443));
        server.proxy = Some(Proxy::new("http://[2001:db8::2]:3128").unwrap());
        assert_eq!(server.target(), ("2001:db8::2".to_owned(), 3128));
    }
}
