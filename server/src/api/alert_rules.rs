//! `/alert-rules`: what makes an alert, and who is told of it.

use fleetbeat_alerts::{Subject, Words};
use fleetbeat_daemon::clock;
use fleetbeat_protocol::{FieldError, Rule};
use serde::Serialize;

use super::body;
use super::kept::{self, Kept, MAX_BYTES, Shown, Told, by};
use super::state::ApiState;
use crate::alerting::{MAX_RULES, advise, read_policies};
use crate::auth::Caller;
use crate::http::{Failure, Reply, Request, Response};
use crate::store::{EventKind, Expected, ObjectKind, facts};

/// `GET`: every rule, in the order of names.
pub(super) fn list(
    api: &ApiState,
    _: &Caller,
    _: &mut Request,
) -> Result<Reply, Failure> {
    let channels = read_policies(&*api.alerts)?;
    let rules = api.alerts.alert_objects(ObjectKind::Rule)?.into_iter();
    let mut rules: Vec<Shown<Rule>> = rules
        .filter_map(|rule| Shown::read(rule, |rule| advise(rule, &channels, &[])))
        .collect();
    rules.sort_by(|one, other| one.kept.what.name.cmp(&other.kept.what.name));
    Ok(Reply::Now(Response::json(200, &rules)))
}

/// `POST`: makes a rule.
pub(super) fn create(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let rule = read(request)?;
    let warnings = advise(&rule, &read_policies(&*api.alerts)?, &[]);
    let id = kept::new_id("rul")?;
    let told = told(&id, EventKind::RuleCreated, &rule);
    let kept = Kept::new(rule, by(caller), clock::now());
    let new = Expected::Nothing { most: MAX_RULES };
    let version = kept::put(api, (caller, request), told, &kept, new)?;
    let location = format!("/alert-rules/{id}");
    let shown = Shown {
        id,
        version,
        kept,
        warnings,
    };
    let response = shown.answer(201);
    Ok(Reply::Now(response.with_header("Location", location)))
}

/// `GET /alert-rules/{id}`: one rule.
pub(super) fn show(
    api: &ApiState,
    _: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let object = kept::find(api, ObjectKind::Rule, request)?;
    let channels = read_policies(&*api.alerts)?;
    let shown = Shown::read(object, |rule| advise(rule, &channels, &[]));
    let shown = shown.ok_or_else(|| kept::unknown(ObjectKind::Rule))?;
    Ok(Reply::Now(shown.answer(200)))
}

/// `PUT /alert-rules/{id}`: replaces a rule as a whole.
pub(super) fn replace(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let rule = read(request)?;
    let warnings = advise(&rule, &read_policies(&*api.alerts)?, &[]);
    let object = kept::find(api, ObjectKind::Rule, request)?;
    let expected = kept::expected(request, &object)?;
    let told = told(&object.id, EventKind::RuleChanged, &rule);
    let now = clock::now();
    let kept = match kept::read::<Rule>(&object) {
        Some(before) => before.changed(rule, by(caller), now),
        None => Kept::new(rule, by(caller), now),
    };
    let version = kept::put(api, (caller, request), told, &kept, expected)?;
    let shown = Shown {
        id: object.id,
        version,
        kept,
        warnings,
    };
    Ok(Reply::Now(shown.answer(200)))
}

/// What a rule would say now.
#[derive(Serialize)]
struct Tested {
    /// How many hosts it means.
    hosts: usize,
    would_fire: Vec<WouldFire>,
    warnings: Vec<FieldError>,
}

/// Who would fire.
#[derive(Serialize)]
struct WouldFire {
    subject: Subject,
    object: String,
    value: Option<f64>,
}

/// `POST /alert-rules/test`: what the rule would say of the fleet now, if its `for` were
/// over. Nothing is kept and nobody is told.
pub(super) fn test(
    api: &ApiState,
    _: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let rule = read(request)?;
    let (run, warnings) = api.alerting.dry_run(&rule, clock::now())?;
    let would_fire = run.found.into_iter().map(|found| WouldFire {
        subject: found.subject,
        object: found.object,
        value: found.value,
    });
    let answer = Tested {
        hosts: run.hosts,
        would_fire: would_fire.collect(),
        warnings,
    };
    Ok(Reply::Now(Response::json(200, &answer)))
}

/// `DELETE /alert-rules/{id}`: removes a rule. Its alerts are over.
pub(super) fn remove(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let object = kept::find(api, ObjectKind::Rule, request)?;
    let rule = kept::read::<Rule>(&object);
    let name = rule.map(|rule| rule.what.name).unwrap_or_default();
    let told = Told {
        kind: ObjectKind::Rule,
        id: &object.id,
        event: EventKind::RuleDeleted,
        facts: facts([("rule", object.id.as_str().into()), ("name", name.into())]),
    };
    kept::remove(api, (caller, request), told, clock::now())
}

/// The rule in the body.
fn read(request: &mut Request) -> Result<Rule, Failure> {
    let body = body::read(request, MAX_BYTES)?;
    Rule::from_json(&body::parse(&body)?, &Words).map_err(Failure::invalid)
}

fn told<'a>(id: &'a str, event: EventKind, rule: &Rule) -> Told<'a> {
    Told {
        kind: ObjectKind::Rule,
        id,
        event,
        facts: facts([("rule", id.into()), ("name", rule.name.as_str().into())]),
    }
}
