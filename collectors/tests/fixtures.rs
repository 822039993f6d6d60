//! Every collector over every fixture case.
//!
//! A case is a folder in `fixtures/`; the README.md there explains the form. A new case
//! is a new folder, nothing here. With `FLEETBEAT_WRITE=1` in the environment, the test
//! writes each `expected.txt` that differs, and fails.

#![allow(clippy::unwrap_used, reason = "a test may panic in its helpers, too")]

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fleetbeat_collectors::{
    COLLECTORS, Collector, Definition, Error, Roots, Sample, build,
};
use fleetbeat_settings::{Document, Problems};

#[test]
fn every_case_gives_what_it_expects() {
    let cases = cases();
    let is_writing = std::env::var_os("FLEETBEAT_WRITE").is_some();
    let (mut seen, mut written) = (BTreeSet::new(), Vec::new());

    for case in cases {
        let told = run_case(&case);
        let names = told.lines().filter_map(|line| line.split(':').next());
        seen.extend(names.map(str::to_owned));

        let file = case.join("expected.txt");
        let expected = fs::read_to_string(&file).unwrap_or_default();
        if is_writing && told != expected {
            fs::write(&file, told).unwrap();
            written.push(case);
        } else {
            let name = case.display();
            assert_eq!(
                told, expected,
                "{name} (FLEETBEAT_WRITE=1 writes expected.txt)"
            );
        }
    }

    assert!(written.is_empty(), "written: read the diff of {written:#?}");
    for Definition { name, .. } in COLLECTORS {
        assert!(
            seen.contains(*name),
            "{name} has no case in collectors/fixtures, see README.md there"
        );
    }
}

/// The folders of all cases.
fn cases() -> Vec<PathBuf> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let paths = fs::read_dir(fixtures)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    paths.filter(|path| path.is_dir()).collect()
}

/// A line for each collector of the case, with the tree's folder as `ROOT`.
fn run_case(case: &Path) -> String {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    symlink(case.join("before"), &root).unwrap();
    let roots = Roots {
        proc: root.join("proc"),
        sys: root.join("sys"),
        systemctl: root.join("systemctl"),
    };

    let mut problems = Problems::default();
    let options = fs::read_to_string(case.join("options.toml")).unwrap();
    let options = options.replace("ROOT", root.to_str().unwrap());
    let options = Document::parse("options.toml", &options, &mut problems);
    let mut collectors = options.read(&mut problems, |table| build(table, &roots));
    problems.into_result().unwrap();

    let start = Instant::now();
    let opened: Vec<_> = collectors
        .iter_mut()
        .map(|(_, collector)| collector.open(start))
        .collect();
    if case.join("after").is_dir() {
        fs::remove_file(&root).unwrap();
        symlink(case.join("after"), &root).unwrap();
    }
    let end = start + Duration::from_secs(1);
    let lines =
        collectors
            .iter_mut()
            .zip(opened)
            .map(|((definition, collector), opened)| {
                format!(
                    "{}: {}\n",
                    definition.name,
                    show(
                        opened.and_then(|()| collector.collect(end)),
                        collector.as_mut()
                    )
                )
            });
    lines
        .collect::<String>()
        .replace(root.to_str().unwrap(), "ROOT")
}

fn show(result: Result<Option<Sample>, Error>, collector: &mut dyn Collector) -> String {
    match result {
        Ok(sample) => {
            let part_errors = collector.part_errors().into_iter().map(|failed| {
                format!("; {}: {}", failed.part, show_error(&failed.error))
            });
            show_sample(sample) + &part_errors.collect::<String>()
        }
        Err(error) => {
            let mut text = show_error(&error);
            if let Some(fallback) = collector.fallback() {
                text += &format!("; {}", show_sample(Some(fallback)));
            }
            text
        }
    }
}

fn show_error(error: &Error) -> String {
    let source = error
        .source()
        .map(|source| format!(": {source}"))
        .unwrap_or_default();
    error.to_string() + source.split(" (os error").next().unwrap()
}

fn show_sample(sample: Option<Sample>) -> String {
    match sample {
        None => "none".to_owned(),
        Some(Sample::Cpu(percent) | Sample::Ram(percent) | Sample::Net(percent)) => {
            format!("{percent:.2}")
        }
        Some(Sample::Services(services)) => {
            let show = |active| if active { "active" } else { "inactive" };
            let states: Vec<_> = services
                .iter()
                .map(|service| format!("{}={}", service.name, show(service.active)))
                .collect();
            states.join(" ")
        }
        Some(Sample::Metrics(metrics)) => {
            let metrics: BTreeMap<_, _> = metrics.into_iter().collect();
            // A checkout decides when the files were written.
            let show = |(name, value): (&String, &f64)| match name
                .starts_with("textfile_mtime_seconds")
            {
                true => format!("{name}=…"),
                false => format!("{name}={value}"),
            };
            metrics.iter().map(show).collect::<Vec<_>>().join(" ")
        }
    }
}

/// The problems with these options, without their place.
fn problems(options: &str) -> String {
    let mut problems = Problems::default();
    let document = Document::parse("a.toml", options, &mut problems);
    document.read(&mut problems, |table| build(table, &Roots::default()));
    problems
        .into_result()
        .map_or_else(|problems| problems.to_string(), |()| String::new())
}

#[test]
fn only_collectors_with_an_enabled_table_run() {
    let mut problems = Problems::default();
    let options = Document::parse(
        "a.toml",
        "[ram]\n[cpu]\nenabled = true\n[net]\nenabled = false\n",
        &mut problems,
    );
    let built = options.read(&mut problems, |table| build(table, &Roots::default()));
    let names: Vec<_> = built
        .iter()
        .map(|(definition, _)| definition.name)
        .collect();
    assert_eq!(names, ["cpu", "ram"]);
    assert_eq!(problems.into_result(), Ok(()));
}

#[test]
fn every_collector_refuses_options_it_does_not_know() {
    for definition in COLLECTORS {
        let name = definition.name;
        let told = problems(&format!("[{name}]\nenabled = 'yes'\ncolour = 'red'"));
        assert!(
            told.contains(&format!("a.toml:2: {name}.enabled: must be true or false")),
            "{told}"
        );
        assert!(
            told.contains(&format!("a.toml:3: {name}.colour: is not a known key")),
            "{told}"
        );
    }
}

#[test]
fn a_sample_after_a_failure_does_not_span_it() {
    let folder = tempfile::tempdir().unwrap();
    let stat = folder.path().join("stat");
    let roots = Roots {
        proc: folder.path().to_owned(),
        ..Roots::default()
    };
    let mut problems = Problems::default();
    let options = Document::parse("a.toml", "[cpu]", &mut problems);
    let (_, mut cpu) = options
        .read(&mut problems, |table| build(table, &roots))
        .remove(0);
    let now = Instant::now();

    fs::write(&stat, "cpu  0 0 0 0").unwrap();
    cpu.open(now).unwrap();
    fs::write(&stat, "cpu  9").unwrap();
    cpu.collect(now).unwrap_err();
    fs::write(&stat, "cpu  900 0 0 100").unwrap();
    cpu.open(now).unwrap();
    fs::write(&stat, "cpu  910 0 0 190").unwrap();
    assert_eq!(cpu.collect(now).unwrap(), Some(Sample::Cpu(10.0)));
    fs::write(&stat, "cpu  930 0 0 270").unwrap();
    cpu.open(now).unwrap();
    assert_eq!(cpu.collect(now).unwrap(), Some(Sample::Cpu(20.0)));
}
