//! The connection to MongoDB, with a deadline for everything and a circuit breaker.
//!
//! The driver is asynchronous, and has no deadline for an operation. So this file runs
//! the driver on a small runtime, cancels an operation that takes too long, and hides
//! futures from the other files. A thread asks each second whether MongoDB is there, and
//! while it is not, every operation fails at once. An operation that is slow says nothing
//! about MongoDB: only after some in a row do operations of its class fail at once.

use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use fleetbeat_daemon::clock;
use fleetbeat_daemon::condition::Condition;
use fleetbeat_daemon::lock::lock;
use fleetbeat_daemon::thread::Worker;
use fleetbeat_protocol::Timestamp;
use jiff::SignedDuration;
use mongodb::action::Find;
use mongodb::bson::{Bson, Document, doc};
use mongodb::error::Error;
use mongodb::options::{
    Acknowledgment, ClientOptions, ConnectionString, ReadConcern, ReadPreference,
    SelectionCriteria, WriteConcern,
};
use mongodb::{Client, Collection, Database};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::breaker::Breaker;
use super::error::{DUPLICATE_KEY, MongoDbError};
use super::url;
use crate::config::MongoDbSettings;
use crate::store::error::{Setup, StoreError, Unavailable};
#[cfg(test)]
use crate::store::fuse::{Burn, Fuse, killed};

/// Documents that one command asks for or changes; of more, some follow in others.
pub(super) const MAX_ASKED: usize = 500;
/// The longest that an operation may take. An agent must get an answer within 3 s.
const DEADLINE: Duration = Duration::from_millis(1800);
/// The longest for selecting a server and connecting to it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a majority may take to confirm a write.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// Documents that arrive together.
const BATCH: u32 = 2000;
/// The time between two questions whether MongoDB is there.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// The wait after the first attempt at the start, and the longest wait.
const FIRST_RETRY_WAIT: Duration = Duration::from_millis(500);
const MAX_RETRY_WAIT: Duration = Duration::from_secs(30);

/// Clocks farther apart than this are worth a word, because the instances' clocks decide
/// which host is silent.
const MAX_CLOCK_OFFSET: SignedDuration = SignedDuration::from_secs(30);

/// The schemes of MongoDB's URLs.
const SCHEMES: [&str; 2] = ["mongodb", "mongodb+srv"];
/// How a URL begins whose hosts are in the DNS.
const LOOKED_UP: &str = "mongodb+srv:";
/// What is told of a URL that is none of MongoDB's.
const EXPECTED: &str = "must be mongodb://HOST:PORT, mongodb://HOST,HOST/?replicaSet=NAME or \
     mongodb+srv://HOST, with NAME:PASSWORD@ before the first host where MongoDB asks for \
     a login; in NAME and PASSWORD the characters : / ? # [ ] @ % are percent-encoded";

/// The connection to one database in MongoDB.
pub(super) struct Connection {
    runtime: Arc<Runtime>,
    database: Database,
    /// Whether MongoDB answered when the probe asked last.
    is_up: Arc<AtomicBool>,
    /// When the probe got an answer last.
    answered: Arc<Mutex<Instant>>,
    probe: Mutex<Option<Worker>>,
    /// A circuit breaker for each class of operations, so that a slow one of one class
    /// fails none of another.
    heartbeats: Breaker,
    scans: Breaker,
    single: Breaker,
    #[cfg(test)]
    pub(super) fuse: Fuse,
}

/// What MongoDB did with a command of updates.
pub(super) struct Updated {
    /// How many updates found their document.
    pub(super) matched: usize,
    /// The updates that were refused.
    pub(super) refused: Vec<RefusedUpdate>,
}

impl Updated {
    /// # Errors
    /// MongoDB has refused an update: its words.
    pub(super) fn none_refused(self) -> Result<(), MongoDbError> {
        match self.refused.into_iter().next() {
            Some(refused) => Err(MongoDbError::refused(refused.reason)),
            None => Ok(()),
        }
    }
}

/// An update that MongoDB refused.
pub(super) struct RefusedUpdate {
    /// The update's place in the command.
    pub(super) index: usize,
    /// Whether a unique index has the value already.
    pub(super) is_duplicate_key: bool,
    /// MongoDB's words.
    pub(super) reason: String,
}

impl Connection {
    /// Prepares the connection; nothing is sent yet.
    ///
    /// # Errors
    /// A URL that can never work, or names a cluster that the DNS does not know at
    /// present.
    pub(super) fn connect(
        settings: &MongoDbSettings,
    ) -> Result<Connection, MongoDbError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("mongodb")
            .enable_all()
            .build()
            .map_err(|error| cannot_start(&error))?;

        let wrong =
            |error| MongoDbError::of_url(error, || explain_url(&runtime, &settings.url));
        let options =
            runtime.block_on(async { ClientOptions::parse(&settings.url).await });
        let options = complete(options.map_err(wrong)?, settings);
        let client = runtime
            .block_on(async { Client::with_options(options) })
            .map_err(wrong)?;

        let probe = Probe {
            runtime: Arc::new(runtime),
            database: client.database(&settings.database),
            is_up: Arc::new(AtomicBool::new(true)),
            answered: Arc::new(Mutex::new(Instant::now())),
            clock_trouble: Condition::default(),
        };
        let runtime = probe.runtime.clone();
        let database = probe.database.clone();
        let (is_up, answered) = (probe.is_up.clone(), probe.answered.clone());
        let probe = probe.start().map_err(|error| cannot_start(&error))?;
        Ok(Connection {
            runtime,
            database,
            is_up,
            answered,
            probe: Mutex::new(Some(probe)),
            heartbeats: Breaker::default(),
            scans: Breaker::default(),
            single: Breaker::default(),
            #[cfg(test)]
            fuse: Fuse::default(),
        })
    }

    /// The hosts' records.
    pub(super) fn servers(&self) -> Collection<Document> {
        self.database.collection("servers")
    }

    /// The users.
    pub(super) fn users(&self) -> Collection<Document> {
        self.database.collection("users")
    }

    /// The API tokens.
    pub(super) fn api_tokens(&self) -> Collection<Document> {
        self.database.collection("api_tokens")
    }

    /// The spooled heartbeats that an older version has kept.
    pub(super) fn history(&self) -> Collection<Document> {
        self.database.collection("history")
    }

    /// The heartbeats of each host that are not in a chunk yet.
    pub(super) fn open_chunks(&self) -> Collection<Document> {
        self.database.collection("open_chunks")
    }

    /// The chunks of each host and day.
    pub(super) fn history_days(&self) -> Collection<Document> {
        self.database.collection("history_days")
    }

    /// The traffic of each host in some weeks.
    pub(super) fn history_traffic(&self) -> Collection<Document> {
        self.database.collection("history_traffic")
    }

    /// The samples of groups of hosts that are not in a chunk yet.
    pub(super) fn group_samples(&self) -> Collection<Document> {
        self.database.collection("group_samples")
    }

    /// Hosts that are gone, whose chunks are still to be deleted.
    pub(super) fn gone_histories(&self) -> Collection<Document> {
        self.database.collection("gone_histories")
    }

    /// The leases: an instance that holds a lease does what no other instance may do.
    pub(super) fn leases(&self) -> Collection<Document> {
        self.database.collection("leases")
    }

    /// The flags of hosts that are gone, for their return.
    pub(super) fn tombstones(&self) -> Collection<Document> {
        self.database.collection("tombstones")
    }

    /// The addresses that hosts have left.
    pub(super) fn moves(&self) -> Collection<Document> {
        self.database.collection("moves")
    }

    /// Hosts' own keys.
    pub(super) fn agent_keys(&self) -> Collection<Document> {
        self.database.collection("agent_keys")
    }

    /// The codes that enrol hosts.
    pub(super) fn enrollment_codes(&self) -> Collection<Document> {
        self.database.collection("enrollment_codes")
    }

    /// The uses of these codes.
    pub(super) fn code_uses(&self) -> Collection<Document> {
        self.database.collection("code_uses")
    }

    /// The events.
    pub(super) fn events(&self) -> Collection<Document> {
        self.database.collection("events")
    }

    /// The spans of the events.
    pub(super) fn event_spans(&self) -> Collection<Document> {
        self.database.collection("event_spans")
    }

    /// What the watch has seen last of each host.
    pub(super) fn sightings(&self) -> Collection<Document> {
        self.database.collection("sightings")
    }

    /// What people set up for alerts.
    pub(super) fn alert_objects(&self) -> Collection<Document> {
        self.database.collection("alert_objects")
    }

    /// The alerts.
    pub(super) fn alerts(&self) -> Collection<Document> {
        self.database.collection("alerts")
    }

    /// The messages on their way.
    pub(super) fn deliveries(&self) -> Collection<Document> {
        self.database.collection("deliveries")
    }

    /// The service time.
    pub(super) fn state(&self) -> Collection<Document> {
        self.database.collection("state")
    }

    /// Whether MongoDB answered when it was last asked.
    pub(super) fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Relaxed)
    }

    /// Runs an operation to its end or its deadline; fails at once while MongoDB is away.
    pub(super) fn run<T>(
        &self,
        operation: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, MongoDbError> {
        self.run_steps(&self.single, in_time(operation))
    }

    /// [`Connection::run`] for an operation on the way of a heartbeat.
    pub(super) fn run_for_heartbeats<T>(
        &self,
        operation: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, MongoDbError> {
        self.run_steps(&self.heartbeats, in_time(operation))
    }

    /// Runs an operation that keeps its deadlines itself.
    fn run_steps<T>(
        &self,
        breaker: &Breaker,
        steps: impl Future<Output = Result<T, MongoDbError>>,
    ) -> Result<T, MongoDbError> {
        if !self.is_up() {
            return Err(Unavailable::Away.into());
        }
        if !breaker.lets_through(Instant::now()) {
            return Err(Unavailable::Away.into());
        }
        #[cfg(test)]
        let burn = self.fuse.burn();
        #[cfg(test)]
        if burn == Burn::Dead {
            return Err(killed().into());
        }
        let result = self.runtime.block_on(steps);
        #[cfg(test)]
        if burn == Burn::Done {
            return Err(killed().into());
        }
        let is_unanswered = result.as_ref().is_err_and(MongoDbError::is_away);
        breaker.note(is_unanswered, Instant::now());
        if let Err(error) = &result
            && is_unanswered
            && lock(&self.answered).elapsed() >= DEADLINE
            && self.is_up.swap(false, Ordering::Relaxed)
        {
            // The probe has got no answer for as long, either. The operations that wait
            // need not find that out one by one.
            log::error!("MongoDB is away: {error}");
        }
        result
    }

    /// Runs a query, and gives the values that `read` makes of the documents; a document
    /// of which `read` makes `None` is left out. Each batch has a deadline, because a
    /// large fleet takes several batches.
    pub(super) fn collect<T>(
        &self,
        find: Find<'_, Document>,
        read: impl FnMut(&Document) -> Option<T>,
    ) -> Result<Vec<T>, MongoDbError> {
        self.collect_in(&self.scans, find, read)
    }

    /// [`Connection::collect`] for a query on the way of a heartbeat.
    pub(super) fn collect_for_heartbeats<T>(
        &self,
        find: Find<'_, Document>,
        read: impl FnMut(&Document) -> Option<T>,
    ) -> Result<Vec<T>, MongoDbError> {
        self.collect_in(&self.heartbeats, find, read)
    }

    fn collect_in<T>(
        &self,
        breaker: &Breaker,
        find: Find<'_, Document>,
        mut read: impl FnMut(&Document) -> Option<T>,
    ) -> Result<Vec<T>, MongoDbError> {
        self.run_steps(breaker, async {
            let mut cursor = in_time(async { find.batch_size(BATCH).await }).await?;
            let mut values = Vec::new();
            while in_time(cursor.advance()).await? {
                values.extend(read(&cursor.deserialize_current()?));
            }
            Ok(values)
        })
    }

    /// Many updates of the hosts' records in one command, in any order.
    pub(super) fn update(&self, updates: Vec<Document>) -> Result<Updated, MongoDbError> {
        self.update_in(&self.heartbeats, "servers", updates)
    }

    /// [`Connection::update_others`] on the way of heartbeats.
    pub(super) fn update_for_heartbeats(
        &self,
        collection: &str,
        updates: Vec<Document>,
    ) -> Result<Updated, MongoDbError> {
        self.update_in(&self.heartbeats, collection, updates)
    }

    /// Many updates in one command, in any order, of which no heartbeat waits.
    pub(super) fn update_others(
        &self,
        collection: &str,
        updates: Vec<Document>,
    ) -> Result<Updated, MongoDbError> {
        self.update_in(&self.single, collection, updates)
    }

    fn update_in(
        &self,
        breaker: &Breaker,
        collection: &str,
        updates: Vec<Document>,
    ) -> Result<Updated, MongoDbError> {
        let timeout_ms = i64::try_from(WRITE_TIMEOUT.as_millis()).unwrap_or(i64::MAX);
        let command = doc! {
            "update": collection,
            "updates": updates,
            "ordered": false,
            "writeConcern": {"w": "majority", "wtimeout": timeout_ms},
        };
        let operation = in_time(async { self.database.run_command(command).await });
        let reply = self.run_steps(breaker, operation)?;

        if let Ok(error) = reply.get_document("writeConcernError") {
            let reason = error.get_str("errmsg");
            return Err(MongoDbError::refused(
                reason.unwrap_or("the write concern failed"),
            ));
        }
        let errors = reply.get_array("writeErrors").map(Vec::as_slice);
        let errors = errors.unwrap_or_default().iter();
        let refused = errors
            .filter_map(|error| error.as_document())
            .map(RefusedUpdate::from_document);
        Ok(Updated {
            matched: read_count(&reply, "n").unwrap_or_default(),
            refused: refused.collect(),
        })
    }

    /// How many bytes a collection has, and how many it takes of the disk, with its
    /// indexes.
    pub(super) fn collection_bytes(
        &self,
        collection: &str,
    ) -> Result<(u64, u64), MongoDbError> {
        let stats = doc! {"collStats": collection};
        let stats = self.run(async { self.database.run_command(stats).await })?;
        let bytes = |name| read_count(&stats, name).unwrap_or_default() as u64;
        let indexes = bytes("totalIndexSize");
        Ok((bytes("size") + indexes, bytes("storageSize") + indexes))
    }

    /// MongoDB's clock.
    pub(super) fn clock(&self) -> Result<Timestamp, MongoDbError> {
        let hello = self.database.run_command(doc! {"hello": 1});
        let reply = self.run(async { hello.await })?;
        let now = reply
            .get_datetime("localTime")
            .map(|now| now.timestamp_millis());
        let now = now
            .ok()
            .and_then(|now| Timestamp::from_millisecond(now).ok());
        now.ok_or_else(|| MongoDbError::refused("MongoDB does not tell its time"))
    }

    /// Asks MongoDB for a sign of life.
    pub(super) fn ping(&self) -> Result<(), MongoDbError> {
        self.run(async { self.database.run_command(doc! {"ping": 1}).await })
            .map(|_| ())
    }

    /// Removes everything.
    #[cfg(test)]
    pub(super) fn drop_database(&self) -> Result<(), MongoDbError> {
        self.run(async { self.database.drop().await })
    }

    /// Whether the probing thread has ended without being asked to.
    pub(super) fn has_probe_ended(&self) -> bool {
        lock(&self.probe).as_ref().is_some_and(Worker::has_ended)
    }

    /// Ends the probing thread.
    pub(super) fn stop(&self) {
        let probe = lock(&self.probe).take();
        if let Some(probe) = probe {
            probe.stop();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.stop();
    }
}

impl RefusedUpdate {
    /// An error of a reply, read as far as it can be.
    fn from_document(error: &Document) -> RefusedUpdate {
        RefusedUpdate {
            index: read_count(error, "index").unwrap_or(usize::MAX),
            is_duplicate_key: read_count(error, "code")
                == usize::try_from(DUPLICATE_KEY).ok(),
            reason: error.get_str("errmsg").unwrap_or("refused").to_owned(),
        }
    }
}

/// Whether a connection could be made with this URL, as far as that can be told without
/// asking anybody: neither MongoDB nor the DNS.
///
/// # Errors
/// What is wrong, without any part of a password.
pub(super) fn check_url(url: &str) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    match try_url(&runtime, url) {
        Ok(()) => Ok(()),
        Err(_) => Err(explain_url(&runtime, url)),
    }
}

fn explain_url(runtime: &Runtime, url: &str) -> String {
    let try_url =
        |url: &str| try_url(runtime, url).map_err(|error| error.kind.to_string());
    url::explain(url, &SCHEMES, EXPECTED, try_url)
}

/// Makes a client with the URL's options, and drops it.
fn try_url(runtime: &Runtime, url: &str) -> Result<(), Error> {
    let parsed = ConnectionString::parse(url)?;
    runtime.block_on(async {
        let options = if url.starts_with(LOOKED_UP) {
            // The DNS would tell the hosts. Everything else is in the URL.
            ClientOptions::builder().tls(parsed.tls).build()
        } else {
            ClientOptions::parse(url).await?
        };
        Client::with_options(options).map(drop)
    })
}

/// A number of a reply, of whichever type.
fn read_count(reply: &Document, name: &str) -> Option<usize> {
    match reply.get(name)? {
        Bson::Int32(number) => usize::try_from(*number).ok(),
        Bson::Int64(number) => usize::try_from(*number).ok(),
        // A size may be one, too, and always is whole.
        Bson::Double(number) => format!("{number:.0}").parse().ok(),
        _ => None,
    }
}

fn cannot_start(error: &io::Error) -> StoreError {
    Setup::Start(error.to_string()).into()
}

/// The URL's options, and over them the options that this store relies on.
fn complete(mut options: ClientOptions, settings: &MongoDbSettings) -> ClientOptions {
    options
        .app_name
        .get_or_insert_with(|| "fleetbeat-server".to_owned());
    options.server_selection_timeout = Some(CONNECT_TIMEOUT);
    options.connect_timeout = Some(CONNECT_TIMEOUT);
    options.max_pool_size = Some(settings.connections.max(4));
    options.retry_writes.get_or_insert(true);

    let concern = WriteConcern::builder()
        .w(Acknowledgment::Majority)
        .w_timeout(WRITE_TIMEOUT)
        .build();
    options.write_concern = Some(concern);
    // A record that is copied to Redis must neither be behind nor be rolled back.
    options.selection_criteria =
        Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
    options.read_concern = Some(ReadConcern::majority());
    options
}

/// The operation's result, unless it comes too late; then the driver is told to forget
/// the operation.
async fn in_time<T>(
    operation: impl Future<Output = Result<T, Error>>,
) -> Result<T, MongoDbError> {
    match timeout(DEADLINE, operation).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Unavailable::Slow(DEADLINE).into()),
    }
}

/// Whether opening the store waits for a MongoDB that is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Patience {
    /// No: a command says that MongoDB is away, and ends.
    None,
    /// Yes, for as long as it takes: a server is of no use without MongoDB.
    UntilThere,
}

/// Runs `attempt`; with patience again and again, ever more slowly, until MongoDB is
/// there.
///
/// # Errors
/// A setting that can never work, or a refusal; without patience also that MongoDB is
/// away.
pub(super) fn retry_until_there<T>(
    patience: Patience,
    attempt: impl Fn() -> Result<T, MongoDbError>,
) -> Result<T, StoreError> {
    let mut wait = FIRST_RETRY_WAIT;
    loop {
        match attempt() {
            Err(error) if error.is_hopeless() => return Err(error.into_setting()),
            Err(error) if patience == Patience::UntilThere && error.is_away() => {
                log::warn!("waiting for MongoDB: {error}");
                thread::sleep(wait);
                wait = (wait * 2).min(MAX_RETRY_WAIT);
            }
            result => return Ok(result?),
        }
    }
}

/// Asks each second whether MongoDB is there, and decides that it is back. That it is
/// away an operation may find as well, where the probe gets no answer, either.
struct Probe {
    runtime: Arc<Runtime>,
    database: Database,
    is_up: Arc<AtomicBool>,
    answered: Arc<Mutex<Instant>>,
    /// This machine's clock and MongoDB's are too far apart.
    clock_trouble: Condition,
}

impl Probe {
    fn start(mut self) -> io::Result<Worker> {
        Worker::start("mongodb-probe", move |stop| {
            while stop.wait(PROBE_EVERY) {
                self.ask();
            }
        })
    }

    fn ask(&mut self) {
        // Unlike the reply to a ping, the reply to a hello tells the time.
        let hello = self.database.run_command(doc! {"hello": 1});
        let result = self
            .runtime
            .block_on(async { timeout(CONNECT_TIMEOUT, async { hello.await }).await });
        let reply = result.ok().and_then(Result::ok);

        if reply.is_some() {
            *lock(&self.answered) = Instant::now();
        }
        let was_up = self.is_up.swap(reply.is_some(), Ordering::Relaxed);
        match (was_up, reply.is_some()) {
            (true, false) => log::error!("MongoDB is away: it does not answer"),
            (false, true) => log::info!("MongoDB is back"),
            _ => {}
        }

        let offset = reply.and_then(|reply| clock_offset(&reply, clock::now()));
        if let Some(offset) = offset {
            self.compare_clocks(offset);
        }
    }

    fn compare_clocks(&mut self, offset: SignedDuration) {
        if agree(offset) {
            if self.clock_trouble.ends() {
                log::info!("this machine's clock agrees with MongoDB's again");
            }
        } else if self.clock_trouble.begins("the clocks are apart") {
            log::error!(
                "this machine's clock is {} s ahead of MongoDB's (behind, if negative): \
                 hosts may be called down that are not; synchronize both",
                offset.as_secs()
            );
        }
    }
}

fn agree(offset: SignedDuration) -> bool {
    offset.abs() <= MAX_CLOCK_OFFSET
}

/// How far `now` is ahead of the clock of the MongoDB that has just replied to a hello.
fn clock_offset(reply: &Document, now: Timestamp) -> Option<SignedDuration> {
    let mongodb_ms = reply.get_datetime("localTime").ok()?.timestamp_millis();
    let mongodb = Timestamp::from_millisecond(mongodb_ms).ok()?;
    Some(now.duration_since(mongodb))
}

#[cfg(test)]
mod tests {
    use mongodb::bson::DateTime;

    use super::*;

    #[test]
    fn a_hello_tells_how_far_the_clocks_are_apart() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let reply = |millis| doc! {"localTime": DateTime::from_millis(millis)};
        let offset =
            |millis| clock_offset(&reply(millis), now).map(|offset| offset.as_secs());
        assert_eq!(offset(1_800_000_000_000), Some(0));
        assert_eq!(offset(1_800_000_060_000), Some(-60));
        assert_eq!(offset(1_799_999_900_000), Some(100));
        assert_eq!(clock_offset(&doc! {"ok": 1}, now), None);
        for (secs, expected) in [(30, true), (-30, true), (31, false), (-31, false)] {
            assert_eq!(agree(SignedDuration::from_secs(secs)), expected, "{secs}");
        }
    }
}
