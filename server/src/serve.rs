//! The parts of a running server, started and stopped in order.

use std::io::Write;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use fleetbeat_protocol::{Role, Timestamp};
use fleetbeat_settings::Secret;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::auth::logins::Logins;
use crate::auth::{AgentKeys, Auth, passwords};
use crate::config::{self, Config, Storage};
use crate::fleet::snapshot::Snapshots;
use crate::fleet::sweep::Sweep;
use crate::http::{Call, Front, Handler};
use crate::ingest::Ingest;
use crate::store::{self, Conflict, Store, StoreError, User, UserStore};
use crate::watchdog::Watch;
use crate::{api, generated_key};

/// A stop that takes longer than this is cut short.
const MAX_STOP: Duration = Duration::from_millis(4500);

/// What handlers work with.
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) auth: Arc<Auth>,
    pub(crate) ingest: Arc<Ingest>,
    pub(crate) logins: Arc<Logins>,
    pub(crate) snapshots: Snapshots,
}

impl App {
    /// The server's clock, to the millisecond: what the databases can hold.
    pub(crate) fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
    }
}

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Key(String),
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        address: String,
        reason: std::io::Error,
    },
    #[error("cannot start: {0}")]
    Start(#[from] std::io::Error),
    #[error("no random numbers: {0}")]
    Random(#[from] getrandom::Error),
    #[error("the HTTP server is dead: {0}")]
    Dead(String),
}

/// Why the server ends.
enum End {
    Signal,
    Dead(String),
}

/// Runs the server until a signal ends it.
pub(crate) fn run(config: Config) -> Result<(), RunError> {
    let store = store::open(&config.storage)?;
    let (agent_keys, secret_key) = find_keys(&config)?;
    create_first_user(&*store, &config)?;

    let (ended, end) = mpsc::channel();
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let auth = Auth::new(
        agent_keys,
        secret_key.expose().as_bytes(),
        config.token_life,
        store.clone(),
    );
    let app = Arc::new(App {
        auth: Arc::new(auth),
        ingest: Arc::new(Ingest::start(store.clone(), config.storage.gather())?),
        logins: Arc::new(Logins::start((config::cores() / 2).max(1))?),
        snapshots: Snapshots::start(store.clone())?,
        store: store.clone(),
        config,
    });
    let front = listen(&app)?;
    let ingest = app.ingest.clone();
    let sweep = Sweep::start(store, app.config.sweep, move || ingest.last_failure())?;
    let dead = ended.clone();
    let watch = Watch::start(front.address().clone(), move |reason| {
        drop(dead.send(End::Dead(reason)))
    })?;
    let signal_handle = signals.handle();
    let signal_thread = std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            // The first asks for a clean stop, a second one means now.
            if signals.forever().next().is_some() {
                let _ = ended.send(End::Signal);
            }
            if signals.forever().next().is_some() {
                std::process::exit(130);
            }
        })?;
    log::info!("listening on {}", front.address());
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);

    let end = end.recv().unwrap_or(End::Signal);
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    let (stopped, all_stopped) = mpsc::channel();
    let stopping =
        std::thread::Builder::new()
            .name("stop".to_owned())
            .spawn(move || {
                front.stop();
                app.ingest.stop();
                app.logins.stop();
                app.snapshots.stop();
                sweep.stop();
                app.store.close();
                // Last: it may be waiting for an answer that will not come any more.
                watch.stop();
                let _ = stopped.send(());
            })?;
    if all_stopped.recv_timeout(MAX_STOP).is_ok() {
        let _ = stopping.join();
        log::info!("stopped");
    } else {
        log::warn!("stopped before every request was answered");
    }
    signal_handle.close();
    let _ = signal_thread.join();
    match end {
        End::Signal => Ok(()),
        End::Dead(reason) => Err(RunError::Dead(reason)),
    }
}

/// The agents' keys and the key that signs tokens: as given, or as the embedded store
/// keeps them.
fn find_keys(config: &Config) -> Result<(AgentKeys, Secret), RunError> {
    let find = |given: &Option<Secret>, name: &str| match (given, &config.storage) {
        (Some(key), _) => Ok((key.clone(), name.to_owned())),
        (None, Storage::Embedded { path }) => {
            let file = path.join(name);
            generated_key::load_or_create(&file)
                .map(|key| (key, file.display().to_string()))
        }
        (None, Storage::MongoDb(_)) => Err(format!("{name} must be set")),
    };
    let (agent_keys, found_at) =
        find(&config.agent_api_key, "agent_api_key").map_err(RunError::Key)?;
    let agent_keys = AgentKeys::parse(agent_keys.expose())
        .map_err(|message| RunError::Key(format!("{found_at}: {message}")))?;
    let (secret_key, found_at) =
        find(&config.secret_key, "secret_key").map_err(RunError::Key)?;
    config::check_secret_key(secret_key.expose())
        .map_err(|message| RunError::Key(format!("{found_at}: {message}")))?;
    Ok((agent_keys, secret_key))
}

fn listen(app: &Arc<App>) -> Result<Front, RunError> {
    let config = &app.config;
    let handled = app.clone();
    let handler: Arc<Handler> =
        Arc::new(move |call: &mut Call| api::handle(&handled, call));
    Front::start(
        &config.listen,
        config.trusted_proxies.clone(),
        config.workers,
        &handler,
    )
    .map_err(|reason| RunError::Listen {
        address: config.listen.to_string(),
        reason,
    })
}

/// Makes the superadmin `admin` if nobody could log in otherwise. A password that was
/// made up is printed once, on standard output, and kept nowhere.
fn create_first_user(store: &dyn UserStore, config: &Config) -> Result<(), RunError> {
    if !store.users()?.is_empty() {
        return Ok(());
    }
    let (password, made_up) = match &config.admin_password {
        Some(password) => (password.expose().to_owned(), false),
        None => (passwords::random()?, true),
    };
    let hashed_password =
        passwords::hash(&password).map_err(|error| RunError::Key(error.to_string()))?;
    let token_version = passwords::new_token_version()?;
    let user = User {
        username: "admin".to_owned(),
        role: Role::Superadmin,
        hashed_password,
        token_version,
    };
    if made_up {
        // Before the user is there: a password that nobody has seen would lock everybody
        // out.
        let mut output = std::io::stdout();
        writeln!(output, "created user admin with password {password}")?;
        output.flush()?;
    }
    match store.add_user(&user) {
        // Another instance was faster.
        Err(StoreError::Conflict(Conflict::UserExists(_))) => Ok(()),
        result => Ok(result?),
    }
}
