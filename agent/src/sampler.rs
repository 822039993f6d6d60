//! Runs the collectors and keeps what the next heartbeat needs of their samples.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use fleetbeat_collectors::{Collector, Definition, Sample};
use fleetbeat_protocol::{
    Load, MAX_METRICS, MAX_NAME_CHARS, MAX_SERVICES, Service, Timestamp,
};

use crate::runner::Runner;

/// How long a window waits for its collectors, from its beginning: the first heartbeat
/// has three seconds. Who takes longer is left behind.
const PATIENCE: Duration = Duration::from_millis(2400);
/// Most names of left out metrics or services in one line of the log.
const MAX_SHOWN: usize = 3;

/// The collectors and their samples since the last heartbeat.
pub(crate) struct Sampler {
    collectors: Vec<Runner>,
    /// When the last window began.
    opened_at: Option<Instant>,
    cpu: Mean,
    ram: Mean,
    net: Mean,
    services: Vec<Service>,
    /// What each collector gave last, by its name.
    metrics: BTreeMap<&'static str, BTreeMap<String, f64>>,
    /// Why something was left out of the last heartbeat, which the log has said.
    left_out: BTreeSet<&'static str>,
    collected_at: Option<Timestamp>,
}

/// What the samples of one heartbeat say together.
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

#[derive(Default)]
struct Mean {
    sum: f64,
    count: u32,
}

impl Sampler {
    pub(crate) fn new(
        collectors: Vec<(&'static Definition, Box<dyn Collector>)>,
    ) -> Sampler {
        let (cpu, ram, net) = Default::default();
        Sampler {
            collectors: collectors.into_iter().map(Runner::new).collect(),
            opened_at: None,
            cpu,
            ram,
            net,
            services: Vec::new(),
            metrics: BTreeMap::new(),
            left_out: BTreeSet::new(),
            collected_at: None,
        }
    }

    /// Other collectors from the next window on; the samples so far stay.
    pub(crate) fn replace(
        &mut self,
        collectors: Vec<(&'static Definition, Box<dyn Collector>)>,
    ) {
        self.collectors = collectors.into_iter().map(Runner::new).collect();
        let names: BTreeSet<&str> = self.collectors.iter().map(Runner::name).collect();
        if !names.contains("services") {
            self.services.clear();
        }
        self.metrics.retain(|name, _| names.contains(name));
    }

    /// A sample's window begins at `now`, the heartbeat's last one if `is_last`.
    pub(crate) fn open(&mut self, now: Instant, is_last: bool) {
        self.opened_at = Some(now);
        for runner in &mut self.collectors {
            runner.open(is_last);
        }
    }

    /// It ends at `now`, which the host's clock calls `taken_at`.
    pub(crate) fn close(&mut self, now: Instant, taken_at: Timestamp) {
        let deadline = self.opened_at.take().unwrap_or(now) + PATIENCE;
        for runner in &mut self.collectors {
            runner.close();
        }
        for runner in &mut self.collectors {
            let Some(sample) = runner.sample(deadline) else {
                continue;
            };
            match sample {
                Some(Sample::Cpu(percent)) => self.cpu.add(percent),
                Some(Sample::Ram(percent)) => self.ram.add(percent),
                Some(Sample::Net(percent)) => self.net.add(percent),
                Some(Sample::Services(services)) => self.services = services,
                Some(Sample::Metrics(metrics)) => {
                    drop(self.metrics.insert(runner.name(), metrics))
                }
                // What was true earlier may be no longer.
                None => drop(self.metrics.remove(runner.name())),
            }
        }
        self.collected_at = Some(taken_at);
    }

    /// What there is for a heartbeat; the next one starts afresh. `None` without a sample
    /// since the last one.
    pub(crate) fn take(&mut self) -> Option<Readings> {
        let collected_at = self.collected_at.take()?;
        let load = Load {
            cpu: self.cpu.take(),
            ram: self.ram.take(),
            net: self.net.take(),
        };
        let mut left_out = LeftOut::new();
        let metrics = self.fit_metrics(&mut left_out);
        let (services, beyond) = self
            .services
            .split_at(self.services.len().min(MAX_SERVICES));
        for service in beyond {
            left_out
                .entry("more services than a heartbeat may carry")
                .or_default()
                .push(&service.name);
        }
        for (why, names) in left_out
            .iter()
            .filter(|(why, _)| !self.left_out.contains(*why))
        {
            log::warn!("{why} are left out: {}", show(names));
        }
        let (services, left_out) = (services.to_vec(), left_out.into_keys().collect());
        self.left_out = left_out;
        Some(Readings {
            load,
            services,
            metrics,
            collected_at,
        })
    }

    /// The metrics that a heartbeat may carry.
    fn fit_metrics<'a>(&'a self, left_out: &mut LeftOut<'a>) -> BTreeMap<String, f64> {
        let mut fitting = BTreeMap::new();
        let metrics = self
            .collectors
            .iter()
            .filter_map(|runner| self.metrics.get(runner.name()));
        for (name, value) in metrics.flatten() {
            let why = if name.chars().count() > MAX_NAME_CHARS {
                "metrics whose names are longer than a heartbeat may carry"
            } else if fitting.contains_key(name) {
                "metrics of which another collector has one of the same name"
            } else if fitting.len() == MAX_METRICS {
                "more metrics than a heartbeat may carry"
            } else {
                fitting.insert(name.clone(), *value);
                continue;
            };
            left_out.entry(why).or_default().push(name);
        }
        fitting
    }
}

/// Names of what is left out, by the reason.
type LeftOut<'a> = BTreeMap<&'static str, Vec<&'a str>>;

/// Some of the names, for the log.
fn show(names: &[&str]) -> String {
    let shown: Vec<_> = names
        .iter()
        .take(MAX_SHOWN)
        .map(|name| name.escape_debug().to_string())
        .collect();
    let more = names.len() - shown.len();
    shown.join(", ")
        + &if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        }
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    /// The mean in hundredths, which is more than any of the measures can promise.
    fn take(&mut self) -> Option<f64> {
        let Mean { sum, count } = std::mem::take(self);
        (count > 0).then(|| (sum / f64::from(count) * 100.0).round() / 100.0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver};
    use std::thread;

    use fleetbeat_collectors::{COLLECTORS, Error, PartError};

    use super::*;

    type Script = Vec<Result<Option<Sample>, &'static str>>;

    /// Gives out its results one after the other; `Err` is a failure with that text.
    struct Scripted(Script);

    impl Collector for Scripted {
        fn collect(&mut self, _now: Instant) -> Result<Option<Sample>, Error> {
            self.0
                .remove(0)
                .map_err(|text| Error::Unknown(text.to_owned()))
        }

        fn fallback(&self) -> Option<Sample> {
            Some(services(&[("wg", false)]))
        }
    }

    /// Hangs until it is told to go on, with the result that it is told.
    struct Hanging(Receiver<Result<Option<Sample>, &'static str>>);

    impl Collector for Hanging {
        fn collect(&mut self, _now: Instant) -> Result<Option<Sample>, Error> {
            self.0
                .recv()
                .unwrap()
                .map_err(|text| Error::Unknown(text.to_owned()))
        }

        fn fallback(&self) -> Option<Sample> {
            Some(services(&[("wg", false)]))
        }
    }

    /// Always gives these metrics, and has these failing parts at first.
    struct Parts(Vec<String>, Vec<&'static str>);

    impl Collector for Parts {
        fn collect(&mut self, _now: Instant) -> Result<Option<Sample>, Error> {
            Ok(Some(Sample::Metrics(
                self.0.iter().map(|name| (name.clone(), 1.0)).collect(),
            )))
        }

        fn part_errors(&mut self) -> Vec<PartError> {
            let failure = |part: &'static str| PartError {
                part: part.to_owned(),
                error: Error::Unknown("is bad".to_owned()),
            };
            self.1.drain(..).map(failure).collect()
        }
    }

    fn services(states: &[(&str, bool)]) -> Sample {
        let service = |(name, active): &(&str, bool)| Service {
            name: (*name).to_owned(),
            active: *active,
        };
        Sample::Services(states.iter().map(service).collect())
    }

    /// A sampler of collectors that take the places of those with these names.
    fn sampler(collectors: Vec<(&str, Box<dyn Collector>)>) -> Sampler {
        let definition = |name| {
            COLLECTORS
                .iter()
                .find(|definition| definition.name == name)
                .unwrap()
        };
        Sampler::new(
            collectors
                .into_iter()
                .map(|(name, collector)| (definition(name), collector))
                .collect(),
        )
    }

    fn sample(sampler: &mut Sampler, second: i64, is_last: bool) {
        sampler.open(Instant::now(), is_last);
        sampler.close(Instant::now(), Timestamp::from_second(second).unwrap());
    }

    /// What the log said last about each of the collectors.
    fn said(sampler: &Sampler) -> Vec<String> {
        sampler
            .collectors
            .iter()
            .flat_map(|runner| runner.said().values().cloned())
            .collect()
    }

    #[test]
    fn a_heartbeat_carries_means_and_the_services_last_state() {
        let mut sampler = sampler(vec![
            (
                "cpu",
                Box::new(Scripted(
                    [10.0, 20.0, 20.0]
                        .map(|cpu| Ok(Some(Sample::Cpu(cpu))))
                        .into(),
                )),
            ),
            (
                "services",
                Box::new(Scripted(vec![Ok(Some(services(&[("wg", true)])))])),
            ),
            (
                "net",
                Box::new(Scripted(vec![
                    Ok(None),
                    Ok(None),
                    Ok(Some(Sample::Net(7.0))),
                ])),
            ),
        ]);
        assert_eq!(sampler.take(), None);
        for second in 1..=3 {
            // The services have one result to give: they are asked in the last window
            // only.
            sample(&mut sampler, second, second == 3);
        }
        let readings = sampler.take().unwrap();
        assert_eq!(
            readings.load,
            Load {
                cpu: Some(16.67),
                ram: None,
                net: Some(7.0)
            }
        );
        assert_eq!(
            readings.services,
            [Service {
                name: "wg".to_owned(),
                active: true
            }]
        );
        assert_eq!(readings.collected_at, Timestamp::from_second(3).unwrap());
        assert_eq!(sampler.take(), None);
    }

    #[test]
    fn a_failing_collector_hides_no_other_and_falls_back() {
        let mut sampler = sampler(vec![
            (
                "services",
                Box::new(Scripted(vec![Err("a"), Err("a"), Err("b"), Ok(None)])),
            ),
            (
                "ram",
                Box::new(Scripted(vec![Ok(Some(Sample::Ram(50.0))); 4])),
            ),
        ]);
        for text in ["a", "a", "b"] {
            sample(&mut sampler, 1, true);
            assert_eq!(said(&sampler), [text]);
        }
        let readings = sampler.take().unwrap();
        assert_eq!(readings.load.ram, Some(50.0));
        assert!(!readings.services[0].active);
        sample(&mut sampler, 2, true);
        assert_eq!(said(&sampler), [""; 0]);
    }

    #[test]
    fn a_hanging_collector_is_left_behind_until_it_returns() {
        let (go_on, told) = mpsc::channel();
        let mut sampler = sampler(vec![
            ("services", Box::new(Hanging(told))),
            (
                "ram",
                Box::new(Scripted(vec![Ok(Some(Sample::Ram(50.0))); 1000])),
            ),
        ]);
        go_on.send(Ok(Some(services(&[("wg", true)])))).unwrap();
        sample(&mut sampler, 1, true);
        assert!(sampler.take().unwrap().services[0].active);

        let begun = Instant::now();
        sample(&mut sampler, 2, true);
        let waited = begun.elapsed();
        assert!(
            waited >= PATIENCE && waited < PATIENCE + Duration::from_secs(1),
            "{waited:?}"
        );
        // It is waited for once.
        let begun = Instant::now();
        for second in 3..10 {
            sample(&mut sampler, second, true);
            let readings = sampler.take().unwrap();
            assert_eq!(readings.load.ram, Some(50.0));
            assert!(
                !readings.services[0].active,
                "what it said earlier is true no longer"
            );
        }
        assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
        assert_eq!(
            said(&sampler),
            ["hangs: it is asked again when it has returned"]
        );

        // The late answer is for nothing; the next one counts.
        go_on.send(Err("late")).unwrap();
        go_on.send(Ok(Some(services(&[("wg", true)])))).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while !said(&sampler).is_empty() {
            assert!(
                Instant::now() < deadline,
                "it is not asked again: {:?}",
                said(&sampler)
            );
            sample(&mut sampler, 11, true);
            thread::yield_now();
        }
        assert!(sampler.take().unwrap().services[0].active);
    }

    #[test]
    fn a_collector_that_panics_fails_and_is_asked_again() {
        let mut sampler = sampler(vec![
            ("ram", Box::new(Scripted(Vec::new()))),
            ("services", Box::new(Scripted(vec![Ok(None)]))),
        ]);
        for _ in 0..2 {
            sample(&mut sampler, 1, false);
            assert_eq!(said(&sampler), ["panicked"]);
        }
    }

    #[test]
    fn each_failing_part_is_said_for_itself() {
        let names = || vec!["a".to_owned()];
        let mut sampler = sampler(vec![(
            "cpu",
            Box::new(Parts(names(), vec!["/srv", "/mnt"])),
        )]);
        sample(&mut sampler, 1, true);
        let parts: Vec<_> = sampler.collectors[0].said().keys().cloned().collect();
        assert_eq!(parts, ["/mnt", "/srv"]);
        assert_eq!(sampler.take().unwrap().metrics.len(), 1);
        sample(&mut sampler, 2, true);
        assert_eq!(said(&sampler), [""; 0]);
    }

    #[test]
    fn metrics_that_a_failing_collector_gave_earlier_are_gone() {
        let metrics =
            |name: &str| Ok(Some(Sample::Metrics([(name.to_owned(), 1.0)].into())));
        let fails: Script = vec![metrics("a"), Err("broken")];
        let mut sampler = sampler(vec![
            ("cpu", Box::new(NoFallback(Scripted(fails)))),
            (
                "net",
                Box::new(NoFallback(Scripted(vec![metrics("b"), metrics("b")]))),
            ),
        ]);
        sample(&mut sampler, 1, true);
        assert_eq!(
            sampler
                .take()
                .unwrap()
                .metrics
                .into_keys()
                .collect::<Vec<_>>(),
            ["a", "b"]
        );
        sample(&mut sampler, 2, true);
        assert_eq!(
            sampler
                .take()
                .unwrap()
                .metrics
                .into_keys()
                .collect::<Vec<_>>(),
            ["b"]
        );
    }

    struct NoFallback(Scripted);

    impl Collector for NoFallback {
        fn collect(&mut self, now: Instant) -> Result<Option<Sample>, Error> {
            self.0.collect(now)
        }
    }

    #[test]
    fn what_a_heartbeat_has_no_place_for_is_left_out_and_said_once() {
        let many = (0..100).map(|n| format!("many_{n:03}")).collect();
        let mut own = vec![
            "one".to_owned(),
            "x".repeat(MAX_NAME_CHARS),
            "x".repeat(MAX_NAME_CHARS + 1),
        ];
        let mut sampler = sampler(vec![
            ("cpu", Box::new(Parts(own.clone(), Vec::new()))),
            ("net", Box::new(Parts(vec!["one".to_owned()], Vec::new()))),
            ("ram", Box::new(Parts(many, Vec::new()))),
            (
                "services",
                Box::new(Scripted(vec![Ok(Some(services(&[("wg", true); 70]))); 2])),
            ),
        ]);
        sample(&mut sampler, 1, true);
        let readings = sampler.take().unwrap();
        assert_eq!(
            (readings.metrics.len(), readings.services.len()),
            (MAX_METRICS, MAX_SERVICES)
        );
        own.pop();
        assert!(
            own.iter().all(|name| readings.metrics.contains_key(name)),
            "the first collectors come first"
        );
        assert_eq!(sampler.left_out.len(), 4, "{:?}", sampler.left_out);
    }

    #[test]
    fn the_log_shows_some_of_many_names() {
        assert_eq!(show(&["a", "b\u{1b}"]), "a, b\\u{1b}");
        assert_eq!(show(&["a", "b", "c", "d", "e"]), "a, b, c and 2 more");
    }
}
