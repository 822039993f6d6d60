//! What people set up for alerts: how it is read, changed and shown.

use fleetbeat_protocol::{FieldError, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::accounts::no_random;
use super::state::ApiState;
pub(super) use crate::alerting::Kept;
use crate::alerting::{self, read_kept};
use crate::auth::Caller;
use crate::http::{Failure, Reply, Request, Response, negotiation};
use crate::store::{
    Conflict, EventKind, Expected, Facts, Object, ObjectChange, ObjectKind, StoreError,
};

/// The longest body.
pub(super) const MAX_BYTES: usize = 32 * 1024;

/// One of them on the wire.
#[derive(Serialize)]
pub(super) struct Shown<T> {
    pub(super) id: String,
    pub(super) version: i64,
    #[serde(flatten)]
    pub(super) kept: Kept<T>,
    /// What is likely not meant so.
    pub(super) warnings: Vec<FieldError>,
}

impl<T: DeserializeOwned + Serialize> Shown<T> {
    /// What the object is; `None`, and a line in the log, for one that cannot be read.
    pub(super) fn read(
        object: Object,
        warn: impl Fn(&T) -> Vec<FieldError>,
    ) -> Option<Shown<T>> {
        let kept = read::<T>(&object)?;
        Some(Shown {
            warnings: warn(&kept.what),
            id: object.id,
            version: object.version,
            kept,
        })
    }

    /// The answer that shows it alone.
    pub(super) fn answer(&self, status: u16) -> Response {
        let response = Response::json(status, self);
        response.with_header("ETag", etag(self.version))
    }
}

/// What the object is; `None`, and a line in the log, for one that cannot be read.
pub(super) fn read<T: DeserializeOwned>(object: &Object) -> Option<Kept<T>> {
    read_kept(object)
}

/// A new id that begins so.
///
/// # Errors
/// The system gives no random numbers.
pub(super) fn new_id(prefix: &str) -> Result<String, Failure> {
    alerting::new_id(prefix).map_err(no_random)
}

/// Who has made what the caller makes.
pub(super) fn by(caller: &Caller) -> &str {
    &caller.account().username
}

/// The second segment of the path.
pub(super) fn id_of(request: &Request) -> String {
    let path = request.path();
    path.get(1).copied().unwrap_or_default().to_owned()
}

/// The object that the path names.
///
/// # Errors
/// 404 if it is not there; the store cannot be read.
pub(super) fn find(
    api: &ApiState,
    kind: ObjectKind,
    request: &Request,
) -> Result<Object, Failure> {
    let found = api.alerts.alert_object(kind, &id_of(request))?;
    found.ok_or_else(|| unknown(kind))
}

/// 404: there is no such object.
pub(super) fn unknown(kind: ObjectKind) -> Failure {
    Failure::not_found(format!("there is no {} with this id", kind.as_str()))
}

/// What a change is about, and what tells of it.
pub(super) struct Told<'a> {
    pub(super) kind: ObjectKind,
    pub(super) id: &'a str,
    pub(super) event: EventKind,
    pub(super) facts: Facts,
}

/// Makes or replaces an object, and gives its version.
///
/// # Errors
/// What is there is not what was expected; the store cannot be written.
pub(super) fn put<T: Serialize>(
    api: &ApiState,
    (caller, request): (&Caller, &Request),
    told: Told<'_>,
    kept: &Kept<T>,
    expected: Expected,
) -> Result<i64, Failure> {
    let act = caller.act(request.peer().ip(), kept.changed_at);
    let body = kept.body();
    let change = ObjectChange {
        kind: told.kind,
        id: told.id,
        body: &body,
        expected,
        event: &act.event(told.event, told.facts),
    };
    let put = api.alerts.put_alert_object(&change);
    let version = put.map_err(|error| match (error, expected) {
        (StoreError::Conflict(Conflict::Changed(_)), Expected::Version(_)) => stale(),
        (StoreError::Conflict(Conflict::Changed(_)), _) => unknown(told.kind),
        (error, _) => error.into(),
    })?;
    let (what, id) = (told.kind.as_str(), told.id);
    log::info!("{act} has set the {what} {id}");
    Ok(version)
}

/// Removes the object that the path names.
///
/// # Errors
/// 404 if it is not there; the store cannot be written.
pub(super) fn remove(
    api: &ApiState,
    (caller, request): (&Caller, &Request),
    told: Told<'_>,
    now: Timestamp,
) -> Result<Reply, Failure> {
    let act = caller.act(request.peer().ip(), now);
    let event = act.event(told.event, told.facts);
    if !api.alerts.remove_alert_object(told.kind, told.id, &event)? {
        return Err(unknown(told.kind));
    }
    log::info!("{act} has removed the {} {}", told.kind.as_str(), told.id);
    Ok(Reply::Now(Response::no_content()))
}

/// What must be there, so that the object may be changed which was `found`.
///
/// # Errors
/// 412 if the request means another version.
pub(super) fn expected(request: &Request, found: &Object) -> Result<Expected, Failure> {
    match negotiation::if_match(request, &etag(found.version)) {
        None => Ok(Expected::Any),
        Some(true) => Ok(Expected::Version(found.version)),
        Some(false) => Err(stale()),
    }
}

fn stale() -> Failure {
    Failure::precondition_failed(
        "another one has changed it meanwhile: read it again, and change that",
    )
}

pub(super) fn etag(version: i64) -> String {
    format!("\"{version}\"")
}
