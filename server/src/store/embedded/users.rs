//! The users in SQLite.

use std::io;

use fleetbeat_protocol::Role;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::events;
use super::row::parsed;
use crate::store::error::{Conflict, StoreError};
use crate::store::event::Act;
use crate::store::user::{self, User};

/// Every user, sorted by name.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<User>> {
    let mut statement = connection.prepare_cached(
        "SELECT username, role, hashed_password, token_version FROM users \
         ORDER BY username",
    )?;
    statement.query_map([], user_from_row)?.collect()
}

/// One user.
pub(super) fn by_name(
    connection: &Connection,
    username: &str,
) -> rusqlite::Result<Option<User>> {
    let mut statement = connection.prepare_cached(
        "SELECT username, role, hashed_password, token_version FROM users \
         WHERE username = ?1",
    )?;
    statement.query_row([username], user_from_row).optional()
}

/// Adds a user.
///
/// # Errors
/// The name is taken.
pub(super) fn add(
    transaction: &Transaction<'_>,
    user: &User,
    act: &Act,
) -> Result<(), StoreError> {
    let User {
        username,
        role,
        hashed_password,
        token_version,
    } = user;
    let added = transaction.execute(
        "INSERT INTO users (username, role, hashed_password, token_version) \
         VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        params![username, role.as_str(), hashed_password, token_version],
    )?;
    if added == 0 {
        return Err(Conflict::UserExists(username.clone()).into());
    }
    events::write(transaction, None, &user.created(act))?;
    Ok(())
}

/// Replaces the hash of the password and the token version.
///
/// # Errors
/// The user is not known.
pub(super) fn set_password(
    transaction: &Transaction<'_>,
    username: &str,
    hashed_password: &str,
    token_version: &str,
    act: &Act,
) -> Result<(), StoreError> {
    let changed = transaction.execute(
        "UPDATE users SET hashed_password = ?2, token_version = ?3 WHERE username = ?1",
        [username, hashed_password, token_version],
    )?;
    if changed == 0 {
        return Err(Conflict::NoSuchUser(username.to_owned()).into());
    }
    events::write(transaction, None, &user::password_changed(username, act))?;
    Ok(())
}

/// Removes a user.
///
/// # Errors
/// The user is not known, or is the last superadmin.
pub(super) fn remove(
    transaction: &Transaction<'_>,
    username: &str,
    act: &Act,
) -> Result<(), StoreError> {
    let role: Option<String> = transaction
        .query_row(
            "SELECT role FROM users WHERE username = ?1",
            [username],
            |row| row.get(0),
        )
        .optional()?;
    let Some(role) = role else {
        return Err(Conflict::NoSuchUser(username.to_owned()).into());
    };

    let superadmins: i64 = transaction.query_row(
        "SELECT count(*) FROM users WHERE role = ?1",
        [Role::Superadmin.as_str()],
        |row| row.get(0),
    )?;
    if role == Role::Superadmin.as_str() && superadmins == 1 {
        return Err(Conflict::LastSuperadmin(username.to_owned()).into());
    }

    transaction.execute("DELETE FROM users WHERE username = ?1", [username])?;
    events::write(transaction, None, &user::deleted(username, act))?;
    Ok(())
}

fn user_from_row(row: &Row<'_>) -> rusqlite::Result<User> {
    Ok(User {
        username: row.get(0)?,
        role: parsed(row, 1, |text| {
            text.parse::<Role>().map_err(io::Error::other)
        })?,
        hashed_password: row.get(2)?,
        token_version: row.get(3)?,
    })
}
