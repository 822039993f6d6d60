//! Whether each collector has a sample to give after a window.

use std::mem;
use std::thread;
use std::time::{Duration, Instant};

use fleetbeat_collectors::{Collector, Error, Sample};

use super::finding::{Finding, Obstacle, Trouble};
use super::found::Found;
use crate::errand::Errand;
use crate::sampling::{WindowOutcome, schedule};
use fleetbeat_daemon::exit::explain;

/// Longest wait for a collector after the window. A heartbeat waits for less time.
const PATIENCE: Duration = Duration::from_secs(5);

/// A collector, its finding, and its sample for the heartbeat.
pub(super) struct Judged {
    pub(super) collector: &'static str,
    pub(super) finding: Finding,
    pub(super) sample: Option<Sample>,
}

/// The judged collectors. Taking the next one waits for the collector.
pub(super) type JudgedCollectors = Box<dyn Iterator<Item = Judged>>;

/// The step "collectors": runs all collectors at the same time, so that a hanging
/// collector does not hold up the others.
pub(super) fn run_each(found: &mut Found) -> Result<JudgedCollectors, Obstacle> {
    let config = found.config.as_mut().ok_or(Obstacle::Missing)?;
    if config.collectors.is_empty() {
        let what = "there are none: heartbeats would say nothing";
        let advice =
            "give each that is to run its table in agent.toml, such as [collectors.cpu]";
        return Err(Trouble::new(what, advice).into());
    }

    let window = schedule::window_length(config.sample_every);
    let deadline = Instant::now() + window + PATIENCE;
    let started: Vec<_> = mem::take(&mut config.collectors)
        .into_iter()
        .map(|(definition, collector)| (definition.name, start(collector, window)))
        .collect();

    Ok(Box::new(started.into_iter().map(move |(name, run)| {
        let ended = run.filter(|run| run.wait(deadline));
        let mut outcome = ended.and_then(Run::join).flatten();
        let sample = outcome.as_mut().and_then(take_sample);
        Judged {
            collector: name,
            finding: judge(name, outcome, sample.as_ref()),
            sample,
        }
    })))
}

/// A collector in a thread. A thread that hangs in the kernel ends with the process.
type Run = Errand<Option<WindowOutcome>>;

/// Takes the sample that the heartbeat has.
fn take_sample(outcome: &mut WindowOutcome) -> Option<Sample> {
    match &mut outcome.result {
        Ok(sample) => sample.take(),
        Err(_) => outcome.fallback.take(),
    }
}

/// Runs a collector in a thread; `None` if the system gives no further thread.
fn start(mut collector: Box<dyn Collector>, window: Duration) -> Option<Run> {
    let take = move || {
        let wait = || {
            thread::sleep(window);
            Some(())
        };
        WindowOutcome::of(&mut *collector, wait)
    };
    Errand::start("collector", take).ok()
}

/// Judges the result of the collector `name`, apart from the `sample`; `None` after a
/// hang or a panic.
fn judge(name: &str, outcome: Option<WindowOutcome>, sample: Option<&Sample>) -> Finding {
    let Some(outcome) = outcome else {
        let what = format!("has not ended in {PATIENCE:?}");
        let advice = format!(
            "what does collectors.{name} in agent.toml wait for? A file system across the \
             network that is away?"
        );
        return Err(Trouble { what, advice }.into());
    };

    match (outcome.result, sample) {
        (Err(error), _) => {
            let what = explain(&error);
            let trouble = Trouble::new(what.as_str(), advise(name, &what));
            // A host that does not tell something is no fault, and has a setting for it.
            Err(match error {
                Error::NeedsSetting(_) => Obstacle::Warning(trouble),
                _ => Obstacle::Trouble(trouble),
            })
        }
        (Ok(_), _) if !outcome.part_errors.is_empty() => {
            let shown = outcome.part_errors.iter().map(|failure| {
                let part = failure.part.escape_debug();
                format!("{part}: {}", explain(&failure.error))
            });
            let what = shown.collect::<Vec<_>>().join("; ");
            let advice = advise(name, &what);
            Err(Obstacle::Warning(Trouble { what, advice }))
        }
        (Ok(_), Some(sample)) => Ok(show_sample(sample)),
        (Ok(_), None) => Ok("works, and has nothing to tell yet".to_owned()),
    }
}

fn advise(name: &str, what: &str) -> String {
    if name == "services" && what.contains(" bus") {
        return "systemctl needs the D-Bus system bus for every user but root: is the \
                package dbus installed, and does it run? Try: systemctl status dbus"
            .to_owned();
    }
    let hint = if what.contains("Permission denied") {
        "may the service's user read and run what it names?"
    } else if what.contains("No such file") {
        "is what it names there, inside the walls of the unit as well?"
    } else if what.contains("did not answer within") {
        "let a timer write the numbers into a file for textfile"
    } else if what.contains("line ") {
        "each line is a metric's name and a number"
    } else if what.contains("not found") {
        "give each program its whole path"
    } else {
        "call by hand what it names, as the service's user"
    };
    format!("see collectors.{name} in agent.toml: {hint}")
}

fn show_sample(sample: &Sample) -> String {
    match sample {
        Sample::Cpu(percent) | Sample::Ram(percent) | Sample::Net(percent) => {
            format!("{percent:.1} %")
        }
        Sample::Services(services) => {
            let state = |active| if active { "active" } else { "inactive" };
            let states = services
                .iter()
                .map(|service| format!("{} {}", service.name, state(service.active)));
            states.collect::<Vec<_>>().join(", ")
        }
        Sample::Metrics(metrics) => metrics
            .iter()
            .map(|(name, value)| format!("{name} {value}"))
            .collect::<Vec<_>>()
            .join(", "),
    }
}
