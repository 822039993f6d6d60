//! Whatever the files of the host hold and its programs print: no collector panics, and
//! none gives a value outside its range or a name that the server refuses.
//!
//! The texts are random ones, and those of the fixtures with something changed at random,
//! which get further. A case that fails is made smaller and printed.

#![allow(clippy::unwrap_used, reason = "a test may panic in its helpers, too")]

use std::fs;
use std::ops::Range;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fleetbeat_collectors::{COLLECTORS, Collector, Definition, Roots, Sample, build};
use fleetbeat_settings::{Document, Problems};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use tempfile::TempDir;

/// Cases for each property; those that run a program or write many files have fewer.
const CASES: u32 = 800;
const CASES_WITH_MANY_FILES: u32 = 400;
const CASES_WITH_A_PROGRAM: u32 = 60;

/// The property of each collector, by the collector's name.
const PROPERTIES: &[(&str, fn())] = &[
    ("cpu", cpu_is_a_percentage_of_any_stat),
    ("ram", ram_is_a_percentage_of_any_meminfo),
    ("net", net_is_a_percentage_of_any_counters),
    ("services", services_takes_any_output),
    ("uptime", uptime_is_finite_of_any_files),
    ("disk", disk_is_a_percentage_of_any_mounts),
    ("textfile", textfile_takes_any_file),
    ("exec", exec_takes_any_output),
];

#[test]
fn every_collector_has_a_property() {
    for Definition { name, .. } in COLLECTORS {
        assert!(
            PROPERTIES.iter().any(|(of, _)| of == name),
            "collectors/tests/fuzz.rs lacks a property of {name}: write one below, and \
             an entry in PROPERTIES"
        );
    }
}

/// Numbers at the ends of what parsers take, and beyond.
const NUMBERS: [&str; 14] = [
    "0",
    "-0",
    "-1",
    "1",
    "0.1",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "1e308",
    "1e999",
    "-inf",
    "NaN",
    "0x10",
];
/// Pieces that parsers may stumble over.
const PIECES: [&str; 22] = [
    "", " ", "\n", "\t", "\0", "\\", "\\04", "\\777", "{", "}", "\"", "=", ",", "#", ":",
    "-", "9", "cpu ", " kB", "é", "\u{2028}", "active",
];

/// The texts of all fixture files of that name.
fn texts_of(name: &str) -> Vec<String> {
    let mut folders = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures")];
    let mut texts = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
        {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.ends_with(name)
                || (name == "*.prom" && entry.extension().is_some_and(|e| e == "prom"))
            {
                texts.push(
                    String::from_utf8_lossy(&fs::read(entry).unwrap()).into_owned(),
                );
            }
        }
    }
    assert!(!texts.is_empty(), "no fixture has {name}");
    texts
}

/// A text of one of these that has been damaged, or any other.
fn damaged(texts: Vec<String>) -> impl Strategy<Value = Vec<u8>> {
    let place = || (any::<Index>(), any::<Index>());
    let change = prop_oneof![
        (place(), select(&NUMBERS[..])).prop_map(|(place, number)| (place, number, true)),
        (place(), select(&PIECES[..])).prop_map(|(place, piece)| (place, piece, false)),
    ];
    let whole = select(texts.clone()).prop_map(String::into_bytes);
    let changed = (select(texts), prop::collection::vec(change, 1..4)).prop_map(
        |(text, changes)| {
            let mut bytes = text.into_bytes();
            for ((at, length), piece, is_number) in changes {
                let range = if is_number {
                    number_in(&bytes, at)
                } else {
                    range_in(&bytes, at, length)
                };
                bytes.splice(range, piece.bytes());
            }
            bytes
        },
    );
    prop_oneof![
        4 => whole,
        4 => changed,
        1 => prop::collection::vec(any::<u8>(), 0..200),
        1 => prop::collection::vec(select(&PIECES[..]), 0..40)
            .prop_map(|pieces| pieces.concat().into_bytes()),
    ]
}

/// Where one of the numbers in `bytes` is; the beginning, if there is none.
fn number_in(bytes: &[u8], which: Index) -> Range<usize> {
    let is_part = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    let is_begin =
        |at: &usize| is_part(&bytes[*at]) && (*at == 0 || !is_part(&bytes[at - 1]));
    let begins: Vec<_> = (0..bytes.len()).filter(is_begin).collect();
    let Some(begin) = begins.get(which.index(begins.len().max(1))) else {
        return 0..0;
    };
    let length = bytes[*begin..]
        .iter()
        .take_while(|byte| is_part(byte))
        .count();
    *begin..begin + length
}

/// A short stretch of `bytes`.
fn range_in(bytes: &[u8], at: Index, length: Index) -> Range<usize> {
    let at = at.index(bytes.len() + 1);
    at..(at + length.index(12)).min(bytes.len())
}

fn damaged_file(name: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
    damaged(texts_of(name))
}

/// An empty tree, in memory if that is possible: a case is over in no time, but not for a
/// busy disk.
fn tree() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

fn write(root: &TempDir, path: &str, bytes: &[u8]) {
    let path = root.path().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn collector(root: &Path, options: &str) -> Box<dyn Collector> {
    let roots = Roots {
        proc: root.join("proc"),
        sys: root.join("sys"),
        systemctl: root.join("systemctl"),
    };
    let mut problems = Problems::default();
    let options = options.replace("ROOT", root.to_str().unwrap());
    let document = Document::parse("options.toml", &options, &mut problems);
    let mut built = document.read(&mut problems, |table| build(table, &roots));
    problems.into_result().unwrap();
    built.remove(0).1
}

/// Runs a window, in whose middle `change` happens, and checks what there is to be told.
fn check_window(collector: &mut dyn Collector, change: impl FnOnce()) {
    let start = Instant::now();
    let opened = collector.open(start);
    change();
    let told = opened.and_then(|()| collector.collect(start + Duration::from_secs(1)));
    for sample in [told.ok().flatten(), collector.fallback()]
        .into_iter()
        .flatten()
    {
        check(&sample);
    }
    for failed in collector.part_errors() {
        assert!(failed.error.to_string().len() < 1000);
    }
}

fn check(sample: &Sample) {
    match sample {
        Sample::Cpu(percent) | Sample::Ram(percent) | Sample::Net(percent) => {
            assert!((0.0..=100.0).contains(percent), "{sample:?}");
        }
        Sample::Services(services) => {
            assert!(
                services.iter().all(|service| !service.name.contains('\0')),
                "{sample:?}"
            );
        }
        Sample::Metrics(metrics) => {
            for (name, value) in metrics {
                let range = if name.starts_with("disk_") {
                    0.0..=100.0
                } else {
                    f64::MIN..=f64::MAX
                };
                assert!(range.contains(value), "{name} is {value}");
                assert!(
                    name.starts_with(
                        |c: char| c.is_ascii_alphabetic() || "_:".contains(c)
                    ),
                    "{name:?}"
                );
                assert!(!name.contains(['\0', '\n']), "{name:?}");
            }
        }
    }
}

/// So many cases. Those that fail are printed and not kept.
fn cases(count: u32) -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(count)
    }
}

/// Runs a window of the only collector in `options`, over a host that stays the same.
fn check_collector(root: &TempDir, options: &str) {
    check_window(collector(root.path(), options).as_mut(), || {});
}

proptest! {
    #![proptest_config(cases(CASES))]

    #[test]
    fn cpu_is_a_percentage_of_any_stat(
        before in damaged_file("stat"),
        after in damaged_file("stat"),
    ) {
        let root = tree();
        write(&root, "proc/stat", &before);
        let mut cpu = collector(root.path(), "[cpu]");
        check_window(cpu.as_mut(), || write(&root, "proc/stat", &after));
    }

    #[test]
    fn ram_is_a_percentage_of_any_meminfo(meminfo in damaged_file("meminfo")) {
        let root = tree();
        write(&root, "proc/meminfo", &meminfo);
        check_collector(&root, "[ram]");
    }

    #[test]
    fn uptime_is_finite_of_any_files(
        stat in damaged_file("stat"),
        uptime in damaged_file("proc/uptime"),
        loads in damaged_file("loadavg"),
    ) {
        let root = tree();
        write(&root, "proc/stat", &stat);
        write(&root, "proc/uptime", &uptime);
        write(&root, "proc/loadavg", &loads);
        check_collector(&root, "[uptime]");
    }

    #[test]
    fn disk_is_a_percentage_of_any_mounts(
        mounts in damaged_file("mounts"),
        kinds in damaged_file("filesystems"),
    ) {
        let root = tree();
        write(&root, "proc/self/mounts", &mounts);
        write(&root, "proc/filesystems", &kinds);
        check_collector(&root, "[disk]");
    }

    #[test]
    fn textfile_takes_any_file(
        first in damaged_file("*.prom"),
        second in damaged_file("*.prom"),
        name in "[ -~é\"\\\\\n&&[^/]]{0,20}",
    ) {
        let root = tree();
        write(&root, "metrics/a.prom", &first);
        write(&root, &format!("metrics/{name}.prom"), &second);
        check_collector(&root, "[textfile]\nfolder = 'ROOT/metrics'");
    }
}

proptest! {
    #![proptest_config(cases(CASES_WITH_MANY_FILES))]

    #[test]
    fn net_is_a_percentage_of_any_counters(
        routes in damaged_file("route"),
        ipv6_routes in damaged_file("ipv6_route"),
        speed in damaged_file("speed"),
        before in damaged_file("rx_bytes"),
        after in damaged_file("rx_bytes"),
    ) {
        let root = tree();
        write(&root, "proc/net/route", &routes);
        write(&root, "proc/net/ipv6_route", &ipv6_routes);
        let count = |bytes: &[u8]| for interface in ["eth0", "ens3"] {
            let folder = format!("sys/class/net/{interface}");
            write(&root, &format!("{folder}/speed"), &speed);
            write(&root, &format!("{folder}/statistics/rx_bytes"), bytes);
            write(&root, &format!("{folder}/statistics/tx_bytes"), b"7\n");
        };
        count(&before);
        check_window(collector(root.path(), "[net]").as_mut(), || count(&after));
    }
}

proptest! {
    #![proptest_config(cases(CASES_WITH_A_PROGRAM))]

    #[test]
    fn exec_takes_any_output(
        printed in prop_oneof![
            damaged_file("*.prom"),
            damaged(vec!["{\"jobs\": 3, \"up{of=\\\"a b\\\"}\": 1.5e3}\n".to_owned()]),
        ],
    ) {
        let root = tree();
        write(&root, "printed", &printed);
        check_collector(
            &root,
            "[exec]\ncommands = [ {name = 'c', run = ['/bin/cat', 'ROOT/printed']} ]",
        );
    }

    #[test]
    fn services_takes_any_output(
        states in damaged(vec!["active\ninactive\n".to_owned()]),
        units in damaged(vec!["wg-quick@a.service loaded active exited A\n\
            b.service loaded failed failed B\n".to_owned()]),
    ) {
        // No program may be started in the other place.
        let root = tempfile::tempdir().unwrap();
        write(&root, "states", &states);
        write(&root, "units", &units);
        let script = "case $1 in is-active) cat ROOT/states;; *) cat ROOT/units;; esac\n"
            .replace("ROOT", root.path().to_str().unwrap());
        write(&root, "systemctl.sh", script.as_bytes());
        let scripted = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/scripted");
        symlink(scripted, root.path().join("systemctl")).unwrap();

        let options = "[services]\nunits = [ {name = 'a', unit = 'a'}, \
            {name = 'b', unit = 'b'}, {name = 'wg', unit = 'wg-quick@*'}, \
            {name = 'all', unit = '*'} ]";
        check_collector(&root, options);
    }
}
