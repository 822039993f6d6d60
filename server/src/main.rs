//! fleetbeat-server: takes heartbeats, keeps the fleet's state, serves the API and the
//! dashboard.

mod api;
mod auth;
mod cli;
mod commands;
mod config;
mod fleet;
mod generated_key;
mod http;
mod ingest;
mod serve;
mod store;
mod sync;
mod watchdog;

use std::error::Error;
use std::process::ExitCode;

use cli::{Cli, Command};
use config::Config;
use fleetbeat_protocol::Timestamp;
use fleetbeat_settings::Problems;
use serve::RunError;
use store::StoreError;

/// The one of the C library that zig links grows with each thread that ends, and one ends
/// after each burst of connections.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// sysexits.h: the configuration is wrong, and starting again would not help.
const EX_CONFIG: u8 = 78;
/// sysexits.h: the command line is wrong.
const EX_USAGE: u8 = 64;

fn main() -> ExitCode {
    let cli = match cli::parse(std::env::args_os().skip(1)) {
        Ok(cli) => cli,
        Err(message) => {
            eprintln!("fleetbeat-server: {message}");
            return ExitCode::from(EX_USAGE);
        }
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fleetbeat-server: {error}");
            if is_configuration(&*error) {
                ExitCode::from(EX_CONFIG)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

/// Whether starting again with the same configuration would fail again.
fn is_configuration(error: &(dyn Error + 'static)) -> bool {
    let store = match error.downcast_ref() {
        Some(RunError::Store(error)) => Some(error),
        _ => error.downcast_ref(),
    };
    error.is::<Problems>() || store.is_some_and(StoreError::is_configuration)
}

fn run(cli: Cli) -> Result<(), Box<dyn Error>> {
    match cli.command {
        Command::Help => print!("{}", cli::HELP),
        Command::Version => println!("fleetbeat-server {}", env!("CARGO_PKG_VERSION")),
        Command::Health => {
            let listen = config::find_listen(cli.config.as_deref(), |name| {
                std::env::var_os(name)
            })?;
            watchdog::ask_once(&listen)
                .map_err(|error| format!("{listen} is not healthy: {error}"))?;
            println!("{listen} is healthy");
        }
        command => {
            let for_serving = matches!(command, Command::Run | Command::CheckConfig);
            let config = Config::load(cli.config.as_deref(), for_serving, |name| {
                std::env::var_os(name)
            })?;
            run_configured(command, config)?;
        }
    }
    Ok(())
}

fn run_configured(command: Command, config: Config) -> Result<(), Box<dyn Error>> {
    let store = || store::open_beside_server(&config.storage);
    match command {
        Command::Run => {
            start_log();
            serve::run(config)?;
        }
        Command::CheckConfig => println!("the configuration is fine"),
        Command::UserAdd {
            username,
            role,
            password,
        } => commands::user::add(&*store()?, &username, role, password)?,
        Command::UserPasswd { username, password } => {
            commands::user::set_password(&*store()?, &username, password)?
        }
        Command::UserList => commands::user::list(&*store()?, &mut std::io::stdout())?,
        Command::UserRemove { username } => store()?.remove_user(&username)?,
        Command::Backup { file } => store::backup(&config.storage, &file)?,
        Command::Restore { file } => {
            print!(
                "{}",
                store::restore(&config.storage, &file, Timestamp::now())?
            )
        }
        Command::ProxyConfig(site) => {
            print!("{}", commands::proxy_config::nginx(&site, &config.listen))
        }
        Command::Health | Command::Help | Command::Version => {}
    }
    Ok(())
}

/// Logs to standard error; under systemd with the journal's priorities in place of times.
fn start_log() {
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    env_logger::Builder::new()
        .filter_level(log::LevelFilter::Info)
        .filter_module("tiny_http", log::LevelFilter::Warn)
        .format(move |output, record| {
            use std::io::Write;
            if journal {
                let priority = match record.level() {
                    log::Level::Error => 3,
                    log::Level::Warn => 4,
                    log::Level::Info => 6,
                    log::Level::Debug | log::Level::Trace => 7,
                };
                writeln!(output, "<{priority}>{}", record.args())
            } else {
                let now = Timestamp::now();
                writeln!(output, "{now:.3} {:5} {}", record.level(), record.args())
            }
        })
        .init();
}
