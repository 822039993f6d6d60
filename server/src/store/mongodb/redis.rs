//! Redis: a copy of each record, and a stream that tells which have changed.
//!
//! A copy is the record as JSON at `server:{ip}`, for 600 s. The script that writes a
//! copy does nothing if Redis holds a newer version already, so that instances may copy
//! in any order. Every write also appends the addresses to the stream
//! `fleetbeat:changes`. Each instance reads the stream on from the position where the
//! instance stopped last. If that position is gone (Redis was emptied, or the stream was
//! cut), some changes are missed, and the instance reads MongoDB instead. No command
//! names two keys, so a cluster is served like a single server.

use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fleetbeat_daemon::lock::lock;
use log::Level;
use redis::cluster::{ClusterClient, ClusterConnection, cluster_pipe};
use redis::{Cmd, ErrorKind, RedisError, RedisResult, Value};

use super::document::VersionedServer;
use super::url;
use crate::recurring::log_if_due;
use crate::store::backend::CacheState;
use crate::store::error::{Setup, StoreError, Unavailable};

/// The life of a copy, in seconds: longer than five missed heartbeats.
const TTL_SECS: u64 = 600;
/// The longest for connecting, for reading and for writing.
const TIMEOUT: Duration = Duration::from_secs(1);
/// The wait before a Redis that is away is asked again.
const RETRY: Duration = Duration::from_secs(1);
/// After this another thread may try, though nothing was heard of the attempt before.
const MAX_ATTEMPT: Duration = Duration::from_secs(15);
/// For a cluster whose nodes change roles.
const CLUSTER_RETRIES: u32 = 2;
const CLUSTER_MAX_WAIT_MS: u64 = 200;
/// Commands in one pipeline.
const MAX_PIPELINE: usize = 500;

/// The stream of changes.
const CHANGES: &str = "fleetbeat:changes";
/// What is written to see whether Redis takes writes. In a cluster the braces put it on
/// the node of the stream.
const PROBE: &str = "{fleetbeat:changes}:probe";
/// After so long without a write the stream is not relied on without another.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// Entries kept, each with the addresses of one write: some minutes of a large fleet.
const MAX_CHANGES: usize = 2000;
/// Addresses in one entry.
const MAX_CHANGED: usize = 500;

/// Stores ARGV[1], whose version is ARGV[2] and ARGV[3], unless there is a newer one.
const STORE_UNLESS_NEWER: &str = r#"
local old = redis.pcall("GET", KEYS[1])
if type(old) == "string" then
  local epoch, rev = string.match(old, '^{"rev":%[(%-?%d+),(%-?%d+)%]')
  epoch, rev = tonumber(epoch), tonumber(rev)
  if epoch and (epoch > tonumber(ARGV[2]) or (epoch == tonumber(ARGV[2]) and rev > tonumber(ARGV[3]))) then
    return 0
  end
end
redis.call("SET", KEYS[1], ARGV[1], "EX", ARGV[4])
return 1
"#;

/// The schemes of Redis' URLs.
const SCHEMES: [&str; 4] = ["redis", "rediss", "valkey", "valkeys"];
/// What is told of a URL that is none of Redis'.
const EXPECTED: &str = "must be redis://HOST:PORT, or rediss:// for TLS, with \
     NAME:PASSWORD@ before the host where Redis asks for a login (Sentinel is not known); \
     in NAME and PASSWORD the characters : / ? # [ ] @ % are percent-encoded";

/// The copies in Redis, with a circuit breaker: while Redis is away every call fails at
/// once, but for one attempt each second.
pub(super) struct RedisCopies {
    client: RedisClient,
    /// Connections that nobody uses at present.
    idle: Mutex<Vec<RedisConnection>>,
    /// Whether Redis answered when it was last asked.
    is_up: AtomicBool,
    /// Whether Redis took the last write.
    takes_writes: AtomicBool,
    /// When Redis took a write last; `None` if it has refused one since.
    written_last: Mutex<Option<Instant>>,
    /// When a Redis that is away may be asked again.
    retry_at: Mutex<Instant>,
    /// The calls that Redis has not answered, or refused.
    errors: AtomicU64,
}

/// How connections are made.
enum RedisClient {
    /// To a single server, with its URL: the server may turn out to be the one known node
    /// of a cluster.
    Single(redis::Client, String),
    /// To several nodes of a cluster.
    Cluster(ClusterClient),
}

/// A connection, to be used by one thread at a time.
enum RedisConnection {
    Single(redis::Connection),
    Cluster(Box<ClusterConnection>),
}

/// A position in the stream of changes: the id of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StreamPosition(String);

/// What the stream tells since a position.
pub(super) enum ChangesSince {
    /// These hosts have changed, and the stream's end is at this position.
    Hosts(Vec<IpAddr>, StreamPosition),
    /// Nobody knows what has changed, because the position is gone.
    PositionLost,
}

impl RedisCopies {
    /// Prepares the connection to the server or nodes at `urls`, and makes one to see
    /// whether the login is good. A Redis that is away is not an error.
    ///
    /// # Errors
    /// A URL that can never work, a refused login.
    pub(super) fn new(urls: &[String]) -> Result<RedisCopies, StoreError> {
        let client = RedisClient::new(urls).map_err(|_| explain_urls(urls))?;
        let copies = RedisCopies {
            client,
            idle: Mutex::default(),
            is_up: AtomicBool::new(true),
            takes_writes: AtomicBool::new(true),
            written_last: Mutex::default(),
            retry_at: Mutex::new(Instant::now()),
            errors: AtomicU64::new(0),
        };

        // Of a key, because a login may be good and not allowed to read.
        let ask = redis::cmd("GET").arg("server:").clone();
        let asked = copies
            .connect()
            .and_then(|mut connection| connection.run(vec![ask]));
        match asked {
            Ok(_) => {}
            Err(error) if is_hopeless(&error) => return Err(wrong_url(&error)),
            Err(error) => copies.went_away(&error),
        }
        Ok(copies)
    }

    /// Copies records, removes the copies of hosts that are gone, and tells the other
    /// instances.
    pub(super) fn store(
        &self,
        records: &[VersionedServer],
        gone: &[IpAddr],
    ) -> Result<(), StoreError> {
        let remove = |ip: &IpAddr| redis::cmd("DEL").arg(key(*ip)).clone();
        let copies = records.iter().map(store_command);
        self.write(copies.chain(gone.iter().map(remove)).collect())?;

        // A cluster's nodes get their commands one after the other: the news must not be
        // there before the copies.
        let stored = records.iter().map(|record| &record.server.ip);
        let changed: Vec<String> = stored.chain(gone).map(ToString::to_string).collect();
        let news = changed.chunks(MAX_CHANGED).map(append);
        self.write(news.collect()).map(|_| ())
    }

    /// Whether the stream of changes tells all changes: Redis answers, and takes the
    /// writes that tell of them. A Redis that has become a replica goes on answering, and
    /// an instance that writes nothing itself would not notice, so something is written
    /// if nothing was lately.
    pub(super) fn tells_changes(&self) -> bool {
        let is_old = |written: Instant| written.elapsed() >= WRITE_EVERY;
        if lock(&self.written_last).is_none_or(is_old) {
            let mut command = redis::cmd("SET");
            command.arg(PROBE).arg(1).arg("PX").arg(1);
            let _ = self.write(vec![command]);
        }
        self.state() == CacheState::Up
    }

    /// The copies of these hosts' records; `None` for a copy that is not there, or that
    /// another version has made.
    pub(super) fn read(
        &self,
        ips: &[IpAddr],
    ) -> Result<Vec<Option<VersionedServer>>, StoreError> {
        let commands = ips
            .iter()
            .map(|ip| redis::cmd("GET").arg(key(*ip)).clone())
            .collect();
        let parse = |value: &Value| match value {
            Value::BulkString(json) => VersionedServer::from_copy(json),
            _ => None,
        };
        Ok(self.run(commands)?.iter().map(parse).collect())
    }

    /// The position of the stream's end. An empty stream gets a first entry, because
    /// there is no position in nothing.
    pub(super) fn last_position(&self) -> Result<StreamPosition, StoreError> {
        let mut command = redis::cmd("XREVRANGE");
        command.arg(CHANGES).arg("+").arg("-").arg("COUNT").arg(1);
        if let Some((position, _)) = self.entries(command)?.pop() {
            return Ok(position);
        }
        let reply = self.write(vec![append(&[])])?.pop().unwrap_or(Value::Nil);
        redis::from_redis_value(reply)
            .map(StreamPosition)
            .map_err(|error| refused(error.to_string()))
    }

    /// What has changed since `position`.
    pub(super) fn changes_since(
        &self,
        position: &StreamPosition,
    ) -> Result<ChangesSince, StoreError> {
        let mut command = redis::cmd("XRANGE");
        // Including the entry at the position: if that entry is not there, later entries
        // may be missing, too.
        command.arg(CHANGES).arg(&position.0).arg("+");
        command.arg("COUNT").arg(MAX_CHANGES);
        let mut entries = self.entries(command)?.into_iter();

        let is_there = entries.next().is_some_and(|(first, _)| first == *position);
        if !is_there {
            return Ok(ChangesSince::PositionLost);
        }

        let mut last = position.clone();
        let mut ips = Vec::new();
        for (position, changed) in entries {
            ips.extend(
                changed
                    .split(' ')
                    .filter_map(|ip| ip.parse::<IpAddr>().ok()),
            );
            last = position;
        }
        Ok(ChangesSince::Hosts(ips, last))
    }

    /// The entries that `command` asks for, each with its addresses.
    fn entries(&self, command: Cmd) -> Result<Vec<(StreamPosition, String)>, StoreError> {
        let reply = self.run(vec![command])?.pop().unwrap_or(Value::Nil);
        let entries: Vec<(String, Vec<String>)> =
            redis::from_redis_value(reply).unwrap_or_default();
        let entry = |(id, mut fields): (String, Vec<String>)| {
            (StreamPosition(id), fields.pop().unwrap_or_default())
        };
        Ok(entries.into_iter().map(entry).collect())
    }

    /// Whether Redis answered when it was last asked.
    pub(super) fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Relaxed)
    }

    /// The calls that Redis has not answered, or refused. Calls that fail at once while
    /// Redis is away are not among them.
    pub(super) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// Whether Redis can be used.
    pub(super) fn state(&self) -> CacheState {
        if !self.is_up() {
            CacheState::Away
        } else if self.takes_writes.load(Ordering::Relaxed) {
            CacheState::Up
        } else {
            CacheState::RefusesWrites
        }
    }

    /// As [`RedisCopies::run`], and notes whether Redis takes writes.
    fn write(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, StoreError> {
        let written = self.run(commands);
        let takes_writes = match &written {
            Ok(_) => true,
            Err(StoreError::Refused { .. }) => false,
            Err(_) => return written,
        };
        *lock(&self.written_last) = takes_writes.then(Instant::now);
        let took_writes = self.takes_writes.swap(takes_writes, Ordering::Relaxed);
        match (took_writes, &written) {
            (true, Err(error)) => {
                log::warn!(
                    "Redis takes no writes, reads are MongoDB's and slower: {error}"
                );
            }
            (false, Ok(_)) => log::info!("Redis takes writes again"),
            _ => {}
        }
        written
    }

    /// Runs the commands in order, and gives their replies; fails at once while Redis is
    /// away.
    fn run(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, StoreError> {
        if !self.is_up() {
            // One thread may try; all that come meanwhile fail at once.
            let mut retry_at = lock(&self.retry_at);
            if Instant::now() < *retry_at {
                return Err(Unavailable::Away.into());
            }
            *retry_at = Instant::now() + MAX_ATTEMPT;
        }

        let mut replies = Vec::with_capacity(commands.len());
        match self.try_run(commands, &mut replies) {
            Ok(()) => {
                if !self.is_up.swap(true, Ordering::Relaxed) {
                    log::info!("Redis is back");
                }
                Ok(replies)
            }
            Err(error) if answers(&error) => {
                self.is_up.store(true, Ordering::Relaxed);
                self.errors.fetch_add(1, Ordering::Relaxed);
                let reason = describe(&error);
                let code = error.code().unwrap_or_default();
                let line = || format!("Redis refuses: {reason}");
                log_if_due(Level::Warn, "Redis", code, line);
                Err(refused(reason))
            }
            Err(error) => {
                self.went_away(&error);
                Err(Unavailable::Away.into())
            }
        }
    }

    fn try_run(&self, commands: Vec<Cmd>, replies: &mut Vec<Value>) -> RedisResult<()> {
        let idle = lock(&self.idle).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.connect()?,
        };

        let mut commands = commands.into_iter().peekable();
        while commands.peek().is_some() {
            let pipeline = commands.by_ref().take(MAX_PIPELINE).collect();
            replies.extend(connection.run(pipeline)?);
        }

        // A connection that has failed is not put back.
        lock(&self.idle).push(connection);
        Ok(())
    }

    fn connect(&self) -> RedisResult<RedisConnection> {
        match &self.client {
            RedisClient::Single(client, url) => {
                let mut connection = client.get_connection_with_timeout(TIMEOUT)?;
                connection.set_read_timeout(Some(TIMEOUT))?;
                connection.set_write_timeout(Some(TIMEOUT))?;
                if is_cluster_node(&mut connection)? {
                    return connect_to_cluster(&cluster_client(&[url.as_str()])?);
                }
                Ok(RedisConnection::Single(connection))
            }
            RedisClient::Cluster(client) => connect_to_cluster(client),
        }
    }

    /// Opens the circuit breaker.
    fn went_away(&self, error: &RedisError) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        lock(&self.idle).clear();
        *lock(&self.retry_at) = Instant::now() + RETRY;
        if self.is_up.swap(false, Ordering::Relaxed) {
            log::warn!(
                "Redis is away, reads are MongoDB's and slower: {}",
                describe(error)
            );
        }
    }
}

impl RedisClient {
    fn new(urls: &[String]) -> RedisResult<RedisClient> {
        if let [url] = urls {
            let client = redis::Client::open(url.as_str())?;
            return Ok(RedisClient::Single(client, url.clone()));
        }
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        Ok(RedisClient::Cluster(cluster_client(&urls)?))
    }
}

impl RedisConnection {
    /// Runs the commands in one pipeline, and gives their replies.
    fn run(&mut self, commands: Vec<Cmd>) -> RedisResult<Vec<Value>> {
        match self {
            RedisConnection::Single(connection) => {
                let mut pipeline = redis::pipe();
                for command in commands {
                    pipeline.add_command(command);
                }
                pipeline.query(connection)
            }
            RedisConnection::Cluster(connection) => {
                let mut pipeline = cluster_pipe();
                for command in commands {
                    pipeline.add_command(command);
                }
                pipeline.query(connection)
            }
        }
    }
}

fn cluster_client(urls: &[&str]) -> RedisResult<ClusterClient> {
    ClusterClient::builder(urls.iter().copied())
        .retries(CLUSTER_RETRIES)
        .max_retry_wait(CLUSTER_MAX_WAIT_MS)
        .connection_timeout(TIMEOUT)
        .response_timeout(TIMEOUT)
        .build()
}

fn connect_to_cluster(client: &ClusterClient) -> RedisResult<RedisConnection> {
    let connection = client.get_connection()?;
    connection.set_read_timeout(Some(TIMEOUT))?;
    connection.set_write_timeout(Some(TIMEOUT))?;
    Ok(RedisConnection::Cluster(Box::new(connection)))
}

fn is_cluster_node(connection: &mut redis::Connection) -> RedisResult<bool> {
    let info: String = redis::cmd("INFO").arg("cluster").query(connection)?;
    Ok(info.contains("cluster_enabled:1"))
}

fn key(ip: IpAddr) -> String {
    format!("server:{ip}")
}

/// Copies a record, unless Redis holds a newer version.
fn store_command(record: &VersionedServer) -> Cmd {
    let json = serde_json::to_string(record).expect("a record is plain JSON");
    let mut command = redis::cmd("EVAL");
    let number_of_keys = 1;
    command.arg(STORE_UNLESS_NEWER).arg(number_of_keys);
    command.arg(key(record.server.ip)).arg(json);
    command.arg(record.version.0).arg(record.version.1);
    command.arg(TTL_SECS);
    command
}

/// Adds an entry to the stream of changes.
fn append(ips: &[String]) -> Cmd {
    let mut command = redis::cmd("XADD");
    command.arg(CHANGES).arg("MAXLEN").arg("~").arg(MAX_CHANGES);
    command.arg("*").arg("ips").arg(ips.join(" "));
    command
}

/// Whether Redis has answered, if only to refuse.
fn answers(error: &RedisError) -> bool {
    error.code().is_some() && error.kind() != ErrorKind::Io
}

/// Whether waiting cannot help: Redis does not let this program in.
fn is_hopeless(error: &RedisError) -> bool {
    let code = error.code().unwrap_or_default();
    matches!(
        error.kind(),
        ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig
    ) || ["NOAUTH", "WRONGPASS", "NOPERM"].contains(&code)
}

/// Whether connections could be made with these URLs, as far as that can be told without
/// asking anybody.
///
/// # Errors
/// What is wrong, without any part of a password.
pub(super) fn check_urls(urls: &[String]) -> Result<(), StoreError> {
    match RedisClient::new(urls) {
        Ok(_) => Ok(()),
        Err(_) => Err(explain_urls(urls)),
    }
}

/// What is wrong with the URLs that the library has refused.
fn explain_urls(urls: &[String]) -> StoreError {
    let try_url = |url: &str| {
        let urls = [url.to_owned()];
        RedisClient::new(&urls)
            .map(drop)
            .map_err(|error| describe(&error))
    };
    let wrong = urls.iter().find(|url| try_url(url).is_err());
    let reason = match wrong {
        Some(url) => url::explain(url, &SCHEMES, EXPECTED, try_url),
        None => {
            "the nodes of a cluster must have the same login and all TLS, or all none"
                .to_owned()
        }
    };
    let key = "redis.url";
    Setup::Setting { key, reason }.into()
}

fn wrong_url(error: &RedisError) -> StoreError {
    let (key, reason) = ("redis.url", describe(error));
    Setup::Setting { key, reason }.into()
}

fn refused(reason: String) -> StoreError {
    let database = "Redis";
    StoreError::Refused { database, reason }
}

/// What is wrong. The library's errors hold no URL.
fn describe(error: &RedisError) -> String {
    error.to_string()
}
