//! The connection to MongoDB, with a deadline for everything and a circuit breaker.
//!
//! The driver is asynchronous underneath and knows no deadline for an operation, so this
//! file runs it on a small runtime of its own and cancels what takes too long; nobody
//! else sees a future. While MongoDB is away every operation fails at once, and one
//! thread asks each second whether it is back.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fleetbeat_protocol::Timestamp;
use jiff::SignedDuration;
use mongodb::bson::{Document, doc};
use mongodb::error::Error;
use mongodb::options::{
    Acknowledgment, ClientOptions, ReadConcern, ReadPreference, SelectionCriteria,
    WriteConcern,
};
use mongodb::{Client, Collection, Database};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::error::MongoDbError;
use crate::config::MongoDbSettings;
use crate::store::error::{Setup, StoreError, Unavailable};
use crate::sync::locked;

/// An agent gets its answer within 3 s, whatever happens.
const DEADLINE: Duration = Duration::from_millis(1800);
/// Selecting a server and connecting to it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a majority may take to confirm a write.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// Documents that arrive together.
const BATCH: u32 = 2000;
/// Between two looks at a MongoDB that is away, or may have gone.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// Longest wait between two attempts at the start.
const MAX_RETRY_WAIT: Duration = Duration::from_secs(30);

/// Clocks farther apart than this are worth a word: the instances' clocks decide which
/// host is silent.
const MAX_CLOCK_OFFSET: SignedDuration = SignedDuration::from_secs(30);

pub(super) struct Link {
    runtime: Arc<Runtime>,
    database: Database,
    is_up: Arc<AtomicBool>,
    probe: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
}

impl Link {
    /// Prepares the connection; nothing is sent yet.
    pub(super) fn connect(settings: &MongoDbSettings) -> Result<Link, MongoDbError> {
        let start =
            |error: std::io::Error| StoreError::from(Setup::Start(error.to_string()));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("mongodb")
            .enable_all()
            .build()
            .map_err(start)?;
        let wrong = |error| MongoDbError::of_url(error, &settings.url);
        let mut options = runtime
            .block_on(async { ClientOptions::parse(&settings.url).await })
            .map_err(wrong)?;
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
        // What is copied to Redis must neither be behind nor be rolled back.
        options.selection_criteria =
            Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
        options.read_concern = Some(ReadConcern::majority());
        let client = runtime
            .block_on(async { Client::with_options(options) })
            .map_err(wrong)?;
        let database = client.database(&settings.database);
        let (runtime, is_up) = (Arc::new(runtime), Arc::new(AtomicBool::new(true)));
        let probe = start_probe(runtime.clone(), database.clone(), is_up.clone())
            .map_err(start)?;
        Ok(Link {
            runtime,
            database,
            is_up,
            probe: Mutex::new(Some(probe)),
        })
    }

    pub(super) fn servers(&self) -> Collection<Document> {
        self.database.collection("servers")
    }

    pub(super) fn users(&self) -> Collection<Document> {
        self.database.collection("users")
    }

    pub(super) fn history(&self) -> Collection<Document> {
        self.database.collection("history")
    }

    pub(super) fn leases(&self) -> Collection<Document> {
        self.database.collection("leases")
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
        self.run_steps(in_time(operation))
    }

    /// Runs an operation that keeps its deadlines itself.
    fn run_steps<T>(
        &self,
        steps: impl Future<Output = Result<T, MongoDbError>>,
    ) -> Result<T, MongoDbError> {
        if !self.is_up() {
            return Err(StoreError::from(Unavailable::Away).into());
        }
        let result = self.runtime.block_on(steps);
        if let Err(error) = result.as_ref()
            && error.is_away()
            && self.is_up.swap(false, Ordering::Relaxed)
        {
            log::error!("MongoDB is away: {error}");
        }
        result
    }

    /// What `read` makes of each document that a query gives, but for `None`. Each batch
    /// has its own deadline: a large fleet takes several.
    pub(super) fn collect<T>(
        &self,
        find: mongodb::action::Find<'_, Document>,
        mut read: impl FnMut(&Document) -> Option<T>,
    ) -> Result<Vec<T>, MongoDbError> {
        self.run_steps(async {
            let mut cursor = in_time(async { find.batch_size(BATCH).await }).await?;
            let mut values = Vec::new();
            while in_time(cursor.advance()).await? {
                values.extend(read(&cursor.deserialize_current()?));
            }
            Ok(values)
        })
    }

    /// Many updates of `servers` in one command, in any order; gives the refused ones by
    /// index, code and reason.
    pub(super) fn update(
        &self,
        updates: Vec<Document>,
    ) -> Result<Vec<(usize, i32, String)>, MongoDbError> {
        let command = doc! {
            "update": "servers",
            "updates": updates,
            "ordered": false,
            "writeConcern": {"w": "majority", "wtimeout": i64::try_from(WRITE_TIMEOUT.as_millis()).unwrap_or(i64::MAX)},
        };
        let reply = self.run(async { self.database.run_command(command).await })?;
        if let Ok(error) = reply.get_document("writeConcernError") {
            return Err(MongoDbError::refused(
                error
                    .get_str("errmsg")
                    .unwrap_or("the write concern failed"),
            ));
        }
        let errors = reply
            .get_array("writeErrors")
            .map(Vec::as_slice)
            .unwrap_or_default();
        let errors = errors.iter().filter_map(|error| error.as_document());
        Ok(errors
            .map(|error| {
                let number = |key| {
                    error
                        .get_i32(key)
                        .ok()
                        .or_else(|| error.get_i64(key).ok()?.try_into().ok())
                };
                let index = number("index")
                    .and_then(|index| usize::try_from(index).ok())
                    .unwrap_or(usize::MAX);
                let reason = error.get_str("errmsg").unwrap_or("refused");
                (index, number("code").unwrap_or_default(), reason.to_owned())
            })
            .collect())
    }

    pub(super) fn ping(&self) -> Result<(), MongoDbError> {
        self.run(async { self.database.run_command(doc! {"ping": 1}).await })
            .map(|_| ())
    }

    /// Removes everything.
    #[cfg(test)]
    pub(super) fn drop_database(&self) -> Result<(), MongoDbError> {
        self.run(async { self.database.drop().await })
    }

    /// Ends the probing thread.
    pub(super) fn stop(&self) {
        if let Some((stop, thread)) = locked(&self.probe).take() {
            drop(stop);
            let _ = thread.join();
        }
    }
}

/// The operation's result, unless it comes too late; then the driver is told to forget
/// it.
async fn in_time<T>(
    operation: impl Future<Output = Result<T, Error>>,
) -> Result<T, MongoDbError> {
    match timeout(DEADLINE, operation).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(StoreError::from(Unavailable::Slow(DEADLINE)).into()),
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Whether opening the store waits for a MongoDB that is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Patience {
    /// Not at all: a command says so and ends.
    None,
    /// As long as it takes: a server is of no use without it.
    UntilThere,
}

/// Runs `attempt`; with patience again and again, ever more slowly, until MongoDB is
/// there.
pub(super) fn retry_until_there<T>(
    patience: Patience,
    attempt: impl Fn() -> Result<T, MongoDbError>,
) -> Result<T, StoreError> {
    let mut wait = Duration::from_millis(500);
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

/// Asks each second whether MongoDB is there. Only this turns "away" back into "there".
fn start_probe(
    runtime: Arc<Runtime>,
    database: Database,
    is_up: Arc<AtomicBool>,
) -> std::io::Result<(Sender<()>, JoinHandle<()>)> {
    let (stop, stopped) = mpsc::channel();
    let thread = thread::Builder::new().name("mongodb-probe".to_owned()).spawn(move || {
        let mut clocks_agree = true;
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(PROBE_EVERY) {
            // Unlike a ping, it tells the time.
            let hello = database.run_command(doc! {"hello": 1});
            let result = runtime.block_on(async { timeout(CONNECT_TIMEOUT, async { hello.await }).await });
            let reply = result.ok().and_then(Result::ok);
            let was_there = is_up.swap(reply.is_some(), Ordering::Relaxed);
            match (was_there, reply.is_some()) {
                (true, false) => log::error!("MongoDB is away: it does not answer"),
                (false, true) => log::info!("MongoDB is back"),
                _ => {}
            }
            if let Some(offset) = reply.as_ref().and_then(|reply| clock_offset(reply, Timestamp::now())) {
                let agreed = std::mem::replace(&mut clocks_agree, agree(offset));
                match (agreed, clocks_agree) {
                    (true, false) => log::error!(
                        "this machine's clock is {} s ahead of MongoDB's (behind, if negative): hosts may be \
                         called down that are not; synchronize both",
                        offset.as_secs()
                    ),
                    (false, true) => log::info!("this machine's clock agrees with MongoDB's again"),
                    _ => {}
                }
            }
        }
    })?;
    Ok((stop, thread))
}

fn agree(offset: SignedDuration) -> bool {
    offset.abs() <= MAX_CLOCK_OFFSET
}

/// How far `now` is ahead of the clock of the MongoDB that has just replied to a hello.
fn clock_offset(reply: &Document, now: Timestamp) -> Option<SignedDuration> {
    let theirs = Timestamp::from_millisecond(
        reply.get_datetime("localTime").ok()?.timestamp_millis(),
    )
    .ok()?;
    Some(now.duration_since(theirs))
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
