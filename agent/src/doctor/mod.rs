//! `doctor`: checks everything between this host and its heartbeats, step by step.
//!
//! Each step of [`STEPS`] prints a line: "ok" with a finding, "warning" or "failed" with
//! a fault and advice, or "skipped" because an earlier step failed. A step fails where
//! heartbeats do not arrive or say nothing of a whole subject; a warning is about a part,
//! or about what the host does not tell. Nothing is changed anywhere: the call to the
//! server carries no heartbeat, so the server does not get to know the host.

mod certificate;
mod clock;
mod collector;
mod configuration;
mod connection;
mod finding;
mod found;
mod heartbeat;
mod identity;
mod probe;
mod report;
mod spool;
mod standpoint;
mod tls_error;

use std::path::Path;

pub(crate) use standpoint::go_inside_unit;

use crate::service::exit::AgentError;
use collector::{Judged, JudgedCollectors};
use finding::{Finding, Obstacle};
use found::Found;
use report::Report;

/// A step of the walk.
struct Step {
    /// The name, as printed.
    name: &'static str,
    /// The earlier step whose result this step uses.
    needs: Option<&'static str>,
    examine: Examine,
}

/// The function of a step, which reads the results of earlier steps in [`Found`] and adds
/// results.
enum Examine {
    /// The step prints a line.
    Whole(fn(&mut Found) -> Finding),
    /// The step prints a line for each collector.
    EachCollector(fn(&mut Found) -> Result<JudgedCollectors, Obstacle>),
}

/// All steps, in order. A step needs earlier steps only.
const STEPS: &[Step] = &[
    Step::whole("configuration", None, configuration::load),
    Step::whole("dns", Some("configuration"), connection::resolve),
    Step::whole("tcp", Some("dns"), connection::connect),
    Step::whole("tls", Some("tcp"), connection::shake_hands),
    Step::whole("key", Some("tls"), connection::show_key),
    Step::whole("clock", Some("key"), clock::compare),
    Step {
        name: "collectors",
        needs: Some("configuration"),
        examine: Examine::EachCollector(collector::run_each),
    },
    Step::whole("identity", Some("configuration"), identity::examine),
    Step::whole("heartbeat", Some("collectors"), heartbeat::build),
    Step::whole("spool", Some("configuration"), spool::examine),
];

impl Step {
    const fn whole(
        name: &'static str,
        needs: Option<&'static str>,
        examine: fn(&mut Found) -> Finding,
    ) -> Step {
        Step {
            name,
            needs,
            examine: Examine::Whole(examine),
        }
    }
}

/// Takes every step for the configuration at `path` and prints the findings.
///
/// # Errors
/// At least one step failed.
pub(crate) fn run(path: &Path) -> Result<(), AgentError> {
    if let Some(result) = standpoint::go_inside(path) {
        return result;
    }

    let mut found = Found {
        path: path.to_owned(),
        ..Found::default()
    };
    let mut walk = Walk::default();

    for step in STEPS {
        match step.examine {
            Examine::Whole(examine) => walk.tell(step, step.name, examine(&mut found)),
            Examine::EachCollector(examine) => match examine(&mut found) {
                Ok(judged) => {
                    let mut samples = Vec::new();
                    for Judged {
                        collector,
                        finding,
                        sample,
                    } in judged
                    {
                        walk.tell(step, &format!("collector {collector}"), finding);
                        samples.extend(sample);
                    }
                    found.samples = Some(samples);
                }
                Err(obstacle) => walk.tell(step, step.name, Err(obstacle)),
            },
        }
    }
    walk.report.end()
}

/// The walk through the steps so far.
#[derive(Default)]
struct Walk {
    report: Report,
    /// The skipped steps, each with the failed step that was the reason.
    skipped: Vec<(&'static str, &'static str)>,
}

impl Walk {
    /// Prints a finding of `step` under `name`: the step's own name, or a collector's.
    fn tell(&mut self, step: &Step, name: &str, finding: Finding) {
        match finding {
            Ok(found) => self.report.ok(name, &found),
            Err(Obstacle::Trouble(trouble)) => self.report.failed(name, &trouble),
            Err(Obstacle::Warning(trouble)) => self.report.warning(name, &trouble),
            Err(Obstacle::Missing) => {
                let needed = step.needs.unwrap_or_default();
                let mut skipped = self.skipped.iter().filter(|(name, _)| *name == needed);
                let failed = skipped.next().map_or(needed, |(_, failed)| failed);
                self.skipped.push((step.name, failed));
                self.report.skipped(name, failed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_needs_only_steps_before_it() {
        let mut before = Vec::new();
        for step in STEPS {
            assert!(
                step.needs.is_none_or(|needed| before.contains(&needed)),
                "{}",
                step.name
            );
            before.push(step.name);
        }
    }
}
