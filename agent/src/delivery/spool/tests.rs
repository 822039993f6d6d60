//! The spool's file as a kill, a full disk and damage leave it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const SMALL: Limits = Limits {
    max_bytes: 256 << 10,
    min_gap_bytes: 512,
};
/// No limit on the number of records.
const ALL: usize = usize::MAX;
/// Makes this test binary the process that is killed, or the one whose disk is full.
const FOLDER_VARIABLE: &str = "FLEETBEAT_SPOOL_TEST_FOLDER";
const KILLS: usize = 200;

/// Another test's child has all open files of this process until it becomes a program of
/// its own, and with them the lock.
fn open(folder: &Path, limits: Limits) -> SpoolFile {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match SpoolFile::open(&folder.join(FILE_NAME), limits) {
            Err(error)
                if error.kind() == io::ErrorKind::WouldBlock
                    && Instant::now() < deadline =>
            {
                thread::yield_now();
            }
            opened => return opened.unwrap(),
        }
    }
}

/// What is kept as the `n`th heartbeat; lengths differ.
fn body(n: u64) -> String {
    format!(
        r#"{{"n":{n},"pad":"{}"}}"#,
        "x".repeat(usize::try_from(n * 7919 % 900).unwrap())
    )
}

/// The numbers of the heartbeats that wait, each of which is exactly what was kept.
fn waiting(file: &mut SpoolFile) -> Vec<u64> {
    let batch = file.batch(ALL, ALL).unwrap();
    let numbers = batch.map_or_else(Vec::new, |batch| numbers(&batch));
    assert_eq!(numbers.len(), file.len());
    numbers
}

fn numbers(batch: &Batch) -> Vec<u64> {
    let elements: Vec<&serde_json::value::RawValue> =
        serde_json::from_slice(&batch.body).unwrap();
    assert_eq!(elements.len(), batch.count);
    let number = |text: &str| {
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        let n = value["n"].as_u64().unwrap();
        assert_eq!(text, body(n));
        n
    };
    elements
        .into_iter()
        .map(|element| number(element.get()))
        .collect()
}

fn append(file: &mut SpoolFile, n: u64) -> u64 {
    file.append(body(n).as_bytes(), ALL).unwrap()
}

fn file_bytes(folder: &TempDir) -> u64 {
    fs::metadata(folder.path().join(FILE_NAME)).unwrap().len()
}

#[test]
fn what_is_kept_is_there_after_a_restart_until_it_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = open(folder.path(), SMALL);
    let kept: Vec<u64> = (1..=9).map(|n| append(&mut file, n)).collect();
    file.remove(kept[8]).unwrap();
    file.remove(kept[3]).unwrap();
    file.remove_through(kept[1]).unwrap();
    for _ in 0..2 {
        assert_eq!(waiting(&mut file), [3, 5, 6, 7, 8]);
        drop(file);
        file = open(folder.path(), SMALL);
    }
    let batch = file.batch(2, ALL).unwrap().unwrap();
    assert_eq!(numbers(&batch), [3, 5]);
    file.remove_through(batch.last_number).unwrap();
    let first = file.batch(ALL, body(6).len() + 2).unwrap().unwrap();
    assert_eq!(
        numbers(&first),
        [6],
        "a batch has a length, but for its first record"
    );
    assert_eq!(numbers(&file.batch(ALL, 0).unwrap().unwrap()), [6]);
    let last = append(&mut file, 10);
    file.remove_through(last).unwrap();
    assert_eq!(
        (file.len(), file_bytes(&folder)),
        (0, 0),
        "nothing is left of it"
    );
}

#[test]
fn a_heartbeat_that_is_accepted_at_once_leaves_an_empty_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = open(folder.path(), SMALL);
    for n in 1..100 {
        let number = append(&mut file, n);
        assert!(file_bytes(&folder) > 0);
        file.remove(number).unwrap();
        assert_eq!(file_bytes(&folder), 0);
    }
}

#[test]
fn the_oldest_go_first_whichever_limit_is_reached() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = open(folder.path(), SMALL);
    for n in 1..=50 {
        file.append(body(n).as_bytes(), 20).unwrap();
    }
    assert_eq!(
        (waiting(&mut file), file.dropped()),
        ((31..=50).collect(), 30)
    );
    for n in 51..=3000 {
        append(&mut file, n);
        assert!(file_bytes(&folder) <= SMALL.max_bytes, "{n}");
    }
    let kept = waiting(&mut file);
    assert_eq!(kept, (kept[0]..=3000).collect::<Vec<_>>());
    assert_eq!(file.dropped(), kept[0] - 1);
    let kept_bytes: usize = kept.iter().map(|n| body(*n).len()).sum();
    assert!(
        kept_bytes as u64 > SMALL.max_bytes * 3 / 4,
        "{kept_bytes} bytes kept"
    );
    drop(file);
    assert_eq!(waiting(&mut open(folder.path(), SMALL)), kept);
}

#[test]
fn space_is_got_back_while_records_wait() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = open(folder.path(), SMALL);
    for n in 1..=2000 {
        append(&mut file, n);
        if n > 10 {
            let batch = file.batch(1, ALL).unwrap().unwrap();
            file.remove_through(batch.last_number).unwrap();
        }
        assert!(file_bytes(&folder) < 20 << 10, "{n}");
    }
    assert_eq!(
        (waiting(&mut file), file.dropped()),
        ((1991..=2000).collect(), 0)
    );
}

#[test]
fn a_spool_belongs_to_one_agent() {
    let folder = tempfile::tempdir().unwrap();
    let first = Spool::open(folder.path()).unwrap();
    let told = Spool::open(folder.path()).err().unwrap();
    assert!(matches!(told, AgentError::SpoolInUse(_)));
    drop(first);
    open(folder.path(), LIMITS);
}

#[test]
fn without_a_folder_nothing_is_kept_until_there_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let later = folder.path().join("later");
    let mut spool = Spool::open(&later).unwrap();
    assert_eq!((spool.append(b"{}", ALL), spool.len()), (None, 0));
    assert!(spool.batch(ALL, ALL).is_none());
    fs::create_dir(&later).unwrap();
    assert!(spool.append(b"{}", ALL).is_some());
    assert_eq!(spool.batch(ALL, ALL).unwrap().body, b"[{}]");
}

#[test]
fn damage_at_any_byte_loses_what_it_touches_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    let mut file = open(folder.path(), SMALL);
    let mut ends = Vec::new();
    // A long one among short ones.
    let kept = [900, 1800, 2500, 2700, 3600];
    for n in kept {
        append(&mut file, n);
        ends.push(usize::try_from(file_bytes(&folder)).unwrap());
    }
    drop(file);
    let whole = fs::read(&path).unwrap();
    let reread = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let mut file = open(folder.path(), SMALL);
        let read = waiting(&mut file);
        // What it has made of the file is a spool that works.
        append(&mut file, 9000);
        drop(file);
        assert_eq!(
            waiting(&mut open(folder.path(), SMALL)),
            [read.as_slice(), &[9000]].concat()
        );
        read
    };
    for at in 0..whole.len() {
        let touched = ends.iter().position(|end| at < *end).unwrap();
        let others: Vec<u64> = kept.into_iter().filter(|n| *n != kept[touched]).collect();
        let survive = |read: Vec<u64>, what: &str| {
            let without: Vec<u64> =
                read.into_iter().filter(|n| others.contains(n)).collect();
            assert_eq!(without, others, "{what} at {at}");
        };
        for mask in [0x01, 0x80, 0xFF] {
            let mut bytes = whole.clone();
            bytes[at] ^= mask;
            survive(reread(&bytes), "a flipped byte");
        }
        let mut bytes = whole.clone();
        bytes.remove(at);
        survive(reread(&bytes), "a missing byte");
        bytes.insert(at, whole[at]);
        bytes.insert(at, b'f');
        survive(reread(&bytes), "a byte too many");
        let complete = ends.iter().filter(|end| **end <= at).count();
        assert_eq!(reread(&whole[..at]).len(), complete, "cut at {at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(512)
    })]

    /// Whatever the file holds, opening it gives a spool that works.
    #[test]
    fn any_file_is_read(pieces in vec(piece(), 0..12)) {
        let folder = tempfile::tempdir().unwrap();
        let bytes = pieces.concat();
        fs::write(folder.path().join(FILE_NAME), &bytes).unwrap();
        let mut file = open(folder.path(), SMALL);
        prop_assert!(file_bytes(&folder) <= SMALL.max_bytes.min(bytes.len() as u64));
        let count = file.len();
        let batch = file.batch(ALL, ALL).unwrap();
        prop_assert_eq!(batch.as_ref().map_or(0, |batch| batch.count), count);
        let room = file.append(b"{}", ALL);
        prop_assert!(room.is_ok());
        drop(file);
        let mut file = open(folder.path(), SMALL);
        let batch = file.batch(ALL, ALL).unwrap().unwrap();
        prop_assert!(batch.body.ends_with(b"{}]"), "the record is not the last one");
        file.remove_through(batch.last_number).unwrap();
        prop_assert_eq!((file.len(), file_bytes(&folder)), (0, 0));
    }
}

/// Records, whole and damaged, and what is none.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let number = 0..(1_u64 << 40);
    let record = (number, vec(any::<u8>(), 0..3000))
        .prop_map(|(n, body)| record::encode(n, &body).unwrap());
    let damaged = (record.clone(), any::<prop::sample::Index>(), any::<u8>()).prop_map(
        |(mut bytes, at, byte)| {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        },
    );
    let cut =
        (record.clone(), any::<prop::sample::Index>()).prop_map(|(mut bytes, at)| {
            bytes.truncate(at.index(bytes.len()));
            bytes
        });
    let magic =
        vec(any::<u8>(), 0..40).prop_map(|rest| [b"\xFFfb1", rest.as_slice()].concat());
    let zeros = (0..70_000_usize).prop_map(|count| vec![0; count]);
    prop_oneof![
        record,
        damaged,
        cut,
        magic,
        zeros,
        vec(any::<u8>(), 0..3000)
    ]
}

#[test]
fn every_acknowledged_heartbeat_survives_two_hundred_kills() {
    let folder = tempfile::tempdir().unwrap();
    let mut known = Known::default();
    for round in 0..KILLS {
        let mut command = play("plays_the_process_that_is_killed", folder.path());
        let mut child = command
            .env("FLEETBEAT_SPOOL_TEST_NEXT", known.next.to_string())
            .spawn()
            .unwrap();
        let mut output = child.stdout.take().unwrap();
        // Some die while they start.
        let mut told = Vec::new();
        if round % 8 > 0 {
            told.resize(1, 0);
            output.read_exact(&mut told).unwrap();
        }
        thread::scope(|scope| {
            let reader = scope.spawn(move || {
                output.read_to_end(&mut told).unwrap();
                told
            });
            thread::sleep(Duration::from_micros(fastrand::u64(..40_000)));
            child.kill().unwrap();
            child.wait().unwrap();
            known.hear(&String::from_utf8(reader.join().unwrap()).unwrap());
        });
        known.check(&waiting(&mut open(folder.path(), SMALL)), round);
    }
    assert!(
        known.next > 10_000,
        "only {} heartbeats were kept in all rounds",
        known.next
    );
    assert!(
        known.compacted > 50,
        "records were moved only {} times",
        known.compacted
    );
}

/// What the killed process has said.
#[derive(Default)]
struct Known {
    /// Kept, and not removed.
    kept: BTreeSet<u64>,
    /// Being kept or removed when the process died.
    open: BTreeSet<u64>,
    next: u64,
    compacted: usize,
}

impl Known {
    /// `+n` before and `=n` after it is kept, `-n` before and `~n` after it is removed.
    /// The last line may be cut.
    fn hear(&mut self, told: &str) {
        let lines = told
            .rsplit_once('\n')
            .map_or("", |(lines, _)| lines)
            .lines();
        for line in lines {
            // The test harness has its say, too.
            let Some((sign, n)) = line.split_at_checked(1) else {
                continue;
            };
            let Ok(n) = n.parse() else { continue };
            match sign {
                "+" => drop(self.open.insert(n)),
                "=" => drop((self.open.remove(&n), self.kept.insert(n))),
                "-" => drop((self.kept.remove(&n), self.open.insert(n))),
                "~" => drop(self.open.remove(&n)),
                "#" => self.compacted += 1,
                _ => continue,
            }
            self.next = self.next.max(n + 1);
        }
    }

    fn check(&mut self, found: &[u64], round: usize) {
        assert!(
            found.is_sorted_by(|a, b| a < b),
            "round {round}: {found:?} is out of order"
        );
        let found: BTreeSet<u64> = found.iter().copied().collect();
        let lost: Vec<_> = self.kept.difference(&found).collect();
        assert!(
            lost.is_empty(),
            "round {round}: {lost:?} are lost of {:?}",
            self.kept
        );
        let known: BTreeSet<u64> = self.kept.union(&self.open).copied().collect();
        let back: Vec<_> = found.difference(&known).collect();
        assert!(back.is_empty(), "round {round}: {back:?} are back");
        (self.kept, self.open) = (found, BTreeSet::new());
    }
}

/// This test binary as a process that runs nothing but that test.
fn play(name: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        &format!("delivery::spool::tests::{name}"),
        "--nocapture",
    ]);
    command
        .env(FOLDER_VARIABLE, folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

fn tell(sign: char, n: u64) {
    // In one piece, and not through the harness.
    io::stdout()
        .write_all(format!("{sign}{n}\n").as_bytes())
        .unwrap();
}

#[test]
fn plays_the_process_that_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER_VARIABLE) else {
        return;
    };
    let first: u64 = std::env::var("FLEETBEAT_SPOOL_TEST_NEXT")
        .unwrap()
        .parse()
        .unwrap();
    let mut file = open(Path::new(&folder), SMALL);
    let path = Path::new(&folder).join(FILE_NAME);
    for n in first.. {
        tell('+', n);
        let number = append(&mut file, n);
        tell('=', n);
        let before = fs::metadata(&path).unwrap().len();
        if fastrand::u8(..4) == 0 {
            tell('-', n);
            file.remove(number).unwrap();
            tell('~', n);
        } else if file.len() > fastrand::usize(5..80) {
            let batch = file
                .batch(fastrand::usize(1..40), 20 << 10)
                .unwrap()
                .unwrap();
            let removed = numbers(&batch);
            removed.iter().for_each(|n| tell('-', *n));
            file.remove_through(batch.last_number).unwrap();
            removed.iter().for_each(|n| tell('~', *n));
            if file.len() > 0 && fs::metadata(&path).unwrap().len() < before {
                tell('#', n);
            }
        }
    }
}

#[test]
fn a_full_disk_drops_the_oldest_and_breaks_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    let mount = "mount -t tmpfs -o size=1m none \"$FLEETBEAT_SPOOL_TEST_FOLDER\" && \
                 exec \"$0\" \"$@\"";
    command.args(["--map-root-user", "--mount", "sh", "-c", mount]);
    let played = play("plays_the_process_whose_disk_is_full", folder.path());
    command
        .arg(played.get_program())
        .args(played.get_args())
        .env(FOLDER_VARIABLE, folder.path());
    let output = command.output().expect("unshare comes with util-linux");
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    assert!(
        output.status.success(),
        "this needs root or user namespaces:\n{told}"
    );
    assert!(told.contains("the disk was full"), "{told}");
}

#[test]
fn plays_the_process_whose_disk_is_full() {
    let Some(folder) = std::env::var_os(FOLDER_VARIABLE) else {
        return;
    };
    let folder = Path::new(&folder);
    let limits = Limits {
        max_bytes: 4 << 20,
        ..SMALL
    };
    let mut file = open(folder, limits);
    for n in 1..=100 {
        append(&mut file, n);
    }
    let filler = folder.join("filler");
    let full = fs::write(&filler, vec![1; 2 << 20]).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    let long_before = fs::metadata(folder.join(FILE_NAME)).unwrap().len();
    for n in 101..=1000 {
        append(&mut file, n);
        assert!(fs::metadata(folder.join(FILE_NAME)).unwrap().len() < long_before + 4096);
    }
    let kept = waiting(&mut file);
    assert_eq!(kept, (kept[0]..=1000).collect::<Vec<_>>());
    assert!(
        kept.len() > 70 && file.dropped() == kept[0] - 1,
        "{} are left",
        kept.len()
    );
    drop(file);
    let mut file = open(folder, limits);
    assert_eq!(waiting(&mut file), kept);
    let last = file.batch(ALL, ALL).unwrap().unwrap().last_number;
    file.remove_through(last).unwrap();

    // With nothing to give up, there is an error and no half record.
    fs::write(&filler, vec![1; 2 << 20]).unwrap_err();
    let filled = fs::metadata(&filler).unwrap().len();
    File::options()
        .write(true)
        .open(&filler)
        .unwrap()
        .set_len(filled - (8 << 10))
        .unwrap();
    file.append(&vec![b' '; 60 << 10], ALL).unwrap_err();
    assert_eq!(fs::metadata(folder.join(FILE_NAME)).unwrap().len(), 0);
    fs::remove_file(&filler).unwrap();
    append(&mut file, 2);
    assert_eq!(waiting(&mut file), [2]);
    io::stdout().write_all(b"the disk was full\n").unwrap();
}

/// The spool again, as soon as no child of another test holds its lock any more.
fn reopen(folder: &Path) -> Spool {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match Spool::open(folder) {
            Err(AgentError::SpoolInUse(_)) if Instant::now() < deadline => {
                thread::yield_now();
            }
            opened => return opened.unwrap(),
        }
    }
}

#[test]
fn a_file_that_was_removed_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(folder.path()).unwrap();
    let first = spool.append(b"{}", ALL).unwrap();
    fs::remove_file(file_path(folder.path())).unwrap();

    let second = spool.append(b"{\"a\":1}", ALL).unwrap();
    assert!(second > first, "the first one may be under way");
    spool.remove(first);
    drop(spool);
    let mut again = reopen(folder.path());
    assert_eq!(again.batch(ALL, ALL).unwrap().body, b"[{\"a\":1}]");
}
