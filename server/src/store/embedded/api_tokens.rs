//! The API tokens in SQLite.

use std::io;

use fleetbeat_protocol::Timestamp;
use ipnet::IpNet;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::events;
use super::row::{json, optional_timestamp, parsed, timestamp};
use crate::store::api_token::ApiToken;
use crate::store::error::{Conflict, StoreError};
use crate::store::event::Act;

/// The columns that [`token_from_row`] reads.
const COLUMNS: &str = "id, user_id, username, name, hash, scopes, networks, created_at, \
    expires_at, last_used_on";

/// Every token, the oldest first.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<ApiToken>> {
    let select = format!("SELECT {COLUMNS} FROM api_tokens ORDER BY created_at, id");
    let mut statement = connection.prepare_cached(&select)?;
    statement.query_map([], token_from_row)?.collect()
}

/// Adds a token.
pub(super) fn add(
    transaction: &Transaction<'_>,
    token: &ApiToken,
    act: &Act,
) -> rusqlite::Result<()> {
    let networks: Vec<String> = token.networks.iter().map(ToString::to_string).collect();
    let day = token.last_used_on.map(Timestamp::as_millisecond);
    let insert = format!(
        "INSERT INTO api_tokens ({COLUMNS}) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"
    );
    transaction.execute(
        &insert,
        params![
            token.id,
            token.user_id,
            token.username,
            token.name,
            token.hash,
            json(&token.scopes),
            json(&networks),
            token.created_at.as_millisecond(),
            token.expires_at.as_millisecond(),
            day,
        ],
    )?;
    events::write(transaction, None, &token.created(act))?;
    Ok(())
}

/// Revokes a token.
///
/// # Errors
/// The token is not known.
pub(super) fn remove(
    transaction: &Transaction<'_>,
    id: &str,
    act: &Act,
) -> Result<(), StoreError> {
    let delete = format!("DELETE FROM api_tokens WHERE id = ?1 RETURNING {COLUMNS}");
    let removed = transaction.query_row(&delete, [id], token_from_row);
    let Some(token) = removed.optional()? else {
        return Err(Conflict::NoSuchToken(id.to_owned()).into());
    };
    events::write(transaction, None, &token.revoked(act))?;
    Ok(())
}

/// Removes the tokens of a user who is removed.
pub(super) fn remove_of_user(
    transaction: &Transaction<'_>,
    user_id: &str,
) -> rusqlite::Result<()> {
    let delete = "DELETE FROM api_tokens WHERE user_id = ?1";
    transaction.execute(delete, [user_id]).map(|_| ())
}

/// Notes the day of a token's last use.
pub(super) fn note_use(
    transaction: &Transaction<'_>,
    id: &str,
    day: Timestamp,
) -> rusqlite::Result<()> {
    let update = "UPDATE api_tokens SET last_used_on = ?2 WHERE id = ?1";
    let values = params![id, day.as_millisecond()];
    transaction.execute(update, values).map(|_| ())
}

fn token_from_row(row: &Row<'_>) -> rusqlite::Result<ApiToken> {
    Ok(ApiToken {
        id: row.get(0)?,
        user_id: row.get(1)?,
        username: row.get(2)?,
        name: row.get(3)?,
        hash: row.get(4)?,
        scopes: parsed(row, 5, serde_json::from_str)?,
        networks: parsed(row, 6, parse_networks)?,
        created_at: timestamp(row, 7)?,
        expires_at: timestamp(row, 8)?,
        last_used_on: optional_timestamp(row, 9)?,
    })
}

fn parse_networks(text: &str) -> Result<Vec<IpNet>, io::Error> {
    let networks: Vec<String> = serde_json::from_str(text)?;
    let networks = networks.iter().map(|network| network.parse());
    networks.collect::<Result<_, _>>().map_err(io::Error::other)
}
