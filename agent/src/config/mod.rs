//! The configuration: agent.toml, then agent.d/*.toml, checked as a whole.

pub(crate) mod accepted;
pub(crate) mod api_key;
mod ascii_name;
mod read_only;
mod server;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fleetbeat_collectors::{Collector, Definition, Roots};
use fleetbeat_protocol::{
    MAX_TAGS, MAX_TEXT_CHARS, Tags, is_nobodys, parse_ip, parse_tag,
};
use fleetbeat_settings::{Document, Fault, Problems, Table, show_duration};

pub(crate) use api_key::{KeyNeed, place_in_environment};
#[cfg(test)]
pub(crate) use server::ServerUrl;
pub(crate) use server::{ServerSettings, Way};

use api_key::FoundKey;

/// Shortest time between samples. A window is a second long, or half of the time between
/// samples if a second is longer. Only tests need such short windows.
const MIN_SAMPLE_EVERY: Duration = Duration::from_millis(100);
/// Longest time between samples.
const MAX_SAMPLE_EVERY: Duration = Duration::from_secs(3600);
const DEFAULT_SAMPLE_EVERY: Duration = Duration::from_secs(30);
/// Most samples in a heartbeat.
const MAX_SAMPLES: u32 = 1000;
const DEFAULT_SAMPLES: u32 = 4;
/// Longest time between heartbeats.
const MAX_INTERVAL: Duration = Duration::from_secs(3600);
/// Longest time between heartbeats at which a single late heartbeat does not make the
/// host down, given the server's default limit of four minutes.
const USUAL_INTERVAL: Duration = Duration::from_secs(120);
/// The folder made by systemd for the service (`StateDirectory=`).
pub(crate) const STATE_FOLDER: &str = "/var/lib/fleetbeat-agent";

/// What to do about a file that the service may not read.
pub(crate) const CLOSED_ADVICE: &str = "the service's user must be able to read this: \
                                        chown root:fleetbeat-agent FILE, and chmod 640 \
                                        FILE";

/// Equal texts for the same name are the same collector.
pub(crate) type CollectorTables = BTreeMap<&'static str, String>;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[error("{problems}")]
pub(crate) struct ConfigError {
    pub(crate) problems: Problems,
    /// Files are missing or closed, and nothing else is wrong: starting again may help.
    pub(crate) is_temporary: bool,
}

/// A configuration without problems.
pub(crate) struct Config {
    pub(crate) server: ServerSettings,
    pub(crate) host: HostSettings,
    pub(crate) sample_every: Duration,
    pub(crate) samples_per_heartbeat: u32,
    /// The enabled collectors.
    pub(crate) collectors: Vec<(&'static Definition, Box<dyn Collector>)>,
    /// For each of them, everything that its work depends on, as text.
    pub(crate) tables: CollectorTables,
    pub(crate) roots: Roots,
    /// The folder for heartbeats not yet accepted by the server.
    pub(crate) spool: PathBuf,
}

/// The host as configured; `None` where the agent is to find a value out, or to leave the
/// value out.
#[derive(Debug, Default, Clone)]
pub(crate) struct HostSettings {
    pub(crate) ip: HostIp,
    pub(crate) hostname: Option<String>,
    pub(crate) country_code: String,
    pub(crate) country: String,
    pub(crate) region: Option<String>,
    pub(crate) city: String,
    pub(crate) tags: Tags,
}

/// The address by which the server is to know the host.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HostIp {
    /// One that the agent finds.
    #[default]
    Auto,
    /// One that the agent makes of the host's id, for a host whose own address others
    /// have, too.
    Derived,
    /// This one.
    Fixed(IpAddr),
}

impl Config {
    /// The configuration in the file at `path` (agent.toml), overridden by the *.toml
    /// files in the folder beside the file (agent.d).
    ///
    /// # Errors
    /// All problems of the configuration.
    pub(crate) fn load(path: &Path, need: KeyNeed) -> Result<Config, ConfigError> {
        let mut problems = Problems::default();
        let mut document = Document::open(path, &mut problems);
        document.merge_drop_ins(path, &mut problems);
        Config::read(path, &document, need, problems)
    }

    /// As [`Config::load`], as if `drop_in` were the last file and named the server's
    /// `url`, and without the keys outside of the files: a host that is about to get
    /// another key may have none that can be read.
    ///
    /// # Errors
    /// As for [`Config::load`].
    pub(crate) fn load_for_enrollment(
        path: &Path,
        drop_in: &Path,
        url: Option<&str>,
    ) -> Result<Config, ConfigError> {
        let mut problems = Problems::default();
        let mut document = Document::open(path, &mut problems);
        document.merge_drop_ins(path, &mut problems);
        if let Some(url) = url {
            let (name, text) = (drop_in.display().to_string(), name_server(url));
            document.merge(Document::parse(&name, &text, &mut problems));
        }
        let key = FoundKey::Nowhere(path.with_extension("env"));
        Config::read_with_key(&document, key, KeyNeed::Optional, problems)
    }

    /// The configuration in `document`, and the key that is found beside the file at
    /// `path`.
    fn read(
        path: &Path,
        document: &Document,
        need: KeyNeed,
        mut problems: Problems,
    ) -> Result<Config, ConfigError> {
        let key = api_key::find(path, &mut problems);
        Config::read_with_key(document, key, need, problems)
    }

    fn read_with_key(
        document: &Document,
        key: FoundKey,
        need: KeyNeed,
        mut problems: Problems,
    ) -> Result<Config, ConfigError> {
        let config = document.read(&mut problems, |root| read_root(root, key, need));

        let is_temporary = problems.are_temporary();
        problems.into_result().map_err(|problems| ConfigError {
            problems,
            is_temporary,
        })?;
        Ok(config.expect("where nothing is wrong, nothing is missing"))
    }

    /// The time between two heartbeats.
    pub(crate) fn interval(&self) -> Duration {
        self.sample_every * self.samples_per_heartbeat
    }

    /// The meaning of the configuration, for people.
    pub(crate) fn summary(&self, path: &Path) -> String {
        let names: Vec<_> = self
            .collectors
            .iter()
            .map(|(definition, _)| definition.name)
            .collect();
        let collectors = if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        };
        let key = match &self.server.key_source {
            Some(source) if self.server.key_owner().is_some() => {
                format!("this host's own, found in {source}")
            }
            Some(source) => format!("found in {source}"),
            None => "none that this user can read; the service needs one".to_owned(),
        };
        let interval = self.interval();
        let warning = if interval > USUAL_INTERVAL {
            " (over 2m: raise the server's sweep.down_after above its default)"
        } else {
            ""
        };

        format!(
            "{} is valid\n\
             server:     {}\n\
             heartbeat:  every {}, of {} samples{warning}\n\
             collectors: {collectors}\n\
             spool:      {}\n\
             key:        {key}",
            path.display(),
            self.server.url.base,
            show_duration(interval),
            self.samples_per_heartbeat,
            self.spool.display(),
        )
    }
}

/// The text of a drop-in that names the server's URL.
pub(crate) fn name_server(url: &str) -> String {
    format!("[server]\nurl = {url:?}\n")
}

/// `None` if the server's URL is missing or wrong: the reason is among the problems.
fn read_root(root: &mut Table<'_>, key: FoundKey, need: KeyNeed) -> Option<Config> {
    let server = root.section("server", |table| server::read_server(table, key, need));
    // Where the URL is wrong, one problem is enough.
    let is_near = server
        .as_ref()
        .is_none_or(|server| server.way().is_loopback);
    let host = root.section("host", |table| read_host(table, is_near));
    let (sample_every, samples_per_heartbeat) = root.section("schedule", read_schedule);
    let roots = root.section("paths", read_paths);
    let (collectors, tables) = root.section("collectors", |table| {
        let collectors = fleetbeat_collectors::build(table, &roots);
        let mut text = |name| table.text_of(name).unwrap_or_default();
        let tables = collectors
            .iter()
            .map(|(definition, _)| definition.name)
            .map(|name| (name, format!("{}; {roots:?}", text(name))))
            .collect();
        (collectors, tables)
    });
    let spool = root.section("spool", read_spool);

    Some(Config {
        server: server?,
        host,
        sample_every,
        samples_per_heartbeat,
        collectors,
        tables,
        roots,
        spool,
    })
}

fn read_host(table: &mut Table<'_>, is_near: bool) -> HostSettings {
    let ip = table.parsed("ip", |text| match text {
        "auto" => Ok(HostIp::Auto),
        "derived" => Ok(HostIp::Derived),
        _ => parse_host_ip(text, is_near).map(HostIp::Fixed),
    });
    let hostname = table.parsed("hostname", |text| match text {
        "" => Err("must be \"auto\" or a name".to_owned()),
        "auto" => Ok(None),
        _ => parse_text(text).map(Some),
    });

    HostSettings {
        ip: ip.unwrap_or_default(),
        hostname: hostname.flatten(),
        country_code: table
            .parsed("country_code", parse_country_code)
            .unwrap_or_default(),
        country: table.parsed("country", parse_text).unwrap_or_default(),
        region: table.parsed("region", parse_text),
        city: table.parsed("city", parse_text).unwrap_or_default(),
        tags: read_tags(table),
    }
}

/// The tags, each `key` or `key=value`.
fn read_tags(table: &mut Table<'_>) -> Tags {
    let listed = table.parsed_list("tags", parse_tag).unwrap_or_default();
    let count = listed.len();

    let mut tags = Tags::new();
    for (key, value) in listed {
        if let Some(twice) = tags.insert(key.clone(), value) {
            let message = format!("has {key:?} twice, first with the value {twice:?}");
            table.problem("tags", message);
        }
    }
    if count > MAX_TAGS {
        table.problem("tags", format!("has {count} tags, more than {MAX_TAGS}"));
    }
    tags
}

/// The time between samples, and the number of samples in a heartbeat.
fn read_schedule(table: &mut Table<'_>) -> (Duration, u32) {
    let every = table
        .duration("sample_every", MIN_SAMPLE_EVERY..=MAX_SAMPLE_EVERY)
        .unwrap_or(DEFAULT_SAMPLE_EVERY);
    let samples = table
        .integer("samples_per_heartbeat", 1..=MAX_SAMPLES)
        .unwrap_or(DEFAULT_SAMPLES);

    if every * samples > MAX_INTERVAL {
        let [interval, limit] = [every * samples, MAX_INTERVAL].map(show_duration);
        let message = format!(
            "times sample_every is {interval} between heartbeats, more than {limit}"
        );
        table.problem("samples_per_heartbeat", message);
    }
    (every, samples)
}

fn read_paths(table: &mut Table<'_>) -> Roots {
    let mut folder = |key| {
        table.opened(key, |text| {
            let path = PathBuf::from(text);
            if path.is_dir() {
                return Ok(path);
            }
            let wrong = format!("{text:?} is no folder");
            // What is not there may be about to be mounted.
            Err(if path.exists() {
                wrong.into()
            } else {
                Fault::temporary(wrong)
            })
        })
    };

    let (proc, sys, usual) = (folder("proc"), folder("sys"), Roots::default());
    Roots {
        proc: proc.unwrap_or(usual.proc),
        sys: sys.unwrap_or(usual.sys),
        ..usual
    }
}

/// The folder may be absent: the agent works without a spool as well.
fn read_spool(table: &mut Table<'_>) -> PathBuf {
    let path = table.parsed("path", |text| {
        let path = PathBuf::from(text);
        if path.is_absolute() {
            Ok(path)
        } else {
            Err("must be an absolute path of a folder".to_owned())
        }
    });
    path.unwrap_or_else(|| PathBuf::from(STATE_FOLDER))
}

fn parse_country_code(text: &str) -> Result<String, String> {
    if text.len() == 2 && text.chars().all(|c| c.is_ascii_uppercase()) {
        return Ok(text.to_owned());
    }
    Err("must be two capital letters such as \"DE\"".to_owned())
}

/// Checks the server's rules for texts.
fn parse_text(text: &str) -> Result<String, String> {
    if text.contains('\0') {
        return Err("must not contain a NUL character".to_owned());
    }
    if text.chars().count() > MAX_TEXT_CHARS {
        return Err(format!("is longer than {MAX_TEXT_CHARS} characters"));
    }
    Ok(text.to_owned())
}

/// An address fit to be a host's identity. A loopback address is one to a server that
/// `is_near`, on this machine.
fn parse_host_ip(text: &str, is_near: bool) -> Result<IpAddr, String> {
    let ip = parse_ip(text)
        .ok_or("must be \"auto\", \"derived\" or an IPv4 or IPv6 address")?;
    let is_link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    if is_nobodys(ip) || is_link_local {
        return Err(
            "must be the host's own address, not an unspecified, multicast, broadcast or \
             link-local one"
                .into(),
        );
    }
    if ip.is_loopback() && !is_near {
        return Err("must not be a loopback address: the server is elsewhere".into());
    }
    Ok(ip)
}
