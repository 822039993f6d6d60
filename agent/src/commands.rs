//! What each command does.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use fleetbeat_daemon::{clock, logging};
use log::LevelFilter;

use crate::agent::{self, Event};
use crate::cli::{Arguments, Command};
use crate::config::Config;
use crate::config::api_key;
use crate::delivery::sender::{Outcome, Sender};
use crate::delivery::spool::Spool;
use crate::doctor;
use crate::health;
use crate::host::Host;
use crate::sampling::Sampler;
use crate::sampling::schedule;
use crate::service::exit::AgentError;
use crate::service::signals;

/// Does what was typed.
pub(crate) fn run(arguments: Arguments) -> Result<(), AgentError> {
    logging::start(LevelFilter::Off);
    api_key::hide_memory();
    let load = |for_sending| {
        Config::load(&arguments.config, for_sending).map_err(AgentError::Config)
    };
    match arguments.command {
        Command::Print(text) => print(text.trim_end()),
        Command::CheckConfig => print(load(false)?.summary(&arguments.config)),
        Command::Doctor => doctor::run(&arguments.config),
        Command::Health => print(health::check(&arguments.config)?),
        Command::Once { send } => once(load(send)?, send),
        Command::Run => {
            let config = load(true)?;
            let spool = Spool::open(&config.spool)?;
            let (post, events) = mpsc::channel();
            let (stopping, reloading) = (post.clone(), post.clone());
            let stop = move || drop(stopping.send(Event::Stop));
            let reload = move || drop(reloading.send(Event::Reload));
            let path = arguments.config;
            let work = move || {
                agent::run(config, || Config::load(&path, true), spool, &post, &events)
            };
            signals::run_until_stopped(work, stop, reload)
        }
    }
}

/// One sample, and what would go over the wire for it.
fn once(config: Config, send: bool) -> Result<(), AgentError> {
    let sender = send.then(|| Sender::new(&config.server));
    let mut sampler = Sampler::new(config.collectors);
    let mut host = Host::new(config.host, config.roots, config.server.target());

    sampler.open(Instant::now(), true);
    thread::sleep(schedule::window(config.sample_every));
    sampler.close(Instant::now(), clock::now());
    let readings = sampler.take().expect("a sample was taken");
    let body = agent::body(&host.heartbeat(readings));
    print(String::from_utf8_lossy(&body))?;
    match sender.map(|sender| sender.send(&body)) {
        None => Ok(()),
        Some(Outcome::Accepted) => {
            eprintln!("the server accepted it");
            Ok(())
        }
        Some(
            Outcome::Refused { reason }
            | Outcome::PartlyAccepted { reason, .. }
            | Outcome::Unauthorized { reason }
            | Outcome::Failed { reason, .. },
        ) => Err(AgentError::NotAccepted(reason)),
    }
}

/// A line on standard output, whose reader may be gone.
fn print(line: impl Display) -> Result<(), AgentError> {
    let doing = "cannot write to standard output";
    writeln!(io::stdout(), "{line}")
        .map_err(|source| AgentError::System { doing, source })
}
