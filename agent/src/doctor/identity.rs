//! Who the host is to the server.

use super::finding::{Finding, Obstacle, Trouble};
use super::found::Found;
use crate::config::Config;
use crate::host::{Host, Keeping, peek};

/// The step "identity": the host's id, and the address by which the server is to know the
/// host. Nothing is made or changed.
pub(super) fn examine(found: &mut Found) -> Finding {
    let config = found.config.as_ref().ok_or(Obstacle::Missing)?;
    Ok(tell(config)?)
}

fn tell(config: &Config) -> Result<String, Trouble> {
    let kept = peek(&config.spool);
    let id = match kept {
        Some(kept) => format!("{}…", kept.agent_id),
        None => "none that this user can read (the service makes it)".to_owned(),
    };
    let address = show_address(config)?;
    Ok(format!("id {id}; address {address}"))
}

fn show_address(config: &Config) -> Result<String, Trouble> {
    if let Some(ip) = config.host.ip {
        return Ok(format!("{ip}, set by host.ip"));
    }
    let kept = peek(&config.spool);
    let mut host = Host::new(
        config.host.clone(),
        config.roots.clone(),
        config.server.way(),
        Keeping::Looker(kept),
    );

    match host.address() {
        Some(ip) if kept.and_then(|kept| kept.address) == Some(ip) => {
            Ok(format!("{ip}, kept while this host has it"))
        }
        Some(ip) => Ok(format!("{ip}, found by the way to the server")),
        None if host.needs_address() => Err(Trouble::new(
            "no address of this host is known, and the proxy hides it from the server, \
             so no heartbeat is sent",
            "set host.ip in agent.toml",
        )),
        None => Ok(
            "that of the connection, as the server sees it: this host's own may \
                    be others' as well"
                .to_owned(),
        ),
    }
}
