//! The state that handlers share.

use std::sync::Arc;
use std::time::Duration;

use fleetbeat_protocol::FlagsPatch;

use super::hosts::Hosts;
use super::readiness::Readiness;
use crate::alerting::Alerting;
use crate::auth::Auth;
use crate::auth::logins::Logins;
use crate::chronicle::Chronicle;
use crate::ingest::Ingest;
use crate::metrics::Metrics;
use crate::store::{
    AlertStore, ApiTokenStore, HostRules, KeyStore, StoreHealth, UserStore,
};

/// The parts of the server that handlers work with. Many threads use them at once. Only
/// `hosts` leads to a host's record, so that no handler reaches one that its caller may
/// not see; `keys` names hosts, and is for routes over all hosts.
pub(crate) struct ApiState {
    /// The hosts.
    pub(crate) hosts: Hosts,
    /// The users.
    pub(crate) users: Arc<dyn UserStore>,
    /// The API tokens.
    pub(crate) api_tokens: Arc<dyn ApiTokenStore>,
    /// The keys of agents.
    pub(crate) keys: Arc<dyn KeyStore>,
    /// The alerts, which name hosts: for routes over all hosts.
    pub(crate) alerts: Arc<dyn AlertStore>,
    /// Alerts in the making, and what sends them.
    pub(crate) alerting: Arc<Alerting>,
    /// How the store is.
    pub(crate) store: Arc<dyn StoreHealth>,
    /// The name of the store's backend, for `/readyz`.
    pub(crate) backend: &'static str,
    /// Silence after which a host is down: a spooled heartbeat that is older does not make
    /// its host active.
    pub(crate) down_after: Duration,
    /// What the operator has decided about hosts.
    pub(crate) host_rules: HostRules,
    /// What the flags of a new record begin with, but for what a code says.
    pub(crate) new_flags: FlagsPatch,
    /// Who is asking.
    pub(crate) auth: Arc<Auth>,
    /// Where heartbeats go.
    pub(crate) ingest: Ingest,
    /// Where passwords are checked.
    pub(crate) logins: Logins,
    /// What this server has to tell.
    pub(crate) chronicle: Arc<Chronicle>,
    /// What is counted, for `/metrics`.
    pub(crate) metrics: Arc<Metrics>,
    /// What `/readyz` remembers.
    pub(crate) readiness: Readiness,
}
