//! `/enrollment-codes`: the codes with which hosts get a key of their own.

use fleetbeat_daemon::clock;
use fleetbeat_protocol::{NewCode, Timestamp};
use serde::Serialize;

use super::body;
use super::state::ApiState;
use crate::auth::Caller;
use crate::auth::codes::new_code;
use crate::http::{Failure, Reply, Request, Response};
use crate::network::parse_networks;
use crate::store::{Code, Facts, flags_as_json, networks_as_texts};

/// The longest body.
const MAX_BYTES: usize = 16 * 1024;

/// A code on the wire.
#[derive(Serialize)]
struct ShownCode {
    id: String,
    max_uses: u32,
    uses: u32,
    created_at: Timestamp,
    expires_at: Timestamp,
    created_by: String,
    flags: Facts,
    networks: Vec<String>,
    reinstall: bool,
    note: String,
}

/// A code that was just made. The code itself is shown this once.
#[derive(Serialize)]
struct NewShownCode {
    code: String,
    #[serde(flatten)]
    shown: ShownCode,
}

impl From<Code> for ShownCode {
    fn from(code: Code) -> ShownCode {
        ShownCode {
            flags: flags_as_json(&code.flags),
            networks: networks_as_texts(&code.networks),
            id: code.id,
            max_uses: code.max_uses,
            uses: code.uses,
            created_at: code.created_at,
            expires_at: code.expires_at,
            created_by: code.created_by,
            reinstall: code.reinstall,
            note: code.note,
        }
    }
}

/// `POST`: makes a code.
pub(super) fn create(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let body = body::read(request, MAX_BYTES)?;
    let wish = NewCode::from_json(&body::parse(&body)?).map_err(Failure::invalid)?;
    let (networks, wrong) = parse_networks(&wish.networks);
    if !wrong.is_empty() {
        return Err(Failure::invalid(wrong));
    }

    let act = caller.act(request.peer().ip(), clock::now());
    let name = caller.account().username.clone();
    let made = new_code(wish, networks, name, act.at);
    let (code, text) = made.map_err(|error| Failure::internal(error.to_string()))?;
    api.keys.add_code(&code, &act)?;

    log::info!("{act} has made the enrolment code {}", code.id);
    let answer = NewShownCode {
        code: text,
        shown: code.into(),
    };
    Ok(Reply::Now(Response::json(201, &answer)))
}

/// `GET`: every code, the newest first, without what would let anybody use it.
pub(super) fn list(
    api: &ApiState,
    _: &Caller,
    _: &mut Request,
) -> Result<Reply, Failure> {
    let codes = api.keys.codes()?.into_iter();
    let codes: Vec<ShownCode> = codes.map(ShownCode::from).collect();
    Ok(Reply::Now(Response::json(200, &codes)))
}

/// `DELETE`: ends a code, and shows it a last time.
pub(super) fn remove(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let path = request.path();
    let id = path.get(1).copied().unwrap_or_default().to_owned();
    let act = caller.act(request.peer().ip(), clock::now());
    let Some(code) = api.keys.remove_code(&id, &act)? else {
        return Err(Failure::not_found("there is no code with this id"));
    };
    log::info!("{act} has removed the enrolment code {id}");
    Ok(Reply::Now(Response::json(200, &ShownCode::from(code))))
}
