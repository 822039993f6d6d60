//! Each collector in one window.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use fleetbeat_collectors::{Collector, Definition, Error, PartError, Sample};

use super::{Finding, Report, Trouble};
use crate::failure::explain;

/// How long a collector may take after its window; in a heartbeat, it has less.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs the collectors side by side; one that hangs keeps none of the others from its
/// line.
pub(super) fn check(
    collectors: Vec<(&'static Definition, Box<dyn Collector>)>,
    window: Duration,
    report: &mut Report,
) {
    if collectors.is_empty() {
        let advice =
            "give each that is to run its table in agent.toml, such as [collectors.cpu]";
        report.add(
            "collectors",
            Err(Trouble::new(
                "there are none: heartbeats would say nothing",
                advice,
            )),
        );
    }
    let deadline = Instant::now() + window + PATIENCE;
    let started: Vec<_> = collectors
        .into_iter()
        .map(|(definition, collector)| (definition.name, start(collector, window)))
        .collect();
    for (name, taken) in started {
        let left = deadline.saturating_duration_since(Instant::now());
        report.add(
            &format!("collector {name}"),
            judge(name, taken.recv_timeout(left).ok()),
        );
    }
}

/// A sample, and what of it failed.
type Taken = (Result<Option<Sample>, Error>, Vec<PartError>);

/// Runs one in a thread, which may hang in the kernel and then ends with the process.
fn start(mut collector: Box<dyn Collector>, window: Duration) -> mpsc::Receiver<Taken> {
    let (tell, taken) = mpsc::channel();
    let take = move || {
        let result = collector.open(Instant::now()).and_then(|()| {
            thread::sleep(window);
            collector.collect(Instant::now())
        });
        let _ = tell.send((result, collector.part_errors()));
    };
    let _ = thread::Builder::new()
        .name("collector".to_owned())
        .spawn(take);
    taken
}

/// What came of it; nothing if it hangs, or has panicked.
fn judge(name: &str, taken: Option<Taken>) -> Finding {
    let advice = || {
        format!(
            "see collectors.{name} in agent.toml, and whether this user may read what it names"
        )
    };
    match taken {
        Some((Ok(_), failures)) if !failures.is_empty() => {
            let say = |failure: &PartError| {
                format!("{}: {}", failure.part, explain(&failure.error))
            };
            Err(Trouble::new(
                failures.iter().map(say).collect::<Vec<_>>().join("; "),
                advice(),
            ))
        }
        Some((Ok(Some(sample)), _)) => Ok(show(&sample)),
        Some((Ok(None), _)) => Ok("works, and has nothing to tell yet".to_owned()),
        Some((Err(error), _)) => Err(Trouble::new(explain(&error), advice())),
        None => Err(Trouble::new(
            format!("has not ended in {PATIENCE:?}"),
            format!(
                "what does collectors.{name} in agent.toml wait for? A file system across the network that is away?"
            ),
        )),
    }
}

fn show(sample: &Sample) -> String {
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
