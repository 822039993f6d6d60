//! `/mutes`: when nobody is told of the alerts of some hosts.

use std::collections::BTreeSet;

use fleetbeat_alerts::Words;
use fleetbeat_daemon::clock;
use fleetbeat_protocol::{FieldError, Mute};

use super::body;
use super::kept::{self, Kept, MAX_BYTES, Shown, Told, by};
use super::state::ApiState;
use crate::auth::Caller;
use crate::http::{Failure, Reply, Request, Response};
use crate::store::{EventKind, Expected, Facts, ObjectKind, facts};

/// How many mutes there may be.
const MAX_MUTES: usize = 1000;

/// `GET`: every mute, in the order of their ends.
pub(super) fn list(
    api: &ApiState,
    _: &Caller,
    _: &mut Request,
) -> Result<Reply, Failure> {
    let rules = rules(api)?;
    let mutes = api.alerts.alert_objects(ObjectKind::Mute)?.into_iter();
    let mut mutes: Vec<Shown<Mute>> = mutes
        .filter_map(|mute| Shown::read(mute, |mute| warnings(mute, &rules)))
        .collect();
    mutes.sort_by_key(|mute| mute.kept.what.until);
    Ok(Reply::Now(Response::json(200, &mutes)))
}

/// `POST`: makes a mute.
pub(super) fn create(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let now = clock::now();
    let body = body::read(request, MAX_BYTES)?;
    let mute = Mute::from_json(&body::parse(&body)?, now, &Words);
    let mute = mute.map_err(Failure::invalid)?;

    let warnings = warnings(&mute, &rules(api)?);
    let id = kept::new_id("mut")?;
    let told = Told {
        kind: ObjectKind::Mute,
        id: &id,
        event: EventKind::MuteCreated,
        facts: describe(&id, &mute),
    };
    let kept = Kept::new(mute, by(caller), now);
    let new = Expected::Nothing { most: MAX_MUTES };
    let version = kept::put(api, (caller, request), told, &kept, new)?;
    let shown = Shown {
        id,
        version,
        kept,
        warnings,
    };
    Ok(Reply::Now(shown.answer(201)))
}

/// `DELETE /mutes/{id}`: ends a mute.
pub(super) fn remove(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let object = kept::find(api, ObjectKind::Mute, request)?;
    let mute = kept::read::<Mute>(&object);
    let named = || facts([("mute", object.id.as_str().into())]);
    let told = Told {
        kind: ObjectKind::Mute,
        id: &object.id,
        event: EventKind::MuteDeleted,
        facts: mute.map_or_else(named, |mute| describe(&object.id, &mute.what)),
    };
    kept::remove(api, (caller, request), told, clock::now())
}

/// What an event tells of a mute.
fn describe(id: &str, mute: &Mute) -> Facts {
    facts([
        ("mute", id.into()),
        ("where", mute.select.as_str().into()),
        ("until", mute.until.to_string().into()),
    ])
}

/// The ids of all rules.
fn rules(api: &ApiState) -> Result<BTreeSet<String>, Failure> {
    let rules = api.alerts.alert_objects(ObjectKind::Rule)?;
    Ok(rules.into_iter().map(|rule| rule.id).collect())
}

/// What of a mute is likely not meant so.
fn warnings(mute: &Mute, rules: &BTreeSet<String>) -> Vec<FieldError> {
    let named = mute.rules.iter().enumerate();
    let unknown = named.filter(|(_, id)| !rules.contains(*id));
    unknown
        .map(|(place, _)| {
            FieldError::new(format!("rules[{place}]"), "there is no such rule")
        })
        .collect()
}
