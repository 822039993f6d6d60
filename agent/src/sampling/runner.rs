//! Runs a collector, in a thread that lives for a sample's window.
//!
//! A collector may hang in the kernel, for example on a file system across the network.
//! In a separate thread, such a collector holds up neither the heartbeat nor another
//! collector.

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use fleetbeat_collectors::{Collector, Definition, Error, Pace, PartError, Sample};
use fleetbeat_daemon::condition::Condition;
use fleetbeat_daemon::exit::explain;
use fleetbeat_daemon::lock::lock;
use fleetbeat_daemon::thread::spawn;

use super::schedule::Window;

/// The name of the whole collector among the failing parts.
const WHOLE: &str = "";
/// What to say of a collector that is left behind.
const HANGS: &str = "hangs: it is asked again when it has returned";

/// A collector, shared by the window's thread and the runner.
type SharedCollector = Arc<Mutex<Box<dyn Collector>>>;

/// A collector and its troubles.
pub(super) struct Runner {
    definition: &'static Definition,
    collector: SharedCollector,
    /// Whether the collector has a sample to give for the current window.
    is_asked: bool,
    run: Option<Run>,
    /// The troubles of the collector's parts, by the part's name.
    troubles: BTreeMap<String, Condition>,
}

/// The thread of a window.
///
/// A hanging thread cannot be stopped. The thread is left behind until the collector
/// returns, and meanwhile the collector has no other thread. When the agent ends, the
/// thread may end with the process.
struct Run {
    thread: JoinHandle<()>,
    close: Sender<()>,
    outcome: Receiver<WindowOutcome>,
    /// The sample in case of a failure.
    fallback: Option<Sample>,
    is_left_behind: bool,
}

/// The result of a window's thread.
struct WindowOutcome {
    result: Result<Option<Sample>, Error>,
    fallback: Option<Sample>,
    part_errors: Vec<PartError>,
}

/// An error for the log.
struct Told {
    /// What stays the same while the trouble does: another cause is another line.
    cause: String,
    text: String,
}

impl Told {
    fn of(error: &Error) -> Told {
        let text = explain(error);
        Told {
            cause: error.cause().map_or_else(|| text.clone(), str::to_owned),
            text,
        }
    }
}

impl Runner {
    pub(super) fn new(
        (definition, collector): (&'static Definition, Box<dyn Collector>),
    ) -> Runner {
        Runner {
            definition,
            collector: Arc::new(Mutex::new(collector)),
            is_asked: false,
            run: None,
            troubles: BTreeMap::new(),
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.definition.name
    }

    /// The log's last words about each failing part.
    #[cfg(test)]
    pub(super) fn troubles(&self) -> &BTreeMap<String, Condition> {
        &self.troubles
    }

    /// The collector is not needed any more. Gives its thread if that hangs.
    pub(super) fn retire(mut self) -> Option<Retired> {
        let run = self.run.take()?;
        if !run.is_hanging() {
            run.end();
            return None;
        }
        Some(Retired {
            name: self.name(),
            run,
        })
    }

    /// A window begins. A collector that is blocked has a thread of an earlier
    /// configuration that hangs, and gets no second one.
    pub(super) fn open(&mut self, window: Window, is_blocked: bool) {
        self.is_asked =
            window == Window::Last || self.definition.pace == Pace::EachSample;
        if self.is_asked && is_blocked {
            return self.complain(HANGS);
        }
        let is_hanging = self.run.as_ref().is_some_and(Run::is_hanging);
        if !self.is_asked || is_hanging {
            return;
        }

        if let Some(run) = self.run.take() {
            run.end();
        }
        match Run::start(self.name(), &self.collector) {
            Ok(run) => self.run = Some(run),
            Err(error) => self.complain(&format!("cannot start a thread: {error}")),
        }
    }

    /// The window ends.
    pub(super) fn close(&mut self) {
        if let Some(run) = self.run.as_ref().filter(|_| self.is_asked) {
            let _ = run.close.send(());
        }
    }

    /// Whether the collector owes a sample for the window that was closed.
    pub(super) fn is_asked(&self) -> bool {
        self.is_asked
    }

    /// The sample of the window that was closed, or the collector's fallback. Waits for
    /// the collector until `deadline`.
    pub(super) fn sample(&mut self, deadline: Instant) -> Option<Sample> {
        self.is_asked = false;
        let Some(mut run) = self.run.take() else {
            return lock(&self.collector).fallback();
        };

        if !run.is_left_behind {
            let wait = deadline.saturating_duration_since(Instant::now());
            match run.outcome.recv_timeout(wait) {
                Ok(outcome) => {
                    run.end();
                    return self.judge(outcome);
                }
                Err(_) => {
                    run.is_left_behind = true;
                    self.complain(HANGS);
                }
            }
        }

        self.run.insert(run).fallback.clone()
    }

    fn judge(&mut self, outcome: WindowOutcome) -> Option<Sample> {
        match outcome.result {
            Ok(sample) => {
                let told = |failure: PartError| (failure.part, Told::of(&failure.error));
                self.report(outcome.part_errors.into_iter().map(told).collect());
                sample
            }
            Err(error) => {
                self.complain_of(&Told::of(&error));
                outcome.fallback
            }
        }
    }

    /// The whole collector fails. The state of the parts stays as last known.
    fn complain(&mut self, text: &str) {
        let text = text.to_owned();
        self.complain_of(&Told {
            cause: text.clone(),
            text,
        });
    }

    fn complain_of(&mut self, told: &Told) {
        let trouble = self.troubles.entry(WHOLE.to_owned()).or_default();
        if trouble.begins(told.cause.as_str()) {
            log::warn!("{}: {}", self.show_part(WHOLE), told.text);
        }
    }

    /// Logs parts that fail for a new reason, and parts that work again.
    fn report(&mut self, failing: BTreeMap<String, Told>) {
        let mut troubles = BTreeMap::new();
        for (part, told) in failing {
            let mut trouble = self.troubles.get(&part).cloned().unwrap_or_default();
            if trouble.begins(told.cause) {
                log::warn!("{}: {}", self.show_part(&part), told.text);
            }
            troubles.insert(part, trouble);
        }

        for part in self.troubles.keys() {
            if !troubles.contains_key(part) {
                log::info!("{} works again", self.show_part(part));
            }
        }
        self.troubles = troubles;
    }

    /// A part of the collector, for the log.
    fn show_part(&self, part: &str) -> String {
        let name = self.name();
        match part {
            WHOLE => format!("collector {name}"),
            _ => format!("collector {name}: {}", part.escape_debug()),
        }
    }
}

/// The thread of a collector of an earlier configuration.
pub(super) struct Retired {
    name: &'static str,
    run: Run,
}

impl Retired {
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn is_hanging(&self) -> bool {
        self.run.is_hanging()
    }
}

impl Run {
    fn start(name: &str, collector: &SharedCollector) -> io::Result<Run> {
        let fallback = lock(collector).fallback();
        let (close, closing) = mpsc::channel();
        let (tell, outcome) = mpsc::channel();

        let collector = Arc::clone(collector);
        let thread = spawn(name, move || {
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

    /// Waits for the end of the thread. A thread that still waits for the window's end
    /// gives up here.
    fn end(self) {
        drop(self.close);
        let _ = self.thread.join();
    }
}

/// Opens the window, waits until it is closed, and collects; `None` if the runner gives
/// the window up.
///
/// The clock is read here and not in the loop, because on a busy host the thread may run
/// much later than the loop.
fn run_window(
    collector: &mut dyn Collector,
    closing: &Receiver<()>,
) -> Option<WindowOutcome> {
    let opened = collector.open(Instant::now());
    closing.recv().ok()?;
    let result = opened.and_then(|()| collector.collect(Instant::now()));
    Some(WindowOutcome {
        result,
        fallback: collector.fallback(),
        part_errors: collector.part_errors(),
    })
}
