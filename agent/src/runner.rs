//! Runs one collector, in a thread that lives for one sample's window: a collector that
//! hangs holds up neither the heartbeat nor another collector.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use fleetbeat_collectors::{Collector, Definition, Error, Pace, PartError, Sample};

use crate::failure::explain;

/// A collector and how it fares.
pub(crate) struct Runner {
    definition: &'static Definition,
    collector: Arc<Mutex<Box<dyn Collector>>>,
    /// Whether the current window is one of this collector's.
    is_asked: bool,
    run: Option<Run>,
    /// What the log said last about its failing, by the part that fails; that of the
    /// whole has no name.
    said: BTreeMap<String, String>,
}

/// A window's thread. One that hangs is left behind until it returns, and there is no
/// other meanwhile; it cannot be hurried: at the agent's end it may end with the process.
struct Run {
    thread: JoinHandle<()>,
    close: Sender<()>,
    outcome: Receiver<Outcome>,
    /// What the collector would say if it failed.
    fallback: Option<Sample>,
    is_left_behind: bool,
}

struct Outcome {
    result: Result<Option<Sample>, Error>,
    fallback: Option<Sample>,
    failures: Vec<PartError>,
}

impl Runner {
    pub(crate) fn new(
        (definition, collector): (&'static Definition, Box<dyn Collector>),
    ) -> Runner {
        let collector = Arc::new(Mutex::new(collector));
        Runner {
            definition,
            collector,
            is_asked: false,
            run: None,
            said: BTreeMap::new(),
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.definition.name
    }

    /// What the log said last about its failing, by the part that fails.
    #[cfg(test)]
    pub(crate) fn said(&self) -> &BTreeMap<String, String> {
        &self.said
    }

    /// A window begins, the heartbeat's last one if `is_last`.
    pub(crate) fn open(&mut self, is_last: bool) {
        self.is_asked = is_last || self.definition.pace == Pace::EachSample;
        let is_hanging = self.run.as_ref().is_some_and(Run::is_hanging);
        if !self.is_asked || is_hanging {
            return;
        }
        if let Some(run) = self.run.take() {
            run.end();
        }
        match Run::start(self.name(), &self.collector) {
            Ok(run) => self.run = Some(run),
            Err(error) => self.complain(format!("cannot start a thread: {error}")),
        }
    }

    /// The window ends.
    pub(crate) fn close(&mut self) {
        if let Some(run) = self.run.as_ref().filter(|_| self.is_asked) {
            let _ = run.close.send(());
        }
    }

    /// What the collector says of the window, waited for until `deadline`, or what stands
    /// in for it; `None` if it was not asked.
    pub(crate) fn sample(&mut self, deadline: Instant) -> Option<Option<Sample>> {
        if !std::mem::take(&mut self.is_asked) {
            return None;
        }
        let Some(mut run) = self.run.take() else {
            return Some(lock(&self.collector).fallback());
        };
        if !run.is_left_behind {
            match run
                .outcome
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(outcome) => {
                    run.end();
                    return Some(self.judge(outcome));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    run.end();
                    self.complain("panicked".to_owned());
                    return Some(lock(&self.collector).fallback());
                }
                Err(RecvTimeoutError::Timeout) => {
                    run.is_left_behind = true;
                    self.complain(
                        "hangs: it is asked again when it has returned".to_owned(),
                    );
                }
            }
        }
        Some(self.run.insert(run).fallback.clone())
    }

    fn judge(&mut self, outcome: Outcome) -> Option<Sample> {
        match outcome.result {
            Ok(sample) => {
                let told = |failure: PartError| (failure.part, explain(&failure.error));
                self.report(outcome.failures.into_iter().map(told).collect());
                sample
            }
            Err(error) => {
                self.complain(explain(&error));
                outcome.fallback
            }
        }
    }

    /// The whole fails; its parts' state is not known then.
    fn complain(&mut self, text: String) {
        let mut failing = self.said.clone();
        failing.insert(String::new(), text);
        self.report(failing);
    }

    /// Logs what is different from what was said last.
    fn report(&mut self, failing: BTreeMap<String, String>) {
        let show = |part: &str| match part {
            "" => format!("collector {}", self.name()),
            _ => format!("collector {}: {}", self.name(), part.escape_debug()),
        };
        for (part, text) in failing
            .iter()
            .filter(|(part, text)| self.said.get(*part) != Some(text))
        {
            log::warn!("{}: {text}", show(part));
        }
        for part in self.said.keys().filter(|part| !failing.contains_key(*part)) {
            log::info!("{} works again", show(part));
        }
        self.said = failing;
    }
}

impl Run {
    fn start(
        name: &str,
        collector: &Arc<Mutex<Box<dyn Collector>>>,
    ) -> std::io::Result<Run> {
        let fallback = lock(collector).fallback();
        let (close, closing) = mpsc::channel();
        let (tell, outcome) = mpsc::channel();
        let collector = Arc::clone(collector);
        let thread = thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn(move || {
            let outcome = run_window(&mut **lock(&collector), &closing);
            let _ = outcome.map(|outcome| tell.send(outcome));
        })?;
        Ok(Run {
            thread,
            close,
            outcome,
            fallback,
            is_left_behind: false,
        })
    }

    fn is_hanging(&self) -> bool {
        self.is_left_behind && matches!(self.outcome.try_recv(), Err(TryRecvError::Empty))
    }

    /// Waits for the thread, which has said what it had to say or is told here that there
    /// will be no end of the window.
    fn end(self) {
        drop(self.close);
        let _ = self.thread.join();
    }
}

/// The clock is read here and not where the window is opened and closed: a busy host may
/// take its time between.
fn run_window(collector: &mut dyn Collector, closing: &Receiver<()>) -> Option<Outcome> {
    let opened = collector.open(Instant::now());
    closing.recv().ok()?;
    let result = opened.and_then(|()| collector.collect(Instant::now()));
    Some(Outcome {
        result,
        fallback: collector.fallback(),
        failures: collector.part_errors(),
    })
}

/// After a panic the collector is tried again, like after any other failure.
fn lock(collector: &Mutex<Box<dyn Collector>>) -> MutexGuard<'_, Box<dyn Collector>> {
    collector.lock().unwrap_or_else(PoisonError::into_inner)
}
