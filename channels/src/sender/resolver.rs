//! Looks names up for ureq, and lets only allowed addresses through. ureq connects to the
//! addresses that are given here and looks nothing up again: a name server that answers
//! differently the second time is never asked a second time.

use std::error::Error as StdError;
use std::fmt::{self, Debug};
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;
use ureq::{Error, Timeout};

use crate::error::ErrorClass;
use crate::guard::Guard;

/// Most addresses of a name that are tried.
const MAX_ADDRESSES: usize = 8;

/// Where names are looked up.
pub(super) trait Lookup: Debug + Send + Sync {
    /// The addresses of `name`, which may also be an address in any spelling.
    fn look_up(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's own look-up.
#[derive(Debug)]
pub(super) struct SystemLookup;

impl Lookup for SystemLookup {
    fn look_up(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let addresses = (name, 0).to_socket_addrs()?;
        Ok(addresses.map(|address| address.ip()).collect())
    }
}

/// All addresses of a name are ones that channels may not use.
#[derive(Debug)]
pub(super) struct Forbidden;

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the address is not one that channels may use")
    }
}

impl StdError for Forbidden {}

/// A look-up whose answers pass the guard.
#[derive(Debug)]
pub(super) struct GuardedResolver {
    pub(super) guard: Guard,
    pub(super) lookup: Arc<dyn Lookup>,
}

impl Resolver for GuardedResolver {
    fn resolve(
        &self,
        uri: &Uri,
        _config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let is_https = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let name = uri.host().ok_or(Error::HostNotFound)?;
        let name = name.trim_start_matches('[').trim_end_matches(']');

        let found = look_up(&self.lookup, name, *timeout.after);
        let found = found.map_err(|class| match class {
            ErrorClass::Timeout => Error::Timeout(Timeout::Resolve),
            _ => Error::HostNotFound,
        })?;
        let allowed = found
            .into_iter()
            .filter(|ip| self.guard.allows(*ip, is_https));
        let mut addresses = self.empty();
        for ip in allowed.take(MAX_ADDRESSES) {
            addresses.push((ip, port).into());
        }
        if addresses.is_empty() {
            return Err(Error::Other(Box::new(Forbidden)));
        }
        Ok(addresses)
    }
}

/// Asks in a thread, because the system's look-up knows no deadline. The thread ends when
/// the system gives up.
///
/// # Errors
/// The class says whether the name has no address or nobody has answered.
pub(super) fn look_up(
    lookup: &Arc<dyn Lookup>,
    name: &str,
    limit: Duration,
) -> Result<Vec<IpAddr>, ErrorClass> {
    let (answer, answers) = mpsc::sync_channel(1);
    let (lookup, name) = (Arc::clone(lookup), name.to_owned());
    let ask = move || answer.send(lookup.look_up(&name));
    let spawned = thread::Builder::new().name("lookup".to_owned()).spawn(ask);
    spawned.map_err(|_| ErrorClass::Dns)?;

    match answers.recv_timeout(limit) {
        Ok(Ok(addresses)) if !addresses.is_empty() => Ok(addresses),
        Ok(_) => Err(ErrorClass::Dns),
        Err(_) => Err(ErrorClass::Timeout),
    }
}
