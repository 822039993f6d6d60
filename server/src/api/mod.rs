//! The HTTP API, one file for each resource.
//!
//! [`routes`] is the whole API as one table. A handler takes what it works with
//! ([`ApiState`]), who is asking (an identity of `auth/`, where the route is not for
//! everybody) and the request.

mod accounts;
mod ack_page;
mod agent_keys;
mod alert_rules;
mod alerts;
mod api_tokens;
mod assets;
mod body;
mod bulk;
mod changes;
mod channels;
mod deliveries;
mod enroll;
mod enrollment_codes;
mod events;
mod fleet_history;
mod health;
mod heartbeat;
mod history;
mod hosts;
mod kept;
mod list;
mod me;
mod metrics;
mod mutes;
mod openapi;
mod paging;
mod phases;
mod readiness;
mod routes;
mod servers;
mod state;
mod store_failure;
mod targets;
mod token;
mod traffic;
mod uptime;
mod users;

pub(crate) use self::hosts::Hosts;
pub(crate) use self::readiness::Readiness;
pub(crate) use self::routes::names as route_names;
pub(crate) use self::state::ApiState;
use crate::auth::Refusal;
use crate::http::{Failure, Reply, Request};

/// Answers a request.
pub(crate) fn handle(api: &ApiState, request: &mut Request) -> Result<Reply, Failure> {
    let peer = request.peer();
    if peer.forwards_untrusted() {
        // Most likely our own proxy, which trusted_proxies should name.
        let refusals = api.auth.refusals();
        refusals.note(Refusal::ForwardedFor, peer.ip(), "");
    }

    let path = request.path();
    let method = match request.method() {
        "HEAD" => "GET",
        method => method,
    };
    let found = routes::find(&path).find(|route| route.method == method);
    if let Some(route) = found {
        request.note_route(route.name());
        return route.handle(api, request);
    }

    Err(explain_nothing(&path))
}

/// Why there is no route for a request of `path`.
fn explain_nothing(path: &[&str]) -> Failure {
    let mut allowed: Vec<&str> = routes::find(path).map(|route| route.method).collect();
    if allowed.contains(&"GET") {
        allowed.push("HEAD");
    }
    if !allowed.is_empty() {
        allowed.sort_unstable();
        return Failure::method_not_allowed(&allowed);
    }

    Failure::not_found(match path {
        [before @ .., ""] if routes::find(before).next().is_some() => {
            "there is nothing at this path: leave out the slash at its end"
        }
        _ => "there is nothing at this path",
    })
}
