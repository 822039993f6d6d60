//! `health`: whether the running agent still makes heartbeats.
//!
//! The agent listens on nothing, so nobody can ask it. But the agent's loop puts each
//! heartbeat into the spool first, also while the server is away. So the time of the last
//! write to the spool's file is the agent's last sign of life.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use fleetbeat_settings::show_duration;

use crate::config::{Config, KeyNeed, accepted};
use crate::delivery::spool;
use crate::service::exit::AgentError;

/// How many intervals may pass: after a change of the configuration, two intervals can go
/// by between two heartbeats.
const MAX_INTERVALS: u32 = 2;
/// How much a hanging collector, a silent name server and a slow disk may add.
const SLACK: Duration = Duration::from_secs(10);

/// The last sign of life of the agent with the configuration at `path`, for people.
///
/// # Errors
/// The agent is dead or hangs, or there is no spool to judge by.
pub(crate) fn report(path: &Path) -> Result<String, AgentError> {
    let config = Config::load(path, KeyNeed::Optional).or_else(|problems| {
        // An agent that was started with a mistake in the files goes on with its copy.
        let kept = accepted::load(path, KeyNeed::Optional).and_then(Result::ok);
        kept.ok_or_else(|| AgentError::NotHealthy(problems.to_string()))
    })?;
    let spool = spool::file_path(&config.spool);
    let modified = fs::metadata(&spool).and_then(|metadata| metadata.modified());
    let written_at = modified.map_err(|error| {
        let shown = spool.display();
        AgentError::NotHealthy(format!(
            "{shown}: {error}: without its spool, nothing shows whether it lives"
        ))
    })?;

    let age = age_at(SystemTime::now(), written_at);
    let limit = MAX_INTERVALS * config.interval() + SLACK;
    let told = format!("its last sign of life is {} old", show_duration(age));
    if age > limit {
        let limit = show_duration(limit);
        return Err(AgentError::NotHealthy(format!("{told}, more than {limit}")));
    }
    Ok(format!("fleetbeat-agent is healthy: {told}"))
}

/// The time from `written_at` to `now` in whole seconds. Zero after the clock was set
/// back, until the next heartbeat.
fn age_at(now: SystemTime, written_at: SystemTime) -> Duration {
    Duration::from_secs(now.duration_since(written_at).unwrap_or_default().as_secs())
}
