//! `/channels`: where messages go. Superadmins alone make and change channels, because a
//! channel makes this server send something somewhere; admins see which there are.

use std::collections::BTreeSet;

use fleetbeat_alerts::Words;
use fleetbeat_channels::{ErrorClass, Settings};
use fleetbeat_daemon::clock;
use fleetbeat_protocol::{ChannelForm, FieldError, Json};
use serde::Serialize;
use serde_json::Value;

use super::body;
use super::kept::{self, Kept, MAX_BYTES, Told, by};
use super::state::ApiState;
use crate::alerting::KeptChannel;
use crate::auth::Caller;
use crate::http::{Failure, Reply, Request, Response};
use crate::store::{EventKind, Expected, Object, ObjectKind, facts};

/// How many channels there may be.
const MAX_CHANNELS: usize = 50;

/// A channel on the wire. Of secrets it says only that they are set.
#[derive(Serialize)]
struct Shown {
    id: String,
    version: i64,
    #[serde(flatten)]
    form: ChannelForm,
    settings: Value,
    state: State,
}

/// Whether messages go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// As far as is known.
    Well,
    /// The last message did not.
    Failing,
    /// Nobody can open its secrets: they have to be given again.
    Closed,
}

/// What came of a test.
#[derive(Serialize)]
struct Tested {
    ok: bool,
    /// Why the message was not sent; `None` if it was.
    class: Option<&'static str>,
    /// The status of HTTP or the code of SMTP.
    status: Option<u16>,
    remarks: Vec<String>,
}

/// `GET`: every channel, in the order of names.
pub(super) fn list(
    api: &ApiState,
    _: &Caller,
    _: &mut Request,
) -> Result<Reply, Failure> {
    let failing = api.alerting.failing()?;
    let channels = api.alerts.alert_objects(ObjectKind::Channel)?.into_iter();
    let shown = channels.filter_map(|object| {
        let kept = read(&object)?;
        Some(show(api, (&object.id, object.version), &kept, &failing))
    });
    let mut shown: Vec<Shown> = shown.collect();
    shown.sort_by(|one, other| one.form.name.cmp(&other.form.name));
    Ok(Reply::Now(Response::json(200, &shown)))
}

/// `POST`: makes a channel.
pub(super) fn create(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let body = body::read(request, MAX_BYTES)?;
    let id = kept::new_id("chn")?;
    let channel = parse(api, &body::parse(&body)?, None, &id)?;
    let told = told(&id, EventKind::ChannelCreated, &channel.form);
    let kept = Kept::new(channel, by(caller), clock::now());
    let new = Expected::Nothing { most: MAX_CHANNELS };
    let version = kept::put(api, (caller, request), told, &kept, new)?;
    answer(api, 201, (&id, version), &kept)
}

/// `GET /channels/{id}`: one channel.
pub(super) fn show_one(
    api: &ApiState,
    _: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let object = kept::find(api, ObjectKind::Channel, request)?;
    let kept = read(&object).ok_or_else(|| kept::unknown(ObjectKind::Channel))?;
    answer(api, 200, (&object.id, object.version), &kept)
}

/// `PUT /channels/{id}`: replaces a channel as a whole. Secrets that are not given stay,
/// unless messages go elsewhere.
pub(super) fn replace(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let body = body::read(request, MAX_BYTES)?;
    let object = kept::find(api, ObjectKind::Channel, request)?;
    let before = read(&object).ok_or_else(|| kept::unknown(ObjectKind::Channel))?;
    let expected = kept::expected(request, &object)?;
    let channel = parse(api, &body::parse(&body)?, Some(&before.what), &object.id)?;
    let told = told(&object.id, EventKind::ChannelChanged, &channel.form);
    let kept = before.changed(channel, by(caller), clock::now());
    let version = kept::put(api, (caller, request), told, &kept, expected)?;
    answer(api, 200, (&object.id, version), &kept)
}

/// `DELETE /channels/{id}`: removes a channel. What waits for it is not sent.
pub(super) fn remove(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let object = kept::find(api, ObjectKind::Channel, request)?;
    let name = read(&object)
        .map(|kept| kept.what.form.name)
        .unwrap_or_default();
    let told = Told {
        kind: ObjectKind::Channel,
        id: &object.id,
        event: EventKind::ChannelDeleted,
        facts: facts([
            ("channel", object.id.as_str().into()),
            ("name", name.into()),
        ]),
    };
    kept::remove(api, (caller, request), told, clock::now())
}

/// `POST /channels/{id}/test`: sends a message and says what came of it, and never what
/// the peer has answered.
pub(super) fn test(
    api: &ApiState,
    _: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let object = kept::find(api, ObjectKind::Channel, request)?;
    let kept = read(&object).ok_or_else(|| kept::unknown(ObjectKind::Channel))?;
    let id = kept::new_id("dlv")?;
    Ok(Reply::Now(Response::json(
        200,
        &try_out(api, &object.id, &kept.what, id),
    )))
}

fn try_out(api: &ApiState, id: &str, channel: &KeptChannel, delivery: String) -> Tested {
    let post = api.alerting.post();
    let Ok(channel) = post.open(id, channel) else {
        return Tested {
            ok: false,
            class: Some(ErrorClass::Settings.name()),
            status: None,
            remarks: Vec::new(),
        };
    };
    let message = post.test_message(delivery, clock::now());
    match channel.send(&message, &post.sender) {
        Ok(sent) => Tested {
            ok: true,
            class: None,
            status: None,
            remarks: sent.remarks.iter().map(ToString::to_string).collect(),
        },
        Err(error) => Tested {
            ok: false,
            class: Some(error.class.name()),
            status: error.status,
            remarks: Vec::new(),
        },
    }
}

/// The channel in a body, with its secrets sealed.
fn parse(
    api: &ApiState,
    json: &Json<'_>,
    before: Option<&KeptChannel>,
    id: &str,
) -> Result<KeptChannel, Failure> {
    let post = api.alerting.post();
    let (form, settings) =
        ChannelForm::from_json(json, &Words).map_err(Failure::invalid)?;
    // Of one that nobody can open, the secrets have to be given again.
    let before = before.and_then(|before| {
        let opened = Settings::open(&before.settings, &post.keys, id);
        opened.ok().map(|(settings, _)| settings)
    });
    let settings =
        Settings::from_json(&form.kind, settings, before.as_ref(), &post.guard);
    let settings = settings.map_err(|broken| Failure::invalid(below(broken)))?;
    let settings = settings.store(&post.keys, id);
    let settings = settings.map_err(|_| Failure::internal("secrets cannot be sealed"))?;
    Ok(KeptChannel { form, settings })
}

/// The faults of settings, by their places in the body.
fn below(broken: Vec<FieldError>) -> Vec<FieldError> {
    let place = |error: FieldError| {
        let field = match error.field.as_str() {
            "kind" => "kind".to_owned(),
            "" => "settings".to_owned(),
            field => format!("settings.{field}"),
        };
        FieldError::new(field, error.message)
    };
    broken.into_iter().map(place).collect()
}

fn read(object: &Object) -> Option<Kept<KeptChannel>> {
    kept::read(object)
}

/// The channel of this id and version.
fn show(
    api: &ApiState,
    (id, version): (&str, i64),
    kept: &Kept<KeptChannel>,
    failing: &BTreeSet<String>,
) -> Shown {
    let channel = &kept.what;
    let post = api.alerting.post();
    let state = match post.open(id, channel) {
        Err(_) => State::Closed,
        Ok(_) if failing.contains(id) => State::Failing,
        Ok(_) => State::Well,
    };
    let settings = match Settings::open(&channel.settings, &post.keys, id) {
        Ok((settings, _)) => settings.shown(),
        Err(_) => Settings::peek(&channel.settings)
            .map(|(_, shown)| shown)
            .unwrap_or_default(),
    };
    Shown {
        id: id.to_owned(),
        version,
        form: channel.form.clone(),
        settings,
        state,
    }
}

fn answer(
    api: &ApiState,
    status: u16,
    this: (&str, i64),
    kept: &Kept<KeptChannel>,
) -> Result<Reply, Failure> {
    let failing = api.alerting.failing()?;
    let (id, version) = this;
    let response = Response::json(status, &show(api, this, kept, &failing));
    let response = response.with_header("ETag", kept::etag(version));
    let made = (status == 201).then(|| format!("/channels/{id}"));
    Ok(Reply::Now(match made {
        Some(location) => response.with_header("Location", location),
        None => response,
    }))
}

fn told<'a>(id: &'a str, event: EventKind, form: &ChannelForm) -> Told<'a> {
    Told {
        kind: ObjectKind::Channel,
        id,
        event,
        facts: facts([
            ("channel", id.into()),
            ("name", form.name.as_str().into()),
            ("kind", form.kind.as_str().into()),
        ]),
    }
}
