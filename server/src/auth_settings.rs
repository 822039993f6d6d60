//! `[auth]` in server.toml: how users prove who they are.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use fleetbeat_protocol::Role;
use fleetbeat_settings::Table;
use ipnet::IpNet;

use crate::fleet::scope::HostScope;
use crate::network::parse_network;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The word for a Unix socket's peer.
const UNIX: &str = "unix";

/// Headers that every client, or every proxy, may send.
const OF_CLIENTS: [&str; 14] = [
    "Accept",
    "Authorization",
    "Connection",
    "Content-Length",
    "Content-Type",
    "Cookie",
    "Forwarded",
    "Host",
    "Origin",
    "Referer",
    "Transfer-Encoding",
    "User-Agent",
    "X-API-Key",
    "X-Forwarded-For",
];

/// How users prove who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AuthSettings {
    /// How long a login is valid.
    pub(crate) token_life: Duration,
    /// The roles whose users need a second factor.
    pub(crate) require_totp: Vec<Role>,
    /// The proxy that says who is logged in; `None`: none is believed.
    pub(crate) proxy: Option<ProxySettings>,
}

/// The proxy that says who is logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProxySettings {
    /// The header with the user's name.
    pub(crate) header: String,
    /// The header with the user's groups.
    pub(crate) groups_header: Option<String>,
    /// The role that each group gives. Without any, the users' own roles count.
    pub(crate) map: Vec<(String, Role)>,
    /// The hosts that a user sees whom the proxy adds, but for a superadmin; `None` for
    /// every host.
    pub(crate) scope: Option<HostScope>,
    /// Whose headers are believed.
    pub(crate) trusted: Vec<TrustedPeer>,
}

/// A peer whose word is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TrustedPeer {
    /// Whoever may open the Unix socket.
    Unix,
    /// Whoever connects from this network.
    Network(IpNet),
}

impl TrustedPeer {
    /// Whether it is a peer that connects from `connected`, which is `None` for a Unix
    /// socket.
    pub(crate) fn is(self, connected: Option<IpAddr>) -> bool {
        match (self, connected) {
            (TrustedPeer::Unix, None) => true,
            (TrustedPeer::Network(network), Some(ip)) => network.contains(&ip),
            _ => false,
        }
    }

    fn parse(text: &str) -> Result<TrustedPeer, String> {
        if text == UNIX {
            return Ok(TrustedPeer::Unix);
        }
        let network = parse_network(text).map_err(|_| {
            "must be \"unix\", an address or a network such as 10.0.0.0/8".to_owned()
        })?;
        if network.prefix_len() == 0 {
            return Err("would trust everybody: name the proxy".to_owned());
        }
        Ok(TrustedPeer::Network(network))
    }
}

/// As in server.toml.
impl fmt::Display for TrustedPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrustedPeer::Unix => f.write_str(UNIX),
            TrustedPeer::Network(network) => network.fmt(f),
        }
    }
}

impl ProxySettings {
    /// Whose word is taken, for people.
    pub(crate) fn show(&self) -> String {
        let trusted: Vec<String> = self.trusted.iter().map(ToString::to_string).collect();
        format!("header {} of {}", self.header, trusted.join(", "))
    }
}

impl AuthSettings {
    /// Reads the table.
    pub(crate) fn read(auth: &mut Table<'_>) -> AuthSettings {
        let token_days = auth.integer("token_days", 1..=3650).unwrap_or(30);
        let require_totp = auth.parsed_list("require_totp", parse_role);
        AuthSettings {
            token_life: token_days * DAY,
            require_totp: require_totp.unwrap_or_default(),
            proxy: auth.table("proxy", read_proxy).flatten(),
        }
    }
}

/// The proxy; `None` if something is missing, which is told.
fn read_proxy(proxy: &mut Table<'_>) -> Option<ProxySettings> {
    let header = proxy.parsed("header", parse_header);
    let groups_header = proxy.parsed("groups_header", parse_header);
    let map = proxy.map("map", parse_role);
    let scope = proxy.parsed("scope", HostScope::parse);
    let trusted = proxy.one_or_more_parsed("trusted", TrustedPeer::parse);

    // The packaged file has the table with nothing in it.
    let is_meant = ["header", "groups_header", "map", "scope", "trusted"];
    if is_meant.into_iter().any(|key| proxy.has(key)) {
        proxy.require("header");
        proxy.require("trusted");
    }
    if groups_header.is_some() && groups_header == header {
        proxy.problem("groups_header", "must be another header than header");
    }
    if groups_header.is_some() && map.as_ref().is_some_and(Vec::is_empty) {
        proxy.problem("map", "must give a group a role, or nobody could log in");
    }
    if trusted.as_ref().is_some_and(Vec::is_empty) {
        proxy.problem("trusted", "must name somebody, or nobody could log in");
    }
    if proxy.has("map") && !proxy.has("groups_header") {
        proxy.problem("map", "needs groups_header, which tells the groups");
    }
    if proxy.has("scope") && !proxy.has("map") {
        proxy.problem("scope", "needs map: without it, the proxy adds no users");
    }
    if proxy.has("groups_header") && !proxy.has("map") {
        proxy.problem("groups_header", "needs map, which gives groups a role");
    }

    Some(ProxySettings {
        header: header?,
        groups_header,
        map: map.unwrap_or_default(),
        scope,
        trusted: trusted?,
    })
}

fn parse_role(text: &str) -> Result<Role, String> {
    text.parse()
        .map_err(|_| "must be \"readonly\", \"admin\" or \"superadmin\"".to_owned())
}

/// The name of a header, of the characters that proxies agree on.
fn parse_header(text: &str) -> Result<String, String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if text.is_empty() || !text.bytes().all(is_allowed) {
        return Err("must be the name of a header, such as \"Remote-User\"".to_owned());
    }
    if OF_CLIENTS
        .iter()
        .any(|name| text.eq_ignore_ascii_case(name))
    {
        return Err("is a header that clients send for something else".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use fleetbeat_settings::{Document, Problems};

    use super::*;

    fn read(text: &str) -> (AuthSettings, Vec<String>) {
        let mut problems = Problems::default();
        let document = Document::parse("t", text, &mut problems);
        let settings = document.read(&mut problems, AuthSettings::read);
        let told = problems.into_result().err().map(|told| told.to_string());
        let told = told.unwrap_or_default();
        (settings, told.lines().map(str::to_owned).collect())
    }

    #[test]
    fn nothing_is_believed_unless_it_is_asked_for() {
        let (settings, told) = read("");
        assert!(settings.proxy.is_none() && settings.require_totp.is_empty());
        assert!(told.is_empty(), "{told:?}");
        assert_eq!(read("[proxy]").0.proxy, None);
    }

    #[test]
    fn a_proxy_is_trusted_where_it_is_said_to_be() {
        let (settings, told) = read(
            "require_totp = [\"superadmin\"]\n[proxy]\nheader = \"Remote-User\"\n\
             groups_header = \"Remote-Groups\"\nmap = { ops = \"admin\" }\n\
             scope = \"tag.customer = acme\"\n\
             trusted = [\"unix\", \"10.0.0.0/8\"]",
        );
        assert!(told.is_empty(), "{told:?}");
        assert_eq!(settings.require_totp, [Role::Superadmin]);
        let proxy = settings.proxy.unwrap();
        assert_eq!(proxy.map, [("ops".to_owned(), Role::Admin)]);
        assert_eq!(proxy.scope.unwrap().as_str(), "tag.customer = acme");
        let is_trusted = |connected: Option<&str>| {
            let connected = connected.map(|ip| ip.parse().unwrap());
            proxy.trusted.iter().any(|peer| peer.is(connected))
        };
        assert!(is_trusted(None) && is_trusted(Some("10.1.2.3")));
        assert!(!is_trusted(Some("127.0.0.1")) && !is_trusted(Some("::1")));

        let only = TrustedPeer::parse("127.0.0.1").unwrap();
        assert!(!only.is(None), "a Unix socket is not loopback");
        assert!(only.is(Some("127.0.0.1".parse().unwrap())));
    }

    #[test]
    fn every_mistake_is_named() {
        for (text, named) in [
            ("require_totp = [\"root\"]", &["require_totp[0]"][..]),
            ("token_days = 0", &["token_days"]),
            (
                "[proxy]\ngroups_header = \"G\"",
                &["header", "trusted", "groups_header"],
            ),
            (
                "[proxy]\nheader = \"U\"\ntrusted = \"unix\"\nscope = \"paid\"",
                &["proxy.scope"],
            ),
            (
                "[proxy]\nheader = \"U\"\ngroups_header = \"G\"\n\
                 trusted = \"unix\"\nmap = { ops = \"admin\" }\n\
                 scope = \"hostname = vpn-1\"",
                &["proxy.scope"],
            ),
            (
                "[proxy]\nheader = \"a b\"\ntrusted = \"unix\"",
                &["proxy.header"],
            ),
            (
                "[proxy]\nheader = \"U\"\ntrusted = [\"unix\", \"here\"]",
                &["proxy.trusted[1]"],
            ),
            ("[proxy]\nheader = \"U\"\ntrusted = []", &["proxy.trusted"]),
            (
                "[proxy]\nheader = \"host\"\ntrusted = [\"0.0.0.0/0\", \"::/0\"]",
                &["proxy.header", "proxy.trusted[0]", "proxy.trusted[1]"],
            ),
            (
                "[proxy]\nheader = \"U\"\ngroups_header = \"U\"\ntrusted = \"unix\"\n\
                 map = {}",
                &["proxy.groups_header", "proxy.map"],
            ),
            (
                "[proxy]\nheader = \"U\"\ntrusted = \"unix\"\n\
                 map = { ops = \"boss\" }",
                &["proxy.map.ops", "proxy.map"],
            ),
        ] {
            let (_, told) = read(text);
            assert_eq!(told.len(), named.len(), "{text}: {told:?}");
            for (line, name) in told.iter().zip(named) {
                assert!(line.contains(name), "{text}: {told:?}");
            }
        }
    }
}
