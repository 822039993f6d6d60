//! Runs the collectors and keeps what the next heartbeat needs of their samples.

use std::time::Instant;

use fleetbeat_collectors::{Collector, Error, Sample};
use fleetbeat_protocol::{Load, Service, Timestamp};

use crate::failure::explain;

/// The collectors and their samples since the last heartbeat.
pub(crate) struct Sampler {
    collectors: Vec<Watched>,
    cpu: Mean,
    ram: Mean,
    net: Mean,
    services: Vec<Service>,
    collected_at: Option<Timestamp>,
}

/// What the samples of one heartbeat say together.
#[derive(Debug, PartialEq)]
pub(crate) struct Readings {
    /// Each a mean.
    pub(crate) load: Load,
    /// As in the last sample.
    pub(crate) services: Vec<Service>,
    /// When the last sample was taken.
    pub(crate) collected_at: Timestamp,
}

/// A collector and how it fares.
struct Watched {
    name: &'static str,
    collector: Box<dyn Collector>,
    /// How this window's beginning went; `None` between windows.
    opened: Option<Result<(), Error>>,
    /// What the log said last about its failing.
    complaint: Option<String>,
}

#[derive(Default)]
struct Mean {
    sum: f64,
    count: u32,
}

impl Sampler {
    pub(crate) fn new(collectors: Vec<(&'static str, Box<dyn Collector>)>) -> Sampler {
        let watched = collectors.into_iter().map(|(name, collector)| Watched {
            name,
            collector,
            opened: None,
            complaint: None,
        });
        let (cpu, ram, net) = Default::default();
        Sampler { collectors: watched.collect(), cpu, ram, net, services: Vec::new(), collected_at: None }
    }

    /// Other collectors from the next window on; the samples so far stay.
    pub(crate) fn replace(&mut self, collectors: Vec<(&'static str, Box<dyn Collector>)>) {
        self.collectors = Sampler::new(collectors).collectors;
        if self.collectors.iter().all(|watched| watched.name != "services") {
            self.services.clear();
        }
    }

    /// A sample's window begins at `now`.
    pub(crate) fn open(&mut self, now: Instant) {
        for watched in &mut self.collectors {
            watched.opened = Some(watched.collector.open(now));
        }
    }

    /// It ends at `now`, which the host's clock calls `taken_at`.
    pub(crate) fn close(&mut self, now: Instant, taken_at: Timestamp) {
        for watched in &mut self.collectors {
            match watched.collect(now) {
                Some(Sample::Cpu(percent)) => self.cpu.add(percent),
                Some(Sample::Ram(percent)) => self.ram.add(percent),
                Some(Sample::Net(percent)) => self.net.add(percent),
                Some(Sample::Services(services)) => self.services = services,
                None => {}
            }
        }
        self.collected_at = Some(taken_at);
    }

    /// What there is for a heartbeat; the next one starts afresh. `None` without a sample since the last one.
    pub(crate) fn take(&mut self) -> Option<Readings> {
        let collected_at = self.collected_at.take()?;
        let load = Load { cpu: self.cpu.take(), ram: self.ram.take(), net: self.net.take() };
        Some(Readings { load, services: self.services.clone(), collected_at })
    }
}

impl Watched {
    fn collect(&mut self, now: Instant) -> Option<Sample> {
        let result = self.opened.take()?.and_then(|()| self.collector.collect(now));
        match result {
            Ok(sample) => {
                if self.complaint.take().is_some() {
                    log::info!("collector {} works again", self.name);
                }
                sample
            }
            Err(error) => {
                let complaint = explain(&error);
                if self.complaint.as_ref() != Some(&complaint) {
                    log::warn!("collector {}: {complaint}", self.name);
                    self.complaint = Some(complaint);
                }
                self.collector.fallback()
            }
        }
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
    use super::*;

    /// Gives out its results one after the other; `Err` is a failure with that text.
    struct Scripted(Vec<Result<Option<Sample>, &'static str>>);

    impl Collector for Scripted {
        fn collect(&mut self, _now: Instant) -> Result<Option<Sample>, Error> {
            self.0.remove(0).map_err(|text| Error::Unknown(text.to_owned()))
        }

        fn fallback(&self) -> Option<Sample> {
            Some(Sample::Services(vec![Service { name: "wg".to_owned(), active: false }]))
        }
    }

    fn sample(sampler: &mut Sampler, second: i64) {
        sampler.open(Instant::now());
        sampler.close(Instant::now(), Timestamp::from_second(second).unwrap());
    }

    #[test]
    fn a_heartbeat_carries_means_and_the_services_last_state() {
        let services = |active| Sample::Services(vec![Service { name: "wg".to_owned(), active }]);
        let mut sampler = Sampler::new(vec![
            ("cpu", Box::new(Scripted([10.0, 20.0, 20.0].map(|cpu| Ok(Some(Sample::Cpu(cpu)))).into()))),
            ("services", Box::new(Scripted([true, false, true].map(|on| Ok(Some(services(on)))).into()))),
            ("net", Box::new(Scripted(vec![Ok(None), Ok(None), Ok(Some(Sample::Net(7.0)))]))),
        ]);
        assert_eq!(sampler.take(), None);
        for second in 1..=3 {
            sample(&mut sampler, second);
        }
        let readings = sampler.take().unwrap();
        assert_eq!(readings.load, Load { cpu: Some(16.67), ram: None, net: Some(7.0) });
        assert_eq!(readings.services, [Service { name: "wg".to_owned(), active: true }]);
        assert_eq!(readings.collected_at, Timestamp::from_second(3).unwrap());
        assert_eq!(sampler.take(), None);
    }

    #[test]
    fn a_failing_collector_hides_no_other_and_falls_back() {
        let mut sampler = Sampler::new(vec![
            ("services", Box::new(Scripted(vec![Err("a"), Err("a"), Err("b"), Ok(None)]))),
            ("ram", Box::new(Scripted(vec![Ok(Some(Sample::Ram(50.0))); 4]))),
        ]);
        let complaint = |sampler: &Sampler| sampler.collectors[0].complaint.clone();
        for said in ["a", "a", "b"] {
            sample(&mut sampler, 1);
            assert_eq!(complaint(&sampler).as_deref(), Some(said));
        }
        let readings = sampler.take().unwrap();
        assert_eq!(readings.load.ram, Some(50.0));
        assert!(!readings.services[0].active);
        sample(&mut sampler, 2);
        assert_eq!(complaint(&sampler), None);
    }
}
