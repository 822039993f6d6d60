//! `POST /servers/bulk`: sets flags, tags, the state and settings on many hosts.
//!
//! Whoever asks says how many hosts are meant. So a selector that means other hosts than
//! was thought changes nothing, and neither does one of an hour ago.

use std::sync::Arc;

use fleetbeat_daemon::clock;
use fleetbeat_protocol::{
    BulkAnswer, BulkOrder, BulkPurpose, BulkSet, FieldError, MatchedHost, MatchedHosts,
    Server, Timestamp,
};
use serde_json::Value;

use super::accounts::no_random;
use super::body;
use super::servers::{MAX_PATCH_BYTES, describe};
use super::state::ApiState;
use crate::auth::{Caller, show_source};
use crate::fleet::selection::Selection;
use crate::http::{Failure, Reply, Request, Response};
use crate::store::{HostPatch, facts};

/// So many of the hosts are named.
const MAX_NAMED: usize = 20;

/// What somebody asks for.
struct Asked {
    order: BulkOrder,
    /// The hosts that the order means.
    selection: Selection,
    /// What is to be set, in the words of the body, for the event.
    set: Value,
}

/// Sets what the body asks for on the hosts that it selects, or tells which these are.
pub(super) fn set(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let now = clock::now();
    let Asked {
        order,
        selection,
        set,
    } = read(request, now)?;

    let visible = api.hosts.of(caller);
    let hosts = visible.select(&selection)?;
    if let BulkPurpose::CarryOut { expect } = order.purpose
        && expect != hosts.len()
    {
        return Err(Failure::other_hosts(expect, matched(&hosts)));
    }
    let patches = patches(&order.set);
    visible.check_all(&hosts, &patches)?;
    if order.purpose == BulkPurpose::DryRun {
        return Ok(Reply::Now(Response::json(200, &matched(&hosts))));
    }

    let bulk_id = getrandom::u64().map_err(no_random)?;
    let bulk_id = format!("{bulk_id:016x}");
    let facts = facts([
        ("bulk_id", bulk_id.as_str().into()),
        ("select", selection.as_str().into()),
        ("set", set),
    ]);
    let act = caller.act(request.peer().ip(), now);
    let done = visible.set_many(&hosts, &patches, &act, facts)?;

    let answer = BulkAnswer {
        bulk_id,
        changed: done.changed,
        failed: done.failed,
        stopped_at: done.stopped_at,
    };
    tell(caller, request, &selection, &patches, &answer);
    Ok(Reply::Now(Response::json(200, &answer)))
}

/// What the body asks for at `now`.
///
/// # Errors
/// Every rule that the body breaks.
fn read(request: &mut Request, now: Timestamp) -> Result<Asked, Failure> {
    let body = body::read(request, MAX_PATCH_BYTES)?;
    let order = BulkOrder::from_json(&body::parse(&body)?, now);
    let order = order.map_err(Failure::invalid)?;
    let selection = Selection::parse(&order.select, now)
        .map_err(|message| Failure::invalid(vec![FieldError::new("select", message)]))?;

    let body: Value =
        serde_json::from_slice(&body).map_err(|error| body::not_json(&error))?;
    Ok(Asked {
        order,
        selection,
        set: body["set"].clone(),
    })
}

/// One line for the log.
fn tell(
    caller: &Caller,
    request: &Request,
    selection: &Selection,
    patches: &[HostPatch<'_>],
    answer: &BulkAnswer,
) {
    let described = patches.iter().filter_map(|patch| describe(*patch));
    let (what, set): (Vec<&str>, Vec<String>) = described.unzip();
    let (what, set) = (what.join(", "), set.join("; "));
    let stopped = answer.stopped_at.map(|ip| format!(", and stopped at {ip}"));
    log::info!(
        "{} at {} has set the {what} of {} hosts (bulk {}, {}){}: {set}",
        caller.show(),
        show_source(request.peer().ip()),
        answer.changed,
        answer.bulk_id,
        selection.as_str(),
        stopped.unwrap_or_default()
    );
}

/// How many hosts there are, and the first of them.
fn matched(hosts: &[Arc<Server>]) -> MatchedHosts {
    let first = hosts.iter().take(MAX_NAMED).map(|host| MatchedHost {
        ip: host.ip,
        hostname: host.hostname.clone(),
    });
    MatchedHosts {
        hosts: hosts.len(),
        first: first.collect(),
    }
}

/// What is to be set, one thing after the other.
fn patches(set: &BulkSet) -> Vec<HostPatch<'_>> {
    let tags = set.tags.as_ref().map(HostPatch::Tags);
    let state = set.state.as_ref().map(HostPatch::State);
    let settings = set.settings.as_ref().map(HostPatch::Settings);
    [HostPatch::Flags(set.flags)]
        .into_iter()
        .chain([tags, state, settings].into_iter().flatten())
        .collect()
}
