//! Whether each collector has a sample to give after a window.

use std::mem;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use fleetbeat_collectors::{Collector, Error, PartError, Sample};

use super::finding::{Finding, Obstacle, Trouble};
use super::found::Found;
use crate::sampling::schedule;
use fleetbeat_daemon::exit::explain;
use fleetbeat_daemon::thread::spawn;

/// Longest wait for a collector after the window. A heartbeat waits for less time.
const PATIENCE: Duration = Duration::from_secs(5);

/// The collectors' names and findings. Taking the next item waits for the collector.
pub(super) type CollectorFindings = Box<dyn Iterator<Item = (&'static str, Finding)>>;

/// The step "collectors": runs all collectors at the same time, so that a hanging
/// collector does not hold up the others.
pub(super) fn run_each(found: &mut Found) -> Result<CollectorFindings, Obstacle> {
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

    Ok(Box::new(started.into_iter().map(move |(name, taken)| {
        let left = deadline.saturating_duration_since(Instant::now());
        (name, judge(name, taken.recv_timeout(left).ok()))
    })))
}

/// A collector's result: the sample, and the parts that failed.
type Taken = (Result<Option<Sample>, Error>, Vec<PartError>);

/// Runs a collector in a thread. A thread that hangs in the kernel ends with the process.
fn start(mut collector: Box<dyn Collector>, window: Duration) -> mpsc::Receiver<Taken> {
    let (tell, taken) = mpsc::channel();
    let take = move || {
        let result = collector.open(Instant::now()).and_then(|()| {
            thread::sleep(window);
            collector.collect(Instant::now())
        });
        let _ = tell.send((result, collector.part_errors()));
    };
    let _ = spawn("collector", take);
    taken
}

/// Judges the result of the collector `name`; `None` after a hang or a panic.
fn judge(name: &str, taken: Option<Taken>) -> Finding {
    let what = match taken {
        Some((Ok(_), part_errors)) if !part_errors.is_empty() => {
            let shown = part_errors
                .iter()
                .map(|failure| format!("{}: {}", failure.part, explain(&failure.error)));
            shown.collect::<Vec<_>>().join("; ")
        }
        Some((Ok(Some(sample)), _)) => return Ok(show_sample(&sample)),
        Some((Ok(None), _)) => return Ok("works, and has nothing to tell yet".to_owned()),
        Some((Err(error), _)) => explain(&error),
        None => {
            let what = format!("has not ended in {PATIENCE:?}");
            let advice = format!(
                "what does collectors.{name} in agent.toml wait for? A file system \
                 across the network that is away?"
            );
            return Err(Trouble { what, advice }.into());
        }
    };

    let advice = format!(
        "see collectors.{name} in agent.toml, and whether this user may read what it \
         names"
    );
    Err(Trouble { what, advice }.into())
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
