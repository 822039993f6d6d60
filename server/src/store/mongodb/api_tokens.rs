//! The API tokens in MongoDB.

use fleetbeat_protocol::{Scope, Timestamp};
use ipnet::IpNet;
use log::Level;
use mongodb::bson::{Bson, Document, doc};

use super::connection::Connection;
use super::document::{date, text, time};
use super::error::MongoDbError;
use super::pending;
use crate::recurring::log_if_due;
use crate::store::api_token::ApiToken;
use crate::store::error::{Conflict, StoreError};
use crate::store::event::Act;

/// Every token, the oldest first.
pub(super) fn all(mongodb: &Connection) -> Result<Vec<ApiToken>, MongoDbError> {
    let tokens = mongodb.api_tokens();
    let all = tokens.find(pending::not_removed());
    let mut all = mongodb.collect(all, token_from_document)?;
    all.sort_unstable_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    Ok(all)
}

/// Adds a token.
pub(super) fn add(
    mongodb: &Connection,
    token: &ApiToken,
    act: &Act,
) -> Result<(), MongoDbError> {
    let networks: Vec<String> = token.networks.iter().map(ToString::to_string).collect();
    let scopes: Vec<&str> = token.scopes.iter().map(|scope| scope.as_str()).collect();
    let document = doc! {
        "_id": &token.id,
        "user_id": &token.user_id,
        "username": &token.username,
        "name": &token.name,
        "hash": &token.hash,
        "scopes": scopes,
        "networks": networks,
        "created_at": date(token.created_at),
        "expires_at": date(token.expires_at),
        "last_used_on": token.last_used_on.map(date),
        "pending": [pending::new_document(&token.created(act), None)],
    };
    let tokens = mongodb.api_tokens();
    mongodb.run(async { tokens.insert_one(document).await })?;

    if let Err(error) = pending::deliver(mongodb, &tokens, doc! {"_id": &token.id}) {
        log::debug!("events of an API token wait: {error}");
    }
    Ok(())
}

/// Revokes a token. First it is marked as removed, together with the event.
pub(super) fn remove(
    mongodb: &Connection,
    id: &str,
    act: &Act,
) -> Result<(), StoreError> {
    let unknown = || Conflict::NoSuchToken(id.to_owned());
    let tokens = mongodb.api_tokens();
    let mut present = pending::not_removed();
    present.insert("_id", id);
    let found = mongodb.run(async { tokens.find_one(present.clone()).await })?;
    let token = found.as_ref().and_then(token_from_document);
    let token = token.ok_or_else(unknown)?;

    let event = pending::new_document(&token.revoked(act), None);
    let mark = pending::mark_removed(act.at, event);
    let marked = mongodb.run(async { tokens.update_one(present, mark).await })?;
    if marked.matched_count == 0 {
        return Err(unknown().into());
    }
    pending::finish_removals(mongodb, &tokens, doc! {"_id": id})?;
    Ok(())
}

/// Notes the day of a token's last use.
pub(super) fn note_use(
    mongodb: &Connection,
    id: &str,
    day: Timestamp,
) -> Result<(), MongoDbError> {
    let tokens = mongodb.api_tokens();
    let note = doc! {"$set": {"last_used_on": date(day)}};
    let token = doc! {"_id": id};
    mongodb.run(async { tokens.update_one(token, note).await })?;
    Ok(())
}

/// Removes tokens that an instance has marked and not removed, because it was killed.
pub(super) fn finish_removals(
    mongodb: &Connection,
    now: Timestamp,
) -> Result<(), MongoDbError> {
    let old = pending::removed_long_before(now);
    pending::finish_removals(mongodb, &mongodb.api_tokens(), old)
}

/// A token; `None`, and a line in the log, for one that cannot be read as a whole: it
/// must not be worth more than it was.
fn token_from_document(document: &Document) -> Option<ApiToken> {
    let token = read_token(document);
    if token.is_none() {
        let line = || {
            let id = document.get("_id");
            format!("a damaged API token in MongoDB is left out: {id:?}")
        };
        log_if_due(Level::Warn, "damaged API tokens", "", line);
    }
    token
}

fn read_token(document: &Document) -> Option<ApiToken> {
    let owned = |name| text(document, name).map(str::to_owned);
    Some(ApiToken {
        id: owned("_id")?,
        user_id: owned("user_id")?,
        username: owned("username")?,
        name: owned("name")?,
        hash: owned("hash")?,
        scopes: each(document, "scopes", |scope| scope.parse::<Scope>().ok())?,
        networks: each(document, "networks", |network| {
            network.parse::<IpNet>().ok()
        })?,
        created_at: time(document, "created_at")?,
        expires_at: time(document, "expires_at")?,
        last_used_on: time(document, "last_used_on"),
    })
}

/// What `parse` makes of each text of an array; `None` if there is one of which it makes
/// nothing.
fn each<T>(
    document: &Document,
    name: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Option<Vec<T>> {
    let elements = document.get_array(name).ok()?.iter();
    elements
        .map(|element| parse(Bson::as_str(element)?))
        .collect()
}
