//! Runs a collector, in a thread that lives for a sample's window.
//!
//! A collector may hang in the kernel, for example on a file system across the network.
//! In a separate thread, such a collector holds up neither the heartbeat nor another
//! collector.

use std::io;
use std::mem;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use fleetbeat_collectors::{Collector, Definition, Error, Pace, PartError, Sample};
use fleetbeat_daemon::condition::Condition;
use fleetbeat_daemon::exit::explain;
use fleetbeat_daemon::lock::lock;

use super::schedule::Window;
use crate::errand::Errand;

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
    /// The metrics of the last sample.
    pub(super) metrics: Vec<(String, f64)>,
    /// The trouble of the whole collector.
    trouble: Condition,
    /// The parts that failed last, and the trouble of each.
    failing: Vec<(String, Condition)>,
}

/// The thread of a window.
///
/// A hanging thread cannot be stopped. The thread is left behind until the collector
/// returns, and meanwhile the collector has no other thread. When the agent ends, the
/// thread may end with the process.
struct Run {
    errand: Errand<Option<WindowOutcome>>,
    close: Sender<()>,
    /// The sample in case of a failure.
    fallback: Option<Sample>,
    is_left_behind: bool,
}

/// What a collector made of a window.
pub(crate) struct WindowOutcome {
    pub(crate) result: Result<Option<Sample>, Error>,
    /// The sample in case of a failure.
    pub(crate) fallback: Option<Sample>,
    pub(crate) part_errors: Vec<PartError>,
}

impl WindowOutcome {
    /// Opens a window, waits as `wait` does, and collects; `None` if `wait` gives the
    /// window up.
    ///
    /// The clock is read here and not in the loop, because on a busy host the thread may
    /// run much later than the loop.
    pub(crate) fn of(
        collector: &mut dyn Collector,
        wait: impl FnOnce() -> Option<()>,
    ) -> Option<WindowOutcome> {
        let opened = collector.open(Instant::now());
        wait()?;
        let result = opened.and_then(|()| collector.collect(Instant::now()));
        Some(WindowOutcome {
            result,
            fallback: collector.fallback(),
            part_errors: collector.part_errors(),
        })
    }
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
            metrics: Vec::new(),
            trouble: Condition::default(),
            failing: Vec::new(),
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.definition.name
    }

    /// The troubles of the whole and of its parts: the log's last words.
    #[cfg(test)]
    pub(super) fn troubles(&self) -> impl Iterator<Item = &Condition> {
        let parts = self.failing.iter().map(|(_, trouble)| trouble);
        [&self.trouble].into_iter().chain(parts)
    }

    #[cfg(test)]
    pub(super) fn failing_parts(&self) -> impl Iterator<Item = &str> {
        self.failing.iter().map(|(part, _)| part.as_str())
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
            if run.errand.wait(deadline) {
                return self.judge(run.end()?);
            }
            run.is_left_behind = true;
            self.complain(HANGS);
        }

        self.run.insert(run).fallback.clone()
    }

    fn judge(&mut self, outcome: WindowOutcome) -> Option<Sample> {
        match outcome.result {
            Ok(sample) => {
                self.report(outcome.part_errors);
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
        if self.trouble.begins(told.cause.as_str()) {
            log::warn!("collector {}: {}", self.name(), told.text);
        }
    }

    /// The collector works. Logs parts that fail for a new reason, and what works again.
    fn report(&mut self, errors: Vec<PartError>) {
        if self.trouble.ends() {
            log::info!("collector {} works again", self.name());
        }
        let mut before = mem::take(&mut self.failing);
        for PartError { part, error } in errors {
            if self.failing.iter().any(|(known, _)| *known == part) {
                continue;
            }
            let known = before.iter().position(|(known, _)| *known == part);
            let known = known.map(|at| before.swap_remove(at).1);

            let (mut trouble, told) = (known.unwrap_or_default(), Told::of(&error));
            if trouble.begins(told.cause) {
                log::warn!("{}: {}", self.show_part(&part), told.text);
            }
            self.failing.push((part, trouble));
        }

        for (part, _) in before {
            log::info!("{} works again", self.show_part(&part));
        }
    }

    /// A part of the collector, for the log.
    fn show_part(&self, part: &str) -> String {
        format!("collector {}: {}", self.name(), part.escape_debug())
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
        let collector = Arc::clone(collector);
        let errand = Errand::start(name, move || {
            let wait = || closing.recv().ok();
            WindowOutcome::of(&mut **lock(&collector), wait)
        })?;

        Ok(Run {
            errand,
            close,
            fallback,
            is_left_behind: false,
        })
    }

    fn is_hanging(&self) -> bool {
        self.is_left_behind && !self.errand.wait(Instant::now())
    }

    /// Waits for the end of the thread. A thread that still waits for the window's end
    /// gives up here.
    fn end(self) -> Option<WindowOutcome> {
        drop(self.close);
        self.errand.join().flatten()
    }
}
