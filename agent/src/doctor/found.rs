//! What the steps so far have found, for the steps that follow.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::finding::Obstacle;
use super::probe::Reply;
use crate::config::{Config, ServerSettings};

/// What the steps so far have found. A field is `None` until its step has succeeded; a
/// step that needs the field is then skipped with [`Obstacle::Missing`].
#[derive(Default)]
pub(super) struct Found {
    /// The configuration's file.
    pub(super) path: PathBuf,
    /// Found by the step "configuration".
    pub(super) config: Option<Config>,
    /// Found by the step "dns".
    pub(super) addresses: Option<Vec<SocketAddr>>,
    /// Found by the step "tcp": one of the addresses takes connections.
    pub(super) connected: Option<()>,
    /// Found by the step "tls": how the call to the server ended.
    pub(super) call: Option<Result<Reply, ureq::Error>>,
    /// Found by the step "key", whatever the reply says of the key.
    pub(super) reply: Option<Reply>,
}

impl Found {
    /// What the configuration says about the server.
    pub(super) fn server(&self) -> Result<&ServerSettings, Obstacle> {
        self.config
            .as_ref()
            .map(|config| &config.server)
            .ok_or(Obstacle::Missing)
    }
}
