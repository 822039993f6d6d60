//! Redis: a copy of each record, and a stream that tells which have changed.
//!
//! A copy is the record as JSON at `server:{ip}`, for 600 s. Writing one is a script that
//! does nothing if Redis holds a newer version already, so writers may come in any order.
//! Every write also appends the addresses to the stream `fleetbeat:changes`; each
//! instance reads on from where it was, and if that place is gone (Redis was emptied, or
//! the stream cut), it knows that it has missed something. No command names two keys, so
//! a cluster is served like a single server.

use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redis::cluster::{ClusterClient, ClusterConnection, cluster_pipe};
use redis::{Cmd, ErrorKind, RedisError, RedisResult, Value};

use super::document::Versioned;
use crate::store::error::{Setup, StoreError, Unavailable};
use crate::sync::locked;

/// A copy outlives five missed heartbeats.
const TTL_SECS: u64 = 600;
/// Connecting, reading, writing.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Before a Redis that is away is asked again.
const RETRY: Duration = Duration::from_secs(1);
/// After this another one may try, though nothing was heard of the one before.
const MAX_ATTEMPT: Duration = Duration::from_secs(15);
/// For a cluster whose nodes change roles.
const CLUSTER_RETRIES: u32 = 2;
const CLUSTER_MAX_WAIT_MS: u64 = 200;
/// Commands in one pipeline.
const MAX_PIPELINE: usize = 500;

const CHANGES: &str = "fleetbeat:changes";
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

pub(super) struct Cache {
    client: Client,
    idle: Mutex<Vec<Connection>>,
    is_up: AtomicBool,
    /// When a Redis that is away may be asked again.
    retry_at: Mutex<Instant>,
}

enum Client {
    /// With its URL: it may turn out to be the one known address of a cluster.
    Single(redis::Client, String),
    Cluster(ClusterClient),
}

enum Connection {
    Single(redis::Connection),
    Cluster(Box<ClusterConnection>),
}

/// A place in the stream of changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place(String);

/// What the stream tells.
pub(super) enum Changes {
    /// These have changed since, and this is the place now.
    Since(Vec<IpAddr>, Place),
    /// Nobody knows what has changed since.
    Lost,
}

impl Cache {
    /// Prepares the connection, and makes one to see whether the login is good. A Redis
    /// that is away is no error.
    pub(super) fn new(urls: &[String]) -> Result<Cache, StoreError> {
        let wrong = |error: RedisError| Setup::Setting {
            key: "redis.url",
            reason: describe(&error),
        };
        let client = match urls {
            [url] => Client::Single(
                redis::Client::open(url.as_str()).map_err(wrong)?,
                url.clone(),
            ),
            urls => {
                let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
                Client::Cluster(cluster_client(&urls).map_err(wrong)?)
            }
        };
        let cache = Cache {
            client,
            idle: Mutex::default(),
            is_up: AtomicBool::new(true),
            retry_at: Mutex::new(Instant::now()),
        };
        match cache.connect().and_then(|mut connection| {
            connection.run(vec![redis::cmd("GET").arg("server:").clone()])
        }) {
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig
                ) =>
            {
                Err(wrong(error).into())
            }
            Err(error) if is_login_refused(&error) => Err(wrong(error).into()),
            Err(error) => {
                cache.went_away(&error);
                Ok(cache)
            }
            Ok(_) => Ok(cache),
        }
    }

    /// Copies records, removes those that are gone, and tells the other instances.
    pub(super) fn store(
        &self,
        records: &[Versioned],
        gone: &[IpAddr],
    ) -> Result<(), StoreError> {
        let mut commands: Vec<Cmd> = records.iter().map(store_command).collect();
        commands.extend(
            gone.iter()
                .map(|ip| redis::cmd("DEL").arg(key(*ip)).clone()),
        );
        let changed: Vec<String> = records
            .iter()
            .map(|record| record.server.ip)
            .chain(gone.iter().copied())
            .map(|ip| ip.to_string())
            .collect();
        commands.extend(changed.chunks(MAX_CHANGED).map(append));
        // A cluster's nodes get their commands one after the other: the news must not be
        // there before the copies.
        let news = commands.split_off(records.len() + gone.len());
        self.run(commands)?;
        self.run(news).map(|_| ())
    }

    /// The copies of these records; `None` for one that is not there, or that nobody can
    /// read.
    pub(super) fn read(
        &self,
        ips: &[IpAddr],
    ) -> Result<Vec<Option<Versioned>>, StoreError> {
        let commands = ips
            .iter()
            .map(|ip| redis::cmd("GET").arg(key(*ip)).clone())
            .collect();
        let parse = |value: &Value| match value {
            Value::BulkString(json) => serde_json::from_slice(json).ok(),
            _ => None,
        };
        Ok(self.run(commands)?.iter().map(parse).collect())
    }

    /// The end of the stream. An empty one gets a first entry: there is no place in
    /// nothing.
    pub(super) fn last_change(&self) -> Result<Place, StoreError> {
        let mut command = redis::cmd("XREVRANGE");
        command.arg(CHANGES).arg("+").arg("-").arg("COUNT").arg(1);
        if let Some((place, _)) = self.entries(command)?.pop() {
            return Ok(place);
        }
        let reply = self.run(vec![append(&[])])?.pop().unwrap_or(Value::Nil);
        redis::from_redis_value(reply)
            .map(Place)
            .map_err(|error| refused(error.to_string()))
    }

    /// What has changed since `place`.
    pub(super) fn changes_since(&self, place: &Place) -> Result<Changes, StoreError> {
        let mut command = redis::cmd("XRANGE");
        // From the place itself on: if its entry is not there, others may be missing,
        // too.
        command
            .arg(CHANGES)
            .arg(&place.0)
            .arg("+")
            .arg("COUNT")
            .arg(MAX_CHANGES);
        let entries = self.entries(command)?;
        match entries.first() {
            Some((first, _)) if first == place => {}
            _ => return Ok(Changes::Lost),
        }
        let last = entries
            .last()
            .map_or_else(|| place.clone(), |(last, _)| last.clone());
        let ips = entries
            .iter()
            .skip(1)
            .flat_map(|(_, ips)| ips.split(' '))
            .filter_map(|ip| ip.parse().ok())
            .collect();
        Ok(Changes::Since(ips, last))
    }

    fn entries(&self, command: Cmd) -> Result<Vec<(Place, String)>, StoreError> {
        let reply = self.run(vec![command])?.pop().unwrap_or(Value::Nil);
        let entries: Vec<(String, Vec<String>)> =
            redis::from_redis_value(reply).unwrap_or_default();
        Ok(entries
            .into_iter()
            .map(|(id, mut fields)| (Place(id), fields.pop().unwrap_or_default()))
            .collect())
    }

    /// Runs the commands in order, and gives their replies; fails at once while Redis is
    /// away.
    fn run(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, StoreError> {
        if !self.is_up() {
            // One may try; whoever comes meanwhile fails at once.
            let mut retry_at = locked(&self.retry_at);
            if Instant::now() < *retry_at {
                return Err(Unavailable::Away.into());
            }
            *retry_at = Instant::now() + MAX_ATTEMPT;
        }
        let mut replies = Vec::with_capacity(commands.len());
        let result = self.try_run(commands, &mut replies);
        match result {
            Ok(()) => {
                if !self.is_up.swap(true, Ordering::Relaxed) {
                    log::info!("Redis is back");
                }
                Ok(replies)
            }
            Err(error) => {
                // One that answers, if only to refuse, is there.
                let answers = error.code().is_some() && error.kind() != ErrorKind::Io;
                if answers {
                    self.is_up.store(true, Ordering::Relaxed);
                    log::warn!("Redis refuses: {}", error.code().unwrap_or_default());
                } else {
                    self.went_away(&error);
                }
                Err(if answers {
                    refused(describe(&error))
                } else {
                    Unavailable::Away.into()
                })
            }
        }
    }

    /// Whether it answered when it was last asked.
    pub(super) fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Relaxed)
    }

    fn try_run(&self, commands: Vec<Cmd>, replies: &mut Vec<Value>) -> RedisResult<()> {
        let idle = locked(&self.idle).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let mut commands = commands.into_iter().peekable();
        while commands.peek().is_some() {
            replies
                .extend(connection.run(commands.by_ref().take(MAX_PIPELINE).collect())?);
        }
        // One that has failed is not put back.
        locked(&self.idle).push(connection);
        Ok(())
    }

    fn connect(&self) -> RedisResult<Connection> {
        match &self.client {
            Client::Single(client, url) => {
                let mut connection = client.get_connection_with_timeout(TIMEOUT)?;
                connection.set_read_timeout(Some(TIMEOUT))?;
                connection.set_write_timeout(Some(TIMEOUT))?;
                if is_cluster_node(&mut connection)? {
                    return connect_to_cluster(&cluster_client(&[url.as_str()])?);
                }
                Ok(Connection::Single(connection))
            }
            Client::Cluster(client) => connect_to_cluster(client),
        }
    }

    fn went_away(&self, error: &RedisError) {
        locked(&self.idle).clear();
        *locked(&self.retry_at) = Instant::now() + RETRY;
        if self.is_up.swap(false, Ordering::Relaxed) {
            log::warn!(
                "Redis is away, reads are MongoDB's and slower: {}",
                describe(error)
            );
        }
    }
}

impl Connection {
    fn run(&mut self, commands: Vec<Cmd>) -> RedisResult<Vec<Value>> {
        match self {
            Connection::Single(connection) => {
                let mut pipeline = redis::pipe();
                for command in commands {
                    pipeline.add_command(command);
                }
                pipeline.query(connection)
            }
            Connection::Cluster(connection) => {
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

fn connect_to_cluster(client: &ClusterClient) -> RedisResult<Connection> {
    let connection = client.get_connection()?;
    connection.set_read_timeout(Some(TIMEOUT))?;
    connection.set_write_timeout(Some(TIMEOUT))?;
    Ok(Connection::Cluster(Box::new(connection)))
}

fn is_cluster_node(connection: &mut redis::Connection) -> RedisResult<bool> {
    let info: String = redis::cmd("INFO").arg("cluster").query(connection)?;
    Ok(info.contains("cluster_enabled:1"))
}

fn key(ip: IpAddr) -> String {
    format!("server:{ip}")
}

fn store_command(record: &Versioned) -> Cmd {
    let json = serde_json::to_string(record).expect("a record is plain JSON");
    let mut command = redis::cmd("EVAL");
    command
        .arg(STORE_UNLESS_NEWER)
        .arg(1)
        .arg(key(record.server.ip));
    command
        .arg(json)
        .arg(record.rev.0)
        .arg(record.rev.1)
        .arg(TTL_SECS);
    command
}

/// Adds an entry to the stream of changes.
fn append(ips: &[String]) -> Cmd {
    let mut command = redis::cmd("XADD");
    command
        .arg(CHANGES)
        .arg("MAXLEN")
        .arg("~")
        .arg(MAX_CHANGES)
        .arg("*")
        .arg("ips")
        .arg(ips.join(" "));
    command
}

fn refused(reason: String) -> StoreError {
    let database = "Redis";
    StoreError::Refused { database, reason }
}

/// What is wrong. The library's errors hold no URL.
fn describe(error: &RedisError) -> String {
    error.to_string()
}

fn is_login_refused(error: &RedisError) -> bool {
    let code = error.code().unwrap_or_default();
    ["NOAUTH", "WRONGPASS", "NOPERM"].contains(&code)
}
