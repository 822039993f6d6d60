//! What heartbeats feel of history's upkeep: their times while spools are taken and
//! merged into day chunks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fleetbeat_protocol::Timestamp;
use fleetbeat_tools::fleet::Fleet;
use fleetbeat_tools::load::{self, Report};
use fleetbeat_tools::report::millis;
use fleetbeat_tools::server::FleetbeatServer;
use fleetbeat_tools::wait::wait_for;
use serde_json::{Value, json};

use crate::history::{FLEET_RATE, MERGED, number};
use crate::measure::{heartbeat, limit, next_loud};
use crate::scale::Scale;

/// Heartbeats of a host in its spool, an hour apart, so that there is a chunk for each 24
/// of them. Most are merged at once.
const SPOOLED: usize = 1010;
/// The rest, which may wait.
const MAY_WAIT: usize = 300;
/// Heartbeats in a request.
const BATCH: usize = 500;
/// Beside upkeep, heartbeats may take this many times as long as usual.
const MOST: f64 = 1.5;

/// Prints the table; gives the number of failed requests, and of limits that are not kept.
pub(super) fn measure(scale: &Scale) -> usize {
    let (spools, seconds) = if scale.is_full { (250, 20) } else { (3, 1) };
    let server = FleetbeatServer::start();
    let token = server.admin_token();

    let usual = beat_while(&server, || thread::sleep(Duration::from_secs(seconds)));
    let merging = beat_while(&server, || {
        spool(&server, spools);
        let wanted = (spools * (SPOOLED - MAY_WAIT)) as f64;
        wait_for_long("spools to be merged", || {
            number(&server, &token, MERGED) >= wanted
        });
    });

    println!(
        "| heartbeats at {FLEET_RATE} a second | for | p50 | p99 |\n|---|--:|--:|--:|"
    );
    let rows = [
        ("as usual".to_owned(), &usual),
        (
            format!(
                "while {} spooled ones are taken and merged",
                spools * SPOOLED
            ),
            &merging,
        ),
    ];
    for (what, report) in &rows {
        println!(
            "| {what} | {:.0} s | {} | {} |",
            report.took.as_secs_f64(),
            millis(report.percentile(50)),
            millis(report.percentile(99)),
        );
    }
    println!();

    let mut broken = 0;
    let usual_p99 = usual.percentile(99).as_secs_f64();
    for (what, report) in rows.iter().skip(1).filter(|_| scale.is_full) {
        let times = report.percentile(99).as_secs_f64() / usual_p99;
        broken += limit(&format!("p99 of heartbeats {what}"), times, MOST);
    }
    broken
        + rows
            .iter()
            .map(|(_, report)| report.failed())
            .sum::<usize>()
}

/// Sends the heartbeats of 10,000 hosts while `work` is done.
fn beat_while(server: &FleetbeatServer, work: impl FnOnce()) -> Report {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let beats = scope.spawn(|| {
            let mut fleet = Fleet::new(1, 10_000);
            let mut hosts = (0..10_000).cycle();
            load::run(server.address(), 8, Some(FLEET_RATE), || {
                let goes_on = !is_over.load(Ordering::Relaxed);
                goes_on.then(|| heartbeat(&next_loud(&mut fleet, &mut hosts)))
            })
        });
        // Also when the work fails: the scope waits for its threads.
        let over = Over(&is_over);
        work();
        drop(over);
        beats.join().expect("no thread panics")
    })
}

/// Says that it is over when it goes.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sends the spools of so many hosts that were cut off for six weeks.
fn spool(server: &FleetbeatServer, hosts: usize) {
    let now = Timestamp::now().as_second();
    for host in 0..hosts {
        let ip = format!("10.200.{}.{}", host / 200, host % 200 + 1);
        let beats: Vec<Value> = (0..SPOOLED).map(|n| spooled(&ip, n, now)).collect();
        for batch in beats.chunks(BATCH) {
            let body = Value::from(batch).to_string();
            let answer = server.post_heartbeat("/heartbeats", body.as_bytes());
            assert_eq!(answer.json()["accepted"], batch.len(), "{answer:?}");
        }
    }
}

/// The heartbeat of a host's spool with this place; the last one is three days old.
fn spooled(ip: &str, place: usize, now: i64) -> Value {
    let hours_ago = i64::try_from(SPOOLED - place).unwrap_or_default() + 72;
    let at = Timestamp::from_second(now - hours_ago * 3600);
    let load = (place * 7 % 100) as f64;
    json!({
        "ip": ip, "countryCode": "DE", "country": "Germany", "city": "Munich",
        "hostname": format!("spooled-{ip}"), "boot_id": "a-boot", "seq": place,
        "collected_at": at.expect("a time of this century").to_string(),
        "load": {"cpu": load, "ram": 45.2, "net": load / 2.0},
        "services": [{"name": "wg", "active": true}],
        "metrics": {"load1": load / 25.0, "vpn_clients": place % 80},
    })
}

/// Waits for what may take minutes.
fn wait_for_long(what: &str, is_done: impl Fn() -> bool) {
    const LONG: Duration = Duration::from_secs(600);
    let started = Instant::now();
    while started.elapsed() < LONG {
        if is_done() {
            return;
        }
        thread::sleep(Duration::from_millis(200));
    }
    wait_for(what, || is_done().then_some(()));
}
