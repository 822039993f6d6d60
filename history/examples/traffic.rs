//! Prints how long the traffic of a billing cycle takes to read, for all hosts of a fleet.
//!
//! `cargo run --release -p fleetbeat-history --example traffic`

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on ends")]

use std::path::Path;

use fleetbeat_history as history;
use history::{
    Arrival, Day, FileStore, HistoryStore, HostSamples, Identity, Options, Sample,
    host_traffic, open_chunk,
};

/// Days before today of which there is history, and days of the cycle.
const DAYS: u32 = 62;
const CYCLE: u32 = 31;
/// Heartbeats of a past day: few, because a day's traffic is the same size for any number.
const BEATS: i64 = 6;
/// Heartbeats that wait: those of four hours.
const WAITING: i64 = 120;

fn main() {
    for hosts in [2000, 10_000] {
        measure(hosts);
    }
}

fn measure(hosts: u64) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("history.db");
    let store = FileStore::new(&file, Options::default());
    let today = Day::new(20_000);
    for day in (1..=DAYS).rev() {
        fill(&store, hosts, today.before(day));
    }
    let blob = (0..WAITING).fold(Vec::new(), |blob, beat| {
        let sample = heartbeat(0, today.start() + 120 * beat);
        open_chunk::append(&blob, &sample).unwrap()
    });

    let mut fastest = f64::INFINITY;
    for _ in 0..5 {
        let begun = cpu_seconds();
        for host in 0..hosts {
            let open = open_chunk::read_counters(&blob).samples;
            let days = (today.before(CYCLE - 1), today);
            let traffic = host_traffic(&store, &name(host), &open, days);
            assert!(traffic.traffic.unwrap().sent.unwrap().bytes > 0);
        }
        fastest = fastest.min(cpu_seconds() - begun);
    }
    println!(
        "{hosts} hosts, {CYCLE} days, {WAITING} waiting heartbeats each: {:.0} ms on a \
         CPU; {:.0} B a host and day with the table's pages",
        fastest * 1e3,
        bytes(&file) / (hosts * u64::from(DAYS)) as f64,
    );
}

fn fill(store: &FileStore, hosts: u64, day: Day) {
    let every = (day.end() - day.start()) / BEATS;
    let batch = (0..hosts).map(|host| HostSamples {
        host: name(host),
        samples: (0..BEATS)
            .map(|beat| heartbeat(host, day.start() + every * beat))
            .collect(),
    });
    store.merge(&batch.collect::<Vec<_>>()).unwrap();
}

fn name(host: u64) -> history::Host {
    history::Host::new(format!("srv-{host:08x}"))
}

fn heartbeat(host: u64, at: i64) -> Sample {
    let boot = format!("boot of {host}");
    let mut sample = Sample::new(at, Identity::new(Some(&boot), None), Arrival::Live);
    sample.set_loads(Some(12.5), Some(40.0), Some(7.0));
    for service in ["wg", "ov", "xray", "dns"] {
        sample.set_service(service, true);
    }
    for metric in ["load1", "vpn_clients", "disk_used_percent", "tcp_sockets"] {
        sample.set_metric(metric, (at % 97) as f64);
    }
    for (way, rate) in [("received", 2e6), ("sent", 3e6)] {
        let counter = format!("interface_{way}_bytes_total{{interface=\"eth0\"}}");
        sample.set_metric(&counter, at as f64 * rate);
    }
    sample
}

fn bytes(file: &Path) -> f64 {
    let connection = rusqlite::Connection::open(file).unwrap();
    let query = "SELECT sum(pgsize) FROM dbstat WHERE name = 'traffic'";
    let bytes: i64 = connection.query_row(query, [], |row| row.get(0)).unwrap();
    bytes as f64
}

/// The time that this thread has had a CPU, in seconds: others may keep the machine busy.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
