//! The users in MongoDB.

use fleetbeat_protocol::Role;
use log::Level;
use mongodb::bson::{Document, doc};

use super::connection::Connection;
use crate::recurring::log_if_due;
use crate::store::error::{Conflict, StoreError};
use crate::store::user::User;

/// Every user, sorted by name.
pub(super) fn all(mongodb: &Connection) -> Result<Vec<User>, StoreError> {
    let collection = mongodb.users();
    let mut users: Vec<User> =
        mongodb.collect(collection.find(doc! {}), user_from_document)?;
    users.sort_unstable_by(|a, b| a.username.cmp(&b.username));
    Ok(users)
}

/// One user.
pub(super) fn by_name(
    mongodb: &Connection,
    username: &str,
) -> Result<Option<User>, StoreError> {
    let users = mongodb.users();
    let found =
        mongodb.run(async { users.find_one(doc! {"username": username}).await })?;
    Ok(found.as_ref().and_then(user_from_document))
}

/// Adds a user.
pub(super) fn add(mongodb: &Connection, user: &User) -> Result<(), StoreError> {
    let users = mongodb.users();
    let document = doc! {
        "username": &user.username,
        "role": user.role.as_str(),
        "hashed_password": &user.hashed_password,
        "token_version": &user.token_version,
    };
    match mongodb.run(async { users.insert_one(document).await }) {
        Err(error) if error.is_duplicate_key() => {
            Err(Conflict::UserExists(user.username.clone()).into())
        }
        Err(error) => Err(error.into()),
        Ok(_) => Ok(()),
    }
}

/// Replaces the hash of the password and the token version.
pub(super) fn set_password(
    mongodb: &Connection,
    username: &str,
    hashed_password: &str,
    token_version: &str,
) -> Result<(), StoreError> {
    let users = mongodb.users();
    let user = doc! {"username": username};
    let update = doc! {"$set": {
        "hashed_password": hashed_password,
        "token_version": token_version,
    }};
    let result = mongodb.run(async { users.update_one(user, update).await })?;
    if result.matched_count == 0 {
        return Err(Conflict::NoSuchUser(username.to_owned()).into());
    }
    Ok(())
}

/// Removes a user, unless nobody could manage users then.
pub(super) fn remove(mongodb: &Connection, username: &str) -> Result<(), StoreError> {
    let user = by_name(mongodb, username)?;
    let is_superadmin = user.is_some_and(|user| user.role == Role::Superadmin);
    if is_superadmin && count_superadmins(mongodb)? == 1 {
        return Err(Conflict::LastSuperadmin(username.to_owned()).into());
    }

    let users = mongodb.users();
    let user = doc! {"username": username};
    let removed = mongodb.run(async { users.find_one_and_delete(user).await })?;
    let removed = removed.ok_or_else(|| Conflict::NoSuchUser(username.to_owned()))?;

    if is_superadmin && count_superadmins(mongodb)? == 0 {
        // Two instances have each removed one of the last two at the same moment.
        mongodb.run(async { users.insert_one(removed).await })?;
        return Err(Conflict::LastSuperadmin(username.to_owned()).into());
    }
    Ok(())
}

fn count_superadmins(mongodb: &Connection) -> Result<u64, StoreError> {
    let users = mongodb.users();
    let superadmins = doc! {"role": Role::Superadmin.as_str()};
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
