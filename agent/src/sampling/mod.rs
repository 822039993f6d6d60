//! Runs the collectors and keeps the samples for the next heartbeat.
//!
//! A heartbeat has one window or more. In a window each collector measures in a separate
//! thread (`runner`). The times of windows and heartbeats are in `schedule`.

mod fit;
mod runner;
pub(crate) mod schedule;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::mem;
use std::time::{Duration, Instant};

use fleetbeat_collectors::{Collector, Definition, Sample};
use fleetbeat_protocol::{Load, Service, Timestamp};

pub(crate) use fit::LeftOut;
pub(crate) use runner::WindowOutcome;
use runner::{Retired, Runner};
use schedule::Window;

/// Longest wait for collectors, from the beginning of the window: the first heartbeat is
/// due three seconds after the start. A slower collector is left behind.
const PATIENCE: Duration = Duration::from_millis(2400);
/// Most names of left out metrics or services in one line of the log.
const MAX_SHOWN_NAMES: usize = 3;

/// The collectors and the samples since the last heartbeat.
pub(crate) struct Sampler {
    collectors: Vec<Runner>,
    /// Threads that hang in collectors of an earlier configuration.
    left_behind: Vec<Retired>,
    /// When the last window began.
    opened_at: Option<Instant>,
    cpu: Mean,
    ram: Mean,
    net: Mean,
    services: Vec<Service>,
    /// Reasons for leaving something out of the last heartbeat: the log has them.
    left_out: Vec<&'static str>,
    /// When the last sample was taken; `None` without a sample since the last heartbeat.
    collected_at: Option<Timestamp>,
}

/// The samples of a heartbeat, put together.
#[derive(Debug, PartialEq)]
pub(crate) struct Readings {
    /// Each a mean.
    pub(crate) load: Load,
    /// As in the last sample.
    pub(crate) services: Vec<Service>,
    /// As in the last sample.
    pub(crate) metrics: BTreeMap<String, f64>,
    /// When the last sample was taken.
    pub(crate) collected_at: Timestamp,
}

/// The readings of one sample of each collector, and what a heartbeat has no place for.
pub(crate) fn put_together(
    samples: Vec<Sample>,
    collected_at: Timestamp,
) -> (Readings, LeftOut) {
    let (mut load, mut services, mut groups) = (Load::default(), Vec::new(), Vec::new());
    for sample in samples {
        match sample {
            Sample::Cpu(percent) => load.cpu = Some(percent),
            Sample::Ram(percent) => load.ram = Some(percent),
            Sample::Net(percent) => load.net = Some(percent),
            Sample::Services(found) => services = found,
            Sample::Metrics(metrics) => groups.push(metrics),
        }
    }

    let mut left_out = LeftOut::default();
    let groups: Vec<_> = groups.iter().map(Vec::as_slice).collect();
    let readings = Readings {
        load,
        services: fit::fit_services(&services, &mut left_out),
        metrics: fit::fit_metrics(&groups, &mut left_out),
        collected_at,
    };
    (readings, left_out)
}

/// A mean of the samples so far.
#[derive(Default)]
struct Mean {
    sum: f64,
    count: u32,
}

impl Sampler {
    pub(crate) fn new(
        collectors: Vec<(&'static Definition, Box<dyn Collector>)>,
    ) -> Sampler {
        Sampler {
            collectors: collectors.into_iter().map(Runner::new).collect(),
            left_behind: Vec::new(),
            opened_at: None,
            cpu: Mean::default(),
            ram: Mean::default(),
            net: Mean::default(),
            services: Vec::new(),
            left_out: Vec::new(),
            collected_at: None,
        }
    }

    /// Runs other collectors from the next window on; the samples so far stay. A collector
    /// that `is_same` as before goes on as it is, with all that it remembers.
    pub(crate) fn replace(
        &mut self,
        collectors: Vec<(&'static Definition, Box<dyn Collector>)>,
        is_same: impl Fn(&str) -> bool,
    ) {
        let mut before = mem::take(&mut self.collectors);
        let mut take = |name| {
            let at = before.iter().position(|runner| runner.name() == name)?;
            Some(before.swap_remove(at))
        };
        for (definition, collector) in collectors {
            let runner = match take(definition.name) {
                Some(runner) if is_same(definition.name) => runner,
                other => {
                    self.left_behind.extend(other.and_then(Runner::retire));
                    Runner::new((definition, collector))
                }
            };
            self.collectors.push(runner);
        }
        self.left_behind
            .extend(before.into_iter().filter_map(Runner::retire));

        let mut names = self.collectors.iter().map(Runner::name);
        if !names.any(|name| name == "services") {
            self.services.clear();
        }
    }

    /// Opens a sample's window at `now`.
    pub(crate) fn open(&mut self, now: Instant, window: Window) {
        self.opened_at = Some(now);
        self.left_behind.retain(Retired::is_hanging);
        for runner in &mut self.collectors {
            let mut others = self.left_behind.iter();
            let is_blocked = others.any(|run| run.name() == runner.name());
            runner.open(window, is_blocked);
        }
    }

    /// Closes the window at `now`, a moment that the wall clock calls `taken_at`, and
    /// takes the samples.
    pub(crate) fn close(&mut self, now: Instant, taken_at: Timestamp) {
        let deadline = self.opened_at.take().unwrap_or(now) + PATIENCE;
        for runner in &mut self.collectors {
            runner.close();
        }

        for runner in self
            .collectors
            .iter_mut()
            .filter(|runner| runner.is_asked())
        {
            match runner.sample(deadline) {
                Some(Sample::Cpu(percent)) => self.cpu.add(percent),
                Some(Sample::Ram(percent)) => self.ram.add(percent),
                Some(Sample::Net(percent)) => self.net.add(percent),
                Some(Sample::Services(services)) => self.services = services,
                Some(Sample::Metrics(metrics)) => runner.metrics = metrics,
                // Metrics of an earlier sample may be wrong by now.
                None => runner.metrics.clear(),
            }
        }
        self.collected_at = Some(taken_at);
    }

    /// The readings for a heartbeat; the next heartbeat starts afresh. `None` without a
    /// sample since the last heartbeat.
    pub(crate) fn take(&mut self) -> Option<Readings> {
        let collected_at = self.collected_at.take()?;
        let load = Load {
            cpu: self.cpu.take(),
            ram: self.ram.take(),
            net: self.net.take(),
        };

        let (services, metrics, left_out) = self.fit();
        for (reason, sentence) in left_out.sentences(MAX_SHOWN_NAMES) {
            if !self.left_out.contains(&reason) {
                log::warn!("{sentence}");
            }
        }
        self.left_out = left_out.reasons().collect();

        Some(Readings {
            load,
            services,
            metrics,
            collected_at,
        })
    }

    /// The last services and metrics, as many as a heartbeat may carry, and what is left
    /// out.
    fn fit(&self) -> (Vec<Service>, BTreeMap<String, f64>, LeftOut) {
        let groups: Vec<_> = self
            .collectors
            .iter()
            .map(|runner| runner.metrics.as_slice())
            .collect();

        let mut left_out = LeftOut::default();
        let services = fit::fit_services(&self.services, &mut left_out);
        let metrics = fit::fit_metrics(&groups, &mut left_out);
        (services, metrics, left_out)
    }
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    /// The mean in hundredths: no measure is more precise. The next mean starts afresh.
    fn take(&mut self) -> Option<f64> {
        let Mean { sum, count } = mem::take(self);
        (count > 0).then(|| (sum / f64::from(count) * 100.0).round() / 100.0)
    }
}
