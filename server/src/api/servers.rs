//! `GET /servers` and `/server/{ip}`: the fleet and its hosts.

use fleetbeat_daemon::clock;
use fleetbeat_protocol::{
    FieldError, FlagsPatch, Json, SettingsPatch, StatePatch, TagsPatch, parse_ip,
};

use super::state::ApiState;
use super::{body, list};
use crate::auth::{Caller, show_source};
use crate::fleet::query::Query;
use crate::http::{Failure, Reply, Request, Response};
use crate::store::{HostName, HostPatch, UnknownHosts};

/// The longest body of a patch of a host.
pub(super) const MAX_PATCH_BYTES: usize = 32 * 1024;

/// What is told of a host that was removed and has no `agent_id`.
const RETURNS: &str = "199 - \"the host comes back, as a new one, with its next heartbeat: \
                       stop its agent first\"";

/// `GET /servers`: a view of the newest snapshot. 304 if the client has it already, else
/// compressed if it may be.
pub(super) fn list(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let query = Query::parse(request.query(), clock::now()).map_err(Failure::invalid)?;
    let view = api.hosts.of(caller).view(query)?;

    Ok(list::answer(request, &view))
}

/// `GET /server/{ip}`.
pub(super) fn show(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let host = host(request)?;
    let shown = api.hosts.of(caller).host(&host)?;
    Ok(Reply::Now(Response::json(200, &shown)))
}

/// `PATCH /server/{ip}/config`: sets flags and gives the host as it is then.
pub(super) fn set_flags(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let patch = patch(request, FlagsPatch::from_json)?;
    set(api, caller, request, HostPatch::Flags(patch))
}

/// `PATCH /server/{ip}/tags`: sets and removes tags and gives the host as it is then.
pub(super) fn set_tags(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let patch = patch(request, TagsPatch::from_json)?;
    set(api, caller, request, HostPatch::Tags(&patch))
}

/// `PATCH /server/{ip}/state`: sets the state and gives the host as it is then.
pub(super) fn set_state(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let patch = patch(request, |json| StatePatch::from_json(json, clock::now()))?;
    set(api, caller, request, HostPatch::State(&patch))
}

/// `PATCH /server/{ip}/settings`: sets and removes settings and gives the host as it is
/// then.
pub(super) fn set_settings(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let patch = patch(request, SettingsPatch::from_json)?;
    set(api, caller, request, HostPatch::Settings(&patch))
}

/// The patch in the request's body.
fn patch<T>(
    request: &mut Request,
    from_json: impl FnOnce(&Json<'_>) -> Result<T, Vec<FieldError>>,
) -> Result<T, Failure> {
    let body = body::read(request, MAX_PATCH_BYTES)?;
    from_json(&body::parse(&body)?).map_err(Failure::invalid)
}

/// Sets what the patch asks for on the host that the path names, and gives the host as it
/// is then.
fn set(
    api: &ApiState,
    caller: &Caller,
    request: &Request,
    patch: HostPatch<'_>,
) -> Result<Reply, Failure> {
    let host = host(request)?;
    let act = caller.act(request.peer().ip(), clock::now());
    let server = api.hosts.of(caller).set(&host, patch, &act)?;

    if let Some((what, set)) = describe(patch) {
        let (who, ip) = (caller.show(), server.ip);
        let source = show_source(request.peer().ip());
        log::info!("{who} at {source} has set the {what} of host {ip}: {set}");
    }
    Ok(Reply::Now(Response::json(200, &server)))
}

/// `DELETE /server/{ip}`: removes a host with its history and all that was set on it. A
/// host with an `agent_id` is refused from then on. Another one comes back: a 204 has no
/// body, so headers say so.
pub(super) fn remove(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let host = host(request)?;
    let act = caller.act(request.peer().ip(), clock::now());
    let removed = api.hosts.of(caller).remove(&host, &act)?;

    let server = removed.server;
    let (who, ip) = (caller.show(), server.ip);
    let source = show_source(request.peer().ip());
    log::info!(
        "{who} at {source} has removed host {ip} ({})",
        server.server_id
    );
    if let Some(key) = removed.refused {
        api.auth.agents().own_keys().note(key);
        return Ok(Reply::Now(Response::no_content()));
    }
    if api.host_rules.unknown == UnknownHosts::NeedCode {
        return Ok(Reply::Now(Response::no_content()));
    }
    // Nobody can tell a host without an id from the hosts that may come.
    Ok(Reply::Now(
        Response::no_content()
            .with_header("X-Fleetbeat-Returns", "true")
            .with_header("Warning", RETURNS),
    ))
}

/// What a patch sets, for the log: of what, and how; `None` for a patch that sets nothing.
pub(super) fn describe(patch: HostPatch<'_>) -> Option<(&'static str, String)> {
    let (what, set) = match patch {
        HostPatch::Flags(patch) => ("flags", describe_flags(patch)),
        HostPatch::Tags(patch) => ("tags", describe_tags(patch)),
        HostPatch::State(patch) => ("state", describe_state(patch)),
        HostPatch::Settings(patch) => ("settings", patch.names.join(", ")),
    };
    (!set.is_empty()).then_some((what, set))
}

/// The flags that the patch sets: `paid = true, enabled = false`.
fn describe_flags(patch: FlagsPatch) -> String {
    let flags = [
        ("gaming", patch.gaming),
        ("streaming", patch.streaming),
        ("paid", patch.paid),
        ("enabled", patch.enabled),
        ("static", patch.is_static),
    ];

    let set = flags
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name} = {}", value?)));
    set.collect::<Vec<_>>().join(", ")
}

/// The tags that the patch sets and removes: `env = "prod", edge removed`.
fn describe_tags(patch: &TagsPatch) -> String {
    let tags = patch.0.iter().map(|(key, value)| match value {
        Some(value) => format!("{key} = {value:?}"),
        None => format!("{key} removed"),
    });
    tags.collect::<Vec<_>>().join(", ")
}

/// The state that the patch sets: `drain until 2026-01-31T12:00:00Z, "disk"`.
fn describe_state(patch: &StatePatch) -> String {
    let until = patch.until.map(|until| format!(" until {until}"));
    let reason = patch.reason.as_ref().map(|reason| format!(", {reason:?}"));
    format!(
        "{}{}{}",
        patch.mode.as_str(),
        until.unwrap_or_default(),
        reason.unwrap_or_default()
    )
}

/// The host that the path names.
pub(super) fn host(request: &Request) -> Result<HostName, Failure> {
    let path = request.path();
    let Some(name) = path.get(1) else {
        return Err(Failure::not_found("the path names no host"));
    };
    Ok(match parse_ip(name) {
        Some(ip) => HostName::Ip(ip),
        None => HostName::ServerId((*name).to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use fleetbeat_protocol::{Mode, Timestamp};

    use super::*;

    #[test]
    fn the_log_names_the_flags_that_were_set_and_no_others() {
        let patch = FlagsPatch {
            paid: Some(true),
            is_static: Some(false),
            ..FlagsPatch::default()
        };
        let described = describe(HostPatch::Flags(patch));
        let expected = ("flags", "paid = true, static = false".to_owned());
        assert_eq!(described, Some(expected));
        assert_eq!(describe(HostPatch::Flags(FlagsPatch::default())), None);
    }

    #[test]
    fn the_log_names_the_tags_that_were_set_and_removed() {
        let tags = [("env", Some("a\nb")), ("edge", Some("")), ("old", None)];
        let tags = tags.map(|(key, value)| (key.to_owned(), value.map(str::to_owned)));
        let patch = TagsPatch(tags.into());
        let expected = r#"edge = "", env = "a\nb", old removed"#;
        assert_eq!(describe_tags(&patch), expected);
    }

    #[test]
    fn the_log_names_the_state_that_was_set() {
        let mut patch = StatePatch {
            mode: Mode::Maintenance,
            until: Some(Timestamp::UNIX_EPOCH),
            reason: Some("a\nb".to_owned()),
        };
        let expected = r#"maintenance until 1970-01-01T00:00:00Z, "a\nb""#;
        assert_eq!(describe_state(&patch), expected);
        patch = StatePatch {
            mode: Mode::Normal,
            until: None,
            reason: None,
        };
        assert_eq!(describe_state(&patch), "normal");
    }
}
