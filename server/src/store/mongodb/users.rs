//! The users in MongoDB.

use fleetbeat_protocol::{Role, Timestamp};
use jiff::SignedDuration;
use log::Level;
use mongodb::bson::{Document, doc};

use super::connection::Connection;
use super::document::{carry, date};
use super::error::MongoDbError;
use super::pending;
use crate::recurring::log_if_due;
use crate::store::error::{Conflict, StoreError};
use crate::store::event::Act;
use crate::store::user::{self, User};

/// The field that marks a user who is being removed: since when.
const REMOVED: &str = "removed_at";
/// The time that a removal takes at most.
const REMOVAL_TIME: SignedDuration = SignedDuration::from_mins(1);

/// Every user, sorted by name.
pub(super) fn all(mongodb: &Connection) -> Result<Vec<User>, StoreError> {
    let collection = mongodb.users();
    let mut users: Vec<User> =
        mongodb.collect(collection.find(present()), user_from_document)?;
    users.sort_unstable_by(|a, b| a.username.cmp(&b.username));
    Ok(users)
}

/// One user.
pub(super) fn by_name(
    mongodb: &Connection,
    username: &str,
) -> Result<Option<User>, StoreError> {
    let users = mongodb.users();
    let found = mongodb.run(async { users.find_one(named(username)).await })?;
    Ok(found.as_ref().and_then(user_from_document))
}

/// Adds a user.
pub(super) fn add(
    mongodb: &Connection,
    user: &User,
    act: &Act,
) -> Result<(), StoreError> {
    let users = mongodb.users();
    let document = doc! {
        "username": &user.username,
        "role": user.role.as_str(),
        "hashed_password": &user.hashed_password,
        "token_version": &user.token_version,
        "pending": [pending::new_document(&user.created(act), None)],
    };
    match mongodb.run(async { users.insert_one(document).await }) {
        Err(error) if error.is_duplicate_key() => {
            Err(Conflict::UserExists(user.username.clone()).into())
        }
        Err(error) => Err(error.into()),
        Ok(_) => {
            deliver(mongodb, &user.username);
            Ok(())
        }
    }
}

/// Replaces the hash of the password and the token version.
pub(super) fn set_password(
    mongodb: &Connection,
    username: &str,
    hashed_password: &str,
    token_version: &str,
    act: &Act,
) -> Result<(), StoreError> {
    let users = mongodb.users();
    let mut update = doc! {"$set": {
        "hashed_password": hashed_password,
        "token_version": token_version,
    }};
    let event = user::password_changed(username, act);
    carry(&mut update, vec![pending::new_document(&event, None)]);
    let result =
        mongodb.run(async { users.update_one(named(username), update).await })?;
    if result.matched_count == 0 {
        return Err(Conflict::NoSuchUser(username.to_owned()).into());
    }
    deliver(mongodb, username);
    Ok(())
}

/// Removes a user, unless nobody could manage users then. First the user is marked as
/// removed, together with the event; a user who is marked does not count any more.
pub(super) fn remove(
    mongodb: &Connection,
    username: &str,
    act: &Act,
) -> Result<(), StoreError> {
    let user = by_name(mongodb, username)?;
    let is_superadmin = user.is_some_and(|user| user.role == Role::Superadmin);
    if is_superadmin && count_superadmins(mongodb)? == 1 {
        return Err(Conflict::LastSuperadmin(username.to_owned()).into());
    }

    let users = mongodb.users();
    let event = pending::new_document(&user::deleted(username, act), None);
    let name = event.get("_id").cloned();
    let mut mark = doc! {"$set": {REMOVED: date(act.at)}};
    carry(&mut mark, vec![event]);
    let marked = mongodb.run(async { users.update_one(named(username), mark).await })?;
    if marked.matched_count == 0 {
        return Err(Conflict::NoSuchUser(username.to_owned()).into());
    }

    if is_superadmin && count_superadmins(mongodb)? == 0 {
        // Two instances have each removed one of the last two at the same moment.
        let back = doc! {"$unset": {REMOVED: ""}, "$pull": {"pending": {"_id": name}}};
        let user = doc! {"username": username};
        mongodb.run(async { users.update_one(user, back).await })?;
        return Err(Conflict::LastSuperadmin(username.to_owned()).into());
    }
    finish(mongodb, doc! {"username": username})?;
    Ok(())
}

/// Removes users whom an instance has marked and not removed, because it was killed.
pub(super) fn finish_removals(
    mongodb: &Connection,
    now: Timestamp,
) -> Result<(), MongoDbError> {
    let old = now.checked_sub(REMOVAL_TIME).unwrap_or(Timestamp::MIN);
    finish(mongodb, doc! {REMOVED: {"$lt": date(old)}})
}

/// Removes the marked users that `condition` selects, once their events are delivered.
fn finish(mongodb: &Connection, condition: Document) -> Result<(), MongoDbError> {
    let users = mongodb.users();
    let mut marked = doc! {REMOVED: {"$exists": true}};
    marked.extend(condition);
    pending::deliver(mongodb, &users, marked.clone())?;
    // Another event may have come since.
    marked.insert("pending.0", doc! {"$exists": false});
    mongodb.run(async { users.delete_many(marked).await })?;
    Ok(())
}

/// Delivers the user's events. What fails here is done by the watch.
fn deliver(mongodb: &Connection, username: &str) {
    let user = doc! {"username": username};
    if let Err(error) = pending::deliver(mongodb, &mongodb.users(), user) {
        log::debug!("events of a user wait: {error}");
    }
}

/// The condition for users who are not marked as removed.
fn present() -> Document {
    doc! {REMOVED: {"$exists": false}}
}

/// The condition for a user who is not marked as removed.
fn named(username: &str) -> Document {
    doc! {"username": username, REMOVED: {"$exists": false}}
}

fn count_superadmins(mongodb: &Connection) -> Result<u64, StoreError> {
    let users = mongodb.users();
    let mut superadmins = present();
    superadmins.insert("role", Role::Superadmin.as_str());
    Ok(mongodb.run(async { users.count_documents(superadmins).await })?)
}

/// A user; `None`, and a line in the log, for one without a name, a known role or a
/// password.
fn user_from_document(document: &Document) -> Option<User> {
    let read = || {
        Some(User {
            username: document.get_str("username").ok()?.to_owned(),
            role: document.get_str("role").ok()?.parse::<Role>().ok()?,
            hashed_password: document.get_str("hashed_password").ok()?.to_owned(),
            token_version: document
                .get_str("token_version")
                .unwrap_or_default()
                .to_owned(),
        })
    };
    let user = read();
    if user.is_none() {
        let line = || {
            let id = document.get("_id");
            format!("a damaged user in MongoDB is left out: {id:?}")
        };
        log_if_due(Level::Warn, "damaged users", "", line);
    }
    user
}
