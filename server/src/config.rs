//! The configuration: `server.toml` and the environment, checked as a whole.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fleetbeat_settings::{Document, Problems, Secret, Table};
use ipnet::IpNet;

use crate::auth::AgentKeys;
use crate::http::{Listen, TrustedProxies};

/// Read when no other is named, if it is there.
const DEFAULT_FILE: &str = "/etc/fleetbeat/server.toml";
const DEFAULT_LISTEN: &str = "127.0.0.1:8080";
const DEFAULT_STORAGE: &str = "/var/lib/fleetbeat";
const DEFAULT_MONGODB: &str = "mongodb://127.0.0.1:27017";
const DEFAULT_DATABASE: &str = "fleetbeat";
/// Shortest SECRET_KEY in bytes: the length of an HS256 signature.
const MIN_SECRET_KEY_BYTES: usize = 32;
const MAX_WORKERS: usize = 1024;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Settings that can work.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) listen: Listen,
    /// Whether `listen` may be more than loopback.
    exposed: bool,
    pub(crate) trusted_proxies: TrustedProxies,
    /// Threads that answer requests.
    pub(crate) workers: usize,
    pub(crate) storage: Storage,
    /// How long a token is valid.
    pub(crate) token_life: Duration,
    pub(crate) sweep: Sweep,
    /// As given; `None` makes the embedded store keep its own.
    pub(crate) agent_api_key: Option<Secret>,
    pub(crate) secret_key: Option<Secret>,
    pub(crate) admin_password: Option<Secret>,
}

/// Where the state is kept.
#[derive(Debug, Clone)]
pub(crate) enum Storage {
    /// SQLite in this folder.
    Embedded { path: PathBuf },
    /// MongoDB, with Redis for the readers.
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
    /// all reads go to MongoDB.
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

/// When hosts are called silent, and when they are forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sweep {
    /// Time between two sweeps.
    pub(crate) interval: Duration,
    /// Silence after which a host is down.
    pub(crate) down_after: Duration,
    /// Silence after which a host that is not static is deleted.
    pub(crate) delete_after: Duration,
}

impl Config {
    /// The settings in `file`, or in the usual one if that exists; `variable` looks up
    /// the environment, which wins. Commands beside the server do without the secrets
    /// that only serving needs.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub(crate) fn load(
        file: Option<&Path>,
        for_serving: bool,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Config, Problems> {
        let mut problems = Problems::default();
        let document = open(file, &mut problems);
        let mut config = document.read(&mut problems, |root| read(root, &variable));
        read_environment(&mut config, for_serving, &variable, &mut problems);
        problems.into_result().map(|()| config)
    }
}

/// Where a server with this configuration listens, whatever else may be wrong with it:
/// one that runs is asked, not started.
///
/// # Errors
/// Why that cannot be told.
pub(crate) fn find_listen(
    file: Option<&Path>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Listen, String> {
    if let Some(listen) = variable("FLEETBEAT_LISTEN") {
        return parse_listen(&listen.to_string_lossy())
            .map_err(|message| format!("FLEETBEAT_LISTEN {message}"));
    }
    let mut problems = Problems::default();
    let document = open(file, &mut problems);
    problems
        .into_result()
        .map_err(|problems| problems.to_string())?;
    let listen = document.read(&mut Problems::default(), |root| root.string("listen"));
    parse_listen(listen.as_deref().unwrap_or(DEFAULT_LISTEN))
        .map_err(|message| format!("listen {message}"))
}

/// The named file, or the usual one if that exists.
fn open(file: Option<&Path>, problems: &mut Problems) -> Document {
    match file {
        Some(file) => Document::open(file, problems),
        None if Path::new(DEFAULT_FILE).exists() => {
            Document::open(Path::new(DEFAULT_FILE), problems)
        }
        None => Document::parse(DEFAULT_FILE, "", problems),
    }
}

fn read(root: &mut Table<'_>, variable: &impl Fn(&str) -> Option<OsString>) -> Config {
    let listen = root.parsed("listen", parse_listen);
    let exposed = root.boolean("exposed").unwrap_or(false);
    let exposure = listen
        .as_ref()
        .map(|listen| check_exposure(listen, exposed));
    if let (Some(Err(message)), None) = (exposure, variable("FLEETBEAT_LISTEN")) {
        root.problem("listen", message);
    }
    let trusted = root
        .parsed_list("trusted_proxies", parse_network)
        .unwrap_or_default();
    let workers = root.integer("workers", 0..=MAX_WORKERS).unwrap_or(0);
    let workers = if workers == 0 {
        default_workers()
    } else {
        workers
    };
    let sweep = root.section("sweep", read_sweep);
    let (is_mongodb, path) = root.section("storage", read_storage);
    let mongodb = root.section("mongodb", |mongodb| {
        read_mongodb(mongodb, workers, sweep.interval)
    });
    let redis = root
        .section("redis", |redis| redis.one_or_more("url"))
        .unwrap_or_default();
    let mongodb = MongoDbSettings { redis, ..mongodb };
    Config {
        listen: listen.unwrap_or_else(|| {
            parse_listen(DEFAULT_LISTEN).expect("the default is an address")
        }),
        exposed,
        trusted_proxies: TrustedProxies(trusted),
        workers,
        storage: if is_mongodb {
            Storage::MongoDb(mongodb)
        } else {
            Storage::Embedded { path }
        },
        token_life: root.section("auth", |auth| {
            auth.integer("token_days", 1..=3650).unwrap_or(30)
        }) * DAY,
        sweep,
        agent_api_key: None,
        secret_key: None,
        admin_password: None,
    }
}

/// Whether the backend is MongoDB, and the embedded one's folder.
fn read_storage(storage: &mut Table<'_>) -> (bool, PathBuf) {
    let is_mongodb = storage.parsed("backend", |backend| match backend {
        "embedded" => Ok(false),
        "mongodb" => Ok(true),
        _ => Err("must be \"embedded\" or \"mongodb\"".to_owned()),
    });
    let path = storage.parsed("path", |path| {
        if path.starts_with('/') {
            Ok(PathBuf::from(path))
        } else {
            Err("must be an absolute path".to_owned())
        }
    });
    (
        is_mongodb.unwrap_or(false),
        path.unwrap_or_else(|| DEFAULT_STORAGE.into()),
    )
}

fn read_mongodb(
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
        // Each worker may wait for one, and so may the threads behind them.
        connections: u32::try_from(workers + 4).unwrap_or(u32::MAX),
        sweep_interval,
    }
}

fn read_sweep(sweep: &mut Table<'_>) -> Sweep {
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
    Sweep {
        interval,
        down_after,
        delete_after,
    }
}

fn read_environment(
    config: &mut Config,
    for_serving: bool,
    variable: &impl Fn(&str) -> Option<OsString>,
    problems: &mut Problems,
) {
    if let Some(listen) = variable("FLEETBEAT_LISTEN") {
        let checked = parse_listen(&listen.to_string_lossy())
            .and_then(|listen| check_exposure(&listen, config.exposed).map(|()| listen));
        match checked {
            Ok(listen) => config.listen = listen,
            Err(message) => problems.add_variable("FLEETBEAT_LISTEN", message),
        }
    }
    let mut secret = |name| {
        Secret::find(
            name,
            variable,
            |path| std::fs::read_to_string(path),
            problems,
        )
    };
    config.agent_api_key = secret("AGENT_API_KEY");
    config.secret_key = secret("SECRET_KEY");
    config.admin_password = secret("FLEETBEAT_ADMIN_PASSWORD");
    let (mongodb_url, redis_url) = (secret("MONGODB_URL"), secret("REDIS_URL"));
    if let Storage::MongoDb(settings) = &mut config.storage {
        if let Some(url) = mongodb_url {
            settings.url = url.expose().to_owned();
        }
        if let Some(urls) = redis_url {
            settings.redis = urls
                .expose()
                .split(',')
                .map(|url| url.trim().to_owned())
                .collect();
        }
        // Several instances must have the same ones, so none can make its own.
        for (name, key) in [
            ("AGENT_API_KEY", &config.agent_api_key),
            ("SECRET_KEY", &config.secret_key),
        ] {
            if for_serving
                && key.is_none()
                && variable(name)
                    .or_else(|| variable(&format!("{name}_FILE")))
                    .is_none()
            {
                problems.add_variable(name, "must be set with the backend mongodb");
            }
        }
    }
    if let Some(Err(message)) = config
        .agent_api_key
        .as_ref()
        .map(|keys| AgentKeys::parse(keys.expose()))
    {
        problems.add_variable("AGENT_API_KEY", message);
    }
    if let Some(Err(message)) = config
        .secret_key
        .as_ref()
        .map(|key| check_secret_key(key.expose()))
    {
        problems.add_variable("SECRET_KEY", message);
    }
    if config
        .admin_password
        .as_ref()
        .is_some_and(|password| !crate::auth::password::is_usable(password.expose()))
    {
        problems.add_variable(
            "FLEETBEAT_ADMIN_PASSWORD",
            crate::auth::password::Unusable.to_string(),
        );
    }
}

/// A short key could be found by trying.
pub(crate) fn check_secret_key(key: &str) -> Result<(), String> {
    if key.len() < MIN_SECRET_KEY_BYTES {
        return Err(format!("must have at least {MIN_SECRET_KEY_BYTES} bytes"));
    }
    Ok(())
}

fn parse_listen(text: &str) -> Result<Listen, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return if path.starts_with('/') {
            Ok(Listen::Unix(path.into()))
        } else {
            Err("must have an absolute path after unix:".to_owned())
        };
    }
    text.parse().map(Listen::Tcp).map_err(|_| {
        "must be an address with a port, such as \"127.0.0.1:8080\", or \"unix:\" and a path".to_owned()
    })
}

fn check_exposure(listen: &Listen, exposed: bool) -> Result<(), String> {
    match listen {
        Listen::Tcp(address) if !is_loopback(*address) && !exposed => Err(
            "is no loopback address: this HTTP server is meant to stand behind a reverse proxy, not to face a \
             network (`exposed = true` if you know better)"
                .to_owned(),
        ),
        _ => Ok(()),
    }
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// What MongoDB takes for a database's name.
fn parse_database(text: &str) -> Result<String, String> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !(1..=63).contains(&text.len()) || !text.chars().all(is_allowed) {
        return Err("must have 1 to 63 letters, digits, _ and -".to_owned());
    }
    Ok(text.to_owned())
}

/// An address, or a network such as 10.0.0.0/8.
fn parse_network(text: &str) -> Result<IpNet, String> {
    let address = fleetbeat_protocol::parse_ip(text).map(IpNet::from);
    address
        .or_else(|| text.parse().ok())
        .ok_or_else(|| "must be an address or a network such as 10.0.0.0/8".to_owned())
}

/// Two per core: a worker may wait for the disk now and then.
fn default_workers() -> usize {
    (2 * cores()).max(4)
}

/// The cores this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}
