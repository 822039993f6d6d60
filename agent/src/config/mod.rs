//! The configuration: agent.toml, then agent.d/*.toml, checked as a whole.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fleetbeat_collectors::{Collector, Definition, Roots};
use fleetbeat_protocol::{MAX_TEXT_CHARS, parse_ip};
use fleetbeat_settings::{Document, Problem, Problems, Secret, Table, show_duration};
use ureq::http::Uri;
use ureq::tls::{Certificate, PemItem, parse_pem};
use ureq::{Proxy, ProxyProtocol};

pub(crate) mod api_key;

/// Shortest and longest time between samples. Net is measured over one second, or over
/// half of this where that is less; so little is for tests.
const SAMPLE_EVERY: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(3600));
/// Most samples in a heartbeat.
const MAX_SAMPLES: u32 = 1000;
/// Longest time between heartbeats.
const MAX_INTERVAL: Duration = Duration::from_secs(3600);
/// Longest time between heartbeats of which the server's default, four minutes, lets one
/// be late.
const USUAL_INTERVAL: Duration = Duration::from_secs(120);
/// What the package makes for the service (`StateDirectory` of systemd).
const SPOOL_FOLDER: &str = "/var/lib/fleetbeat-agent";

/// A configuration without problems.
pub(crate) struct Config {
    pub(crate) server: Server,
    pub(crate) host: HostSettings,
    pub(crate) sample_every: Duration,
    pub(crate) samples_per_heartbeat: u32,
    /// Those that are to run.
    pub(crate) collectors: Vec<(&'static Definition, Box<dyn Collector>)>,
    pub(crate) roots: Roots,
    /// The folder for heartbeats that the server has not taken yet.
    pub(crate) spool: PathBuf,
}

/// Where heartbeats go, and how.
pub(crate) struct Server {
    pub(crate) url: ServerUrl,
    /// Whom to trust instead of the certificate authorities that browsers trust.
    pub(crate) ca: Option<Vec<Certificate<'static>>>,
    pub(crate) proxy: Option<Proxy>,
    /// What a heartbeat needs to be let in; measuring and checking go without.
    pub(crate) key: Option<Secret>,
}

/// A URL that heartbeats may go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerUrl {
    /// Without a slash at its end.
    pub(crate) base: String,
    pub(crate) is_https: bool,
    /// A name, or an address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// What the configuration says about the host; `None` where it is to be found out or left
/// out.
#[derive(Debug, Default)]
pub(crate) struct HostSettings {
    pub(crate) ip: Option<IpAddr>,
    pub(crate) hostname: Option<String>,
    pub(crate) country_code: String,
    pub(crate) country: String,
    pub(crate) region: Option<String>,
    pub(crate) city: String,
}

impl Server {
    /// Name and port of where packets go.
    pub(crate) fn target(&self) -> (String, u16) {
        match &self.proxy {
            Some(proxy) => (without_brackets(proxy.host()), proxy.port()),
            None => (self.url.host.clone(), self.url.port),
        }
    }
}

impl Config {
    /// The configuration in the file at `path`, in the *.toml files of the folder beside
    /// it whose name ends in .d instead; `for_sending`, there is a key.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(crate) fn load(path: &Path, for_sending: bool) -> Result<Config, Problems> {
        let mut problems = Problems::default();
        let mut document = Document::open(path, &mut problems);
        for path in find_drop_ins(&path.with_extension("d"), &mut problems) {
            document.merge(Document::open(&path, &mut problems));
        }
        let found = api_key::find(path, &mut problems);
        let needs_key = for_sending && found.is_none();
        let config = document.read(&mut problems, |root| {
            read_root(root, found.flatten(), needs_key)
        });
        problems.into_result()?;
        Ok(config.expect("where nothing is wrong, nothing is missing"))
    }

    /// The time between two heartbeats.
    pub(crate) fn interval(&self) -> Duration {
        self.sample_every * self.samples_per_heartbeat
    }

    /// What the configuration means, for a person.
    pub(crate) fn summary(&self, path: &Path) -> String {
        let names: Vec<_> = self
            .collectors
            .iter()
            .map(|(definition, _)| definition.name)
            .collect();
        let key = match self.server.key {
            Some(_) => "found",
            None => "none that this user can read; the service needs one",
        };
        let interval = self.interval();
        let warning = if interval > USUAL_INTERVAL {
            " (over 2m: raise the server's sweep.down_after above its default)"
        } else {
            ""
        };
        format!(
            "{} is valid\nserver:     {}\nheartbeat:  every {}, of {} samples{warning}\ncollectors: {}\nspool:      {}\nkey:        {key}",
            path.display(),
            self.server.url.base,
            show_duration(interval),
            self.samples_per_heartbeat,
            if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            },
            self.spool.display(),
        )
    }
}

/// The *.toml files in `folder` in the order of their names, but for hidden ones, which
/// editors leave; none if there is no such folder.
fn find_drop_ins(folder: &Path, problems: &mut Problems) -> Vec<PathBuf> {
    let list = || -> io::Result<Vec<PathBuf>> {
        let entries = fs::read_dir(folder)?
            .map(|entry| Ok(entry?.path()))
            .collect::<io::Result<Vec<_>>>()?;
        let is_meant = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().as_encoded_bytes();
            name.ends_with(b".toml") && !name.starts_with(b".")
        };
        Ok(entries.into_iter().filter(is_meant).collect())
    };
    let mut paths = list().unwrap_or_else(|error| {
        if error.kind() != io::ErrorKind::NotFound {
            let (file, message) = (
                folder.display().to_string(),
                format!("cannot be read: {error}"),
            );
            problems.add(Problem {
                file,
                line: None,
                key: String::new(),
                message,
            });
        }
        Vec::new()
    });
    paths.sort();
    paths
}

/// `None` if the URL is missing or wrong.
fn read_root(
    root: &mut Table<'_>,
    key: Option<Secret>,
    needs_key: bool,
) -> Option<Config> {
    let server = root.section("server", |table| read_server(table, key, needs_key));
    let host = root.section("host", read_host);
    let (sample_every, samples_per_heartbeat) = root.section("schedule", read_schedule);
    let roots = root.section("paths", read_paths);
    let collectors = root.section("collectors", |table| {
        fleetbeat_collectors::build(table, &roots)
    });
    let spool = root.section("spool", read_spool);
    Some(Config {
        server: server?,
        host,
        sample_every,
        samples_per_heartbeat,
        collectors,
        roots,
        spool,
    })
}

fn read_server(
    table: &mut Table<'_>,
    key: Option<Secret>,
    needs_key: bool,
) -> Option<Server> {
    table.require("url");
    let allow_insecure = table.boolean("allow_insecure").unwrap_or(false);
    let url = table.parsed("url", |text| check_url(text, allow_insecure));
    let ca = table.parsed("ca_file", read_ca);
    let proxy = table.parsed("proxy", |text| {
        let is_spoken = |proxy: &Proxy| {
            matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https)
        };
        let proxy = Proxy::new(text).ok().filter(is_spoken);
        proxy.ok_or_else(|| {
            "must be a URL such as \"http://proxy.example.com:3128\"".to_owned()
        })
    });
    let key_of_file = table.parsed("api_key_file", |path| api_key::read(Path::new(path)));
    if needs_key && !table.has("api_key_file") {
        table.problem(
            "api_key_file",
            format!("is missing, and so are {}", api_key::PLACES),
        );
    }
    Some(Server {
        url: url?,
        ca,
        proxy,
        key: key.or(key_of_file),
    })
}

fn read_host(table: &mut Table<'_>) -> HostSettings {
    let ip = table.parsed("ip", |text| match text {
        "auto" => Ok(None),
        _ => check_ip(text).map(Some),
    });
    let hostname = table.parsed("hostname", |text| match text {
        "" => Err("must be \"auto\" or a name".to_owned()),
        "auto" => Ok(None),
        _ => check_text(text).map(Some),
    });
    let country_code = table.parsed("country_code", |text| {
        let is_code = text.len() == 2 && text.chars().all(|c| c.is_ascii_uppercase());
        is_code
            .then(|| text.to_owned())
            .ok_or_else(|| "must be two capital letters such as \"DE\"".to_owned())
    });
    HostSettings {
        ip: ip.flatten(),
        hostname: hostname.flatten(),
        country_code: country_code.unwrap_or_default(),
        country: table.parsed("country", check_text).unwrap_or_default(),
        region: table.parsed("region", check_text),
        city: table.parsed("city", check_text).unwrap_or_default(),
    }
}

fn read_schedule(table: &mut Table<'_>) -> (Duration, u32) {
    let every = table.duration("sample_every", SAMPLE_EVERY.0..=SAMPLE_EVERY.1);
    let samples = table.integer("samples_per_heartbeat", 1..=MAX_SAMPLES);
    let (every, samples) = (
        every.unwrap_or(Duration::from_secs(30)),
        samples.unwrap_or(4),
    );
    if every * samples > MAX_INTERVAL {
        let [between, most] = [every * samples, MAX_INTERVAL].map(show_duration);
        let message = format!(
            "times sample_every is {between} between heartbeats, more than {most}"
        );
        table.problem("samples_per_heartbeat", message);
    }
    (every, samples)
}

fn read_paths(table: &mut Table<'_>) -> Roots {
    let mut folder = |key| {
        table.parsed(key, |text| {
            let path = PathBuf::from(text);
            if path.is_dir() {
                Ok(path)
            } else {
                Err(format!("{text:?} is no folder"))
            }
        })
    };
    let (proc, sys, usual) = (folder("proc"), folder("sys"), Roots::default());
    Roots {
        proc: proc.unwrap_or(usual.proc),
        sys: sys.unwrap_or(usual.sys),
        ..usual
    }
}

/// The folder need not be there: the agent does without.
fn read_spool(table: &mut Table<'_>) -> PathBuf {
    let path = table.parsed("path", |text| {
        let path = PathBuf::from(text);
        if path.is_absolute() {
            Ok(path)
        } else {
            Err("must be an absolute path of a folder".to_owned())
        }
    });
    path.unwrap_or_else(|| PathBuf::from(SPOOL_FOLDER))
}

/// What the server takes as a text.
fn check_text(text: &str) -> Result<String, String> {
    if text.contains('\0') {
        return Err("must not contain a NUL character".to_owned());
    }
    if text.chars().count() > MAX_TEXT_CHARS {
        return Err(format!("is longer than {MAX_TEXT_CHARS} characters"));
    }
    Ok(text.to_owned())
}

/// An address that can be a host's identity; loopback is for tests.
fn check_ip(text: &str) -> Result<IpAddr, String> {
    let ip = parse_ip(text).ok_or("must be \"auto\" or an IPv4 or IPv6 address")?;
    let is_link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    if ip.is_unspecified() || ip.is_multicast() || is_link_local {
        return Err("must be the host's own address, not an unspecified, multicast or link-local one".into());
    }
    Ok(ip)
}

fn check_url(text: &str, allow_insecure: bool) -> Result<ServerUrl, String> {
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
    let is_loopback =
        host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    if !is_https && !is_loopback && !allow_insecure {
        return Err("would show the key to the network: use https://, or set allow_insecure = true".into());
    }
    Ok(ServerUrl {
        base: text.trim_end_matches('/').to_owned(),
        is_https,
        host,
        port,
    })
}

/// The host of a URL, where an IPv6 address has brackets.
fn without_brackets(host: &str) -> String {
    host.trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned()
}

fn read_ca(path: &str) -> Result<Vec<Certificate<'static>>, String> {
    let text = fs::read(path).map_err(|error| format!("{path}: {error}"))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&text) {
        if let PemItem::Certificate(certificate) =
            item.map_err(|error| format!("{path}: {error}"))?
        {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        Err(format!("{path}: holds no certificate in PEM form"))
    } else {
        Ok(certificates)
    }
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
            assert_eq!(check_url(text, false), Ok(expected), "{text}");
        }
        check_url("http://fleet.example.com", true).unwrap();
        for bad in [
            "",
            "fleet.example.com",
            "ftp://a",
            "https://",
            "https://a b",
            "https://u:p@a",
            "https://a?x",
        ] {
            check_url(bad, true).unwrap_err();
        }
        for bad in [
            "https://a:0",
            "https://a:65536",
            "https://a:",
            "https://a:b",
            "https://[::1]:99999",
        ] {
            check_url(bad, true).unwrap_err();
        }
        for plain in [
            "http://fleet.example.com",
            "http://10.0.0.1",
            "http://localhost.example.com",
            "http://[::2]",
        ] {
            assert!(
                check_url(plain, false)
                    .unwrap_err()
                    .contains("allow_insecure"),
                "{plain}"
            );
        }
    }

    #[test]
    fn packets_go_to_the_proxy_where_there_is_one() {
        let url = check_url("https://[2001:db8::1]", false).unwrap();
        let mut server = Server {
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
