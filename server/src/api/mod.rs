//! The HTTP API, one file for each resource.
//!
//! [`route`] is the whole API. A handler takes what it works with ([`ApiState`]), who is
//! asking (an identity of `auth/`, where the path is not for everybody) and the request.

mod assets;
mod body;
mod events;
mod health;
mod heartbeat;
mod list;
mod me;
mod openapi;
mod readiness;
mod servers;
mod state;
mod store_failure;
mod token;

pub(crate) use self::readiness::Readiness;
pub(crate) use self::state::ApiState;
use crate::auth::Refusal;
use crate::http::{Failure, Reply, Request};

/// Answers one kind of request.
type Handler = fn(&ApiState, &mut Request) -> Result<Reply, Failure>;

/// The whole API. An arm names a handler and the identity it needs; a handler that takes
/// none is for anyone.
fn route(method: &str, path: &[&str]) -> Option<Handler> {
    let handler: Handler = match (method, path) {
        ("POST", ["heartbeat"]) => {
            |api, request| heartbeat::one(api, &api.auth.agent(request)?, request)
        }
        ("POST", ["heartbeats"]) => {
            |api, request| heartbeat::many(api, &api.auth.agent(request)?, request)
        }
        ("POST", ["token"]) => token::issue,
        ("GET", ["me"]) => |api, request| me::show(&api.auth.reader(request)?),
        ("GET", ["servers"]) => {
            |api, request| servers::list(api, &api.auth.reader(request)?, request)
        }
        ("GET", ["server", _]) => {
            |api, request| servers::show(api, &api.auth.reader(request)?, request)
        }
        ("PATCH", ["server", _, "config"]) => {
            |api, request| servers::set_flags(api, &api.auth.admin(request)?, request)
        }
        ("GET", ["events"]) => {
            |api, request| events::list(api, &api.auth.reader(request)?, request)
        }
        ("GET", ["healthz"]) => |_, _| health::alive(),
        ("GET", ["readyz"]) => |api, _| health::ready(api),
        ("GET", ["openapi.json"]) => |_, _| openapi::document(),
        ("GET", path) if assets::exists(path) => |_, request| assets::serve(request),
        _ => return None,
    };
    Some(handler)
}

/// The methods that [`route`] may know a path by.
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

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
    if let Some(handler) = route(method, &path) {
        return handler(api, request);
    }

    let mut allowed: Vec<&str> = METHODS
        .into_iter()
        .filter(|method| route(method, &path).is_some())
        .collect();
    if allowed.is_empty() {
        return Err(Failure::not_found(explain_nothing(&path)));
    }
    if allowed.contains(&"GET") {
        allowed.insert(1, "HEAD");
    }

    Err(Failure::method_not_allowed(&allowed))
}

/// Why there is nothing at `path`.
fn explain_nothing(path: &[&str]) -> &'static str {
    let is_known =
        |path: &[&str]| METHODS.iter().any(|method| route(method, path).is_some());
    match path {
        [before @ .., ""] if is_known(before) => {
            "there is nothing at this path: leave out the slash at its end"
        }
        _ => "there is nothing at this path",
    }
}
