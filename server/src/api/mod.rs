//! The HTTP API, one file for each resource.

mod assets;
mod body;
mod health;
mod heartbeat;
mod me;
mod openapi;
mod server;
mod servers;
mod token;

use crate::http::Failure;
use crate::http::{Call, Reply};
use crate::serve::App;

/// What a handler gives back.
type Answer = Result<Reply, Failure>;

type Handler = fn(&App, &mut Call) -> Answer;

/// The whole API. An arm names a handler and the identity it needs; a handler that takes
/// none is for anyone.
fn route(method: &str, path: &[&str]) -> Option<Handler> {
    let handler: Handler = match (method, path) {
        ("POST", ["heartbeat"]) => {
            |app, call| heartbeat::one(app, &app.auth.agent(call)?, call)
        }
        ("POST", ["heartbeats"]) => {
            |app, call| heartbeat::many(app, &app.auth.agent(call)?, call)
        }
        ("POST", ["token"]) => token::issue,
        ("GET", ["me"]) => |app, call| me::show(&app.auth.reader(call)?),
        ("GET", ["servers"]) => {
            |app, call| servers::list(app, &app.auth.reader(call)?, call)
        }
        ("GET", ["server", _]) => {
            |app, call| server::show(app, &app.auth.reader(call)?, call)
        }
        ("PATCH", ["server", _, "config"]) => {
            |app, call| server::set_flags(app, &app.auth.admin(call)?, call)
        }
        ("GET", ["healthz"]) => |_, _| health::alive(),
        ("GET", ["readyz"]) => |app, _| health::ready(app),
        ("GET", ["openapi.json"]) => |_, _| openapi::document(),
        ("GET", path) if assets::exists(path) => |_, call| assets::serve(call),
        _ => return None,
    };
    Some(handler)
}

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// Answers a request.
pub(crate) fn handle(app: &App, call: &mut Call) -> Answer {
    let path = call.path();
    let method = if call.method() == "HEAD" {
        "GET"
    } else {
        call.method()
    };
    if let Some(handler) = route(method, &path) {
        return handler(app, call);
    }
    let mut allowed: Vec<&str> = METHODS
        .into_iter()
        .filter(|method| route(method, &path).is_some())
        .collect();
    if allowed.is_empty() {
        return Err(Failure::not_found("there is nothing at this path"));
    }
    if allowed.contains(&"GET") {
        allowed.insert(1, "HEAD");
    }
    Err(Failure::method_not_allowed(&allowed))
}
