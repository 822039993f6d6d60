//! Whether the server would take the heartbeat that the samples make.

use fleetbeat_daemon::clock;
use fleetbeat_protocol::Heartbeat;

use super::finding::{Finding, Obstacle, Trouble};
use super::found::Found;
use crate::agent;
use crate::host::{Host, Keeping, peek};
use crate::sampling::{LeftOut, Readings, put_together};

/// Most left out names for each reason.
const MAX_SHOWN_NAMES: usize = 20;

/// The step "heartbeat": builds a heartbeat of the samples of the step "collectors", holds
/// it to the server's rules, and tells what is left out of it.
pub(super) fn build(found: &mut Found) -> Finding {
    let samples = found.samples.take().ok_or(Obstacle::Missing)?;
    let (readings, left_out) = put_together(samples, clock::now());
    let heartbeat = describe(found, readings)?;

    check(&heartbeat)?;
    let told = show(&heartbeat, agent::body(&heartbeat).len());
    warn(&told, &left_out)?;
    Ok(told)
}

fn describe(found: &Found, readings: Readings) -> Result<Heartbeat, Obstacle> {
    let config = found.config.as_ref().ok_or(Obstacle::Missing)?;
    let mut host = Host::new(
        config.host.clone(),
        config.roots.clone(),
        config.server.way(),
        Keeping::Looker(peek(&config.spool)),
    );
    Ok(host.heartbeat(readings))
}

/// Holds the heartbeat to the rules by which the server refuses heartbeats.
fn check(heartbeat: &Heartbeat) -> Result<(), Trouble> {
    let Err(errors) = heartbeat.check() else {
        return Ok(());
    };
    let shown = errors
        .iter()
        .map(|error| format!("{} {}", error.field, error.message));
    let wrong = shown.collect::<Vec<_>>().join("; ");
    Err(Trouble::new(
        format!("the server would refuse it: {}", wrong.escape_debug()),
        "correct the setting, or the name on this host, that the text comes from",
    ))
}

fn show(heartbeat: &Heartbeat, bytes: usize) -> String {
    let count = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    };
    format!(
        "the server's rules take it: {}, {}, {bytes} bytes",
        count(heartbeat.services.len(), "service"),
        count(heartbeat.metrics.len(), "metric"),
    )
}

fn warn(told: &str, left_out: &LeftOut) -> Result<(), Obstacle> {
    let reasons: Vec<_> = left_out.sentences(MAX_SHOWN_NAMES).collect();
    if reasons.is_empty() {
        return Ok(());
    }
    let reasons: Vec<_> = reasons.into_iter().map(|(_, text)| text).collect();
    Err(Obstacle::Warning(Trouble::new(
        format!("{told}; {}", reasons.join("; ")),
        "choose what is to be sent: exclude in [collectors.disk], include and exclude in \
         [collectors.textfile], shorter names in [collectors.services]",
    )))
}
