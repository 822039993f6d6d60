//! The state that handlers share.

use std::sync::Arc;
use std::time::Duration;

use fleetbeat_protocol::FlagsPatch;

use super::readiness::Readiness;
use crate::auth::Auth;
use crate::auth::logins::Logins;
use crate::chronicle::Chronicle;
use crate::fleet::snapshot::Snapshots;
use crate::ingest::Ingest;
use crate::metrics::Metrics;
use crate::places::Places;
use crate::store::{HostRules, Store};

/// The parts of the server that handlers work with. Many threads use them at once.
pub(crate) struct ApiState {
    /// The fleet and the users.
    pub(crate) store: Arc<dyn Store>,
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
    /// Where addresses are.
    pub(crate) places: Arc<Places>,
    /// Where lists of servers come from.
    pub(crate) snapshots: Snapshots,
    /// What this server has to tell.
    pub(crate) chronicle: Arc<Chronicle>,
    /// What is counted, for `/metrics`.
    pub(crate) metrics: Arc<Metrics>,
    /// What `/readyz` remembers.
    pub(crate) readiness: Readiness,
}
