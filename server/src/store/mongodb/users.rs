//! The users in MongoDB.

use std::collections::BTreeSet;

use fleetbeat_protocol::{Role, Timestamp};
use log::Level;
use mongodb::bson::{Bson, Document, doc};

use super::connection::Connection;
use super::document::{carry, text};
use super::error::MongoDbError;
use super::pending::{self, REMOVED};
use crate::fleet::scope::HostScope;
use crate::recurring::log_if_due;
use crate::store::error::{Conflict, StoreError};
use crate::store::event::Act;
use crate::store::user::{Totp, User, UserChange};
use crate::usernames::fold_username;

/// The field that spellings of one name have in common.
const NAME_KEY: &str = "name_key";
/// So often in a row a user is not changed by others between reading and writing.
const MAX_TRIES: usize = 16;

/// Every user, sorted by name.
pub(super) fn all(mongodb: &Connection) -> Result<Vec<User>, StoreError> {
    let collection = mongodb.users();
    let present = pending::not_removed();
    let mut users: Vec<User> =
        mongodb.collect(collection.find(present), user_from_document)?;
    users.sort_unstable_by(|a, b| a.username.cmp(&b.username));
    Ok(users)
}

/// One user: the one of this very name, or else of another spelling.
pub(super) fn by_name(
    mongodb: &Connection,
    username: &str,
) -> Result<Option<User>, StoreError> {
    let found = find(mongodb, username)?;
    Ok(found.as_ref().and_then(user_from_document))
}

/// Adds a user.
pub(super) fn add(
    mongodb: &Connection,
    user: &User,
    act: &Act,
) -> Result<(), StoreError> {
    if let Some(other) = by_name(mongodb, &user.username)? {
        return Err(Conflict::UserExists(other.username).into());
    }

    let users = mongodb.users();
    let mut document = doc! {
        "user_id": &user.id,
        "username": &user.username,
        NAME_KEY: fold_username(&user.username),
        "pending": [pending::new_document(&user.created(act), None)],
    };
    document.extend(fields(user));
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

/// Changes a user; `None` if the change does not fit the user any more. The update finds
/// the user only as it was read.
pub(super) fn change(
    mongodb: &Connection,
    username: &str,
    change: &UserChange,
    act: &Act,
) -> Result<Option<User>, StoreError> {
    let users = mongodb.users();
    for _ in 0..MAX_TRIES {
        let document = find(mongodb, username)?;
        let before = document.as_ref().and_then(user_from_document);
        let (Some(document), Some(before)) = (document, before) else {
            return Err(Conflict::NoSuchUser(username.to_owned()).into());
        };
        let Some((after, events)) = change.apply(&before, act) else {
            return Ok(None);
        };
        let is_demoted = before.may_do_all() && !after.may_do_all();
        if is_demoted && count_superadmins(mongodb)? == 1 {
            return Err(Conflict::LastSuperadmin(before.username).into());
        }

        let events: Vec<Document> = events
            .iter()
            .map(|event| pending::new_document(event, None))
            .collect();
        let told: Vec<Bson> = events
            .iter()
            .filter_map(|event| event.get("_id").cloned())
            .collect();
        let mut update = doc! {"$set": fields(&after), "$inc": {"rev": 1_i64}};
        carry(&mut update, events);
        let changed = users.update_one(as_read(&document), update);
        if mongodb.run(async { changed.await })?.matched_count == 0 {
            continue;
        }

        if is_demoted && count_superadmins(mongodb)? == 0 {
            // Two instances have each demoted one of the last two at the same moment.
            let back = doc! {
                "$set": {"role": before.role.as_str(), "scope": null},
                "$inc": {"rev": 1_i64},
                "$pull": {"pending": {"_id": {"$in": told}}},
            };
            let user = doc! {"username": &before.username};
            mongodb.run(async { users.update_one(user, back).await })?;
            return Err(Conflict::LastSuperadmin(before.username).into());
        }
        deliver(mongodb, &after.username);
        return Ok(Some(after));
    }
    Err(MongoDbError::refused("the user changes all the time").into())
}

/// Removes a user, unless nobody could manage users then. First the user is marked as
/// removed, together with the event; a user who is marked does not count any more.
pub(super) fn remove(
    mongodb: &Connection,
    username: &str,
    act: &Act,
) -> Result<(), StoreError> {
    let Some(user) = by_name(mongodb, username)? else {
        return Err(Conflict::NoSuchUser(username.to_owned()).into());
    };
    let is_superadmin = user.may_do_all();
    if is_superadmin && count_superadmins(mongodb)? == 1 {
        return Err(Conflict::LastSuperadmin(user.username).into());
    }

    let users = mongodb.users();
    let event = pending::new_document(&user.deleted(act), None);
    let told = event.get("_id").cloned();
    let mark = pending::mark_removed(act.at, event);
    let named = exactly(&user.username);
    let marked = mongodb.run(async { users.update_one(named, mark).await })?;
    if marked.matched_count == 0 {
        return Err(Conflict::NoSuchUser(user.username).into());
    }

    if is_superadmin && count_superadmins(mongodb)? == 0 {
        // Two instances have each removed one of the last two at the same moment.
        let back = doc! {"$unset": {REMOVED: ""}, "$pull": {"pending": {"_id": told}}};
        let named = doc! {"username": &user.username};
        mongodb.run(async { users.update_one(named, back).await })?;
        return Err(Conflict::LastSuperadmin(user.username).into());
    }
    finish(mongodb, doc! {"username": &user.username})?;
    Ok(())
}

/// Removes the marked users that `condition` selects, with their API tokens.
fn finish(mongodb: &Connection, condition: Document) -> Result<(), MongoDbError> {
    let users = mongodb.users();
    let mut marked = doc! {REMOVED: {"$exists": true}};
    marked.extend(condition.clone());
    let ids = users.find(marked).projection(doc! {"user_id": 1});
    let ids = mongodb.collect(ids, id_of)?;
    if !ids.is_empty() {
        let tokens = mongodb.api_tokens();
        let of_users = doc! {"user_id": {"$in": ids}};
        mongodb.run(async { tokens.delete_many(of_users).await })?;
    }
    pending::finish_removals(mongodb, &users, condition)
}

/// Gives names that an earlier version has stored what two spellings have in common. Of
/// two users with one name, the second is found by the own spelling alone.
pub(super) fn fill_keys(mongodb: &Connection) -> Result<(), MongoDbError> {
    let users = mongodb.users();
    let unfilled = users.find(doc! {NAME_KEY: {"$exists": false}});
    let names: BTreeSet<String> = mongodb
        .collect(unfilled, |user| text(user, "username").map(str::to_owned))?
        .into_iter()
        .collect();
    for name in names {
        let fill = doc! {"$set": {NAME_KEY: fold_username(&name)}};
        let named = doc! {"username": &name};
        match mongodb.run(async { users.update_one(named, fill).await }) {
            Err(error) if error.is_duplicate_key() => log::warn!(
                "two users have spellings of the name {name:?}: remove one of them"
            ),
            result => drop(result?),
        }
    }
    Ok(())
}

/// The document of a user.
fn find(mongodb: &Connection, username: &str) -> Result<Option<Document>, MongoDbError> {
    let users = mongodb.users();
    for (field, value) in [
        ("username", username.to_owned()),
        (NAME_KEY, fold_username(username)),
    ] {
        let mut condition = pending::not_removed();
        condition.insert(field, value);
        let found = mongodb.run(async { users.find_one(condition).await })?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// What is kept of a user and may change.
fn fields(user: &User) -> Document {
    doc! {
        "role": user.role.as_str(),
        "hashed_password": &user.hashed_password,
        "token_version": &user.token_version,
        "totp_secret": user.totp.secret.clone(),
        "totp_pending": user.totp.pending.clone(),
        "totp_step": user.totp.last_step,
        "recovery_codes": user.totp.recovery_codes.clone(),
        "scope": user.scope.as_ref().map(HostScope::to_string),
    }
}

/// The condition for a user who is as it was read. A version that counts no revisions
/// changes the token version with everything.
fn as_read(document: &Document) -> Document {
    let mut condition = pending::not_removed();
    for name in ["_id", "token_version", "rev"] {
        let value = document.get(name).cloned();
        let missing = || Bson::from(doc! {"$exists": false});
        condition.insert(name, value.unwrap_or_else(missing));
    }
    condition
}

/// Delivers the user's events. What fails here is done by the watch.
fn deliver(mongodb: &Connection, username: &str) {
    let user = doc! {"username": username};
    if let Err(error) = pending::deliver(mongodb, &mongodb.users(), user) {
        log::debug!("events of a user wait: {error}");
    }
}

/// The condition for a user of this very name who is not marked as removed.
fn exactly(username: &str) -> Document {
    let mut condition = pending::not_removed();
    condition.insert("username", username);
    condition
}

/// How many superadmins there are without a scope.
fn count_superadmins(mongodb: &Connection) -> Result<u64, StoreError> {
    let users = mongodb.users();
    let mut superadmins = pending::not_removed();
    superadmins.insert("role", Role::Superadmin.as_str());
    // Also where the field is missing.
    superadmins.insert("scope", Bson::Null);
    Ok(mongodb.run(async { users.count_documents(superadmins).await })?)
}

/// Removes users whom an instance has marked and not removed, because it was killed.
pub(super) fn finish_removals(
    mongodb: &Connection,
    now: Timestamp,
) -> Result<(), MongoDbError> {
    finish(mongodb, pending::removed_long_before(now))
}

/// The id of a user. A version that gave users none has left them MongoDB's own.
fn id_of(document: &Document) -> Option<String> {
    let mongodbs = || Some(document.get_object_id("_id").ok()?.to_hex());
    let own = text(document, "user_id").map(str::to_owned);
    own.or_else(mongodbs)
}

/// A user; `None`, and a line in the log, for one without a name, a known role or a
/// password, or with a scope that cannot be read: a user without one would see every host.
fn user_from_document(document: &Document) -> Option<User> {
    let user = read_user(document);
    if user.is_none() {
        let line = || {
            let id = document.get("_id");
            format!("a damaged user in MongoDB is left out: {id:?}")
        };
        log_if_due(Level::Warn, "damaged users", "", line);
    }
    user
}

fn read_user(document: &Document) -> Option<User> {
    let owned = |name| text(document, name).map(str::to_owned);
    let codes = document.get_array("recovery_codes").ok();
    let codes = codes.into_iter().flatten().filter_map(Bson::as_str);
    let scope = match document.get("scope") {
        None | Some(Bson::Null) => None,
        Some(scope) => Some(HostScope::parse(scope.as_str()?).ok()?),
    };
    Some(User {
        id: id_of(document)?,
        username: owned("username")?,
        role: owned("role")?.parse::<Role>().ok()?,
        hashed_password: owned("hashed_password")?,
        token_version: owned("token_version").unwrap_or_default(),
        totp: Totp {
            secret: owned("totp_secret"),
            pending: owned("totp_pending"),
            last_step: document.get_i64("totp_step").unwrap_or_default(),
            recovery_codes: codes.map(str::to_owned).collect(),
        },
        scope,
    })
}
