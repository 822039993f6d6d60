//! The sampler with collectors that fail, hang and say too much.

use std::sync::mpsc::{self, Receiver};
use std::thread;

use fleetbeat_collectors::{COLLECTORS, Error, PartError};
use fleetbeat_protocol::{MAX_METRICS, MAX_NAME_CHARS, MAX_SERVICES};

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

fn sample(sampler: &mut Sampler, second: i64, window: Window) {
    sampler.open(Instant::now(), window);
    sampler.close(Instant::now(), Timestamp::from_second(second).unwrap());
}

/// What the log said last about each of the collectors.
fn said(sampler: &Sampler) -> Vec<String> {
    sampler
        .collectors
        .iter()
        .flat_map(Runner::troubles)
        .filter_map(|trouble| Some(trouble.cause()?.to_owned()))
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
        // The services have one result to give: they are asked in the last window only.
        let window = if second == 3 {
            Window::Last
        } else {
            Window::Early
        };
        sample(&mut sampler, second, window);
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
        sample(&mut sampler, 1, Window::Last);
        assert_eq!(said(&sampler), [text]);
    }
    let readings = sampler.take().unwrap();
    assert_eq!(readings.load.ram, Some(50.0));
    assert!(!readings.services[0].active);
    sample(&mut sampler, 2, Window::Last);
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
    sample(&mut sampler, 1, Window::Last);
    assert!(sampler.take().unwrap().services[0].active);

    let begun = Instant::now();
    sample(&mut sampler, 2, Window::Last);
    let waited = begun.elapsed();
    assert!(
        waited >= PATIENCE && waited < PATIENCE + Duration::from_secs(1),
        "{waited:?}"
    );
    // It is waited for once.
    let begun = Instant::now();
    for second in 3..10 {
        sample(&mut sampler, second, Window::Last);
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
        sample(&mut sampler, 11, Window::Last);
        thread::yield_now();
    }
    assert!(sampler.take().unwrap().services[0].active);
}

#[test]
fn each_failing_part_is_said_for_itself() {
    let names = || vec!["a".to_owned()];
    let mut sampler = sampler(vec![(
        "cpu",
        Box::new(Parts(names(), vec!["/srv", "/mnt"])),
    )]);
    sample(&mut sampler, 1, Window::Last);
    let parts: Vec<_> = sampler.collectors[0].failing_parts().collect();
    assert_eq!(parts, ["/srv", "/mnt"]);
    assert_eq!(sampler.take().unwrap().metrics.len(), 1);
    sample(&mut sampler, 2, Window::Last);
    assert_eq!(said(&sampler), [""; 0]);
}

#[test]
fn metrics_that_a_failing_collector_gave_earlier_are_gone() {
    let metrics = |name: &str| Ok(Some(Sample::Metrics([(name.to_owned(), 1.0)].into())));
    let fails: Script = vec![metrics("a"), Err("broken")];
    let mut sampler = sampler(vec![
        ("cpu", Box::new(NoFallback(Scripted(fails)))),
        (
            "net",
            Box::new(NoFallback(Scripted(vec![metrics("b"), metrics("b")]))),
        ),
    ]);
    sample(&mut sampler, 1, Window::Last);
    assert_eq!(
        sampler
            .take()
            .unwrap()
            .metrics
            .into_keys()
            .collect::<Vec<_>>(),
        ["a", "b"]
    );
    sample(&mut sampler, 2, Window::Last);
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
    sample(&mut sampler, 1, Window::Last);
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
fn a_reload_keeps_what_has_not_changed_and_starts_no_second_thread_of_what_hangs() {
    let ram = |percent: f64| Scripted(vec![Ok(Some(Sample::Ram(percent))); 9]);
    let (go_on, told) = mpsc::channel();
    let mut sampler = sampler(vec![
        ("ram", Box::new(ram(50.0))),
        ("services", Box::new(Hanging(told))),
    ]);
    sample(&mut sampler, 1, Window::Last);
    let hangs = "hangs: it is asked again when it has returned";
    assert_eq!(said(&sampler), [hangs]);
    drop(sampler.take());

    let definition = |name| {
        COLLECTORS
            .iter()
            .find(|definition| definition.name == name)
            .unwrap()
    };
    let active = || Scripted(vec![Ok(Some(services(&[("wg", true)]))); 9]);
    for _ in 0..3 {
        let new: Vec<(_, Box<dyn Collector>)> = vec![
            (definition("services"), Box::new(active())),
            (definition("ram"), Box::new(ram(70.0))),
        ];
        sampler.replace(new, |name| name == "ram");
        sample(&mut sampler, 2, Window::Last);
        let readings = sampler.take().unwrap();
        assert_eq!(readings.load.ram, Some(50.0), "it is the same as before");
        assert!(!readings.services[0].active);
    }
    assert_eq!(sampler.left_behind.len(), 1);

    go_on.send(Err("late")).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !sampler.left_behind.is_empty() {
        assert!(Instant::now() < deadline, "it has returned");
        sample(&mut sampler, 3, Window::Early);
        thread::yield_now();
    }
    sample(&mut sampler, 4, Window::Last);
    assert!(sampler.take().unwrap().services[0].active);
}
