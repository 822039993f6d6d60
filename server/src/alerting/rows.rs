//! Alerts and deliveries on their way into the store and back.

use std::collections::HashSet;

use fleetbeat_alerts::{
    Alert, Delivery, DeliveryState as State, EngineState, Saved, SavedDelivery,
};
use fleetbeat_protocol::Timestamp;

use crate::store::{AlertRow, AlertState, DeliveryRow, DeliveryState, SavedAlerts};

/// An alert as the store has it.
pub(super) fn alert_row(alert: &Alert) -> AlertRow {
    AlertRow {
        id: alert.id.clone(),
        rule: alert.rule.clone(),
        server_id: alert.subject.server_id().map(str::to_owned),
        severity: alert.severity.as_str().to_owned(),
        state: AlertState::from_word(alert.state.as_str()).unwrap_or(AlertState::Firing),
        opened_at: alert.opened_at,
        ended_at: alert.ended_at,
        body: serde_json::to_string(alert).expect("an alert is plain JSON"),
    }
}

/// A delivery that nobody has tried, as the store has it.
pub(super) fn delivery_row(
    delivery: &Delivery,
    state: State,
    now: Timestamp,
) -> DeliveryRow {
    let mut seen = HashSet::new();
    let alerts = delivery.items.iter().map(|item| item.alert.clone());
    let is_settled = state != State::Waiting;
    DeliveryRow {
        id: delivery.id.clone(),
        number: delivery.number,
        channel: delivery.channel.clone(),
        alerts: alerts.filter(|alert| seen.insert(alert.clone())).collect(),
        folds: delivery.folds.clone(),
        state: DeliveryState::from_word(state.as_str()).unwrap_or(DeliveryState::Waiting),
        created_at: delivery.created_at,
        asked_at: None,
        next_at: delivery.created_at,
        settled_at: is_settled.then_some(now),
        tries: 0,
        error: (state == State::Dead).then(|| "channel_deleted".to_owned()),
        body: serde_json::to_string(delivery).expect("a delivery is plain JSON"),
        message: None,
    }
}

/// What the engine goes on with. What cannot be read, which somebody has edited, is left
/// out.
pub(super) fn saved(rows: &SavedAlerts) -> Saved {
    let state = rows.state.as_deref();
    Saved {
        state: state.and_then(engine_state),
        alerts: rows
            .alerts
            .iter()
            .filter_map(|row| parsed(&row.id, &row.body))
            .collect(),
        deliveries: rows.deliveries.iter().filter_map(saved_delivery).collect(),
    }
}

/// What an engine has remembered.
pub(super) fn engine_state(text: &str) -> Option<EngineState> {
    parsed("the engine's state", text)
}

/// A delivery as the engine goes on with it.
pub(super) fn saved_delivery(row: &DeliveryRow) -> Option<SavedDelivery> {
    let delivery: Delivery = parsed(&row.id, &row.body)?;
    Some(SavedDelivery {
        // Patience begins anew with one that somebody wants to be tried again.
        delivery: Delivery {
            created_at: row.waits_since(),
            ..delivery
        },
        state: state(row.state),
        tries: row.tries,
        next_at: row.next_at,
        message: row.message.clone(),
    })
}

/// One that is asked for waits.
fn state(state: DeliveryState) -> State {
    match state {
        DeliveryState::Waiting | DeliveryState::Asked => State::Waiting,
        DeliveryState::Sending => State::Sending,
        DeliveryState::Sent => State::Sent,
        DeliveryState::Dead => State::Dead,
        DeliveryState::Dismissed => State::Dismissed,
        DeliveryState::Folded => State::Folded,
    }
}

fn parsed<T: serde::de::DeserializeOwned>(what: &str, text: &str) -> Option<T> {
    let parsed = serde_json::from_str(text);
    let tell = |error: &serde_json::Error| {
        log::error!("{what} in the database is damaged and left out: {error}");
    };
    parsed.inspect_err(tell).ok()
}
