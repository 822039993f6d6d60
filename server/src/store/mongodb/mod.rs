//! The production store: MongoDB holds the truth, Redis a copy of it for readers.
//!
//! Heartbeats and flags are written to MongoDB alone, each by statements that leave the
//! other's fields as they are, so the two never race. Every write moves a record's
//! version. What has changed is then read back from MongoDB, many records at once, and
//! copied to Redis, where a copy loses against a newer one. Whatever is lost on that way
//! (Redis away, an instance killed in between) costs readers time, never the truth: see
//! ARCHITECTURE.md.

mod connection;
mod document;
mod error;
mod fleet;
mod lease;
mod redis;
mod refresh;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fleetbeat_protocol::{FlagsPatch, Role, Server, Status, Timestamp};
use mongodb::IndexModel;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::{FindOneAndUpdateOptions, IndexOptions, ReturnDocument};

use self::connection::Link;
pub(super) use self::connection::Patience;
use self::document::{Upsert, Versioned, date, flags_update, user_from_document};
use self::error::{DUPLICATE_KEY, MongoDbError};
use self::fleet::Known;
use self::lease::Lease;
use self::redis::Cache;
use self::refresh::Refresh;
use super::backend::Store;
use super::error::{Conflict, Setup, StoreError};
use super::server::{Beat, Fleet, ServerStore, Supersedes, Swept};
use super::user::{User, UserStore};
use crate::config::MongoDbSettings;
use crate::sync::locked;

/// A first heartbeat may meet another instance's, or an id that is taken: so often in a
/// row it does not.
const UPSERT_ROUNDS: usize = 5;
/// After this no further round begins.
const MAX_ROUNDS: Duration = Duration::from_millis(400);
/// History deleted at once.
const MAX_DELETED: i64 = 2000;
/// Records asked for by address at once.
const MAX_ASKED: usize = 500;

/// The store on MongoDB and Redis.
pub(crate) struct MongoDb {
    shared: Arc<Shared>,
    known: Mutex<Known>,
    lease: Lease,
    refresh: Option<Refresh>,
    is_closed: AtomicBool,
}

/// What the refreshing thread works with, too.
struct Shared {
    link: Link,
    cache: Option<Cache>,
}

impl MongoDb {
    /// Connects and makes the indexes; several instances may do so at once. With
    /// `patience` it waits for a MongoDB that is away.
    ///
    /// # Errors
    /// A URL that can never work, a refused login, a TLS failure.
    pub(crate) fn open(
        settings: &MongoDbSettings,
        patience: Patience,
    ) -> Result<MongoDb, StoreError> {
        let cache = match settings.redis.as_slice() {
            [] => None,
            urls => Some(Cache::new(urls)?),
        };
        let link = connection::retry_until_there(patience, || Link::connect(settings))?;
        let shared = Arc::new(Shared { link, cache });
        connection::retry_until_there(patience, || shared.make_indexes())?;
        let refresh = shared
            .cache
            .is_some()
            .then(|| Refresh::start(shared.clone()))
            .transpose();
        let refresh = refresh.map_err(|error| Setup::Start(error.to_string()))?;
        let lease = Lease::new(settings.sweep_interval);
        Ok(MongoDb {
            shared,
            known: Mutex::new(Known::new()),
            lease,
            refresh,
            is_closed: AtomicBool::new(false),
        })
    }

    /// These records have changed: their copies in Redis are to be renewed.
    fn changed(&self, ips: impl IntoIterator<Item = IpAddr>) {
        if let Some(refresh) = &self.refresh {
            refresh.add(ips);
        }
    }
}

impl Shared {
    fn make_indexes(&self) -> Result<(), MongoDbError> {
        let index = |keys: Document| IndexModel::builder().keys(keys).build();
        // A record without the field, which another program has left there, must not keep
        // us from starting.
        let unique_index = |field: &str| {
            let unique = IndexOptions::builder().unique(true).sparse(true).build();
            IndexModel::builder()
                .keys(doc! {field: 1})
                .options(unique)
                .build()
        };
        let once = IndexOptions::builder().unique(true).build();
        let once = IndexModel::builder()
            .keys(doc! {"ip": 1, "collected_at": 1})
            .options(once)
            .build();
        let (servers, users, history) =
            (self.link.servers(), self.link.users(), self.link.history());
        self.link.run(async {
            servers
                .create_indexes([
                    unique_index("ip"),
                    unique_index("server_id"),
                    index(doc! {"last_heartbeat": 1}),
                    index(doc! {"status": 1}),
                ])
                .await?;
            users.create_index(unique_index("username")).await?;
            history
                .create_indexes([once, index(doc! {"collected_at": 1})])
                .await
        })?;
        Ok(())
    }

    /// The records of these hosts, as they are in MongoDB; `None` for those that are
    /// gone.
    fn read(
        &self,
        ips: &[IpAddr],
    ) -> Result<BTreeMap<IpAddr, Option<Versioned>>, MongoDbError> {
        let mut records: BTreeMap<IpAddr, Option<Versioned>> =
            ips.iter().map(|ip| (*ip, None)).collect();
        for chunk in ips.chunks(MAX_ASKED) {
            let asked: Vec<String> = chunk.iter().map(ToString::to_string).collect();
            let servers = self.link.servers();
            let found = servers.find(doc! {"ip": {"$in": asked}});
            for record in self.link.collect(found, Versioned::from_document)? {
                records.insert(record.server.ip, Some(record));
            }
        }
        Ok(records)
    }
}

impl ServerStore for MongoDb {
    fn record(&self, beats: &[Beat]) -> Result<BTreeSet<IpAddr>, StoreError> {
        let result = self.upsert(beats);
        // Whatever came of it, MongoDB may have changed them.
        self.changed(beats.iter().map(|beat| beat.ip));
        result
    }

    fn fleet(&self, known: Option<&Arc<Fleet>>) -> Result<Arc<Fleet>, StoreError> {
        locked(&self.known).fleet(&self.shared, known)
    }

    fn server(&self, ip: IpAddr) -> Result<Option<Server>, StoreError> {
        match self.shared.read(&[ip]) {
            Ok(mut records) => {
                Ok(records.remove(&ip).flatten().map(|record| record.server))
            }
            Err(error) => match locked(&self.known).server(ip) {
                Some(server) => Ok(Some(server)),
                None => Err(error.into()),
            },
        }
    }

    fn set_flags(
        &self,
        ip: IpAddr,
        patch: FlagsPatch,
    ) -> Result<Option<Server>, StoreError> {
        let options = FindOneAndUpdateOptions::builder()
            .return_document(ReturnDocument::After)
            .build();
        let servers = self.shared.link.servers();
        let update = servers
            .find_one_and_update(doc! {"ip": ip.to_string()}, flags_update(patch))
            .with_options(options);
        let result = self.shared.link.run(async { update.await });
        // Whatever came of it, MongoDB may have changed it.
        self.changed([ip]);
        let Some(document) = result? else {
            return Ok(None);
        };
        let record = Versioned::from_document(&document);
        if let (Some(cache), Some(record)) = (
            self.shared.cache.as_ref().filter(|cache| cache.is_up()),
            &record,
        ) {
            // At once, for whoever looks there next; should it fail, the refresh will
            // not.
            let _ = cache.store(std::slice::from_ref(record), &[]);
        }
        Ok(record.map(|record| record.server))
    }

    fn sweep(
        &self,
        down_before: Timestamp,
        delete_before: Timestamp,
    ) -> Result<Swept, StoreError> {
        if !self.lease.acquire(&self.shared.link)? {
            return Ok(Swept::default());
        }
        let link = &self.shared.link;
        let old = doc! {"last_heartbeat": {"$lt": date(delete_before)}, "static": {"$ne": true}};
        let deleted = self.sweep_each(&old, |these| {
            let servers = link.servers();
            link.run(async { servers.delete_many(these).await })
                .map(|result| result.deleted_count)
        })?;
        let silent = doc! {"last_heartbeat": {"$lt": date(down_before)}, "status": {"$ne": Status::Down.as_str()}};
        let down = self.sweep_each(&silent, |these| {
            let servers = link.servers();
            let update =
                doc! {"$set": {"status": Status::Down.as_str()}, "$inc": {"rev": 1_i64}};
            link.run(async { servers.update_many(these, update).await })
                .map(|result| result.modified_count)
        })?;
        if let Err(error) = self.forget_history(delete_before) {
            log::warn!("old history stays for now: {error}");
        }
        Ok(Swept { down, deleted })
    }
}

impl UserStore for MongoDb {
    fn users(&self) -> Result<Vec<User>, StoreError> {
        let collection = self.shared.link.users();
        let mut users: Vec<User> = self
            .shared
            .link
            .collect(collection.find(doc! {}), user_from_document)?;
        users.sort_unstable_by(|a, b| a.username.cmp(&b.username));
        Ok(users)
    }

    fn user(&self, username: &str) -> Result<Option<User>, StoreError> {
        let users = self.shared.link.users();
        let found = self
            .shared
            .link
            .run(async { users.find_one(doc! {"username": username}).await })?;
        Ok(found.as_ref().and_then(user_from_document))
    }

    fn add_user(&self, user: &User) -> Result<(), StoreError> {
        let users = self.shared.link.users();
        let document = doc! {
            "username": &user.username, "role": user.role.as_str(),
            "hashed_password": &user.hashed_password, "token_version": &user.token_version,
        };
        match self
            .shared
            .link
            .run(async { users.insert_one(document).await })
        {
            Err(error) if error.is_duplicate_key() => {
                Err(Conflict::UserExists(user.username.clone()).into())
            }
            result => Ok(result.map(|_| ())?),
        }
    }

    fn set_password(
        &self,
        username: &str,
        hashed_password: &str,
        token_version: &str,
    ) -> Result<(), StoreError> {
        let users = self.shared.link.users();
        let update = doc! {"$set": {"hashed_password": hashed_password, "token_version": token_version}};
        let result = self
            .shared
            .link
            .run(async { users.update_one(doc! {"username": username}, update).await })?;
        if result.matched_count == 0 {
            Err(Conflict::NoSuchUser(username.to_owned()).into())
        } else {
            Ok(())
        }
    }

    fn remove_user(&self, username: &str) -> Result<(), StoreError> {
        let users = self.shared.link.users();
        let superadmin = doc! {"role": Role::Superadmin.as_str()};
        let count = || {
            let superadmins = users.count_documents(superadmin.clone());
            self.shared.link.run(async { superadmins.await })
        };
        let is_superadmin = self
            .user(username)?
            .is_some_and(|user| user.role == Role::Superadmin);
        if is_superadmin && count()? == 1 {
            return Err(Conflict::LastSuperadmin(username.to_owned()).into());
        }
        let removed = self.shared.link.run(async {
            users.find_one_and_delete(doc! {"username": username}).await
        })?;
        let removed = removed.ok_or_else(|| Conflict::NoSuchUser(username.to_owned()))?;
        if is_superadmin && count()? == 0 {
            // Two instances have each removed one of the last two at the same moment.
            self.shared
                .link
                .run(async { users.insert_one(removed).await })?;
            return Err(Conflict::LastSuperadmin(username.to_owned()).into());
        }
        Ok(())
    }
}

impl Store for MongoDb {
    fn close(&self) {
        if self.is_closed.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Some(refresh) = &self.refresh {
            refresh.stop();
        }
        self.lease.release(&self.shared.link);
        locked(&self.known).stop();
        self.shared.link.stop();
    }

    fn ping(&self) -> Result<(), StoreError> {
        Ok(self.shared.link.ping()?)
    }

    fn cache_is_up(&self) -> Option<bool> {
        self.shared.cache.as_ref().map(Cache::is_up)
    }
}

impl MongoDb {
    /// Stores the heartbeats, in as many rounds as it takes.
    fn upsert(&self, beats: &[Beat]) -> Result<BTreeSet<IpAddr>, StoreError> {
        let started = Instant::now();
        self.keep_history(beats)?;
        let mut open: Vec<(&Beat, Upsert)> = newest_of_each_host(beats)
            .into_iter()
            .map(|beat| (beat, Upsert::default()))
            .collect();
        for _ in 0..UPSERT_ROUNDS {
            let updates = open
                .iter()
                .map(|(beat, how)| document::upsert(beat, *how))
                .collect();
            let refused = self.shared.link.update(updates)?;
            if refused.is_empty() {
                return Ok(BTreeSet::new());
            }
            let mut again = Vec::new();
            for (index, code, message) in refused {
                let (beat, mut how) = *open
                    .get(index)
                    .ok_or_else(|| MongoDbError::refused(&*message))?;
                if code != DUPLICATE_KEY {
                    log::warn!("MongoDB refuses the record of {}: {message}", beat.ip);
                    how.mend = true;
                } else if beat.supersedes != Supersedes::Always
                    && !message.contains("server_id")
                {
                    // The host has something newer, which a spooled heartbeat meets when
                    // it is inserted.
                    how.insert = false;
                }
                again.push((beat, how));
            }
            open = again;
            if started.elapsed() > MAX_ROUNDS {
                break;
            }
        }
        // A spooled heartbeat whose host has something newer is stored: it is history.
        Ok(open
            .into_iter()
            .filter(|(_, how)| how.insert)
            .map(|(beat, _)| beat.ip)
            .collect())
    }

    /// Spooled heartbeats, once per host and time.
    fn keep_history(&self, beats: &[Beat]) -> Result<(), StoreError> {
        let documents: Vec<Document> =
            beats.iter().filter_map(document::history).collect();
        if documents.is_empty() {
            return Ok(());
        }
        let history = self.shared.link.history();
        match self
            .shared
            .link
            .run(async { history.insert_many(documents).ordered(false).await })
        {
            Err(error) if error.is_duplicate_key() => Ok(()),
            result => Ok(result.map(|_| ())?),
        }
    }

    /// Deletes history from before `delete_before`, some at a time.
    fn forget_history(&self, delete_before: Timestamp) -> Result<(), StoreError> {
        let (link, history) = (&self.shared.link, self.shared.link.history());
        loop {
            let old = history.find(doc! {"collected_at": {"$lt": date(delete_before)}});
            let found = old.projection(doc! {"_id": 1}).limit(MAX_DELETED);
            let ids: Vec<Bson> =
                link.collect(found, |document| document.get("_id").cloned())?;
            if ids.is_empty() {
                return Ok(());
            }
            link.run(async { history.delete_many(doc! {"_id": {"$in": ids}}).await })?;
        }
    }

    /// Applies `change` to the hosts that `condition` selects, some at a time and each
    /// only while it still holds; gives how many it changed.
    fn sweep_each(
        &self,
        condition: &Document,
        change: impl Fn(Document) -> Result<u64, MongoDbError>,
    ) -> Result<usize, StoreError> {
        let link = &self.shared.link;
        let servers = link.servers();
        let found = servers.find(condition.clone()).projection(doc! {"ip": 1});
        let ips: Vec<IpAddr> =
            link.collect(found, |document| document.get_str("ip").ok()?.parse().ok())?;
        let mut changed = 0;
        for chunk in ips.chunks(MAX_ASKED) {
            let mut these = condition.clone();
            these.insert(
                "ip",
                doc! {"$in": chunk.iter().map(|ip| Bson::from(ip.to_string())).collect::<Vec<_>>()},
            );
            let result = change(these);
            self.changed(chunk.iter().copied());
            changed += result?;
        }
        Ok(usize::try_from(changed).unwrap_or(usize::MAX))
    }
}

/// One heartbeat for each host: the last live one, or else the newest spooled one. A
/// command's updates have no certain order, and the others would be overwritten at once.
fn newest_of_each_host(beats: &[Beat]) -> Vec<&Beat> {
    let mut newest: BTreeMap<IpAddr, &Beat> = BTreeMap::new();
    for beat in beats {
        let entry = newest.entry(beat.ip).or_insert(beat);
        let is_live = |beat: &Beat| beat.supersedes == Supersedes::Always;
        if is_live(beat) || (!is_live(entry) && beat.at > entry.at) {
            *entry = beat;
        }
    }
    newest.into_values().collect()
}

impl Drop for MongoDb {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
impl MongoDb {
    /// Removes everything.
    pub(super) fn drop_database(&self) -> Result<(), StoreError> {
        Ok(self.shared.link.drop_database()?)
    }

    /// Reads everything again whenever it can.
    pub(super) fn reload_always(&self) {
        locked(&self.known).reload_every = Duration::ZERO;
    }

    /// What another program does to the records.
    pub(super) fn tamper(&self, condition: Document, update: Option<Document>) {
        let servers = self.shared.link.servers();
        let link = &self.shared.link;
        match update {
            Some(update) => drop(
                link.run(async { servers.update_one(condition, update).await })
                    .unwrap(),
            ),
            None => drop(
                link.run(async { servers.delete_one(condition).await })
                    .unwrap(),
            ),
        }
    }
}
