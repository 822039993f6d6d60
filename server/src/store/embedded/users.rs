//! The users in SQLite.

use std::io;

use fleetbeat_protocol::Role;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::row::{json, parsed};
use super::{api_tokens, events};
use crate::fleet::scope::HostScope;
use crate::store::error::{Conflict, StoreError};
use crate::store::event::Act;
use crate::store::user::{Totp, User, UserChange};
use crate::usernames::fold_username;

/// The columns that [`user_from_row`] reads.
const COLUMNS: &str = "user_id, username, role, hashed_password, token_version, \
    totp_secret, totp_pending, totp_step, recovery_codes, scope";

/// Every user, sorted by name.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<User>> {
    let select = format!("SELECT {COLUMNS} FROM users ORDER BY username");
    let mut statement = connection.prepare_cached(&select)?;
    statement.query_map([], user_from_row)?.collect()
}

/// One user: the one of this very name, or else of another spelling.
pub(super) fn by_name(
    connection: &Connection,
    username: &str,
) -> rusqlite::Result<Option<User>> {
    let select = format!(
        "SELECT {COLUMNS} FROM users WHERE username = ?1 OR name_key = ?2 \
         ORDER BY username = ?1 DESC, rowid LIMIT 1"
    );
    let mut statement = connection.prepare_cached(&select)?;
    let names = [username, &fold_username(username)];
    statement.query_row(names, user_from_row).optional()
}

/// Adds a user.
///
/// # Errors
/// Somebody has a spelling of the name.
pub(super) fn add(
    transaction: &Transaction<'_>,
    user: &User,
    act: &Act,
) -> Result<(), StoreError> {
    let key = fold_username(&user.username);
    let taken: Option<String> = transaction
        .query_row(
            "SELECT username FROM users WHERE name_key = ?1 OR username = ?2",
            [&key, &user.username],
            |row| row.get(0),
        )
        .optional()?;
    if let Some(username) = taken {
        return Err(Conflict::UserExists(username).into());
    }

    transaction.execute(
        "INSERT INTO users (name_key, user_id, username, role, hashed_password, \
         token_version, totp_secret, totp_pending, totp_step, recovery_codes, scope) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        params![
            key,
            user.id,
            user.username,
            user.role.as_str(),
            user.hashed_password,
            user.token_version,
            user.totp.secret,
            user.totp.pending,
            user.totp.last_step,
            json(&user.totp.recovery_codes),
            user.scope.as_ref().map(HostScope::as_str),
        ],
    )?;
    events::write(transaction, None, &user.created(act))?;
    Ok(())
}

/// Changes a user; `None` if the change does not fit the user any more.
///
/// # Errors
/// The user is not known, or is the last superadmin without a scope and would not be one
/// any more.
pub(super) fn change(
    transaction: &Transaction<'_>,
    username: &str,
    change: &UserChange,
    act: &Act,
) -> Result<Option<User>, StoreError> {
    let before = find(transaction, username)?;
    let Some((after, events)) = change.apply(&before, act) else {
        return Ok(None);
    };
    if !after.may_do_all() {
        refuse_last_superadmin(transaction, &before)?;
    }

    transaction.execute(
        "UPDATE users SET role = ?2, hashed_password = ?3, token_version = ?4, \
         totp_secret = ?5, totp_pending = ?6, totp_step = ?7, recovery_codes = ?8, \
         scope = ?9 WHERE username = ?1",
        params![
            after.username,
            after.role.as_str(),
            after.hashed_password,
            after.token_version,
            after.totp.secret,
            after.totp.pending,
            after.totp.last_step,
            json(&after.totp.recovery_codes),
            after.scope.as_ref().map(HostScope::as_str),
        ],
    )?;
    for event in &events {
        events::write(transaction, None, event)?;
    }
    Ok(Some(after))
}

/// Removes a user with the user's API tokens.
///
/// # Errors
/// The user is not known, or is the last superadmin without a scope.
pub(super) fn remove(
    transaction: &Transaction<'_>,
    username: &str,
    act: &Act,
) -> Result<(), StoreError> {
    let user = find(transaction, username)?;
    refuse_last_superadmin(transaction, &user)?;

    api_tokens::remove_of_user(transaction, &user.id)?;
    let delete = "DELETE FROM users WHERE username = ?1";
    transaction.execute(delete, [&user.username])?;
    events::write(transaction, None, &user.deleted(act))?;
    Ok(())
}

/// Gives names that an earlier version has stored what two spellings have in common.
pub(super) fn fill_keys(connection: &Connection) -> rusqlite::Result<()> {
    let mut select =
        connection.prepare("SELECT username FROM users WHERE name_key = ''")?;
    let names: rusqlite::Result<Vec<String>> =
        select.query_map([], |row| row.get(0))?.collect();
    for name in names? {
        let update = "UPDATE users SET name_key = ?2 WHERE username = ?1";
        connection.execute(update, [&name, &fold_username(&name)])?;
    }
    Ok(())
}

fn find(connection: &Connection, username: &str) -> Result<User, StoreError> {
    let found = by_name(connection, username)?;
    found.ok_or_else(|| Conflict::NoSuchUser(username.to_owned()).into())
}

/// Without the last superadmin nobody could manage users.
fn refuse_last_superadmin(
    connection: &Connection,
    user: &User,
) -> Result<(), StoreError> {
    let superadmins: i64 = connection.query_row(
        "SELECT count(*) FROM users WHERE role = ?1 AND scope IS NULL",
        [Role::Superadmin.as_str()],
        |row| row.get(0),
    )?;
    if user.may_do_all() && superadmins == 1 {
        return Err(Conflict::LastSuperadmin(user.username.clone()).into());
    }
    Ok(())
}

fn user_from_row(row: &Row<'_>) -> rusqlite::Result<User> {
    Ok(User {
        id: row.get(0)?,
        username: row.get(1)?,
        role: parsed(row, 2, |text| {
            text.parse::<Role>().map_err(io::Error::other)
        })?,
        hashed_password: row.get(3)?,
        token_version: row.get(4)?,
        totp: Totp {
            secret: row.get(5)?,
            pending: row.get(6)?,
            last_step: row.get(7)?,
            recovery_codes: parsed(row, 8, serde_json::from_str)?,
        },
        scope: scope(row)?,
    })
}

/// A scope that cannot be read is an error: a user without one would see every host.
fn scope(row: &Row<'_>) -> rusqlite::Result<Option<HostScope>> {
    if row.get_ref(9)? == ValueRef::Null {
        return Ok(None);
    }
    let scope = parsed(row, 9, |text| {
        HostScope::parse(text).map_err(io::Error::other)
    })?;
    Ok(Some(scope))
}
