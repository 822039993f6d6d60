//! The commands: what was typed, done.

pub(crate) mod alerts;
mod audit;
mod check_config;
mod database;
mod denied;
mod enroll_code;
mod health;
mod history;
pub(crate) mod proxy_config;
mod prune;
mod servers;
mod show;
pub(crate) mod user;

use std::ffi::OsString;
use std::path::Path;

use fleetbeat_daemon::logging;
use log::LevelFilter;

use self::denied::Caller;
use crate::alerting::Post;
use crate::bootstrap;
use crate::cli::{self, Cli, Command};
use crate::config::{Config, Purpose};
use crate::error::ServerError;
use crate::places::Places;
use crate::{serve, store};

/// Does what was typed. `run` comes back when the server has stopped.
///
/// # Errors
/// Why it was not done, and what helps where the system has denied it to the caller.
pub(crate) fn run(cli: Cli) -> Result<(), ServerError> {
    let caller = Caller::of(&cli.command);
    let file = cli.config.as_deref();
    run_command(cli.command, file).map_err(|error| denied::advise(error, caller))
}

fn run_command(command: Command, file: Option<&Path>) -> Result<(), ServerError> {
    let configure = |purpose| Config::load(file, purpose, variable);

    match command {
        Command::Help => print!("{}", cli::HELP),
        Command::Version => println!("fleetbeat-server {}", env!("CARGO_PKG_VERSION")),
        Command::Health => health::ask(file, variable)?,
        Command::CheckConfig => check_config::check(file, variable)?,
        Command::AlertsTestChannel { channel } => {
            test_channel(file, &channel)?;
        }
        Command::Run => {
            let config = configure(Purpose::Serve)?;
            logging::start(LevelFilter::Warn);
            serve::run(&config)?;
        }
        command => run_beside_server(command, &configure(Purpose::Administer)?)?,
    }
    Ok(())
}

/// Does what works on the configured store, or tells about the configuration, whether or
/// not the server runs.
fn run_beside_server(command: Command, config: &Config) -> Result<(), ServerError> {
    let open = || store::open_beside_server(&config.storage);

    match command {
        Command::UserAdd {
            username,
            role,
            password,
        } => {
            let store = store::open_before_server(&config.storage)?;
            user::add(&*store, &username, role, password)?;
        }
        Command::UserPasswd { username, password } => {
            user::set_password(&*open()?, &username, password)?;
        }
        Command::UserList => user::list(&*open()?, &mut std::io::stdout())?,
        Command::UserResetTotp { username } => user::reset_totp(&*open()?, &username)?,
        Command::UserScope { username, scope } => {
            user::set_scope(&*open()?, &username, scope)?;
        }
        Command::UserRemove { username } => user::remove(&*open()?, &username)?,
        Command::EnrollCode(wish) => {
            enroll_code::make(&*store::open_before_server(&config.storage)?, wish)?;
        }
        Command::ServersList { select } => {
            let places = Places::new(config.mmdb.clone());
            servers::list(&*open()?, &places, select, &mut std::io::stdout())?;
        }
        Command::HistoryExport(wish) => {
            let store = store::open_history(&config.storage)?;
            history::export(&*store, &wish, &mut std::io::stdout())?;
        }
        Command::AlertsExport { file } => {
            let output = &mut std::io::stdout();
            alerts::export(&*open()?, file.as_deref(), output)?;
        }
        Command::AlertsImport(wish) => alerts::import(&*open()?, &wish)?,
        Command::Prune => prune::allow(&*open()?, &config.sweep)?,
        Command::Backup { file, extent } => {
            database::backup(&config.storage, &file, extent)?;
        }
        Command::Restore { file, extent } => {
            database::restore(&config.storage, &file, extent)?;
        }
        Command::ProxyConfig(site) => {
            proxy_config::refuse_encrypted(config).map_err(ServerError::Needless)?;
            print!("{}", proxy_config::nginx(&site, config));
        }
        Command::Run
        | Command::AlertsTestChannel { .. }
        | Command::CheckConfig
        | Command::Health
        | Command::Help
        | Command::Version => {}
    }
    Ok(())
}

/// Tries a channel. Its secrets are sealed by the server's key, which may be among the
/// variables of the service.
fn test_channel(file: Option<&Path>, channel: &str) -> Result<(), ServerError> {
    let variables = check_config::variables(file, variable);
    let value = |name: &str| variables.value(name);
    let config = Config::load(file, Purpose::Administer, value)?;

    let keys = bootstrap::read_secret_keys(&config)?;
    let post = Post::new(&config.alerts, &keys);
    let post = post.map_err(alerts::AlertsError::Sender)?;
    let store = store::open_beside_server(&config.storage)?;
    Ok(alerts::test_channel(&*store, &post, channel)?)
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}
