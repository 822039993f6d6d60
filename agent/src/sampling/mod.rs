//! Runs the collectors and keeps the samples for the next heartbeat.
//!
//! A heartbeat has one window or more. In a window each collector measures in a separate
//! thread (`runner`). The times of windows and heartbeats are in `schedule`.

mod runner;
pub(crate) mod schedule;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::time::{Duration, Instant};

use fleetbeat_collectors::{Collector, Definition, Sample};
use fleetbeat_protocol::{
    Load, MAX_METRICS, MAX_NAME_CHARS, MAX_SERVICES, Service, Timestamp,
};

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
    /// The last metrics of each collector, by the collector's name.
    metrics: BTreeMap<&'static str, BTreeMap<String, f64>>,
    /// Reasons for leaving something out of the last heartbeat: the log has them.
    left_out: BTreeSet<&'static str>,
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
            metrics: BTreeMap::new(),
            left_out: BTreeSet::new(),
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

        let names: BTreeSet<&str> = self.collectors.iter().map(Runner::name).collect();
        if !names.contains("services") {
            self.services.clear();
        }
        self.metrics.retain(|name, _| names.contains(name));
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
                Some(Sample::Metrics(metrics)) => {
                    drop(self.metrics.insert(runner.name(), metrics));
                }
                // Metrics of an earlier sample may be wrong by now.
                None => drop(self.metrics.remove(runner.name())),
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

        let mut left_out = LeftOut::new();
        let metrics = self.fit_metrics(&mut left_out);
        let services = self.fit_services(&mut left_out);
        for (reason, names) in &left_out {
            if !self.left_out.contains(reason) {
                log::warn!("{reason} are left out: {}", show_names(names));
            }
        }
        self.left_out = left_out.into_keys().collect();

        Some(Readings {
            load,
            services,
            metrics,
            collected_at,
        })
    }

    /// The services, as many as a heartbeat may carry.
    fn fit_services<'a>(&'a self, left_out: &mut LeftOut<'a>) -> Vec<Service> {
        let count = self.services.len().min(MAX_SERVICES);
        let (services, beyond) = self.services.split_at(count);
        for service in beyond {
            left_out
                .entry("more services than a heartbeat may carry")
                .or_default()
                .push(&service.name);
        }
        services.to_vec()
    }

    /// The metrics, as many as a heartbeat may carry. Metrics of the first collectors
    /// come first.
    fn fit_metrics<'a>(&'a self, left_out: &mut LeftOut<'a>) -> BTreeMap<String, f64> {
        let mut fitting = BTreeMap::new();
        let metrics = self
            .collectors
            .iter()
            .filter_map(|runner| self.metrics.get(runner.name()));

        for (name, value) in metrics.flatten() {
            let reason = if name.chars().count() > MAX_NAME_CHARS {
                "metrics whose names are longer than a heartbeat may carry"
            } else if fitting.contains_key(name) {
                "metrics of which another collector has one of the same name"
            } else if fitting.len() == MAX_METRICS {
                "more metrics than a heartbeat may carry"
            } else {
                fitting.insert(name.clone(), *value);
                continue;
            };
            left_out.entry(reason).or_default().push(name);
        }
        fitting
    }
}

/// Names of left out services and metrics, by the reason.
type LeftOut<'a> = BTreeMap<&'static str, Vec<&'a str>>;

/// The first of the names, for the log.
fn show_names(names: &[&str]) -> String {
    let shown: Vec<_> = names
        .iter()
        .take(MAX_SHOWN_NAMES)
        .map(|name| name.escape_debug().to_string())
        .collect();
    let mut text = shown.join(", ");
    if names.len() > shown.len() {
        text.push_str(&format!(" and {} more", names.len() - shown.len()));
    }
    text
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
