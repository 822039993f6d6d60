//! The commands: one function for each.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use fleetbeat_daemon::{clock, logging};
use log::LevelFilter;

use crate::agent::{self, Event, KeptState};
use crate::cli::{Arguments, Command};
use crate::config::api_key::hide_memory;
use crate::config::{CLOSED_ADVICE, Config, KeyNeed, accepted};
use crate::delivery::spool::{self, Spool};
use crate::delivery::{Outcome, RequestKind, Sender};
use crate::doctor;
use crate::enrollment::{self, CodeFrom, Order};
use crate::health;
use crate::host::{Host, Identity, Keeping, MACHINE_ID, peek};
use crate::sampling::Sampler;
use crate::sampling::schedule::{self, Window};
use crate::service::exit::AgentError;
use crate::service::owner::become_owner_of;
use crate::service::signals;

/// Runs the command.
pub(crate) fn run(arguments: Arguments) -> Result<(), AgentError> {
    // The log takes nothing from the libraries: their messages could show the key.
    logging::start(LevelFilter::Off);
    hide_memory();

    let path = arguments.config;
    let load = |need| Config::load(&path, need).map_err(AgentError::Config);
    match arguments.command {
        Command::Print(text) => print(text.trim_end()),
        Command::CheckConfig => match doctor::go_inside_unit(&path, "check-config") {
            Some(result) => result,
            None => {
                let config = load(KeyNeed::Required).inspect_err(advise)?;
                check_config(&config, &path)
            }
        },
        Command::Doctor => doctor::run(&path),
        Command::Health => print(health::report(&path)?),
        Command::Once { send: false } => once(load(KeyNeed::Optional)?, None),
        Command::Once { send: true } => {
            let config = load(KeyNeed::Required)?;
            refuse_other_hosts_key(&config)?;
            let sender = Sender::new(&config.server);
            once(config, Some(&sender))
        }
        Command::Enroll { server, code } => {
            let code = match code.as_deref() {
                Some("-") => CodeFrom::Stdin,
                code => CodeFrom::Argument(code.unwrap_or_default().to_owned()),
            };
            print(enrollment::run(&path, Order { server, code })?)
        }
        Command::Run => run_service(path),
    }
}

/// What to do about an error that the system's words do not explain.
fn advise(error: &AgentError) {
    if error.to_string().contains("Permission denied") {
        eprintln!("fleetbeat-agent: {CLOSED_ADVICE}");
    }
}

/// Prints the meaning of the configuration, and who this host is.
fn check_config(config: &Config, path: &Path) -> Result<(), AgentError> {
    let identity = match peek(&config.spool) {
        Some(kept) => format!("{}…", kept.agent_id),
        None => "none that this user can read; the service makes it".to_owned(),
    };
    print(format!("{}\nidentity:   {identity}", config.summary(path)))
}

/// Sends heartbeats until a signal ends the agent. The file at `path` is read again when
/// a signal says so.
fn run_service(path: PathBuf) -> Result<(), AgentError> {
    // First of all: a signal that comes earlier would end the agent.
    let signals = signals::watch()?;
    let config = load_to_run(&path)?;
    let has_worked = spool::file_path(&config.spool).exists();
    let mut identity = Identity::load(&config.spool, Path::new(MACHINE_ID), has_worked);
    if let Some(owner) = config.server.key_owner() {
        identity.match_key(owner);
    }
    let kept = KeptState {
        spool: Spool::open(&config.spool)?,
        identity,
    };

    let (post, events) = mpsc::channel();
    let (settle, settled) = mpsc::channel();
    let (stopping, reloading) = (post.clone(), post.clone());
    let stop = move || drop(stopping.send(Event::Stop));
    let reload = move || drop(reloading.send(Event::Reload));
    let work = move || {
        let load = || {
            let config = Config::load(&path, KeyNeed::Required)?;
            accepted::keep(&path, &config);
            Ok(config)
        };
        agent::run(config, load, kept, &post, &events, settle);
    };
    signals::run_until_stopped(signals, &settled, work, stop, reload)
}

/// The configuration to begin with. Where a mistake has got into the files since the
/// service has accepted them, what they said then counts.
fn load_to_run(path: &Path) -> Result<Config, AgentError> {
    let error = match Config::load(path, KeyNeed::Required) {
        Ok(config) => {
            become_owner_of(&config.spool);
            accepted::keep(path, &config);
            return Ok(config);
        }
        Err(error) if error.is_temporary => return Err(AgentError::Config(error)),
        Err(error) => error,
    };
    let Some(Ok(config)) = accepted::load(path, KeyNeed::Required) else {
        return Err(AgentError::Config(error));
    };
    become_owner_of(&config.spool);

    log::error!(
        "the configuration is wrong, so the one that was accepted last counts until this \
         is corrected:"
    );
    for problem in error.to_string().lines() {
        log::error!("{problem}");
    }
    Ok(config)
}

/// Takes one sample, prints the heartbeat made of it, and sends the heartbeat if there is
/// a sender.
/// A key of a host's own speaks for that host: the copy of a disk has another identity, and
/// must not send as the original.
fn refuse_other_hosts_key(config: &Config) -> Result<(), AgentError> {
    let id = peek(&config.spool).map(|kept| kept.agent_id);
    match config.server.key_owner() {
        Some(owner) if id != Some(owner) => Err(AgentError::NotAccepted(format!(
            "nothing was sent: the key is that of the host {owner}…, and this host is \
             another one: `fleetbeat-agent enroll` gets it a key of its own"
        ))),
        _ => Ok(()),
    }
}

fn once(config: Config, sender: Option<&Sender>) -> Result<(), AgentError> {
    let mut sampler = Sampler::new(config.collectors);
    let identity = Keeping::Looker(peek(&config.spool));
    let way = config.server.way();
    let mut host = Host::new(config.host, config.roots, way, identity);

    sampler.open(Instant::now(), Window::Last);
    thread::sleep(schedule::window_length(config.sample_every));
    sampler.close(Instant::now(), clock::now());

    let readings = sampler.take().expect("a sample was taken");
    let body = agent::body(&host.heartbeat(readings));
    print(String::from_utf8_lossy(&body))?;

    match sender.map(|sender| sender.send(RequestKind::Newest, &body)) {
        None => Ok(()),
        Some(Outcome::Accepted { .. }) => {
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

/// Prints to standard output, whose reader may be gone.
fn print(text: impl Display) -> Result<(), AgentError> {
    let doing = "cannot write to standard output";
    writeln!(io::stdout(), "{text}")
        .map_err(|source| AgentError::System { doing, source })
}
