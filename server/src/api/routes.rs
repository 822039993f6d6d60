//! The routes: the whole API as one table.

use fleetbeat_daemon::clock;
use fleetbeat_protocol::{Role, Scope};

use super::state::ApiState;
use super::{
    ack_page, agent_keys, alert_rules, alerts, api_tokens, assets, bulk, changes,
    channels, deliveries, enroll, enrollment_codes, events, fleet_history, health,
    heartbeat, history, me, metrics, mutes, openapi, servers, targets, token, traffic,
    uptime, users,
};
use crate::auth::{Agent, Caller, Denied, Refusal, Right, Watcher};
use crate::chronicle::Refused;
use crate::http::{Failure, Identity, Reply, Request, RouteName};
use crate::store::EventKind;

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

/// Users of each role, and of every role above.
const READONLY: Right = Right::of(Role::Readonly);
const SUPERADMIN: Right = Right::of(Role::Superadmin);
/// Superadmins who see every host. All other routes show and change the hosts of the
/// caller's scope alone.
const SUPERADMIN_OF_ALL: Right = SUPERADMIN.over_all_hosts();
/// Users who see every host, and admins of these.
const READONLY_OF_ALL: Right = READONLY.over_all_hosts();
const ADMIN_OF_ALL: Right = Right::of(Role::Admin).over_all_hosts();
/// What users do with their own account, whatever their role needs.
const OWN: Right = READONLY.even_before_totp();
/// What programs may do, too.
const READS_SERVERS: Right = READONLY.or_token_for(Scope::ServersRead);
const READS_HISTORY: Right = READONLY.or_token_for(Scope::HistoryRead);
const READS_EVENTS: Right = READONLY.or_token_for(Scope::EventsRead);
const READS_TARGETS: Right = READONLY.or_token_for(Scope::SdRead);
const READS_METRICS: Right = READONLY.or_token_for(Scope::MetricsRead);
const WRITES_FLAGS: Right = Right::of(Role::Admin).or_token_for(Scope::FlagsWrite);

/// Alerts name hosts of the whole fleet.
const READS_ALERTS: Right = READONLY_OF_ALL.or_token_for(Scope::AlertsRead);
const READS_DELIVERIES: Right = ADMIN_OF_ALL.or_token_for(Scope::AlertsRead);
/// Who may mute an alert may take it on, too: either makes it silent.
const WRITES_MUTES: Right = ADMIN_OF_ALL.or_token_for(Scope::MutesWrite);

/// Every route but those of the dashboard's files.
pub(super) static ROUTES: &[Route] = &[
    agent("POST", "/heartbeat", heartbeat::one),
    agent("POST", "/heartbeats", heartbeat::many),
    anyone("POST", "/enroll", enroll::enroll),
    anyone("POST", "/token", token::issue),
    caller("GET", "/me", OWN, me::show),
    caller("POST", "/me/password", OWN, me::set_password),
    caller("POST", "/me/logout-all", OWN, me::log_out_everywhere),
    caller("POST", "/me/totp", OWN, me::begin_totp),
    caller("POST", "/me/totp/confirm", OWN, me::confirm_totp),
    caller("GET", "/users", SUPERADMIN_OF_ALL, users::list),
    caller("POST", "/users", SUPERADMIN_OF_ALL, users::add),
    caller(
        "PATCH",
        "/users/{username}",
        SUPERADMIN_OF_ALL,
        users::change,
    ),
    caller(
        "DELETE",
        "/users/{username}",
        SUPERADMIN_OF_ALL,
        users::remove,
    ),
    caller("GET", "/tokens", READONLY, api_tokens::list),
    caller("POST", "/tokens", READONLY, api_tokens::add),
    caller("DELETE", "/tokens/{id}", READONLY, api_tokens::remove),
    caller("GET", "/servers", READS_SERVERS, servers::list),
    caller("GET", "/servers/changes", READS_SERVERS, changes::list),
    caller("POST", "/servers/bulk", WRITES_FLAGS, bulk::set),
    caller("GET", "/server/{ip}", READS_SERVERS, servers::show),
    caller("DELETE", "/server/{ip}", SUPERADMIN, servers::remove),
    caller("GET", "/server/{ip}/history", READS_HISTORY, history::chart),
    caller("GET", "/server/{ip}/uptime", READS_HISTORY, uptime::of_host),
    caller("GET", "/servers/uptime", READS_HISTORY, uptime::of_all),
    caller("GET", "/traffic", READS_HISTORY, traffic::list),
    caller(
        "GET",
        "/fleet/history",
        READS_HISTORY.over_all_hosts(),
        fleet_history::chart,
    ),
    caller(
        "PATCH",
        "/server/{ip}/config",
        WRITES_FLAGS,
        servers::set_flags,
    ),
    caller(
        "PATCH",
        "/server/{ip}/tags",
        WRITES_FLAGS,
        servers::set_tags,
    ),
    caller(
        "PATCH",
        "/server/{ip}/state",
        WRITES_FLAGS,
        servers::set_state,
    ),
    caller(
        "PATCH",
        "/server/{ip}/settings",
        WRITES_FLAGS,
        servers::set_settings,
    ),
    caller(
        "GET",
        "/enrollment-codes",
        SUPERADMIN_OF_ALL,
        enrollment_codes::list,
    ),
    caller(
        "POST",
        "/enrollment-codes",
        SUPERADMIN_OF_ALL,
        enrollment_codes::create,
    ),
    caller(
        "DELETE",
        "/enrollment-codes/{id}",
        SUPERADMIN_OF_ALL,
        enrollment_codes::remove,
    ),
    caller("GET", "/agent-keys", SUPERADMIN_OF_ALL, agent_keys::list),
    caller(
        "DELETE",
        "/agent-keys/{agent_id}",
        SUPERADMIN_OF_ALL,
        agent_keys::revoke,
    ),
    caller(
        "POST",
        "/agent-keys/{agent_id}/rotate",
        SUPERADMIN_OF_ALL,
        agent_keys::rotate,
    ),
    caller(
        "POST",
        "/agent-keys/{agent_id}/readmit",
        SUPERADMIN_OF_ALL,
        agent_keys::readmit,
    ),
    caller("GET", "/events", READS_EVENTS, events::list),
    caller("GET", "/alert-rules", READS_ALERTS, alert_rules::list),
    caller("POST", "/alert-rules", ADMIN_OF_ALL, alert_rules::create),
    caller("GET", "/alert-rules/{id}", READS_ALERTS, alert_rules::show),
    caller(
        "PUT",
        "/alert-rules/{id}",
        ADMIN_OF_ALL,
        alert_rules::replace,
    ),
    caller(
        "DELETE",
        "/alert-rules/{id}",
        ADMIN_OF_ALL,
        alert_rules::remove,
    ),
    caller("POST", "/alert-rules/test", ADMIN_OF_ALL, alert_rules::test),
    caller("GET", "/channels", ADMIN_OF_ALL, channels::list),
    caller("POST", "/channels", SUPERADMIN_OF_ALL, channels::create),
    caller("GET", "/channels/{id}", ADMIN_OF_ALL, channels::show_one),
    caller(
        "PUT",
        "/channels/{id}",
        SUPERADMIN_OF_ALL,
        channels::replace,
    ),
    caller(
        "DELETE",
        "/channels/{id}",
        SUPERADMIN_OF_ALL,
        channels::remove,
    ),
    caller(
        "POST",
        "/channels/{id}/test",
        SUPERADMIN_OF_ALL,
        channels::test,
    ),
    anyone("GET", "/ack/{link}", ack_page::show),
    anyone("POST", "/ack/{link}", ack_page::acknowledge),
    caller("GET", "/mutes", READS_ALERTS, mutes::list),
    caller("POST", "/mutes", WRITES_MUTES, mutes::create),
    caller("DELETE", "/mutes/{id}", WRITES_MUTES, mutes::remove),
    caller("GET", "/alerts", READS_ALERTS, alerts::list),
    caller("GET", "/alerts/{id}", READS_ALERTS, alerts::show_one),
    caller(
        "POST",
        "/alerts/{id}/ack",
        WRITES_MUTES,
        alerts::acknowledge,
    ),
    caller(
        "DELETE",
        "/alerts/{id}/ack",
        WRITES_MUTES,
        alerts::give_back,
    ),
    caller("GET", "/deliveries", READS_DELIVERIES, deliveries::list),
    caller(
        "POST",
        "/deliveries/{id}/retry",
        ADMIN_OF_ALL,
        deliveries::retry,
    ),
    caller(
        "DELETE",
        "/deliveries/{id}",
        ADMIN_OF_ALL,
        deliveries::dismiss,
    ),
    caller("GET", "/sd/prometheus", READS_TARGETS, targets::list),
    watcher("GET", "/metrics", READS_METRICS, metrics::show),
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
    // Watchers are given every host.
    let right = right.or_local_peer().over_all_hosts();
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
                let caller = api.auth.caller(request, right);
                let caller = caller.map_err(|denied| tell(api, request, *denied))?;
                request.note_identity(identity_of(&caller));
                handle(api, &caller, request)
            }
            Handler::Watcher(right, handle) => {
                let watcher = api.auth.watcher(request, right);
                let watcher = watcher.map_err(|denied| tell(api, request, *denied))?;
                if let Some(caller) = watcher.caller() {
                    request.note_identity(identity_of(caller));
                }
                handle(api, &watcher, request)
            }
        }
    }

    /// Whether the path has no segment that may be anything.
    fn is_written_out(&self) -> bool {
        !self.path.contains('{')
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

/// Who asks, for the access log.
fn identity_of(caller: &Caller) -> Identity {
    let username = caller.account().username.clone();
    match caller.api_token() {
        None => Identity::User(username),
        Some(token) => Identity::ApiToken {
            username,
            id: token.id.clone(),
        },
    }
}

/// Tells that an API token was of no use, and gives what the client is told.
fn tell(api: &ApiState, request: &Request, denied: Denied) -> Failure {
    if let Some(token) = &denied.token {
        let (user, address) = (&token.username, request.peer().ip());
        let detail = format!("{} of user {user:?}: {}", token.id, token.reason);
        api.auth
            .refusals()
            .note(Refusal::ApiToken, address, &detail);
        let refused = Refused {
            kind: EventKind::TokenRefused,
            user: Some(user),
            token: Some(&token.id),
            reason: token.reason,
            address,
        };
        api.chronicle.refused(refused, clock::now());
    }
    denied.failure
}

/// The routes of a path, whose segments are percent-decoded.
pub(super) fn find(path: &[&str]) -> impl Iterator<Item = &'static Route> {
    let asset = assets::exists(path).then_some(&ASSET);
    let routes = ROUTES.iter().filter(move |route| route.has_path(path));
    // A path that is written out is not also the name of something: `test` is not a rule.
    let is_exact = routes.clone().any(Route::is_written_out);
    let routes = routes.filter(move |route| route.is_written_out() || !is_exact);
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
                json!([{ "bearer": right.names() }])
            }
            // OpenAPI knows no loopback: without a token some are let in.
            Handler::Watcher(right, _) => {
                assert!(right.admits_local_peers(), "{}", route.path);
                json!([{ "bearer": right.names() }, {}])
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
    fn the_openapi_document_tells_which_routes_are_closed_to_users_with_a_scope() {
        let document: Value = serde_json::from_str(openapi::DOCUMENT).unwrap();
        for route in ROUTES {
            let is_over_all_hosts = match route.handler {
                Handler::Anyone(_) | Handler::Agent(_) => false,
                Handler::Caller(right, _) | Handler::Watcher(right, _) => {
                    right.is_over_all_hosts()
                }
            };
            let method = route.method.to_lowercase();
            let told = &document["paths"][route.path][method]["x-over-all-hosts"];
            let told = told.as_bool().unwrap_or_default();
            assert_eq!(told, is_over_all_hosts, "{} {}", route.method, route.path);
        }
    }

    #[test]
    fn no_scope_opens_a_route_below_its_least_role() {
        for route in ROUTES {
            if let Handler::Caller(right, _) | Handler::Watcher(right, _) = route.handler
                && let [role, scope] = &right.names()[..]
            {
                let scope: Scope = scope.parse().unwrap();
                let role: Role = role.parse().unwrap();
                assert!(scope.least_role() <= role, "{}", route.path);
            }
        }
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
    fn a_path_finds_its_routes_by_each_segment() {
        let find_routes = |path: &[&str]| {
            let found =
                find(path).map(|route| format!("{} {}", route.method, route.path));
            found.collect::<Vec<_>>()
        };
        assert_eq!(
            find_routes(&["server", "::1"]),
            ["GET /server/{ip}", "DELETE /server/{ip}"]
        );
        assert_eq!(
            find_routes(&["server", "::1", "config"]),
            ["PATCH /server/{ip}/config"]
        );
        for nothing in [&["server"][..], &["server", "::1", ""], &["Servers"]] {
            assert!(find_routes(nothing).is_empty(), "{nothing:?}");
        }
    }
}
