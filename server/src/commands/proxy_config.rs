//! `proxy-config nginx`: a complete nginx site to stand before this server.

use std::fmt::Write;
use std::iter;
use std::path::Path;

use crate::config::Config;
use crate::listen::Listen;

/// What the site is to look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Site {
    /// The name that agents and browsers use.
    pub(crate) domain: String,
    /// Without TLS: for a network that is trusted, or behind another proxy that speaks TLS.
    pub(crate) plain: bool,
    /// A port, or an address and a port, in place of all addresses and the usual port.
    pub(crate) listen: Option<String>,
    /// The certificate with its chain, in place of where certbot puts it.
    pub(crate) certificate: Option<String>,
    /// The certificate's key, in place of where certbot puts it.
    pub(crate) key: Option<String>,
    /// Where nginx asks who is logged in; without it, nobody can say so.
    pub(crate) sso: Option<String>,
}

/// Refuses what is not a DNS name or an address, so that nginx cannot take `name` for more
/// than that.
///
/// # Errors
/// The sentence for the command line's user.
pub(crate) fn check_domain(name: &str) -> Result<(), String> {
    let is_name = (1..=253).contains(&name.len())
        && !name.starts_with(['-', '.'])
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-.".contains(c));
    is_name.then_some(()).ok_or_else(|| {
        format!("--domain: {name:?} is not a name such as fleet.example.com")
    })
}

/// Refuses what is neither a port nor an address and a port.
///
/// # Errors
/// The sentence for the command line's user.
pub(crate) fn check_listen(text: &str) -> Result<(), String> {
    let is_port = text.parse::<u16>().is_ok_and(|port| port != 0);
    let is_address = text
        .parse::<std::net::SocketAddr>()
        .is_ok_and(|address| address.port() != 0);
    (is_port || is_address).then_some(()).ok_or_else(|| {
        format!("--listen: {text:?} is neither a port nor an address and a port")
    })
}

/// Refuses what nginx would not take for one path.
///
/// # Errors
/// The sentence for the command line's user.
pub(crate) fn check_path(option: &str, path: &str) -> Result<(), String> {
    let is_path = path.starts_with('/')
        && !path
            .chars()
            .any(|c| c.is_control() || " \"'\\;{}$#".contains(c));
    is_path.then_some(()).ok_or_else(|| {
        format!("{option}: {path:?} is not an absolute path without blanks and quotes")
    })
}

/// Refuses what is not a URL to which nginx can pass a request.
///
/// # Errors
/// The sentence for the command line's user.
pub(crate) fn check_sso(url: &str) -> Result<(), String> {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    let is_url = rest.is_some_and(|rest| {
        let is_allowed =
            |c: char| c.is_ascii_alphanumeric() || "-._~:/?&=%[]".contains(c);
        rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
            && rest.chars().all(is_allowed)
    });
    is_url.then_some(()).ok_or_else(|| {
        format!("--sso: {url:?} is not a URL such as http://127.0.0.1:9091/api/verify")
    })
}

/// Refuses to print a site before a server that speaks HTTPS itself: the site speaks plain
/// HTTP with the server.
///
/// # Errors
/// What to do instead.
pub(super) fn refuse_encrypted(config: &Config) -> Result<(), String> {
    if config.tls.is_none() {
        return Ok(());
    }
    Err(
        "this server speaks HTTPS itself and needs no proxy; to put one before it, remove \
         [tls] and let it listen on a socket: listen = \"unix:/run/fleetbeat/http.sock\""
            .to_owned(),
    )
}

/// The site for nginx 1.18 and later, before a server with this configuration.
pub(super) fn nginx(site: &Site, config: &Config) -> String {
    let (upstream, preparation) = match config.listen.reachable() {
        Listen::Tcp(address) => (address.to_string(), FOR_TCP),
        Listen::Unix(path) => (format!("unix:{}", path.display()), FOR_UNIX),
    };

    let mut text = INTRODUCTION.replace("DOMAIN", &site.domain) + preparation;
    text += &LIMITS.replace("UPSTREAM", &upstream);
    if !site.plain && site.listen.is_none() {
        let redirect = REDIRECT.replace("DOMAIN", &site.domain);
        text += &if has_ipv6() {
            redirect
        } else {
            redirect.replace(REDIRECT_IPV6, "")
        };
    }

    text += "server {\n";
    let ssl = if site.plain { "" } else { " ssl" };
    for listen in listens(site) {
        let _ = writeln!(text, "    listen {listen}{ssl};");
    }
    let _ = writeln!(text, "    server_name {};", site.domain);
    if !site.plain {
        text += &tls(site);
    }

    let headers = identity_headers(config);
    let clear = |header: &String| format!("        proxy_set_header {header} \"\";\n");
    let cleared: String = headers.iter().map(clear).collect();
    let (ask, token) = match &site.sso {
        Some(url) => (ask_who_is_logged_in(url, &headers), sso_of_token(&headers)),
        None => Default::default(),
    };
    text += &SITE
        .replace("ERRORS", &(errors() + &ask))
        .replace("CLEARED\n", &cleared)
        .replace("SSO\n", &token);
    text
}

/// The headers that say who is logged in, whether or not the server listens to them.
fn identity_headers(config: &Config) -> Vec<String> {
    match &config.auth.proxy {
        Some(proxy) => {
            let groups = proxy.groups_header.iter();
            [&proxy.header].into_iter().chain(groups).cloned().collect()
        }
        None => ["Remote-User", "Remote-Groups"].map(str::to_owned).into(),
    }
}

/// The part of a site that asks at `url` who is logged in. Whoever is not may still log in
/// with a password.
fn ask_who_is_logged_in(url: &str, headers: &[String]) -> String {
    let clear = |header: &String| format!("        proxy_set_header {header} \"\";\n");
    let cleared: String = headers.iter().map(clear).collect();
    ASK.replace("URL", url).replace("CLEARED\n", &cleared)
}

/// What the location of logins has to say besides: who is logged in.
fn sso_of_token(headers: &[String]) -> String {
    let mut text = SSO.to_owned();
    for header in headers {
        let variable = header.to_ascii_lowercase().replace('-', "_");
        let _ = write!(
            text,
            "            auth_request_set $fleetbeat_{variable} \
             $upstream_http_{variable};\n            \
             proxy_set_header {header} $fleetbeat_{variable};\n"
        );
    }
    text
}

/// What nginx answers by itself, in the form in which the server answers: for each status
/// its title, what it means here, and whether to come back.
const ERRORS: [(u16, &str, &str, bool); 10] = [
    (
        400,
        "Bad Request",
        "this is not an HTTP request that can be passed on",
        false,
    ),
    (
        408,
        "Request Timeout",
        "the request has not come in time",
        false,
    ),
    (
        413,
        "Content Too Large",
        "the body is longer than 1 MiB",
        false,
    ),
    (
        414,
        "URI Too Long",
        "the target is longer than 8 KiB",
        false,
    ),
    (
        429,
        "Too Many Requests",
        "too many logins: wait before the next one",
        true,
    ),
    (
        494,
        "Request Header Fields Too Large",
        "the head is longer than 32 KiB",
        false,
    ),
    (
        500,
        "Internal Server Error",
        "the proxy before fleetbeat-server failed",
        true,
    ),
    (
        502,
        "Bad Gateway",
        "fleetbeat-server cannot be reached",
        true,
    ),
    (503, "Service Unavailable", "too many connections", true),
    (
        504,
        "Gateway Timeout",
        "fleetbeat-server has not answered in time",
        true,
    ),
];

/// The part of a site by which nginx's own errors are problems (RFC 9457), too.
fn errors() -> String {
    let mut text = String::from(
        "    # nginx's own errors look like the server's. The server's are passed on.\n",
    );
    for (status, title, detail, comes_back) in ERRORS {
        // nginx's own code for a head that is too large.
        let sent = if status == 494 { 431 } else { status };
        let retry_after = if comes_back {
            " add_header Retry-After 5 always;"
        } else {
            ""
        };
        let _ = write!(
            text,
            "    error_page {status} /.nginx/{status};\n    \
             location = /.nginx/{status} {{ internal; default_type application/problem+json;\
             {retry_after} return {sent} '{{\"status\":{sent},\"title\":\"{title}\",\
             \"detail\":\"{detail}\",\"request_id\":\"$request_id\"}}'; }}\n"
        );
    }
    text
}

/// Where nginx listens.
fn listens(site: &Site) -> Vec<String> {
    let every_address = |port: &str| {
        let ipv6 = has_ipv6().then(|| format!("[::]:{port}"));
        iter::once(port.to_owned()).chain(ipv6).collect()
    };

    match &site.listen {
        None if site.plain => every_address("80"),
        None => every_address("443"),
        Some(listen) if listen.contains(':') => vec![listen.clone()],
        Some(port) => every_address(port),
    }
}

/// Whether this machine speaks IPv6: nginx does not start where `[::]` cannot be had.
fn has_ipv6() -> bool {
    Path::new("/proc/net/if_inet6").exists()
}

/// The site's TLS, with the certificate that was named, or else certbot's.
fn tls(site: &Site) -> String {
    let certbots = |file| format!("/etc/letsencrypt/live/{}/{file}", site.domain);
    let certificate = site.certificate.clone();
    let key = site.key.clone();

    TLS.replace(
        "CERTIFICATE",
        &certificate.unwrap_or_else(|| certbots("fullchain.pem")),
    )
    .replace("KEY", &key.unwrap_or_else(|| certbots("privkey.pem")))
}

const INTRODUCTION: &str = "\
# nginx before fleetbeat-server, for DOMAIN. Made by: fleetbeat-server proxy-config nginx
#
# Put it into /etc/nginx/conf.d/fleetbeat.conf, test it with nginx -t, and restart nginx.
";

const FOR_UNIX: &str = "\
# nginx must be allowed to open the socket. Its user is www-data on Debian and Ubuntu, and nginx on RHEL and its kin:
#   usermod --append --groups fleetbeat www-data

";

const FOR_TCP: &str = "\
# So that hosts and logins are known by their own addresses, server.toml needs: trusted_proxies = [\"127.0.0.1\"]

";

const LIMITS: &str = "\
# For each source address: so many logins a minute, and so many connections at once.
limit_req_zone $binary_remote_addr zone=fleetbeat_login:1m rate=30r/m;
limit_conn_zone $binary_remote_addr zone=fleetbeat_connections:10m;

upstream fleetbeat {
    # One request that fails says nothing about the next one.
    server UPSTREAM max_fails=0;
}

";

const REDIRECT_IPV6: &str = "    listen [::]:80;\n";

const REDIRECT: &str = "\
server {
    listen 80;
    listen [::]:80;
    server_name DOMAIN;
    # For browsers. Agents do not follow a redirect: a key that was sent without TLS must not seem to work.
    return 301 https://$host$request_uri;
}

";

const TLS: &str = "
    ssl_certificate CERTIFICATE;
    ssl_certificate_key KEY;
    ssl_protocols TLSv1.2 TLSv1.3;
    # 10 MB remember 40,000 sessions.
    ssl_session_cache shared:fleetbeat:10m;
    ssl_session_timeout 1h;
    ssl_session_tickets off;
    add_header Strict-Transport-Security \"max-age=31536000\" always;
";

const SITE: &str = "
    server_tokens off;
    # The largest request, a batch of spooled heartbeats.
    client_max_body_size 1m;
    client_body_buffer_size 128k;
    large_client_header_buffers 4 8k;
    # A client that is slower than this is not an agent of ours, or is gone.
    client_header_timeout 10s;
    client_body_timeout 10s;
    send_timeout 10s;
    keepalive_timeout 15s;
    reset_timedout_connection on;
    # Many hosts may share one address.
    limit_conn fleetbeat_connections 256;
    limit_conn_status 503;

ERRORS
    location / {
        proxy_pass http://fleetbeat;
        # The server wants whole requests, and a new connection for each of them.
        proxy_request_buffering on;
        proxy_http_version 1.0;
        proxy_set_header Connection close;
        proxy_set_header Host $host;
        # The header is replaced and not extended, because a client could claim any address in it.
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Forwarded-Proto $scheme;
        # No client may say who is logged in.
CLEARED
        proxy_connect_timeout 2s;
        proxy_send_timeout 10s;
        proxy_read_timeout 10s;
        proxy_buffers 16 64k;
        proxy_busy_buffers_size 128k;

        location = /token {
            proxy_pass http://fleetbeat;
            limit_req zone=fleetbeat_login burst=10 nodelay;
            limit_req_status 429;
SSO
        }
        # A large fleet's heartbeats would fill the log.
        location ~ ^/heartbeats?$ {
            proxy_pass http://fleetbeat;
            access_log off;
        }
    }
}
";

const SSO: &str = "\
            # Who is logged in elsewhere needs no password here. server.toml needs [auth.proxy].
            auth_request /.nginx/sso;
            proxy_http_version 1.0;
            proxy_set_header Connection close;
            # With the port, because the page's origin has one.
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
";

const ASK: &str = "\
    location = /.nginx/sso {
        internal;
        proxy_pass URL;
        proxy_pass_request_body off;
        proxy_set_header Content-Length \"\";
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header X-Forwarded-Host $http_host;
        proxy_set_header X-Forwarded-Uri $request_uri;
        proxy_set_header X-Original-URL $scheme://$http_host$request_uri;
        proxy_set_header X-Original-Method $request_method;
CLEARED
        # Nobody is logged in there: a login with a password goes on.
        proxy_intercept_errors on;
        error_page 301 302 303 307 308 401 403 = /.nginx/nobody;
    }
    location = /.nginx/nobody { internal; return 204; }
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_site_of_the_compose_file_has_the_same_errors() {
        let site = include_str!("../../../packaging/compose/nginx.conf");
        assert!(site.contains(&errors()), "{}", errors());
    }

    #[test]
    fn a_domain_is_as_long_as_dns_allows_and_no_longer() {
        check_domain(&"a".repeat(253)).unwrap();
        for bad in [&*"a".repeat(254), "", "-a", ".a", "a b", "a;b"] {
            check_domain(bad).unwrap_err();
        }
    }
}
