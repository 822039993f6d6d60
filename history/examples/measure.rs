//! Prints what history costs: bytes for each kept heartbeat, and the time of charts. It
//! writes about a gigabyte into the folder of temporary files, and deletes it.
//!
//! `cargo run --release -p fleetbeat-history --example measure`

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on ends")]

use std::f64::consts::TAU;
use std::fs;
use std::path::Path;
use std::time::Instant;

use fastrand::Rng;
use fleetbeat_history as history;
use history::chart::{ChartQuery, Wanted};
use history::{
    Arrival, Chunk, Day, FileStore, HistoryStore, HostSamples, Identity, Options, Sample,
    host_chart, open_chunk,
};

/// Heartbeats of a day, one every two minutes.
const HEARTBEATS: i64 = 720;
const DAYS: u32 = 60;

/// A host whose measures wander as real ones do.
struct Host {
    rng: Rng,
    boot: String,
    seq: u64,
    base: f64,
    slow: f64,
    received: f64,
    clients: f64,
    disk: f64,
    has_counters: bool,
}

impl Host {
    fn new(seed: u64, has_counters: bool) -> Host {
        let mut rng = Rng::with_seed(seed);
        let base = 5.0 + 40.0 * rng.f64();
        Host {
            boot: format!("{:032x}", rng.u128(..)),
            seq: 0,
            base,
            slow: 0.0,
            received: 1e12 * rng.f64(),
            clients: 2.0 * base,
            disk: 30.0 + 40.0 * rng.f64(),
            rng,
            has_counters,
        }
    }

    fn noise(&mut self) -> f64 {
        (0..4).map(|_| self.rng.f64() - 0.5).sum::<f64>() * 1.7
    }

    /// The heartbeat of a time. The day has a wave, the load a slow walk and noise.
    fn heartbeat(&mut self, at: i64) -> Sample {
        let wave = (at as f64 / 86_400.0 * TAU).sin();
        self.slow = 0.98 * self.slow + self.noise();
        let cpu = (self.base * (1.0 + 0.4 * wave) + self.slow + 1.5 * self.noise()).abs();
        let net = (0.8 * self.base * (1.0 + 0.5 * wave) + self.slow + self.noise()).abs();
        let ram = 45.0 + 3.0 * wave + 0.1 * self.slow + 0.1 * self.noise();
        self.clients = (self.clients + self.noise() + 0.5 * wave).abs().round();
        self.disk += 0.0002 + 0.002 * self.noise();
        self.received += net.max(0.1) * 1.25e6 * 120.0 * (1.0 + 0.05 * self.noise());

        let late = i64::from(self.rng.u32(..100) < 5);
        let identity = Identity::new(Some(&self.boot), Some(self.seq));
        self.seq += 1;
        let mut sample = Sample::new(at + late, identity, Arrival::Live);
        sample.set_loads(Some(cpu), Some(ram), Some(net));
        let is_odd_up = self.rng.u32(..500) != 0;
        for (name, is_active) in [
            ("wg", true),
            ("ov", is_odd_up),
            ("xray", true),
            ("dns", true),
        ] {
            sample.set_service(name, is_active);
        }
        self.set_metrics(&mut sample, cpu, net);
        sample
    }

    fn set_metrics(&mut self, sample: &mut Sample, cpu: f64, net: f64) {
        let load = cpu / 25.0 + 0.1 * self.noise();
        sample.set_metric("load1", load.max(0.0));
        sample.set_metric("vpn_clients", self.clients);
        sample.set_metric("disk_used_percent{mount=\"/\"}", self.disk);
        sample.set_metric("disk_inodes_percent{mount=\"/\"}", 7.0 + 0.01 * self.disk);
        sample.set_metric("network_utilization_percent", 0.6 * net);
        if self.has_counters {
            sample.set_metric(
                "interface_received_bytes_total{interface=\"eth0\"}",
                self.received,
            );
            let sent = 1.07 * self.received + 1e6 * self.noise();
            sample.set_metric("interface_sent_bytes_total{interface=\"eth0\"}", sent);
        } else {
            let sockets = (4.0 * self.clients + 3.0 * self.noise()).round();
            sample.set_metric("tcp_sockets", sockets);
            sample.set_metric("swap_used_percent", 1.5);
        }
    }
}

fn main() {
    for has_counters in [false, true] {
        measure_chunks(has_counters);
        measure_pages(has_counters);
    }
    measure_charts();
}

/// The file as a flusher fills it: each host every four hours, staggered, in small
/// batches.
fn measure_pages(has_counters: bool) {
    const HOSTS: usize = 100;
    const DAYS: i64 = 12;
    const SLICE: usize = 10;

    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::new(&folder.path().join("history.db"), Options::default());
    let start = Day::new(20_000).start();
    let seeds = 0..u64::try_from(HOSTS).unwrap();
    let mut hosts: Vec<_> = seeds.map(|seed| Host::new(seed, has_counters)).collect();

    let (mut merging, mut slices, mut written) = (0.0, 0, written_bytes());
    for round in 0..DAYS * 6 {
        for slice in 0..HOSTS / SLICE {
            // The samples of four hours, which end at another time for each slice.
            let lag = 120 * i64::try_from(slice).unwrap() * 4;
            let beats = 120 * round..120 * (round + 1);
            let batch = hosts[slice * SLICE..][..SLICE].iter_mut().enumerate();
            let batch = batch.map(|(place, host)| HostSamples {
                host: name(slice * SLICE + place),
                samples: beats
                    .clone()
                    .map(|beat| host.heartbeat(start + 120 * beat - lag))
                    .collect(),
            });
            let batch: Vec<_> = batch.collect();
            let begun = cpu_seconds();
            store.merge(&batch).unwrap();
            merging += cpu_seconds() - begun;
            slices += 1;
        }
    }
    written = written_bytes() - written;

    let size = store.size().unwrap();
    let heartbeats = (HOSTS * 720) as f64 * DAYS as f64;
    let bytes = size.used as f64 / heartbeats;
    let settled = settled_bytes(&folder.path().join("history.db"));
    println!(
        "pages counted: {settled:.2} B a heartbeat of a day that is over, {:.2} MB a host \
         and year; {bytes:.2} B over {DAYS} days with the growing ones; {:.2} ms to \
         merge four hours of a host; {:.0} B written a heartbeat",
        settled * 720.0 * 365.0 / 1e6,
        merging * 1e3 / (slices * SLICE) as f64,
        written as f64 / heartbeats,
    );
}

/// What a heartbeat of a day that is over takes, with all pages of its table.
fn settled_bytes(file: &Path) -> f64 {
    let connection = rusqlite::Connection::open(file).unwrap();
    let query = "SELECT (SELECT sum(pgsize) FROM dbstat WHERE name = 'chunks')
                 * 1.0 / (SELECT count(*) FROM chunks) / 720";
    connection.query_row(query, [], |row| row.get(0)).unwrap()
}

/// What this process has had written to disks, in bytes.
fn written_bytes() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
}

fn name(number: usize) -> history::Host {
    history::Host::new(format!("srv-{number:08x}"))
}

/// Charts of hosts in a file of a year. Between two days of a host there are those of all
/// the others, so that a cold chart reads a page here and there.
fn measure_charts() {
    const HOSTS: usize = 400;
    const DAYS: u32 = 365;

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("history.db");
    let store = FileStore::new(&file, Options::default());
    let batch = (0..HOSTS).map(|number| HostSamples {
        host: name(number),
        samples: vec![Host::new(0, false).heartbeat(0)],
    });
    store.merge(&batch.collect::<Vec<_>>()).unwrap();
    let last = Day::new(20_000);
    fill(&file, last, DAYS, HOSTS);

    let mut open_host = Host::new(3, false);
    let open: Vec<_> = (0..100)
        .map(|beat| open_host.heartbeat(last.end() + 120 * beat))
        .collect();
    let now = open[99].at() + 1;
    let few = || {
        ["cpu", "ram", "net"]
            .map(|name| Wanted::parse(name).unwrap())
            .to_vec()
    };
    let all = || {
        let names = ["cpu", "ram", "net", "services", "metrics"];
        names.map(|name| Wanted::parse(name).unwrap()).to_vec()
    };
    for (label, days) in [("24 h", 1), ("30 d", 30), ("a year", 365)] {
        for (series, wanted) in [("3 series", few()), ("14 series", all())] {
            let query = ChartQuery::new(now - days * 86_400, now, wanted, 300).unwrap();
            let hosts: Vec<_> = (0..HOSTS).step_by(HOSTS / 100).collect();
            let cold = times(
                &hosts,
                || drop_pages(&file),
                |number| host_chart(&store, &name(number), &open, &query),
            );
            let warm = times(
                &hosts,
                || (),
                |number| host_chart(&store, &name(number), &open, &query),
            );
            println!("chart of {label}, {series}: cold {cold}, warm {warm}");
        }
    }
    println!(
        "the file has {} MB",
        fs::metadata(&file).unwrap().len() / 1_000_000
    );
}

/// Stores usual chunks for each host and day, without merging them.
fn fill(file: &Path, last: Day, days: u32, hosts: usize) {
    let chunk = |seed: u64, day: Day| {
        let mut host = Host::new(seed, false);
        let beats = (0..HEARTBEATS).map(|beat| host.heartbeat(day.start() + 118 * beat));
        Chunk::empty(day)
            .merge(&beats.collect::<Vec<_>>(), 24)
            .chunk
            .encode()
    };
    let mut connection = rusqlite::Connection::open(file).unwrap();
    let transaction = connection.transaction().unwrap();
    transaction.execute("DELETE FROM growing", []).unwrap();
    for day in (0..days).rev() {
        let day = last.before(day);
        let kinds: Vec<_> = (0..4).map(|seed| chunk(seed, day)).collect();
        for host in 1..=i64::try_from(hosts).unwrap() {
            let kind = &kinds[usize::try_from(host % 4).unwrap()];
            let id = i64::from(day.number()) << 32 | host;
            let insert = "INSERT INTO chunks (id, chunk) VALUES (?1, ?2)";
            let mut statement = transaction.prepare_cached(insert).unwrap();
            statement.execute(rusqlite::params![id, kind]).unwrap();
        }
    }
    transaction.commit().unwrap();
    connection
        .pragma_update(None, "wal_checkpoint", "TRUNCATE")
        .unwrap();
}

/// Makes the next read of the file come from the disk.
fn drop_pages(file: &Path) {
    let opened = fs::File::open(file).unwrap();
    opened.sync_all().unwrap();
    rustix::fs::fadvise(&opened, 0, None, rustix::fs::Advice::DontNeed).unwrap();
}

/// The time that this thread has had a CPU, in seconds: others may keep the machine busy.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The median and the slowest but one of a hundred runs, and the median time on a CPU.
fn times<T>(hosts: &[usize], before: impl Fn(), run: impl Fn(usize) -> T) -> String {
    let (mut times, mut cpu_times) = (Vec::new(), Vec::new());
    for host in hosts {
        before();
        let (begun, on_cpu) = (Instant::now(), cpu_seconds());
        let result = run(*host);
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        cpu_times.push((cpu_seconds() - on_cpu) * 1e3);
        drop(result);
    }
    times.sort_by(f64::total_cmp);
    cpu_times.sort_by(f64::total_cmp);
    let p99 = times[times.len() * 99 / 100 - 1];
    let middle = times.len() / 2;
    format!(
        "{:.2} ms (p99 {p99:.2}; {:.2} on a CPU)",
        times[middle], cpu_times[middle]
    )
}

fn measure_chunks(has_counters: bool) {
    let (mut bytes, mut open_bytes, mut opens) = (0, 0, 0);
    let (mut appending, mut merging, mut encoding) = (0.0, 0.0, 0.0);
    for number in 0..DAYS {
        let mut host = Host::new(u64::from(number), has_counters);
        let start = Day::new(20_000 + number).start();
        let samples = (0..HEARTBEATS).map(|beat| host.heartbeat(start + 120 * beat));
        let samples: Vec<_> = samples.collect();

        for four_hours in samples.chunks(120) {
            let mut blob = Vec::new();
            let begun = cpu_seconds();
            for sample in four_hours {
                blob = open_chunk::append(&blob, sample).unwrap();
            }
            appending += cpu_seconds() - begun;
            open_bytes += blob.len();
            opens += 1;
        }
        let begun = cpu_seconds();
        let merged = Chunk::empty(samples[0].day()).merge(&samples, 24);
        merging += cpu_seconds() - begun;
        let begun = cpu_seconds();
        bytes += merged.chunk.encode().len();
        encoding += cpu_seconds() - begun;
    }
    let heartbeats = f64::from(DAYS) * HEARTBEATS as f64;
    println!(
        "{}: {:.2} B a heartbeat in day chunks, {:.1} in open ones ({} B after 4 h), \
         {:.1} µs to append one; {:.2} ms to merge a day and {:.2} ms to encode it",
        if has_counters {
            "with two counters of bytes"
        } else {
            "without counters"
        },
        bytes as f64 / heartbeats,
        open_bytes as f64 / heartbeats,
        open_bytes / opens,
        appending * 1e6 / heartbeats,
        merging * 1e3 / f64::from(DAYS),
        encoding * 1e3 / f64::from(DAYS),
    );
}
