//! The results of the steps so far, for use by later steps.

use std::net::SocketAddr;
use std::path::PathBuf;

use fleetbeat_collectors::Sample;

use super::finding::Obstacle;
use super::probe::Reply;
use crate::config::{Config, ServerSettings};

/// The results of the steps so far. A field stays `None` until the field's step has
/// succeeded. Until then, later steps that need the field are skipped by
/// [`Obstacle::Missing`].
#[derive(Default)]
pub(super) struct Found {
    /// The configuration's file.
    pub(super) path: PathBuf,
    /// Found by the step "configuration".
    pub(super) config: Option<Config>,
    /// Found by the step "dns".
    pub(super) addresses: Option<Vec<SocketAddr>>,
    /// Found by the step "tcp": an address takes connections.
    pub(super) connected: Option<()>,
    /// Found by the step "tls": how the call to the server ended.
    pub(super) call: Option<Result<Reply, ureq::Error>>,
    /// Found by the step "key", even if the server refuses the key.
    pub(super) reply: Option<Reply>,
    /// Found by the step "collectors".
    pub(super) samples: Option<Vec<Sample>>,
}

impl Found {
    /// The configuration's section about the server.
    pub(super) fn server(&self) -> Result<&ServerSettings, Obstacle> {
        self.config
            .as_ref()
            .map(|config| &config.server)
            .ok_or(Obstacle::Missing)
    }
}
