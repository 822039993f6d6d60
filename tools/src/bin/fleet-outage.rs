//! `make fleet-outage`: a thousand real agents whose server dies for a minute; prints the
//! outcome.

use std::process::ExitCode;
use std::time::Duration;

use fleetbeat_tools::outage::{self, Plan, Report};
use fleetbeat_tools::process::program_path;
use lexopt::{Arg, ValueExt};

const HELP: &str = "\
fleet-outage: real agents, a real server that dies, and what happens when it is back

Options:
  --agents N            how many agents [default: 1000]
  --interval SECONDS    time between two heartbeats of an agent [default: 120]
  --dead SECONDS        how long the server is away [default: 60]
  --agent PATH          the agent's program [default: that of the same build]
";
/// The part of an interval over which accepted heartbeats are counted.
const BUCKETS: u32 = 12;
/// No bucket may have so many times the usual heartbeats.
const PEAK: f64 = 3.0;

fn main() -> ExitCode {
    let plan = match parse() {
        Ok(Some(plan)) => plan,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("fleet-outage: {error}");
            return ExitCode::from(64);
        }
    };

    let report = outage::play(&plan);
    print_report(&plan, &report);

    let is_complete =
        report.twice.is_empty() && report.gaps.is_empty() && report.not_emptied == 0;
    if is_complete && report.peak() < PEAK {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn print_report(plan: &Plan, report: &Report) {
    println!(
        "| seconds since the server's return | requests | heartbeats | times the mean |\n|--:|--:|--:|--:|"
    );

    for (n, (requests, heartbeats)) in (0..).zip(&report.buckets) {
        let from = (plan.bucket * n).as_secs_f64();
        println!(
            "| {from:.1} | {requests} | {heartbeats} | {:.2} |",
            *heartbeats as f64 / report.mean
        );
    }

    println!(
        "\n{} agents, a heartbeat every {:?}, the server away for {:?}: {} heartbeats accepted, {} of them out of \
         spools; {} more than once, {} missing, {} spools not emptied; at most {:.2} times the mean of {:.1} in {:?}",
        plan.agents,
        plan.interval,
        plan.dead,
        report.accepted,
        report.spooled,
        report.twice.len(),
        report.gaps.len(),
        report.not_emptied,
        report.peak(),
        report.mean,
        plan.bucket,
    );
}

fn parse() -> Result<Option<Plan>, lexopt::Error> {
    let (mut agents, mut interval, mut dead, mut agent) = (1000, 120.0, 60.0, None);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("agents") => agents = parser.value()?.parse()?,
            Arg::Long("interval") => interval = parser.value()?.parse()?,
            Arg::Long("dead") => dead = parser.value()?.parse()?,
            Arg::Long("agent") => agent = Some(parser.value()?.into()),
            Arg::Short('h') | Arg::Long("help") => return Ok(None),
            _ => return Err(argument.unexpected()),
        }
    }

    let seconds = |name: &str, value: f64| {
        Duration::try_from_secs_f64(value)
            .map_err(|_| format!("{name} must be a number of seconds"))
    };
    let (interval, dead) = (seconds("--interval", interval)?, seconds("--dead", dead)?);

    if agents == 0 || interval < Duration::from_secs(1) {
        return Err("--agents and --interval must be at least 1".into());
    }

    let agent = agent.unwrap_or_else(|| program_path("fleetbeat-agent"));
    Ok(Some(Plan {
        agent,
        agents,
        interval,
        dead,
        bucket: interval / BUCKETS,
    }))
}
