//! `/agent-keys`: the hosts that have a key of their own, and those that were removed.

use std::net::IpAddr;

use fleetbeat_daemon::clock;
use fleetbeat_protocol::{AgentId, Timestamp};
use serde::Serialize;

use super::state::ApiState;
use crate::auth::Caller;
use crate::http::{Failure, Reply, Request, Response};
use crate::store::{AgentKey, ListedKey};

/// A key on the wire. The host's id is half a secret, so its first digits name it.
#[derive(Serialize)]
struct ShownKey {
    agent_id: String,
    hostname: String,
    state: &'static str,
    /// Whether the host is asked to replace the key.
    rotate: bool,
    /// `None` for a host that never had a key.
    enrolled_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    /// Since when the host is refused, because somebody has removed it.
    removed_at: Option<Timestamp>,
    code: Option<String>,
    server_id: Option<String>,
    ip: Option<IpAddr>,
    last_heartbeat: Option<Timestamp>,
}

impl From<ListedKey> for ShownKey {
    fn from(listed: ListedKey) -> ShownKey {
        let ListedKey { key, host } = listed;
        let hostname = host.as_ref().map(|host| host.hostname.clone());
        ShownKey {
            agent_id: key.agent_id.to_string(),
            state: state_of(&key),
            rotate: key.rotate,
            enrolled_at: key.hash.map(|_| key.enrolled_at),
            revoked_at: key.revoked_at,
            removed_at: key.removed_at,
            code: key.hash.map(|_| key.code),
            hostname: hostname.unwrap_or(key.hostname),
            ip: host.as_ref().and_then(|host| host.ip),
            last_heartbeat: host.as_ref().map(|host| host.last_heartbeat),
            server_id: host.map(|host| host.server_id),
        }
    }
}

fn state_of(key: &AgentKey) -> &'static str {
    match (key.hash, key.revoked_at, key.next) {
        _ if key.removed_at.is_some() => "removed",
        (None, _, _) => "none",
        (_, Some(_), _) => "revoked",
        (_, None, Some(_)) => "rotating",
        (_, None, None) => "active",
    }
}

/// `GET`: every key and every removed host, in the order of the hosts' names.
pub(super) fn list(
    api: &ApiState,
    _: &Caller,
    _: &mut Request,
) -> Result<Reply, Failure> {
    let keys = api.keys.keys()?.into_iter();
    let is_shown =
        |listed: &ListedKey| listed.key.hash.is_some() || listed.key.removed_at.is_some();
    let keys: Vec<ShownKey> = keys.filter(is_shown).map(ShownKey::from).collect();
    Ok(Reply::Now(Response::json(200, &keys)))
}

/// `DELETE`: ends a key. The host's record is closed until a code enrols the host.
pub(super) fn revoke(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let listed = find(api, request)?;
    let act = caller.act(request.peer().ip(), clock::now());
    let key = api.keys.revoke_key(listed.key.agent_id, &act)?;
    let key = key.filter(|key| key.hash.is_some()).ok_or_else(unknown)?;
    log::info!("{act} has revoked the key of the host {}…", key.agent_id);
    Ok(answer(api, listed, key))
}

/// `POST …/rotate`: has the host replace its key.
pub(super) fn rotate(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let listed = find(api, request)?;
    let act = caller.act(request.peer().ip(), clock::now());
    let key = api.keys.ask_for_rotation(listed.key.agent_id, &act)?;
    let key = key.filter(|key| key.hash.is_some()).ok_or_else(unknown)?;
    if key.revoked_at.is_some() {
        return Err(Failure::conflict("the key of this host was revoked"));
    }
    if key.removed_at.is_some() {
        return Err(Failure::conflict("this host was removed"));
    }
    log::info!("{act} has asked the host {}… for a new key", key.agent_id);
    Ok(answer(api, listed, key))
}

/// `POST …/readmit`: lets a host come back that was removed.
pub(super) fn readmit(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let listed = find(api, request)?;
    if listed.key.removed_at.is_none() {
        return Err(Failure::conflict("this host was not removed"));
    }
    let act = caller.act(request.peer().ip(), clock::now());
    let key = api.keys.readmit(listed.key.agent_id, &act)?;
    let key = key.ok_or_else(unknown)?;
    log::info!("{act} has readmitted the host {}…", key.agent_id);
    Ok(answer(api, listed, key))
}

fn answer(api: &ApiState, listed: ListedKey, key: AgentKey) -> Reply {
    api.auth.agents().own_keys().note(key.clone());
    let shown = ShownKey::from(ListedKey { key, ..listed });
    Reply::Now(Response::json(200, &shown))
}

/// The key that the path names: by the whole `agent_id`, by its first digits as lists show
/// them, or by the `server_id` or the address of the host's record.
fn find(api: &ApiState, request: &Request) -> Result<ListedKey, Failure> {
    let path = request.path();
    let name = path.get(1).copied().unwrap_or_default();
    let id = AgentId::parse(name);
    let is_named = |listed: &ListedKey| {
        let key = listed.key.agent_id;
        let host = listed.host.as_ref();
        id == Some(key)
            || key.to_string() == name
            || host.is_some_and(|host| {
                host.server_id == name || host.ip.is_some_and(|ip| ip.to_string() == name)
            })
    };
    let mut found = api.keys.keys()?.into_iter().filter(is_named);
    match (found.next(), found.next()) {
        (Some(listed), None) => Ok(listed),
        (None, _) => Err(unknown()),
        (Some(_), Some(_)) => Err(Failure::conflict(
            "two hosts' ids begin with these digits: name the host by its server_id",
        )),
    }
}

fn unknown() -> Failure {
    Failure::not_found(
        "no host with this agent_id or server_id has a key of its own, or was removed",
    )
}
