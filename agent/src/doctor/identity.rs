//! Who the host is to the server.

use std::net::IpAddr;
use std::time::Instant;

use super::finding::{Finding, Obstacle, Trouble};
use super::found::Found;
use crate::config::{Config, HostIp};
use crate::dns::{self, RESOLVE_TIMEOUT};
use crate::host::{Host, Keeping, peek};

/// The step "identity": the host's id, and the address by which the server is to know the
/// host. Nothing is made or changed.
pub(super) fn examine(found: &mut Found) -> Finding {
    let config = found.config.as_ref().ok_or(Obstacle::Missing)?;
    tell(config)
}

fn tell(config: &Config) -> Finding {
    let kept = peek(&config.spool);
    let id = match kept {
        Some(kept) => format!("{}…", kept.agent_id),
        None => "none that this user can read (the service makes it)".to_owned(),
    };
    if let (Some(kept), Some(owner)) = (kept, config.server.key_owner())
        && kept.agent_id != owner
    {
        return Err(Obstacle::from(Trouble::new(
            format!("id {id}, and the key is that of the host {owner}…"),
            "get this host a key of its own: fleetbeat-agent enroll, with a code of \
             `fleetbeat-server enroll-code`",
        )));
    }
    let address = match show_address(config)? {
        Some(address) => address,
        None if is_seen_as_loopback(config) => {
            return Err(Obstacle::Warning(Trouble::new(
                format!(
                    "id {id}; no address is sent, and the way to the server is a loopback \
                     one, of which the server takes no host"
                ),
                "set host.ip in agent.toml, unless the proxy on this host names another \
                 address (X-Forwarded-For)",
            )));
        }
        None => "not sent: the server takes that of the connection".to_owned(),
    };
    Ok(format!("id {id}; address {address}"))
}

/// Whether the connection to the server shows it a loopback address.
fn is_seen_as_loopback(config: &Config) -> bool {
    let deadline = Instant::now() + RESOLVE_TIMEOUT;
    let found = dns::look_up(&config.server.way().next, deadline).unwrap_or_default();
    found.first().is_some_and(IpAddr::is_loopback)
}

/// The address that heartbeats name, and why; `None` if they name none.
fn show_address(config: &Config) -> Result<Option<String>, Trouble> {
    if let HostIp::Fixed(ip) = config.host.ip {
        return Ok(Some(format!("{ip}, set by host.ip")));
    }
    let kept = peek(&config.spool);
    let mut host = Host::new(
        config.host.clone(),
        config.roots.clone(),
        config.server.way(),
        Keeping::Looker(kept),
    );

    match host.address() {
        Some(ip) if config.host.ip == HostIp::Derived => {
            Ok(Some(format!("{ip}, made of the id (host.ip)")))
        }
        Some(ip) if kept.and_then(|kept| kept.address) == Some(ip) => {
            Ok(Some(format!("{ip}, kept while this host has it")))
        }
        Some(ip) => Ok(Some(format!("{ip}, found by the way to the server"))),
        None if host.needs_address() => Err(Trouble::new(
            "no address of this host is known, and the proxy hides it from the server, \
             so no heartbeat is sent",
            "set host.ip in agent.toml",
        )),
        None => Ok(None),
    }
}
