//! A process that is killed at any moment loses nothing of what it was told is kept, and
//! damages nothing.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::env;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use fleetbeat_history::{
    Arrival, Chunk, Day, FileStore, HistoryStore, Host, HostSamples, Identity, Options,
    Sample,
};

/// Makes this test binary the process that is killed.
const FOLDER_VARIABLE: &str = "FLEETBEAT_HISTORY_TEST_FOLDER";
const KILLS: u64 = 100;
const HOSTS: usize = 20;
const DAY: u32 = 20_000;
/// Merges of all samples: each takes the next hour of some hosts.
const STEPS: usize = 480;

fn store(folder: &Path) -> FileStore {
    FileStore::new(&folder.join("history.db"), Options::default())
}

fn name(host: usize) -> Host {
    Host::new(format!("srv-{host:08}"))
}

/// The samples of one step: of two hosts, thirty each. Every third step is late by some
/// hours.
fn step(step: usize) -> Vec<HostSamples> {
    let hour = step / (HOSTS / 2);
    let hour = if step.is_multiple_of(3) {
        hour.saturating_sub(5)
    } else {
        hour
    };
    let first = step % (HOSTS / 2) * 2;
    let samples = |host: usize| {
        let beats = 30 * hour..30 * (hour + 1);
        let sample = move |beat: usize| {
            let at = Day::new(DAY).start() + 120 * i64::try_from(beat).unwrap();
            let identity = Identity::new(Some("boot"), Some(beat as u64));
            let mut sample = Sample::new(at, identity, Arrival::Live);
            let noise = (beat * 7919 + host * 104_729) % 1000;
            sample.set_loads(Some(noise as f64 / 10.0), None, Some(beat as f64));
            sample.set_metric("noise", (noise * noise) as f64 / 100.0);
            sample
        };
        beats.map(sample).collect()
    };
    let hosts = [first, first + 1];
    hosts
        .map(|host| HostSamples {
            host: name(host),
            samples: samples(host),
        })
        .to_vec()
}

/// Merges step after step, and says of each that it is done.
fn work(folder: &Path) {
    let store = store(folder);
    let begun = env::var("FLEETBEAT_HISTORY_TEST_STEP")
        .unwrap()
        .parse()
        .unwrap();
    for number in begun..STEPS {
        store.merge(&step(number)).unwrap();
        println!("done {number}");
    }
}

/// The chunks of all hosts, as bytes.
fn chunks(store: &FileStore) -> Vec<Vec<u8>> {
    let mut chunks = Vec::new();
    for host in 0..HOSTS {
        let read = store.read(&name(host), Day::FIRST, Day::LAST, &mut |chunk| {
            chunks.push(chunk.decode().unwrap().encode());
        });
        read.unwrap();
    }
    chunks
}

#[test]
fn a_kill_at_any_moment_loses_nothing() {
    if let Some(folder) = env::var_os(FOLDER_VARIABLE) {
        return work(Path::new(&folder));
    }

    let folder = tempfile::tempdir().unwrap();
    let mut rng = fastrand::Rng::with_seed(7);
    let (mut next, mut most) = (0, 0);
    for _ in 0..KILLS {
        let done = run_and_kill(folder.path(), next, &mut rng);
        // The step that was told last is done. The one behind it may be, too: the caller
        // does it again, as one does who was not told.
        next = done.map_or(next, |done| done + 1);
        most = most.max(next);

        let store = store(folder.path());
        let kept: usize = (0..HOSTS).map(|host| samples_of(&store, host)).sum();
        let told = samples_until(most);
        assert!(kept >= told, "of {told} samples {kept} are kept");
        assert!(
            kept <= samples_until(most + 1),
            "more is kept than was sent"
        );
        assert_eq!(store.take_troubles(), []);
        next %= STEPS;
    }

    let killed = store(folder.path());
    for number in next..STEPS {
        killed.merge(&step(number)).unwrap();
    }
    let other = tempfile::tempdir().unwrap();
    let unharmed = store(other.path());
    for number in 0..STEPS {
        unharmed.merge(&step(number)).unwrap();
    }
    assert_eq!(chunks(&killed), chunks(&unharmed));
    assert_eq!(killed.take_troubles(), []);
}

/// How many samples the first steps have, each counted once.
fn samples_until(steps: usize) -> usize {
    let all = (0..steps.min(STEPS)).flat_map(step);
    let keys = all.flat_map(|of| {
        let at = |sample: &Sample| (of.host.clone(), sample.at());
        of.samples.iter().map(at).collect::<Vec<_>>()
    });
    keys.collect::<BTreeSet<_>>().len()
}

fn samples_of(store: &FileStore, host: usize) -> usize {
    let mut count = 0;
    let read = store.read(&name(host), Day::FIRST, Day::LAST, &mut |chunk| {
        let chunk: Chunk = chunk.decode().unwrap();
        count += chunk.len();
    });
    read.unwrap();
    count
}

/// Runs the work from the step `next` on, kills it after some steps, and gives the last
/// step that was done.
fn run_and_kill(folder: &Path, next: usize, rng: &mut fastrand::Rng) -> Option<usize> {
    let mut child = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "a_kill_at_any_moment_loses_nothing",
            "--nocapture",
        ])
        .env(FOLDER_VARIABLE, folder)
        .env("FLEETBEAT_HISTORY_TEST_STEP", next.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();

    let stdout = child.stdout.take().unwrap();
    let mut lines = BufReader::new(stdout).lines();
    let mut last = None;
    let steps = rng.usize(0..12);
    let number = |line: &str| {
        line.strip_prefix("done ")
            .and_then(|number| number.parse().ok())
    };
    for line in lines.by_ref() {
        last = number(&line.unwrap()).or(last);
        if last.is_some_and(|last| last >= next + steps) {
            break;
        }
    }
    thread::sleep(Duration::from_micros(rng.u64(0..4000)));
    child.kill().unwrap();
    child.wait().unwrap();
    for line in lines {
        last = number(&line.unwrap()).or(last);
    }
    last
}
