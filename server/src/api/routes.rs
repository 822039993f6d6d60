//! The routes: the whole API as one table.

use fleetbeat_protocol::Role;

use super::state::ApiState;
use super::{
    agent_keys, assets, enroll, enrollment_codes, events, health, heartbeat, me, metrics,
    openapi, servers, targets, token,
};
use crate::auth::{Agent, Caller, Right, Watcher};
use crate::http::{Failure, Identity, Reply, Request, RouteName};

/// A route: who may call it, and what answers.
#[derive(Debug)]
pub(super) struct Route {
    /// In upper case. A route of GET answers HEAD, too.
    pub(super) method: &'static str,
    /// The path as OpenAPI writes it: `{name}` stands for one segment.
    pub(super) path: &'static str,
    handler: Handler,
}

/// What answers, and what it takes as a proof that the request was allowed.
#[derive(Debug, Clone, Copy)]
enum Handler {
    /// For anybody.
    Anyone(fn(&ApiState, &mut Request) -> Result<Reply, Failure>),
    /// For an agent.
    Agent(fn(&ApiState, &Agent, &mut Request) -> Result<Reply, Failure>),
    /// For a caller with the right.
    Caller(
        Right,
        fn(&ApiState, &Caller, &mut Request) -> Result<Reply, Failure>,
    ),
    /// For a caller with the right, and for programs of the server's own machine.
    Watcher(
        Right,
        fn(&ApiState, &Watcher, &mut Request) -> Result<Reply, Failure>,
    ),
}

const READONLY: Right = Right::of(Role::Readonly);
const ADMIN: Right = Right::of(Role::Admin);
const SUPERADMIN: Right = Right::of(Role::Superadmin);

/// Every route but those of the dashboard's files.
pub(super) static ROUTES: &[Route] = &[
    agent("POST", "/heartbeat", heartbeat::one),
    agent("POST", "/heartbeats", heartbeat::many),
    anyone("POST", "/enroll", enroll::enroll),
    anyone("POST", "/token", token::issue),
    caller("GET", "/me", READONLY, me::show),
    caller("GET", "/servers", READONLY, servers::list),
    caller("GET", "/server/{ip}", READONLY, servers::show),
    caller("PATCH", "/server/{ip}/config", ADMIN, servers::set_flags),
    caller("GET", "/events", READONLY, events::list),
    caller(
        "GET",
        "/enrollment-codes",
        SUPERADMIN,
        enrollment_codes::list,
    ),
    caller(
        "POST",
        "/enrollment-codes",
        SUPERADMIN,
        enrollment_codes::create,
    ),
    caller(
        "DELETE",
        "/enrollment-codes/{id}",
        SUPERADMIN,
        enrollment_codes::remove,
    ),
    caller("GET", "/agent-keys", SUPERADMIN, agent_keys::list),
    caller(
        "DELETE",
        "/agent-keys/{agent_id}",
        SUPERADMIN,
        agent_keys::revoke,
    ),
    caller(
        "POST",
        "/agent-keys/{agent_id}/rotate",
        SUPERADMIN,
        agent_keys::rotate,
    ),
    caller("GET", "/sd/prometheus", READONLY, targets::list),
    watcher("GET", "/metrics", READONLY, metrics::show),
    anyone("GET", "/healthz", health::alive),
    anyone("GET", "/readyz", health::ready),
    anyone("GET", "/openapi.json", openapi::document),
];

/// A file of the dashboard.
static ASSET: Route = anyone("GET", "/{file}", assets::serve);

const fn anyone(
    method: &'static str,
    path: &'static str,
    handle: fn(&ApiState, &mut Request) -> Result<Reply, Failure>,
) -> Route {
    Route::new(method, path, Handler::Anyone(handle))
}

const fn agent(
    method: &'static str,
    path: &'static str,
    handle: fn(&ApiState, &Agent, &mut Request) -> Result<Reply, Failure>,
) -> Route {
    Route::new(method, path, Handler::Agent(handle))
}

const fn caller(
    method: &'static str,
    path: &'static str,
    right: Right,
    handle: fn(&ApiState, &Caller, &mut Request) -> Result<Reply, Failure>,
) -> Route {
    Route::new(method, path, Handler::Caller(right, handle))
}

const fn watcher(
    method: &'static str,
    path: &'static str,
    right: Right,
    handle: fn(&ApiState, &Watcher, &mut Request) -> Result<Reply, Failure>,
) -> Route {
    let right = right.or_local_peer();
    Route::new(method, path, Handler::Watcher(right, handle))
}

/// The names of all routes, each at the place of its number.
pub(crate) fn names() -> Vec<RouteName> {
    let routes = ROUTES.iter().chain([&ASSET]);
    routes.map(Route::name).collect()
}

impl Route {
    const fn new(method: &'static str, path: &'static str, handler: Handler) -> Route {
        Route {
            method,
            path,
            handler,
        }
    }

    /// The route's name, for metrics and the access log.
    pub(super) fn name(&self) -> RouteName {
        let mut routes = ROUTES.iter();
        let place = routes.position(|route| std::ptr::eq(route, self));
        RouteName {
            number: place.unwrap_or(ROUTES.len()),
            method: self.method,
            path: self.path,
        }
    }

    /// Answers a request for the route, from whoever may call it.
    pub(super) fn handle(
        &self,
        api: &ApiState,
        request: &mut Request,
    ) -> Result<Reply, Failure> {
        match self.handler {
            Handler::Anyone(handle) => handle(api, request),
            Handler::Agent(handle) => {
                let agent = api.auth.agent(request).inspect_err(|failure| {
                    api.metrics.heartbeats.refused(failure.status());
                })?;
                request.note_identity(Identity::Key(agent.key_name()));
                handle(api, &agent, request)
            }
            Handler::Caller(right, handle) => {
                let caller = api.auth.caller(request, right)?;
                let username = caller.account().username.clone();
                request.note_identity(Identity::User(username));
                handle(api, &caller, request)
            }
            Handler::Watcher(right, handle) => {
                let watcher = api.auth.watcher(request, right)?;
                if let Some(account) = watcher.account() {
                    let username = account.username.clone();
                    request.note_identity(Identity::User(username));
                }
                handle(api, &watcher, request)
            }
        }
    }

    fn has_path(&self, path: &[&str]) -> bool {
        let mut wanted = self.path[1..].split('/');
        let is_alike = path.iter().all(|segment| {
            wanted
                .next()
                .is_some_and(|wanted| wanted.starts_with('{') || wanted == *segment)
        });
        is_alike && wanted.next().is_none()
    }
}

/// The routes of a path, whose segments are percent-decoded.
pub(super) fn find(path: &[&str]) -> impl Iterator<Item = &'static Route> {
    let asset = assets::exists(path).then_some(&ASSET);
    let routes = ROUTES.iter().filter(move |route| route.has_path(path));
    routes.chain(asset)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::super::openapi;
    use super::*;

    /// Who may call the route, as OpenAPI writes it.
    fn security(route: &Route) -> Value {
        match route.handler {
            Handler::Anyone(_) => json!([]),
            Handler::Agent(_) => json!([{ "agentKey": [] }]),
            Handler::Caller(right, _) => {
                assert!(!right.admits_local_peers(), "{}", route.path);
                json!([{ "bearer": [right.to_string()] }])
            }
            // OpenAPI knows no loopback: without a token some are let in.
            Handler::Watcher(right, _) => {
                assert!(right.admits_local_peers(), "{}", route.path);
                json!([{ "bearer": [right.to_string()] }, {}])
            }
        }
    }

    #[test]
    fn the_openapi_document_tells_of_every_route_who_may_call_it() {
        let routes: BTreeMap<String, Value> = ROUTES
            .iter()
            .map(|route| {
                let name = format!("{} {}", route.method, route.path);
                (name, security(route))
            })
            .collect();

        let document: Value = serde_json::from_str(openapi::DOCUMENT).unwrap();
        let mut told = BTreeMap::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                if method == "parameters" {
                    continue;
                }
                let name = format!("{} {path}", method.to_uppercase());
                told.insert(name, operation["security"].clone());
            }
        }

        assert_eq!(routes, told);
    }

    #[test]
    fn every_route_has_a_number_of_its_own() {
        let names = names();
        assert_eq!(names.len(), ROUTES.len() + 1);
        for (place, name) in names.iter().enumerate() {
            assert_eq!(name.number, place, "{name:?}");
        }
    }

    #[test]
    fn a_path_finds_its_route_by_each_segment() {
        let find_paths =
            |path: &[&str]| find(path).map(|route| route.path).collect::<Vec<_>>();
        assert_eq!(find_paths(&["server", "::1"]), ["/server/{ip}"]);
        assert_eq!(
            find_paths(&["server", "::1", "config"]),
            ["/server/{ip}/config"]
        );
        for nothing in [&["server"][..], &["server", "::1", ""], &["Servers"]] {
            assert!(find_paths(nothing).is_empty(), "{nothing:?}");
        }
    }
}
