//! Lets ureq look names up as the rest of the agent does.

use std::io;
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;
use ureq::{Error, Timeout};

use crate::dns::{self, RESOLVE_TIMEOUT};

/// The agent's own lookup. Unlike ureq's, the lookup ends in time by itself and so needs
/// no thread.
#[derive(Debug)]
pub(super) struct NameServers;

impl Resolver for NameServers {
    fn resolve(
        &self,
        uri: &Uri,
        _config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let usual_port = if uri.scheme_str() == Some("https") {
            443
        } else {
            80
        };
        let port = uri.port_u16().unwrap_or(usual_port);
        let name = uri.host().ok_or(Error::HostNotFound)?;
        let name = name.trim_start_matches('[').trim_end_matches(']');

        let started = Instant::now();
        let limit: Duration = RESOLVE_TIMEOUT.min(*timeout.after);
        let found = dns::look_up(name, started + limit).map_err(|error| {
            if limit.is_zero() {
                Error::Timeout(Timeout::Resolve)
            } else {
                Error::Io(io::Error::other(error))
            }
        })?;

        let mut addresses = self.empty();
        for ip in found {
            addresses.push((ip, port).into());
        }
        Ok(addresses)
    }
}
