//! The services collector before systemctls that fail in the ways of real ones.

#![allow(clippy::unwrap_used, reason = "a test may panic in its helpers, too")]

use std::error::Error as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Instant;

use fleetbeat_collectors::{Collector, Roots, Sample, build};
use fleetbeat_settings::{Document, Problems};
use tempfile::TempDir;

/// A systemctl that refuses units whose names say so, as systemd 252 does: it prints up
/// to the unit that it refuses.
const REFUSING: &str = r#"
shift
for unit; do case $unit in
  --) ;;
  bad-*) echo "Failed to retrieve unit state: Unit name $unit.service is neither a valid invocation ID nor unit name." >&2; exit 1 ;;
  odd-*) echo "Failed to retrieve unit state: Invalid argument" >&2; exit 1 ;;
  *) echo active ;;
esac; done
"#;

/// What the collector says, and how often systemctl was called.
struct Told {
    sample: String,
    parts: Vec<String>,
    calls: usize,
}

/// Runs a window with the script as systemctl, which may keep files in `$here`.
fn run(script: &str, units: &[(&str, &str)]) -> Told {
    let folder = tempfile::tempdir().unwrap();
    let mut collector = collector(&folder, script, units);
    let opened = collector.open(Instant::now());
    let sample = opened.and_then(|()| collector.collect(Instant::now()));
    let sample = match sample {
        Ok(Some(sample)) => show(sample),
        Ok(None) => panic!("nothing is told"),
        Err(error) => format!(
            "{error}; {}",
            collector.fallback().map(show).unwrap_or_default()
        ),
    };
    let parts = collector.part_errors();
    let calls = fs::read_to_string(folder.path().join("calls")).unwrap_or_default();
    Told {
        sample: sample.replace(folder.path().to_str().unwrap(), "ROOT"),
        parts: parts
            .iter()
            .map(|failed| {
                assert!(failed.error.source().is_none());
                format!("{}: {}", failed.part, failed.error)
                    .replace(folder.path().to_str().unwrap(), "ROOT")
            })
            .collect(),
        calls: calls.lines().count(),
    }
}

fn collector(
    folder: &TempDir,
    script: &str,
    units: &[(&str, &str)],
) -> Box<dyn Collector> {
    let systemctl = folder.path().join("systemctl");
    let text = format!(
        "here={}\necho \"$*\" >>$here/calls\n{script}",
        folder.path().display()
    );
    fs::write(folder.path().join("systemctl.sh"), text).unwrap();
    let scripted = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/scripted");
    symlink(scripted, &systemctl).unwrap();

    let units: Vec<_> = units
        .iter()
        .map(|(name, unit)| format!("{{name = {name:?}, unit = {unit:?}}}"))
        .collect();
    let options = format!("[services]\nunits = [{}]", units.join(", "));
    let mut problems = Problems::default();
    let document = Document::parse("options.toml", &options, &mut problems);
    let roots = Roots {
        systemctl,
        ..Roots::default()
    };
    let mut built = document.read(&mut problems, |table| build(table, &roots));
    problems.into_result().unwrap();
    built.remove(0).1
}

fn show(sample: Sample) -> String {
    let Sample::Services(services) = sample else {
        panic!("no services")
    };
    let show = |active| if active { "active" } else { "inactive" };
    let states: Vec<_> = services
        .iter()
        .map(|service| format!("{}={}", service.name, show(service.active)))
        .collect();
    states.join(" ")
}

#[test]
fn a_unit_that_systemd_refuses_costs_itself() {
    let told = run(
        REFUSING,
        &[
            ("a", "a"),
            ("x", "bad-1"),
            ("y", "bad-2"),
            ("b", "b"),
            ("z", "bad-3"),
        ],
    );
    assert_eq!(
        told.sample,
        "a=active x=inactive y=inactive b=active z=inactive"
    );
    assert_eq!(told.parts.len(), 3, "{:?}", told.parts);
    assert!(
        told.parts[0].starts_with(
            "bad-1: ROOT/systemctl does not tell its state: Failed to retrieve unit \
             state: Unit name bad-1.service is neither"
        ),
        "{:?}",
        told.parts
    );
    assert_eq!(
        told.calls, 3,
        "one for each unit that something stands behind"
    );
}

#[test]
fn a_refusal_without_a_name_costs_one_unit_too() {
    let told = run(REFUSING, &[("a", "a"), ("x", "odd-1"), ("b", "b")]);
    assert_eq!(told.sample, "a=active x=inactive b=active");
    assert_eq!(
        told.parts,
        [
            "odd-1: ROOT/systemctl does not tell its state: Failed to retrieve unit state: \
             Invalid argument"
        ]
    );
}

#[test]
fn a_systemd_that_executes_itself_anew_is_asked_once_more() {
    let once = "if [ ! -e $here/asked ]; then : >$here/asked\n\
        echo 'Failed to retrieve unit state: Connection reset by peer' >&2; exit 1; fi\n";
    let states = format!("{once}shift 2; for unit; do echo active; done");
    let told = run(&states, &[("a", "a"), ("b", "b")]);
    assert_eq!((told.sample.as_str(), told.calls), ("a=active b=active", 2));
    assert!(told.parts.is_empty(), "{:?}", told.parts);

    let list = format!("{once}echo 'wg-quick@a.service loaded active exited A'");
    let told = run(&list, &[("wg", "wg-quick@*")]);
    assert_eq!((told.sample.as_str(), told.calls), ("wg:a=active", 2));

    // As systemctl of systemd 239 says it.
    let unknown = "shift 2; for unit; do if [ -e $here/asked ]; then echo active; \
        else echo unknown; : >$here/asked; fi; done";
    let told = run(unknown, &[("a", "a"), ("b", "b")]);
    assert_eq!((told.sample.as_str(), told.calls), ("a=active b=active", 2));
}

#[test]
fn a_bus_that_is_away_is_told_and_not_asked_for_each_unit() {
    let away = "echo 'Failed to connect to bus: No such file' >&2; exit 1";
    let names: Vec<String> = (0..64).map(|n| format!("n{n}")).collect();
    let units: Vec<_> = names.iter().map(|n| (n.as_str(), n.as_str())).collect();
    let told = run(away, &units);
    assert!(
        told.sample.starts_with(
            "ROOT/systemctl did not tell each unit's state: Failed to connect to bus: \
             No such file; n0=inactive n1=inactive"
        ),
        "{}",
        told.sample
    );
    assert!(told.parts.is_empty() && told.calls <= 3, "{}", told.calls);
}

#[test]
fn the_list_fails_and_the_units_with_a_name_do_not() {
    let script = "case $1 in is-active) echo active ;; *) exit 1 ;; esac";
    let told = run(script, &[("a", "a"), ("wg", "wg-quick@*")]);
    assert_eq!(told.sample, "a=active");
    assert_eq!(
        told.parts,
        ["wg-quick@*.service: ROOT/systemctl did not tell which units there are"]
    );
}

#[test]
fn units_with_a_name_go_before_those_of_a_pattern() {
    let script = "case $1 in is-active) echo active ;; *)\n\
        for n in $(seq 100 199); do echo \"s$n.service loaded active running S\"; done\n\
        esac";
    let told = run(script, &[("all", "s*"), ("vpn", "vpn")]);
    let names: Vec<_> = told.sample.split(' ').collect();
    assert_eq!(names.len(), 101);
    assert_eq!(names[..2], ["vpn=active", "all:100=active"]);
}

#[test]
fn a_pattern_without_a_match_and_a_name_too_long_are_told() {
    let long = "x".repeat(64);
    let script = format!(
        "echo 'wg-quick@{long}.service loaded active exited A'\n\
         echo 'wg-quick@b.service loaded active exited B'"
    );
    let told = run(&script, &[("wg", "wg-quick@*"), ("ov", "openvpn-client@*")]);
    assert_eq!(told.sample, "wg:b=active");
    assert_eq!(
        told.parts,
        [
            "openvpn-client@*.service: matches no unit that systemd knows".to_owned(),
            format!(
                "wg-quick@{long}.service: is left out: its name in the heartbeat would be \
                 longer than 64 characters"
            ),
        ]
    );
}
