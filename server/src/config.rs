//! The configuration: `server.toml`, then `server.d/*.toml`, and the environment, checked
//! as a whole.
//!
//! The result is plain values, from which the parts of the server make their own types. No
//! part of the server is known here.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fleetbeat_history::MAX_SERIES;
use fleetbeat_settings::{Document, Problems, Secret, Table, parse_size, show_size};
use ipnet::IpNet;

use crate::alert_settings::AlertSettings;
use crate::auth_settings::AuthSettings;
use crate::listen::{Listen, Protocol};
use crate::network::parse_network;
use crate::secret_rules::{check_password, check_secret_key, parse_agent_keys};
use crate::store::{HistorySettings, Retention};

/// The file that is read when no other is named, if the file exists.
const DEFAULT_FILE: &str = "/etc/fleetbeat/server.toml";
const DEFAULT_LISTEN: &str = "127.0.0.1:8080";
const DEFAULT_STORAGE: &str = "/var/lib/fleetbeat";
const DEFAULT_MONGODB: &str = "mongodb://127.0.0.1:27017";
const DEFAULT_DATABASE: &str = "fleetbeat";
/// What is wrong with a Unix socket where `[tls]` names a certificate.
const SOCKET_WITH_TLS: &str = "must be a TCP address where [tls] is set";
const MAX_WORKERS: usize = 1024;
/// The least and the most that history may take of the disk, in bytes.
const HISTORY_BYTES: RangeInclusive<u64> = (16 << 20)..=(1 << 50);

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Settings that can work.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Where the server listens.
    pub(crate) listen: Listen,
    /// Whether `listen` may be more than loopback.
    exposed: bool,
    /// How connections are encrypted; `None`: they are not.
    pub(crate) tls: Option<TlsSettings>,
    /// The networks of the proxies whose `X-Forwarded-For` is believed.
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// Threads that answer requests.
    pub(crate) workers: usize,
    /// Which backend keeps the state, and where.
    pub(crate) storage: Storage,
    /// How users prove who they are.
    pub(crate) auth: AuthSettings,
    /// When hosts are called silent.
    pub(crate) sweep: SweepSettings,
    /// Which hosts may speak, and with which key.
    pub(crate) agents: AgentSettings,
    /// How long events are kept.
    pub(crate) events: Retention,
    /// The file with the database of places, in `MaxMind`'s format, if there is one.
    pub(crate) mmdb: Option<PathBuf>,
    /// Which heartbeats are kept, and how long.
    pub(crate) history: HistorySettings,
    /// How alerts are judged and told.
    pub(crate) alerts: AlertSettings,
    /// Which requests are logged.
    pub(crate) access_log: AccessLog,
    /// The agents' keys as given; `None`: the embedded store keeps keys of its own.
    pub(crate) agent_api_key: Option<Secret>,
    /// The key that signs tokens as given; `None`: the embedded store keeps a key of its own.
    pub(crate) secret_key: Option<Secret>,
    /// The key before that one, while it is exchanged.
    pub(crate) secret_key_previous: Option<Secret>,
    /// The first superadmin's password; `None`: the first start makes a password up.
    pub(crate) admin_password: Option<Secret>,
}

/// How connections are encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TlsSettings {
    /// The file with the certificate and its chain.
    pub(crate) certificate: PathBuf,
    /// The file with the certificate's key.
    pub(crate) key: PathBuf,
    /// Where plain HTTP is answered with the way to HTTPS.
    pub(crate) redirect_listen: Option<SocketAddr>,
}

/// Why a configuration is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To serve, or to say whether that would work.
    Serve,
    /// A command beside the server, which does without the secrets that only serving
    /// needs.
    Administer,
}

/// Where the state is kept.
#[derive(Debug, Clone)]
pub(crate) enum Storage {
    /// SQLite in this folder.
    Embedded { path: PathBuf },
    /// MongoDB, with copies in Redis for other programs.
    MongoDb(MongoDbSettings),
}

/// How to reach MongoDB and Redis.
#[derive(Debug, Clone)]
#[cfg_attr(
    not(feature = "mongodb"),
    allow(dead_code, reason = "read by the backend alone")
)]
pub(crate) struct MongoDbSettings {
    /// MongoDB's URL; a password may be in it.
    pub(crate) url: String,
    /// The name of the database.
    pub(crate) database: String,
    /// The URL of one Redis server, or of several nodes of a Redis cluster. Without any,
    /// no copies are made.
    pub(crate) redis: Vec<String>,
    /// The most operations on MongoDB at once.
    pub(crate) connections: u32,
    /// The time between two sweeps of the one instance that sweeps.
    pub(crate) sweep_interval: Duration,
}

impl Storage {
    /// How long heartbeats gather before they are stored together: next to nothing beside
    /// what an agent waits anyway, and against a database across the network ten times
    /// fewer round trips.
    pub(crate) fn gather(&self) -> Duration {
        match self {
            Storage::Embedded { .. } => Duration::from_millis(5),
            Storage::MongoDb(_) => Duration::from_millis(25),
        }
    }

    /// The backend's name in the configuration.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Storage::Embedded { .. } => "embedded",
            Storage::MongoDb(_) => "mongodb",
        }
    }
}

/// Which requests have a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AccessLog {
    /// None, but for what else is worth a line.
    Off,
    /// Every one.
    On,
}

/// When hosts are called silent, and when they are forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SweepSettings {
    /// Time between two sweeps.
    pub(crate) interval: Duration,
    /// Silence after which a host is down.
    pub(crate) down_after: Duration,
    /// Service time after which a host that has stayed down, and is not static, is
    /// deleted.
    pub(crate) delete_after: Duration,
}

/// Which hosts may speak, and with which key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AgentSettings {
    /// With which key.
    pub(crate) mode: AgentMode,
    /// Whether a record follows its host to another address.
    pub(crate) follow_moves: bool,
    /// Whether new hosts are offered to apps at once.
    pub(crate) offer_new: bool,
}

/// With which key hosts may speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AgentMode {
    /// With the key that all hosts share, or with their own.
    Shared,
    /// Unknown hosts with their own alone.
    Enroll,
    /// All hosts with their own alone.
    Strict,
}

impl Config {
    /// The settings in `file`, or in the usual file if that exists, and in its drop-ins;
    /// `variable` looks up the environment, which wins.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub(crate) fn load(
        file: Option<&Path>,
        purpose: Purpose,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Config, Problems> {
        let (config, problems) = Config::read(file, purpose, variable);
        problems.into_result().map(|()| config)
    }

    /// As [`Config::load`], with defaults in place of what is wrong, and everything that
    /// is wrong.
    pub(crate) fn read(
        file: Option<&Path>,
        purpose: Purpose,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> (Config, Problems) {
        let mut problems = Problems::default();
        let document = open(file, &mut problems);
        let mut config = document.read(&mut problems, |root| parse(root, &variable));
        Environment {
            variable: &variable,
            problems: &mut problems,
        }
        .read_into(&mut config, purpose);
        (config, problems)
    }

    /// Where the server listens and what it speaks there, for people.
    pub(crate) fn url(&self) -> String {
        self.listen.url(protocol_with(self.tls.as_ref()))
    }

    /// What to tell where keys and passwords cross a network as they are; `None` where
    /// they are encrypted, or stay on this machine, or a proxy is named that encrypts.
    pub(crate) fn find_plain_network(&self) -> Option<String> {
        let is_meant = self.tls.is_some() || !self.trusted_proxies.is_empty();
        if is_meant || self.listen.check_private().is_ok() {
            return None;
        }
        Some(format!(
            "{} can be reached by others, and without [tls] keys and passwords cross the \
             network as they are",
            self.url()
        ))
    }
}

/// Where a server with this configuration listens and what is spoken there, whatever else
/// may be wrong with the rest: the server that runs has read an older text, perhaps.
///
/// # Errors
/// Why that cannot be told.
pub(crate) fn find_listen(
    file: Option<&Path>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<(Listen, Protocol), String> {
    let mut problems = Problems::default();
    let document = open(file, &mut problems);
    let (listen, tls) = document.read(&mut Problems::default(), |root| {
        let tls = root.table("tls", parse_tls).flatten();
        (root.string("listen"), tls)
    });
    let protocol = protocol_with(tls.as_ref());

    if let Some(listen) = variable("FLEETBEAT_LISTEN") {
        return Listen::parse(&listen.to_string_lossy())
            .map(|listen| (listen, protocol))
            .map_err(|message| format!("FLEETBEAT_LISTEN {message}"));
    }
    problems
        .into_result()
        .map_err(|problems| problems.to_string())?;
    Listen::parse(listen.as_deref().unwrap_or(DEFAULT_LISTEN))
        .map(|listen| (listen, protocol))
        .map_err(|message| format!("listen {message}"))
}

/// What a server with these settings speaks.
fn protocol_with(tls: Option<&TlsSettings>) -> Protocol {
    match tls {
        Some(_) => Protocol::Https,
        None => Protocol::Http,
    }
}

/// The file that is read, where `named` is the one on the command line.
pub(crate) fn path(named: Option<&Path>) -> &Path {
    named.unwrap_or(Path::new(DEFAULT_FILE))
}

/// The named file, or the usual file if that exists, with its drop-ins.
fn open(named: Option<&Path>, problems: &mut Problems) -> Document {
    let path = path(named);
    let mut document = if named.is_some() || path.exists() {
        Document::open(path, problems)
    } else {
        Document::parse(DEFAULT_FILE, "", problems)
    };
    document.merge_drop_ins(path, problems);
    document
}

fn parse(root: &mut Table<'_>, variable: &impl Fn(&str) -> Option<OsString>) -> Config {
    let exposed = root.boolean("exposed").unwrap_or(false);
    let listen = root.parsed("listen", Listen::parse);
    // The environment's `listen` wins and is checked instead.
    if let (Some(listen), None) = (&listen, variable("FLEETBEAT_LISTEN"))
        && !exposed
        && let Err(message) = listen.check_private()
    {
        root.problem("listen", message);
    }

    let tls = root.table("tls", |table| {
        let tls = parse_tls(table)?;
        check_redirect(table, &tls, exposed, listen.as_ref());
        Some(tls)
    });
    let tls = tls.flatten();
    if let (Some(_), Some(Listen::Unix(_)), None) =
        (&tls, &listen, variable("FLEETBEAT_LISTEN"))
    {
        root.problem("listen", SOCKET_WITH_TLS);
    }

    let trusted_proxies = root
        .parsed_list("trusted_proxies", parse_network)
        .unwrap_or_default();
    let workers = match root.integer("workers", 0..=MAX_WORKERS) {
        None | Some(0) => default_workers(),
        Some(workers) => workers,
    };
    let sweep = root.section("sweep", parse_sweep);
    let storage = parse_storage(root, workers, sweep.interval);

    Config {
        listen: listen.unwrap_or_else(default_listen),
        exposed,
        tls,
        trusted_proxies,
        workers,
        storage,
        auth: root.section("auth", AuthSettings::read),
        sweep,
        agents: root.section("agents", parse_agents),
        events: root.section("events", parse_events),
        mmdb: root.section("geo", |geo| geo.parsed("mmdb", parse_path)),
        history: root.section("history", parse_history),
        alerts: AlertSettings::read(root),
        access_log: root.section("log", parse_log),
        agent_api_key: None,
        secret_key: None,
        secret_key_previous: None,
        admin_password: None,
    }
}

/// The certificate; `None` if a file is missing, which is told.
fn parse_tls(tls: &mut Table<'_>) -> Option<TlsSettings> {
    let certificate = tls.parsed("certificate", parse_path);
    let key = tls.parsed("key", parse_path);
    let redirect_listen = tls.parsed("redirect_listen", |text| {
        text.parse().map_err(|_| {
            "must be an address with a port, such as \"0.0.0.0:80\"".to_owned()
        })
    });

    // The packaged file has the table with nothing in it.
    if certificate.is_some() || key.is_some() || redirect_listen.is_some() {
        tls.require("certificate");
        tls.require("key");
    }
    Some(TlsSettings {
        certificate: certificate?,
        key: key?,
        redirect_listen,
    })
}

/// The redirect's address has the rules of `listen`, and is another one.
fn check_redirect(
    table: &mut Table<'_>,
    tls: &TlsSettings,
    exposed: bool,
    listen: Option<&Listen>,
) {
    let Some(redirect) = tls.redirect_listen.map(Listen::Tcp) else {
        return;
    };
    if Some(&redirect) == listen {
        table.problem("redirect_listen", "is where HTTPS is spoken: see listen");
    } else if !exposed && let Err(message) = redirect.check_private() {
        table.problem("redirect_listen", message);
    }
}

fn parse_path(path: &str) -> Result<PathBuf, String> {
    if path.starts_with('/') {
        Ok(PathBuf::from(path))
    } else {
        Err("must be an absolute path".to_owned())
    }
}

/// The backend with its settings. The settings of the unused backend are checked, too.
fn parse_storage(
    root: &mut Table<'_>,
    workers: usize,
    sweep_interval: Duration,
) -> Storage {
    let (backend, path) = root.section("storage", parse_backend);
    let mongodb = root.section("mongodb", |mongodb| {
        parse_mongodb(mongodb, workers, sweep_interval)
    });
    let redis = root.section("redis", |redis| redis.one_or_more("url"));

    match backend {
        Backend::Embedded => Storage::Embedded { path },
        Backend::MongoDb => Storage::MongoDb(MongoDbSettings {
            redis: redis.unwrap_or_default(),
            ..mongodb
        }),
    }
}

/// The word in `storage.backend`.
#[derive(Debug, Clone, Copy)]
enum Backend {
    Embedded,
    MongoDb,
}

/// The backend, and the embedded one's folder.
fn parse_backend(storage: &mut Table<'_>) -> (Backend, PathBuf) {
    let backend = storage.parsed("backend", |backend| match backend {
        "embedded" => Ok(Backend::Embedded),
        "mongodb" => Ok(Backend::MongoDb),
        _ => Err("must be \"embedded\" or \"mongodb\"".to_owned()),
    });
    let path = storage.parsed("path", parse_path);

    (
        backend.unwrap_or(Backend::Embedded),
        path.unwrap_or_else(|| DEFAULT_STORAGE.into()),
    )
}

fn parse_mongodb(
    mongodb: &mut Table<'_>,
    workers: usize,
    sweep_interval: Duration,
) -> MongoDbSettings {
    MongoDbSettings {
        url: mongodb
            .string("url")
            .unwrap_or_else(|| DEFAULT_MONGODB.to_owned()),
        database: mongodb
            .parsed("database", parse_database)
            .unwrap_or_else(|| DEFAULT_DATABASE.to_owned()),
        redis: Vec::new(),
        // Each worker may wait for a connection, and so may the threads behind them.
        connections: u32::try_from(workers + 4).unwrap_or(u32::MAX),
        sweep_interval,
    }
}

fn parse_sweep(sweep: &mut Table<'_>) -> SweepSettings {
    let interval = sweep
        .duration("interval", SECOND..=60 * MINUTE)
        .unwrap_or(MINUTE);
    let down_after = sweep
        .duration("down_after", SECOND..=7 * DAY)
        .unwrap_or(4 * MINUTE);
    let delete_after = sweep
        .duration("delete_after", MINUTE..=3650 * DAY)
        .unwrap_or(30 * DAY);
    if delete_after <= down_after {
        sweep.problem("delete_after", "must be longer than down_after");
    }

    SweepSettings {
        interval,
        down_after,
        delete_after,
    }
}

fn parse_agents(agents: &mut Table<'_>) -> AgentSettings {
    let mode = agents.parsed("mode", |mode| match mode {
        "shared" => Ok(AgentMode::Shared),
        "enroll" => Ok(AgentMode::Enroll),
        "strict" => Ok(AgentMode::Strict),
        _ => Err("must be \"shared\", \"enroll\" or \"strict\"".to_owned()),
    });
    let mode = mode.unwrap_or(AgentMode::Shared);
    let offer_new = agents.parsed("new_hosts", |new_hosts| match new_hosts {
        "enabled" => Ok(true),
        "disabled" => Ok(false),
        _ => Err("must be \"enabled\" or \"disabled\"".to_owned()),
    });
    AgentSettings {
        mode,
        follow_moves: agents.boolean("follow_moves").unwrap_or(true),
        offer_new: offer_new.unwrap_or(mode != AgentMode::Strict),
    }
}

fn parse_events(events: &mut Table<'_>) -> Retention {
    Retention {
        keep: events
            .duration("keep", DAY..=3650 * DAY)
            .unwrap_or(90 * DAY),
        keep_audit: events
            .duration("keep_audit", DAY..=3650 * DAY)
            .unwrap_or(400 * DAY),
        max_rows: events
            .integer("max_rows", 1000..=1_000_000_000)
            .unwrap_or(5_000_000),
    }
}

fn parse_history(history: &mut Table<'_>) -> HistorySettings {
    let default = HistorySettings::default();
    HistorySettings {
        is_enabled: history.boolean("enabled").unwrap_or(default.is_enabled),
        keep: history
            .duration("keep", DAY..=3650 * DAY)
            .unwrap_or(default.keep),
        max_bytes: history
            .parsed("max_size", parse_max_size)
            .unwrap_or(default.max_bytes),
        max_series: history
            .integer("max_series_per_host", 1..=MAX_SERIES)
            .unwrap_or(default.max_series),
    }
}

/// The bytes, or `None` for `auto`.
fn parse_max_size(text: &str) -> Result<Option<u64>, String> {
    if text == "auto" {
        return Ok(None);
    }
    let bytes =
        parse_size(text).ok_or("must be \"auto\", or a size such as \"16GiB\"")?;
    if HISTORY_BYTES.contains(&bytes) {
        return Ok(Some(bytes));
    }
    let [least, most] =
        [HISTORY_BYTES.start(), HISTORY_BYTES.end()].map(|limit| show_size(*limit));
    Err(format!("must be from {least} to {most}"))
}

fn parse_log(log: &mut Table<'_>) -> AccessLog {
    match log.boolean("access") {
        Some(true) => AccessLog::On,
        Some(false) | None => AccessLog::Off,
    }
}

/// The environment on its way into the configuration.
struct Environment<'a, Variable> {
    variable: &'a Variable,
    problems: &'a mut Problems,
}

impl<Variable: Fn(&str) -> Option<OsString>> Environment<'_, Variable> {
    fn read_into(&mut self, config: &mut Config, purpose: Purpose) {
        self.read_listen(config);

        config.agent_api_key = self.secret("AGENT_API_KEY");
        config.secret_key = self.secret("SECRET_KEY");
        config.secret_key_previous = self.secret("SECRET_KEY_PREVIOUS");
        config.admin_password = self.secret("FLEETBEAT_ADMIN_PASSWORD");
        if let Some(smtp) = &mut config.alerts.smtp {
            smtp.password = self.secret("SMTP_PASSWORD");
        }
        self.read_urls(config);

        if let (Storage::MongoDb(_), Purpose::Serve) = (&config.storage, purpose) {
            self.require("AGENT_API_KEY", config.agent_api_key.as_ref());
            self.require("SECRET_KEY", config.secret_key.as_ref());
        }

        self.check("AGENT_API_KEY", config.agent_api_key.as_ref(), |keys| {
            parse_agent_keys(keys).map(drop)
        });
        self.check("SECRET_KEY", config.secret_key.as_ref(), check_secret_key);
        self.check(
            "SECRET_KEY_PREVIOUS",
            config.secret_key_previous.as_ref(),
            check_secret_key,
        );
        self.check(
            "FLEETBEAT_ADMIN_PASSWORD",
            config.admin_password.as_ref(),
            |password| check_password(password).map_err(|unusable| unusable.to_string()),
        );
    }

    fn read_listen(&mut self, config: &mut Config) {
        let Some(listen) = (self.variable)("FLEETBEAT_LISTEN") else {
            return;
        };

        let parsed = Listen::parse(&listen.to_string_lossy()).and_then(|listen| {
            if !config.exposed {
                listen.check_private()?;
            }
            if let (Some(_), Listen::Unix(_)) = (&config.tls, &listen) {
                return Err(SOCKET_WITH_TLS.to_owned());
            }
            Ok(listen)
        });
        match parsed {
            Ok(listen) => config.listen = listen,
            Err(message) => self.problems.add_variable("FLEETBEAT_LISTEN", message),
        }
    }

    /// The databases' URLs, which may hold passwords.
    fn read_urls(&mut self, config: &mut Config) {
        let mongodb_url = self.secret("MONGODB_URL");
        let redis_urls = self.secret("REDIS_URL");
        let Storage::MongoDb(settings) = &mut config.storage else {
            return;
        };

        if let Some(url) = mongodb_url {
            settings.url = url.expose().to_owned();
        }
        if let Some(urls) = redis_urls {
            let urls = urls.expose().split(',');
            settings.redis = urls.map(|url| url.trim().to_owned()).collect();
        }
    }

    /// The secret in the variable `name`, or in the file that `NAME_FILE` names.
    fn secret(&mut self, name: &str) -> Option<Secret> {
        Secret::find(
            name,
            self.variable,
            |path| std::fs::read_to_string(path),
            self.problems,
        )
    }

    /// Several instances must have the same keys, so no instance can make its own. A
    /// variable that is set and cannot be read has been told already.
    fn require(&mut self, name: &str, found: Option<&Secret>) {
        let is_set = (self.variable)(name)
            .or_else(|| (self.variable)(&format!("{name}_FILE")))
            .is_some();
        if found.is_none() && !is_set {
            let message = "must be set with the backend mongodb";
            self.problems.add_variable(name, message);
        }
    }

    fn check(
        &mut self,
        name: &str,
        secret: Option<&Secret>,
        rule: impl Fn(&str) -> Result<(), String>,
    ) {
        if let Some(Err(message)) = secret.map(|secret| rule(secret.expose())) {
            self.problems.add_variable(name, message);
        }
    }
}

/// A name that MongoDB takes for a database.
fn parse_database(text: &str) -> Result<String, String> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !(1..=63).contains(&text.len()) || !text.chars().all(is_allowed) {
        return Err("must have 1 to 63 letters, digits, _ and -".to_owned());
    }
    Ok(text.to_owned())
}

fn default_listen() -> Listen {
    Listen::parse(DEFAULT_LISTEN).expect("the default is an address")
}

/// Two for each core: a worker may wait for the disk now and then.
fn default_workers() -> usize {
    (2 * cores()).max(4)
}

/// The cores this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}
