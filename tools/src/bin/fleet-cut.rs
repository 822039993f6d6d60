//! `make fleet-cut`: ten thousand hosts, of which a country of three thousand is cut off;
//! prints how many messages a channel gets, and fails if there are too many.

use std::process::ExitCode;
use std::time::Duration;

use fleetbeat_tools::cut::{MOST, Messages, Plan, Rules, Stage};
use fleetbeat_tools::report;
use lexopt::{Arg, ValueExt};

const HELP: &str = "\
fleet-cut: a fleet of which countries are cut off, and what a channel is told

A country of 30 % of the hosts is cut off whole, and a quarter of one of 40 %. The server is
killed meanwhile, is off for a while, and hears nobody for a while.

Options:
  --hosts N             how many hosts [default: 10000]
  --outage SECONDS      how long the outage takes [default: 600]
";

fn main() -> ExitCode {
    let (hosts, outage) = match parse() {
        Ok(Some(wanted)) => wanted,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("fleet-cut: {error}");
            return ExitCode::from(64);
        }
    };

    println!("{}\n", report::measured_on());
    let failed = play(&Plan {
        hosts,
        whole: hosts * 3 / 10,
        larger: hosts * 4 / 10,
        part: hosts / 10,
        interval: Duration::from_secs(20),
        sweep: "[sweep]\ninterval = \"10s\"\ndown_after = \"60s\"\n",
        rules: Rules::OfTheServer,
        outage,
        off: Duration::from_secs(180),
        limit: Duration::from_secs(900),
    });
    if failed > 0 {
        eprintln!("fleet-cut: {failed} limits are not kept");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn parse() -> Result<Option<(usize, Duration)>, lexopt::Error> {
    let (mut hosts, mut outage) = (10_000, 600);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("hosts") => hosts = parser.value()?.parse()?,
            Arg::Long("outage") => outage = parser.value()?.parse()?,
            Arg::Short('h') | Arg::Long("help") => return Ok(None),
            _ => return Err(argument.unexpected()),
        }
    }
    if !(100..=100_000).contains(&hosts) {
        return Err("--hosts must be from 100 to 100000".into());
    }
    Ok(Some((hosts, Duration::from_secs(outage))))
}

/// Plays one after the other, and prints a line of each. Gives how many limits are not
/// kept.
fn play(plan: &Plan) -> usize {
    println!("| {} hosts | messages | of the end | at most |", plan.hosts);
    println!("|---|--:|--:|--:|");
    let mut stage = Stage::start(plan);

    let outage = stage.outage();
    let whole = format!(
        "{} of one country cut off for {:?}",
        plan.whole, plan.outage
    );
    let part = format!("{} of the {} of another", plan.part, plan.larger);
    let mut failed = row(&whole, outage.whole, MOST) + row(&part, outage.part, MOST);
    let killed = [outage.after_the_kill, 0];
    failed += row("of it after a kill -9 of the server", killed, [0, 0]);
    failed += row("of other hosts meanwhile", [outage.others, 0], [0, 0]);

    let (messages, down) = stage.off();
    let off = format!("the server off for {:?}", plan.off);
    failed += row(&off, [messages, 0], [0, 0]);
    failed += row("hosts called down by that", [down, 0], [0, 0]);

    let (deaf, others) = stage.deaf();
    failed += row("the server hears nobody", deaf, [1, 1]);
    failed += row("of hosts meanwhile", [others, 0], [0, 0]);
    failed
}

fn row(what: &str, found: Messages, most: Messages) -> usize {
    let [until, end] = found;
    println!("| {what} | {until} | {end} | {} and {} |", most[0], most[1]);
    usize::from(until > most[0] || end > most[1])
}
