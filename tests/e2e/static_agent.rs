//! The shipped agent, for both architectures: static, small, and with the same figures as
//! the build of the other tests.

use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use fleetbeat_tools::process::program_path;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use serde_json::Value;

/// Architecture, the emulator where the architecture is foreign, and the most bytes of
/// the agent.
const ARCHITECTURES: [(&str, &str, &str, u64); 2] = [
    ("amd64", "x86_64", "qemu-x86_64", 1_650_000),
    ("arm64", "aarch64", "qemu-aarch64", 1_450_000),
];
/// After so long without another look at the host, the agent has begun its window, which
/// lasts a second.
const QUIET: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 150_000_000,
};

fn static_agent(arch: &str) -> PathBuf {
    let built = program_path("fleetbeat-agent");
    let path = built
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("static")
        .join(arch)
        .join("fleetbeat-agent");
    assert!(
        path.is_file(),
        "{} is not built: run `make test`",
        path.display()
    );
    path
}

/// A command that runs the static agent here.
fn command(arch: &str, machine: &str, emulator: &str) -> Command {
    if machine == std::env::consts::ARCH {
        return Command::new(static_agent(arch));
    }
    let mut command = Command::new(emulator);
    command.arg(static_agent(arch));
    command
}

#[test]
fn it_is_static_and_stripped_and_small() {
    for (arch, _, _, most_bytes) in ARCHITECTURES {
        let path = static_agent(arch);
        let bytes = fs::metadata(&path).unwrap().len();
        assert!(bytes <= most_bytes, "{arch}: {bytes} bytes");
        let output = Command::new("readelf")
            .args(["-lSW"])
            .arg(&path)
            .output()
            .expect("readelf of binutils");
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(told.contains(".text"), "{arch}: {told}");
        for absent in ["INTERP", "DYNAMIC", ".dynamic", ".symtab", ".debug"] {
            assert!(!told.contains(absent), "{arch} has {absent}: {told}");
        }
    }
}

#[test]
fn it_runs() {
    for (arch, machine, emulator, _) in ARCHITECTURES {
        let output = command(arch, machine, emulator).arg("--version").output();
        let output = output.unwrap_or_else(|error| panic!("{emulator}: {error}"));
        let expected = format!("fleetbeat-agent {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{arch}");
    }
}

#[test]
fn it_says_the_same_as_the_usual_build_over_every_fixture() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../collectors/fixtures")
        .canonicalize()
        .unwrap();
    let mut cases: Vec<PathBuf> = fs::read_dir(fixtures)
        .unwrap()
        .map(|case| case.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    cases.sort();
    assert!(cases.len() > 20, "{cases:?}");
    // Each waits more than it works.
    for some in cases.chunks(8) {
        thread::scope(|scope| {
            for case in some {
                scope.spawn(|| compare(case));
            }
        });
    }
}

/// The usual agent's word on a case against each static one's.
fn compare(case: &Path) {
    let expected = once(case, Command::new(program_path("fleetbeat-agent")));
    for (arch, machine, emulator, _) in ARCHITECTURES {
        let told = once(case, command(arch, machine, emulator));
        let (mut expected, mut told) = (expected.clone(), told);
        // A rate depends on the time that really passed.
        let net = |heartbeat: &mut Value| heartbeat["load"]["net"].take().as_f64();
        match (net(&mut expected), net(&mut told)) {
            (Some(a), Some(b)) => {
                assert!(
                    (a - b).abs() <= 0.1 * a.max(b) + 0.05,
                    "{case:?}, {arch}: {a} and {b}"
                );
            }
            (a, b) => assert_eq!(a, b, "{case:?}, {arch}"),
        }
        assert_eq!(told, expected, "{case:?}, {arch}");
    }
}

/// The output of `once` while the host goes from the case's `before` to its `after`.
fn once(case: &Path, mut command: Command) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let copied = Command::new("cp")
        .arg("-a")
        .arg(case)
        .arg(folder.path().join("case"))
        .status();
    assert!(copied.unwrap().success());
    let (before, after) = (
        folder.path().join("case/before"),
        folder.path().join("case/after"),
    );
    for tree in [&before, &after].into_iter().filter(|tree| tree.is_dir()) {
        for root in ["proc", "sys"] {
            fs::create_dir_all(tree.join(root)).unwrap();
        }
    }
    symlink(&before, &root).unwrap();
    let options = fs::read_to_string(case.join("options.toml")).unwrap();
    let options: String = options
        .lines()
        .map(|line| {
            match line
                .strip_prefix('[')
                .and_then(|line| line.strip_suffix(']'))
            {
                Some(name) => format!("[collectors.{name}]\n"),
                None => format!("{line}\n"),
            }
        })
        .collect();
    let config = format!(
        "[server]\nurl = \"http://127.0.0.1:9\"\n[host]\nip = \"192.0.2.1\"\nhostname = \"fixture\"\n\
         [paths]\nproc = \"{0}/proc\"\nsys = \"{0}/sys\"\n{1}",
        root.display(),
        options.replace("ROOT", root.to_str().unwrap())
    );
    fs::write(folder.path().join("agent.toml"), config).unwrap();
    command
        .arg("-c")
        .arg(folder.path().join("agent.toml"))
        .arg("once");
    command.env("PATH", format!("{}:/usr/bin:/bin", root.display()));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());

    let watch = after.is_dir().then(|| watch(&before));
    let child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    if let Some(watch) = watch {
        wait_for_quiet(&watch, &child);
        let next = folder.path().join("next");
        symlink(&after, &next).unwrap();
        fs::rename(next, &root).unwrap();
    }
    let output = child.wait_with_output().unwrap();
    let mut heartbeat: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{case:?}: {error}: {output:?}"));
    let fields = heartbeat.as_object_mut().unwrap();
    assert!(fields.remove("seq").is_some() && fields.remove("collected_at").is_some());
    heartbeat
}

/// Tells of every file that is opened in `folder`.
fn watch(folder: &Path) -> OwnedFd {
    let watch =
        inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
            .unwrap();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        inotify::add_watch(&watch, &folder, inotify::WatchFlags::OPEN).unwrap();
        let entries = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        folders.extend(entries.filter(|path| path.is_dir()));
    }

    // The output so far came from this function itself.
    drain(&watch);
    watch
}

/// Waits until files have been opened, and then none for a while.
fn wait_for_quiet(watch: &OwnedFd, child: &Child) {
    let until = |limit: &Timespec| {
        poll(&mut [PollFd::new(watch, PollFlags::IN)], Some(limit)).unwrap() > 0
    };
    let seconds = Timespec {
        tv_sec: 10,
        tv_nsec: 0,
    };
    assert!(
        until(&seconds),
        "the agent {} has not looked at its host",
        child.id()
    );
    drain(watch);
    while until(&QUIET) {
        drain(watch);
    }
}

fn drain(watch: &OwnedFd) {
    let mut buffer = [const { MaybeUninit::uninit() }; 4096];
    let mut reader = inotify::Reader::new(watch, &mut buffer);
    while reader.next().is_ok() {}
}
