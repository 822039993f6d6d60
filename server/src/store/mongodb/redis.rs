//! Redis: a copy of each record, for the apps that read them there.
//!
//! A copy is the record as JSON at `server:{ip}`, for 600 s. Nothing here is ever read: a
//! Redis that is away, empty or old costs its readers, and nobody else. No command names
//! two keys, so a cluster is served like a single server.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fleetbeat_daemon::lock::lock;
use fleetbeat_protocol::Server;
use redis::cluster::{ClusterClient, ClusterConnection, cluster_pipe};
use redis::{Cmd, ErrorKind, RedisError, RedisResult};

use super::url;
use crate::store::backend::CacheState;
use crate::store::error::{Setup, StoreError, Unavailable};

/// The life of a copy, in seconds: longer than five missed heartbeats.
const TTL_SECS: u64 = 600;
/// The longest for connecting, for reading and for writing.
const TIMEOUT: Duration = Duration::from_secs(1);
/// For a cluster whose nodes change roles.
const CLUSTER_RETRIES: u32 = 2;
const CLUSTER_MAX_WAIT_MS: u64 = 200;
/// What is written where nothing has changed, to see whether Redis takes writes.
const PROBE: &str = "fleetbeat:probe";

/// The schemes of Redis' URLs.
const SCHEMES: [&str; 4] = ["redis", "rediss", "valkey", "valkeys"];
/// What is told of a URL that is none of Redis'.
const EXPECTED: &str = "must be redis://HOST:PORT, or rediss:// for TLS, with \
     NAME:PASSWORD@ before the host where Redis asks for a login (Sentinel is not known); \
     in NAME and PASSWORD the characters : / ? # [ ] @ % are percent-encoded";

/// The copies in Redis.
pub(super) struct RedisCopies {
    client: RedisClient,
    /// `None` until there is something to write, and after a write that has failed.
    connection: Mutex<Option<RedisConnection>>,
    /// Whether Redis took the last write.
    state: Mutex<CacheState>,
    /// The writes that Redis has not answered, or refused.
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

/// A connection.
enum RedisConnection {
    Single(redis::Connection),
    Cluster(Box<ClusterConnection>),
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
            connection: Mutex::default(),
            state: Mutex::new(CacheState::Up),
            errors: AtomicU64::new(0),
        };

        // Of a key, because a login may be good and not allowed to read.
        let ask = redis::cmd("GET").arg("server:").clone();
        let asked = copies
            .connect()
            .and_then(|mut connection| connection.run(vec![ask]));
        match asked {
            Ok(()) => {}
            Err(error) if is_hopeless(&error) => return Err(wrong_url(&error)),
            Err(error) => copies.enter(CacheState::Away, &describe(&error)),
        }
        Ok(copies)
    }

    /// Copies the hosts' records, and removes the copies where there is no host. Without
    /// hosts it writes all the same, to see whether Redis takes writes: a Redis that has
    /// become a replica goes on answering.
    pub(super) fn store(
        &self,
        hosts: &[(IpAddr, Option<Arc<Server>>)],
    ) -> Result<(), StoreError> {
        let mut commands: Vec<Cmd> = hosts
            .iter()
            .map(|(ip, server)| match server {
                Some(server) => store_command(*ip, server),
                None => redis::cmd("DEL").arg(key(*ip)).clone(),
            })
            .collect();
        if commands.is_empty() {
            let mut probe = redis::cmd("SET");
            commands.push(probe.arg(PROBE).arg(1).arg("PX").arg(1).clone());
        }

        let written = self.write(commands).map_err(|error| {
            self.errors.fetch_add(1, Ordering::Relaxed);
            let reason = describe(&error);
            if answers(&error) {
                self.enter(CacheState::RefusesWrites, &reason);
                refused(reason)
            } else {
                self.enter(CacheState::Away, &reason);
                Unavailable::Away.into()
            }
        });
        if written.is_ok() {
            self.enter(CacheState::Up, "");
        }
        written
    }

    /// The writes that Redis has not answered, or refused.
    pub(super) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// Whether Redis can be used.
    pub(super) fn state(&self) -> CacheState {
        *lock(&self.state)
    }

    /// Notes how Redis is, and says so if it was in another state.
    fn enter(&self, state: CacheState, reason: &str) {
        let before = std::mem::replace(&mut *lock(&self.state), state);
        match state {
            _ if before == state => {}
            CacheState::Up => log::info!("Redis is back, and takes copies"),
            CacheState::Away => {
                log::warn!("Redis is away, its readers get no copies: {reason}");
            }
            CacheState::RefusesWrites => {
                log::warn!("Redis takes no writes, its copies grow old: {reason}");
            }
        }
    }

    fn write(&self, commands: Vec<Cmd>) -> RedisResult<()> {
        let mut place = lock(&self.connection);
        let mut connection = match place.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        connection.run(commands)?;
        *place = Some(connection);
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
    /// Runs the commands in one pipeline.
    fn run(&mut self, commands: Vec<Cmd>) -> RedisResult<()> {
        match self {
            RedisConnection::Single(connection) => {
                let mut pipeline = redis::pipe();
                for command in commands {
                    pipeline.add_command(command);
                }
                pipeline.exec(connection)
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

fn store_command(ip: IpAddr, server: &Server) -> Cmd {
    let json = serde_json::to_string(server).expect("a record is plain JSON");
    let mut command = redis::cmd("SET");
    command.arg(key(ip)).arg(json).arg("EX").arg(TTL_SECS);
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
