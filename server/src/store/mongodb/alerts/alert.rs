//! Alerts as documents, and how they are found.

use std::collections::BTreeMap;

use fleetbeat_protocol::Timestamp;
use mongodb::bson::{Document, doc};

use super::super::connection::Connection;
use super::super::document::{date, text, time};
use super::super::error::MongoDbError;
use super::condition::{is_behind, is_one_of};
use crate::store::alert_store::{AlertQuery, AlertRow, AlertState, Page, Place};

/// The words of the states of an alert that is not over.
pub(super) const OPEN: [&str; 2] =
    [AlertState::Pending.as_str(), AlertState::Firing.as_str()];

/// One alert.
pub(in crate::store::mongodb) fn alert(
    mongodb: &Connection,
    id: &str,
) -> Result<Option<AlertRow>, MongoDbError> {
    let alerts = mongodb.alerts();
    let found = mongodb.run(async { alerts.find_one(doc! {"_id": id}).await })?;
    Ok(found.as_ref().and_then(alert_from_document))
}

/// Some alerts.
pub(in crate::store::mongodb) fn find(
    mongodb: &Connection,
    query: &AlertQuery,
) -> Result<Page<AlertRow>, MongoDbError> {
    let mut condition = Document::new();
    let states = query.states.iter().map(|state| state.as_str());
    is_one_of(&mut condition, "state", states);
    let severities = query.severities.iter().map(String::as_str);
    is_one_of(&mut condition, "severity", severities);
    is_one_of(&mut condition, "rule", query.rule.as_deref());
    is_one_of(&mut condition, "server_id", query.server_id.as_deref());
    if let Some(Place { number, id }) = &query.after {
        let at = Timestamp::from_millisecond(*number).unwrap_or(Timestamp::MAX);
        is_behind(&mut condition, "opened_at", date(at), id);
    }

    let alerts = mongodb.alerts();
    let found = alerts.find(condition);
    let found = found.sort(doc! {"opened_at": -1, "_id": -1});
    let limit = i64::try_from(query.limit + 1).unwrap_or(i64::MAX);
    let rows = mongodb.collect(found.limit(limit), alert_from_document)?;
    Ok(Page::new(rows, query.limit, AlertRow::place))
}

/// An alert's fields, without those that say who wrote it.
pub(super) fn alert_to_document(alert: &AlertRow) -> Document {
    doc! {
        "rule": &alert.rule,
        "server_id": &alert.server_id,
        "severity": &alert.severity,
        "state": alert.state.as_str(),
        "opened_at": date(alert.opened_at),
        "ended_at": alert.ended_at.map(date),
        "body": &alert.body,
    }
}

pub(super) fn alert_from_document(document: &Document) -> Option<AlertRow> {
    let owned = |name| text(document, name).map(str::to_owned);
    let state = AlertState::from_word(text(document, "state")?);
    Some(AlertRow {
        id: owned("_id")?,
        rule: owned("rule")?,
        server_id: owned("server_id"),
        severity: owned("severity")?,
        // What somebody has edited is at least not hidden.
        state: state.unwrap_or(AlertState::Firing),
        opened_at: time(document, "opened_at")?,
        ended_at: time(document, "ended_at"),
        body: owned("body")?,
    })
}

/// The address and the name of each of these hosts that has a record.
pub(super) fn hosts(
    mongodb: &Connection,
    server_ids: &[&String],
) -> Result<BTreeMap<String, (String, String)>, MongoDbError> {
    if server_ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let servers = mongodb.servers();
    let asked = servers.find(doc! {"server_id": {"$in": server_ids.to_vec()}});
    let fields = doc! {"server_id": 1, "ip": 1, "hostname": 1};
    let found = mongodb.collect(asked.projection(fields), |server| {
        let owned = |name| text(server, name).unwrap_or_default().to_owned();
        Some((owned("server_id"), (owned("ip"), owned("hostname"))))
    })?;
    Ok(found.into_iter().collect())
}
