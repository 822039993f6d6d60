//! A fleet of real agents whose server dies and returns: does every heartbeat arrive
//! once, and how hard is the return?

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::process::Running;
use crate::recorder::{Accepted, Recorder};
use crate::server::{AGENT_KEY, FleetbeatServer};

/// How many samples make a heartbeat.
const SAMPLES: u32 = 4;

/// The outage to play.
pub struct Plan {
    /// The agent's program.
    pub agent: PathBuf,
    /// The number of agents.
    pub agents: u32,
    /// Time between two heartbeats of an agent.
    pub interval: Duration,
    /// How long the server is away.
    pub dead: Duration,
    /// Accepted heartbeats are counted over so long.
    pub bucket: Duration,
}

/// A host's address and the number of a heartbeat that was accepted more than once.
pub type Repeated = (String, u64);
/// A host's address, and the numbers before and after a gap.
pub type Gap = (String, u64, u64);

/// The outcome of a [`Plan`].
pub struct Report {
    /// All heartbeats that were accepted.
    pub accepted: usize,
    /// The accepted heartbeats that came out of spools.
    pub spooled: usize,
    /// Heartbeats in a bucket when all is well.
    pub mean: f64,
    /// Requests and heartbeats accepted in each bucket since the server's return.
    pub buckets: Vec<(usize, usize)>,
    /// Heartbeats that were accepted more than once: host and number.
    pub twice: Vec<Repeated>,
    /// Hosts with a missing heartbeat, and the numbers before and after the gap.
    pub gaps: Vec<Gap>,
    /// Agents whose spool was not empty within the time of the plan.
    pub not_emptied: usize,
}

impl Report {
    /// The largest number of heartbeats in a bucket, in means.
    pub fn peak(&self) -> f64 {
        let most = self
            .buckets
            .iter()
            .map(|(_, heartbeats)| *heartbeats)
            .max()
            .unwrap_or(0);
        most as f64 / self.mean
    }
}

/// Plays a plan: an interval of peace, the outage, and as long as the spools need after
/// the outage.
///
/// # Panics
/// If a program cannot be started.
pub fn play(plan: &Plan) -> Report {
    let mut server = FleetbeatServer::start();
    let recorder = Recorder::start(server.address());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let agents = start_agents(plan, &folder, &recorder);
    thread::sleep(plan.interval);

    recorder.cut(true);
    server.kill();
    thread::sleep(plan.dead);
    server.restart();
    recorder.cut(false);
    let back = Instant::now();

    // At the latest the next heartbeat is accepted, and a whole interval later the spool
    // follows.
    let until = back + plan.interval * 5 / 2;
    let mut full: BTreeSet<u32> = (0..plan.agents).collect();
    while Instant::now() < until {
        full.retain(|n| {
            fs::metadata(spool(folder.path(), *n).join("spool"))
                .is_ok_and(|file| file.len() > 0)
        });
        thread::sleep(Duration::from_millis(100));
    }
    let end = Instant::now();
    drop(agents);
    judge(plan, &recorder.accepted(), back, end, full.len())
}

/// Starts the agents over a tenth of the interval, so that the start is not a flood by
/// itself.
fn start_agents(plan: &Plan, folder: &TempDir, recorder: &Recorder) -> Vec<Running> {
    let pause = plan.interval / 10 / plan.agents;
    let start = |n: u32| {
        let config = folder.path().join(format!("{n}.toml"));
        let spool = spool(folder.path(), n);
        fs::create_dir(&spool).expect("a writable folder");
        let text = format!(
            "[server]\nurl = \"http://{}\"\n[host]\nip = \"10.{}.{}.{}\"\n[schedule]\nsample_every = \"{}ms\"\n\
             samples_per_heartbeat = {SAMPLES}\n[collectors.cpu]\n[collectors.ram]\n[spool]\npath = {spool:?}\n",
            recorder.address(),
            n >> 16,
            n >> 8 & 255,
            n & 255,
            (plan.interval / SAMPLES).as_millis(),
        );
        fs::write(&config, text).expect("a writable folder");

        let mut command = Command::new(&plan.agent);
        command
            .arg("-c")
            .arg(&config)
            .arg("run")
            .env("AGENT_API_KEY", AGENT_KEY);
        let agent = Running::spawn(command.stdin(Stdio::null()).stderr(Stdio::null()));
        thread::sleep(pause);
        agent
    };
    (0..plan.agents).map(start).collect()
}

fn spool(folder: &Path, n: u32) -> PathBuf {
    folder.join(format!("{n}.spool"))
}

fn judge(
    plan: &Plan,
    accepted: &[Accepted],
    back: Instant,
    end: Instant,
    not_emptied: usize,
) -> Report {
    let mean = f64::from(plan.agents) * plan.bucket.div_duration_f64(plan.interval);
    let bucket_of = |at: Instant| (at - back).as_nanos() / plan.bucket.as_nanos();

    let after: Vec<&Accepted> = accepted.iter().filter(|one| one.at >= back).collect();
    let whole_buckets = bucket_of(end);
    let in_bucket = |n: u128| {
        let inside = || after.iter().filter(|one| bucket_of(one.at) == n);
        (
            inside()
                .map(|one| one.request)
                .collect::<BTreeSet<_>>()
                .len(),
            inside().count(),
        )
    };

    let (twice, gaps) = find_repeated_and_missing(plan, accepted);
    Report {
        accepted: accepted.len(),
        spooled: accepted.iter().filter(|one| one.is_spooled).count(),
        mean,
        buckets: (0..whole_buckets).map(in_bucket).collect(),
        twice,
        gaps,
        not_emptied,
    }
}

/// The heartbeats that were accepted more than once, and the gaps: see [`Report`].
fn find_repeated_and_missing(
    plan: &Plan,
    accepted: &[Accepted],
) -> (Vec<Repeated>, Vec<Gap>) {
    let mut numbers: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for one in accepted {
        numbers.entry(&one.ip).or_default().push(one.seq);
    }
    assert_eq!(
        numbers.len(),
        plan.agents as usize,
        "not every agent was heard"
    );

    let (mut twice, mut gaps) = (Vec::new(), Vec::new());
    let longest = u64::try_from((plan.interval * 3 / 2).as_millis()).unwrap_or(u64::MAX);
    for (ip, numbers) in &mut numbers {
        numbers.sort_unstable();
        for pair in numbers.windows(2) {
            if pair[0] == pair[1] {
                twice.push(((*ip).to_owned(), pair[0]));
            }
            if pair[1] - pair[0] > longest {
                gaps.push(((*ip).to_owned(), pair[0], pair[1]));
            }
        }
    }
    (twice, gaps)
}
