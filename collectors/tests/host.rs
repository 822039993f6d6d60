//! Collectors on the host that the tests run on, where a fixture tree cannot stand in for
//! the system.

#![allow(clippy::unwrap_used, reason = "a test may panic in its helpers, too")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use fleetbeat_collectors::{Collector, Roots, Sample, build};
use fleetbeat_settings::{Document, Problems};

/// Nothing here waits longer for anything.
const DEADLINE: Duration = Duration::from_secs(10);

fn collector(options: &str) -> Box<dyn Collector> {
    let mut problems = Problems::default();
    let document = Document::parse("options.toml", options, &mut problems);
    let mut built = document.read(&mut problems, |table| build(table, &Roots::default()));
    problems.into_result().unwrap();
    built.remove(0).1
}

/// The metrics of a window without length, and what failed.
fn metrics(collector: &mut dyn Collector) -> (BTreeMap<String, f64>, Vec<String>) {
    collector.open(Instant::now()).unwrap();
    let sample = collector.collect(Instant::now()).unwrap();
    let Some(Sample::Metrics(metrics)) = sample else {
        panic!("{sample:?}")
    };
    let show = |failed: fleetbeat_collectors::PartError| {
        let source =
            std::error::Error::source(&failed.error).map(|source| format!(": {source}"));
        format!(
            "{}: {}{}",
            failed.part,
            failed.error,
            source.unwrap_or_default()
        )
    };
    (
        metrics.into_iter().collect(),
        collector.part_errors().into_iter().map(show).collect(),
    )
}

#[test]
fn disk_agrees_with_df() {
    let (metrics, failed) = metrics(collector("[disk]").as_mut());
    assert_eq!(failed, [""; 0]);
    assert!(
        metrics.contains_key(r#"disk_used_percent{mount="/"}"#),
        "{metrics:?}"
    );
    for (name, told) in &metrics {
        let (kind, mount) = name.split_once("{mount=\"").unwrap();
        let columns = match kind {
            "disk_used_percent" => "--output=used,avail",
            "disk_inodes_percent" => "--output=iused,iavail",
            _ => panic!("{name}"),
        };
        let mount = mount.strip_suffix("\"}").unwrap();
        let output = Command::new("df")
            .args(["-B1", columns, mount])
            .output()
            .unwrap();
        let output = String::from_utf8(output.stdout).unwrap();
        let line = output.lines().nth(1).unwrap().split_whitespace();
        let numbers: Vec<f64> = line.map(|word| word.parse().unwrap()).collect();
        let expected = 100.0 * numbers[0] / (numbers[0] + numbers[1]);
        assert!(
            (told - expected).abs() < 1.0,
            "{name} is {told}, df says {expected}"
        );
        assert!((0.0..=100.0).contains(told), "{name} is {told}");
    }
}

#[test]
fn uptime_agrees_with_the_kernels_clock() {
    let (metrics, _) = metrics(collector("[uptime]").as_mut());
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    let told = metrics["boot_time_seconds"] + metrics["uptime_seconds"];
    assert!(
        (told - now).abs() < 2.0,
        "booted at {metrics:?}, which is not {now} now"
    );
}

#[test]
fn no_file_of_any_kind_holds_up_or_hides_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("good.prom"), "good 1\n").unwrap();
    fs::write(path("a-huge.prom"), "#".repeat(64 * 1024 + 1)).unwrap();
    // Sparse: reading all of it would take the memory.
    fs::File::create(path("a-gigantic.prom"))
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    fs::write(path("a-full.prom"), "#".repeat(64 * 1024)).unwrap();
    fs::create_dir(path("a-folder.prom")).unwrap();
    symlink("/dev/zero", path("a-device.prom")).unwrap();
    symlink(path("nowhere"), path("a-dead-link.prom")).unwrap();
    symlink(path("good-elsewhere"), path("z-link.prom")).unwrap();
    fs::write(path("good-elsewhere"), "linked 2\n").unwrap();
    let pipe = path("a-pipe.prom");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );

    let options = format!("[textfile]\nfolder = '{}'", folder.path().display());
    let (tell, told) = mpsc::channel();
    let reader = thread::spawn(move || tell.send(metrics(collector(&options).as_mut())));
    let (metrics, failed) = told
        .recv_timeout(DEADLINE)
        .expect("a pipe without a writer holds it up");
    reader.join().unwrap().unwrap();
    let names: Vec<_> = metrics
        .keys()
        .filter(|name| !name.starts_with("textfile_mtime"))
        .collect();
    assert_eq!(names, ["good", "linked"]);
    let failed: Vec<_> = failed
        .iter()
        .map(|text| {
            (
                text.split(": ").next().unwrap(),
                text.rsplit(": ").next().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("a-dead-link.prom", "No such file or directory (os error 2)"),
        ("a-device.prom", "is no regular file"),
        ("a-folder.prom", "is no regular file"),
        ("a-gigantic.prom", "is larger than 65536 bytes"),
        ("a-huge.prom", "is larger than 65536 bytes"),
        ("a-pipe.prom", "is no regular file"),
    ];
    assert_eq!(failed, expected);
}

#[test]
fn of_a_thousand_files_only_the_first_count() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..1000 {
        fs::write(
            folder.path().join(format!("{n:04}.prom")),
            format!("n{n} 1\n"),
        )
        .unwrap();
    }
    let options = format!("[textfile]\nfolder = '{}'", folder.path().display());
    let (metrics, failed) = metrics(collector(&options).as_mut());
    assert_eq!(metrics.len(), 128);
    assert_eq!(failed, ["0064.prom: is one of more than 64 files"]);
}

/// A script that notes its own process and one that it starts, and what it does then.
fn noting_script(folder: &Path, then: &str) -> String {
    let script = folder.join("script");
    let text = format!(
        "sleep 300 &\necho $$ $! > {}\n{then}\n",
        folder.join("pids").display()
    );
    fs::write(&script, text).unwrap();
    let run = format!("[\"/bin/sh\", \"{}\"]", script.display());
    format!("[exec]\ncommands = [ {{name = \"c\", run = {run}, timeout = \"500ms\"}} ]")
}

#[test]
fn nothing_is_left_of_a_command() {
    for (then, failure) in [
        ("wait", Some("did not answer within 500ms")),
        ("exec yes", Some("prints more than")),
        ("echo up 1", None),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut exec = collector(&noting_script(folder.path(), then));
        exec.open(Instant::now()).unwrap();
        // The machine may be busy: without this, it could be killed before it has noted
        // anything.
        let began = Instant::now();
        let pids = loop {
            let noted =
                fs::read_to_string(folder.path().join("pids")).unwrap_or_default();
            if noted.ends_with('\n') {
                break noted
                    .split_whitespace()
                    .map(str::to_owned)
                    .collect::<Vec<_>>();
            }
            assert!(began.elapsed() < DEADLINE, "the script does not run");
            thread::sleep(Duration::from_millis(5));
        };
        exec.collect(Instant::now()).unwrap();
        let told = exec
            .part_errors()
            .first()
            .map(|failed| failed.error.to_string());
        assert_eq!(failure.is_some(), told.is_some(), "{then}: {told:?}");
        assert!(
            told.unwrap_or_default()
                .contains(failure.unwrap_or_default()),
            "{then}"
        );
        assert!(
            !Path::new("/proc").join(&pids[0]).exists(),
            "{then}: the command was not reaped"
        );
        // What it started is for the init process to reap.
        let began = Instant::now();
        while is_alive(&pids[1]) {
            assert!(
                began.elapsed() < DEADLINE,
                "{then}: process {} is left",
                pids[1]
            );
            thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn a_daemon_that_a_command_starts_is_ended_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let note = folder.path().join("pid");
    let script = format!(
        "setsid sh -c 'echo $$ >{0}; exec sleep 300' & \
         while [ ! -s {0} ]; do sleep 0.01; done; echo up 1",
        note.display()
    );
    let options = format!(
        "[exec]\ncommands = [ {{name = \"d\", run = [\"/bin/sh\", \"-c\", {script:?}]}} ]"
    );
    let (metrics, failed) = metrics(collector(&options).as_mut());
    assert_eq!(metrics, [("d_up".to_owned(), 1.0)].into());
    assert_eq!(failed, ["d: leaves processes behind, which are ended"]);

    let pid = fs::read_to_string(note).unwrap();
    let began = Instant::now();
    while is_alive(pid.trim()) {
        assert!(began.elapsed() < DEADLINE, "process {pid} is left");
        thread::sleep(Duration::from_millis(5));
    }
}

fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ")
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

#[test]
fn a_window_that_was_never_closed_leaves_no_command() {
    let folder = tempfile::tempdir().unwrap();
    let mut exec = collector(&noting_script(folder.path(), "wait"));
    exec.open(Instant::now()).unwrap();
    exec.open(Instant::now()).unwrap();
    drop(exec);
    let pattern = folder.path().join("script").display().to_string();
    let is_ours = |entry: &fs::DirEntry| {
        let command =
            fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        command.contains(&pattern) && is_alive(entry.file_name().to_str().unwrap())
    };
    let began = Instant::now();
    while fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .any(|entry| is_ours(&entry))
    {
        assert!(began.elapsed() < DEADLINE, "a command is left");
        thread::sleep(Duration::from_millis(5));
    }
}
