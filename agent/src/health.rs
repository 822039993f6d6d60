//! `health`: whether the agent that runs with this configuration still makes heartbeats.
//!
//! The agent listens on nothing, so nobody can ask it. But its loop puts each heartbeat
//! into the spool before it is sent, whatever the server does, and so the file's time
//! tells when it last did.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use fleetbeat_settings::show_duration;

use crate::config::Config;
use crate::delivery::spool;
use crate::service::exit::AgentError;

/// How many intervals may pass: a change of the configuration can make one of two.
const INTERVALS: u32 = 2;
/// What a hanging collector, a silent name server and a slow disk may add.
const SLACK: Duration = Duration::from_secs(10);

/// What the spool of the configuration at `path` tells, for a person.
///
/// # Errors
/// The agent is dead, hangs, or has no spool to tell by.
pub(crate) fn check(path: &Path) -> Result<String, AgentError> {
    let config = Config::load(path, false)
        .map_err(|problems| AgentError::NotHealthy(problems.to_string()))?;
    let spool = spool::file_path(&config.spool);
    let written_at = fs::metadata(&spool).and_then(|metadata| metadata.modified());
    let written_at = written_at.map_err(|error| {
        let shown = spool.display();
        AgentError::NotHealthy(format!(
            "{shown}: {error}: without its spool, nothing shows whether it lives"
        ))
    })?;
    let (age, limit) = (
        age_at(SystemTime::now(), written_at),
        INTERVALS * config.interval() + SLACK,
    );
    let told = format!("its last sign of life is {} old", show_duration(age));
    if age > limit {
        let limit = show_duration(limit);
        return Err(AgentError::NotHealthy(format!("{told}, more than {limit}")));
    }
    Ok(format!("fleetbeat-agent is healthy: {told}"))
}

/// In whole seconds. A clock that was set back makes it none, until the next heartbeat.
fn age_at(now: SystemTime, written_at: SystemTime) -> Duration {
    Duration::from_secs(now.duration_since(written_at).unwrap_or_default().as_secs())
}
