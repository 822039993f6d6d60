//! What it costs to find the hosts that a selector means, when nobody has asked for them
//! before.

use std::time::{Duration, Instant};

use fleetbeat_tools::client;
use fleetbeat_tools::load;
use fleetbeat_tools::report::{micros, millis};
use fleetbeat_tools::server::FleetbeatServer;
use fleetbeat_tools::wait::wait_for;

use super::measure::{count, measure, populate};
use super::scale::Scale;

/// Queries that mean no host, each with `N` in the place of a number that differs from
/// request to request: each asks for a view that is not kept yet, each host is asked for
/// everything, and none is written.
const QUERIES: [(&str, &str); 4] = [
    ("none, but service=", "service=noneN"),
    (
        "three numbers",
        "select=load.cpu>=0+and+load.ram>=0+and+metric.xN>0",
    ),
    (
        "three of services, countries and flags",
        "select=service.noneN+or+country+in+(AQ,+GL,+FO)+or+paid",
    ),
    (
        "three patterns",
        "select=hostname+~+*-xN-*+or+city+~+*xN*+or+country+~+x*N",
    ),
];
/// What three conditions over ten thousand hosts may take of the server's CPU, beyond what
/// the request takes without a selector.
const LIMIT: Duration = Duration::from_millis(3);

/// Prints the table of selectors; gives the number of failed requests, and of selectors
/// over the limit at full scale.
pub(super) fn selectors(scale: &Scale) -> usize {
    let hosts = *scale.fleets.last().expect("a fleet");
    let server = FleetbeatServer::start();
    populate(&server, hosts);
    let token = server.admin_token();
    wait_for("the whole fleet to be listed", || {
        (server.servers(&token).len() >= hosts as usize).then_some(())
    });

    println!(
        "| selector of GET /servers at {hosts} hosts, asked for the first time | per second | server CPU each | p50 | p99 |"
    );
    println!("|---|--:|--:|--:|--:|");
    let (mut failed, mut without) = (0, None);
    for (name, query) in QUERIES {
        let report = selector(scale, &server, &token, name, query);
        let without = *without.get_or_insert(report.cpu_each);
        let selecting = report.cpu_each.saturating_sub(without);
        if scale.is_full && selecting > LIMIT {
            eprintln!("bench: a selector over the limit: {name}");
            failed += 1;
        }
        failed += report.failed;
    }
    println!();
    failed
}

/// What requests with one selector have cost.
struct Cost {
    cpu_each: Duration,
    failed: usize,
}

/// Prints the line of one selector.
fn selector(
    scale: &Scale,
    server: &FleetbeatServer,
    token: &str,
    name: &str,
    query: &str,
) -> Cost {
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", bearer.as_str())];
    let until = Instant::now() + Duration::from_secs(scale.seconds);
    let mut numbers = 0..;

    let (report, cpu) = measure(server, || {
        load::run(server.address(), 1, None, || {
            let number: u32 = numbers.next()?;
            let query = query.replace('N', &number.to_string());
            let target = format!("/servers?all_servers=true&{query}");
            (Instant::now() < until)
                .then(|| client::encode("GET", &target, &headers, b""))
        })
    });

    let each = cpu / count(report.ok());
    println!(
        "| {name} | {:.0} | {} | {} | {} |",
        report.rate(),
        micros(each),
        millis(report.percentile(50)),
        millis(report.percentile(99)),
    );

    Cost {
        cpu_each: each,
        failed: report.failed(),
    }
}
