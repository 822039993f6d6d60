//! The server while it runs: the only place that knows all of its parts, starts them, and
//! stops them in order.

use std::io;
use std::process;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use fleetbeat_daemon::thread::spawn;
use fleetbeat_daemon::{clock, service_manager};
use fleetbeat_protocol::FlagsPatch;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::access_log;
use crate::alerting::{self, Alerting, Looker};
use crate::api::{self, ApiState, Hosts, Readiness};
use crate::auth::logins::Logins;
use crate::auth::{AgentAuth, Auth, KeysTaken, OwnKeys};
use crate::bootstrap;
use crate::certificates::{self, Certificates};
use crate::chronicle::Chronicle;
use crate::config::{self, AccessLog, AgentMode, AgentSettings, Config};
use crate::error::ServerError;
use crate::fleet::snapshot::Snapshots;
use crate::fleet::{history, sweep, watch};
use crate::http::{
    CertificateFiles, Listener, Observer, Request, Service, Sockets, TrustedProxies,
};
use crate::ingest::Ingest;
use crate::jobs::Jobs;
use crate::metrics::Metrics;
use crate::places::Places;
use crate::secret_keys::SecretKeys;
use crate::store::{self, Counted, HostRules, Store, UnknownHosts};
use crate::watchdog::{self, Death};

/// A stop that takes longer than this is cut short.
const MAX_STOP: Duration = Duration::from_millis(4500);
/// The exit code of a program that SIGINT has ended: 128 and the signal's number.
const EXIT_SECOND_SIGNAL: i32 = 130;

/// Why the server ends.
enum End {
    /// A signal asked for it.
    Signal,
    /// The server cannot go on.
    Dead(Death),
}

/// A server that runs.
struct Running {
    listener: Listener,
    jobs: Jobs,
}

/// Runs the server until a signal ends it.
///
/// # Errors
/// The server cannot start, or cannot go on.
pub(crate) fn run(config: &Config) -> Result<(), ServerError> {
    let (tell_end, end) = mpsc::channel();
    let running = Running::start(config, &tell_end)?;
    let end = end.recv().unwrap_or(End::Signal);

    service_manager::stopping();
    running.stop()?;

    match end {
        End::Signal => Ok(()),
        End::Dead(death) => Err(death.into()),
    }
}

impl Running {
    /// Opens the store, makes what only a first start has to make, and starts all parts.
    /// What can be refused comes before anything is made.
    fn start(config: &Config, end: &Sender<End>) -> Result<Running, ServerError> {
        bootstrap::refuse_root(config)?;
        let certificates = load_certificates(config)?.map(Arc::new);
        let sockets = bind(config)?;
        warn_of_plain_network(config);
        tell_of_proxy(config);

        let metrics = Metrics::new(&api::route_names(), clock::now());
        let metrics = Arc::new(metrics);
        let store = store::open(&config.storage, &config.history)?;
        let store: Arc<dyn Store> =
            Arc::new(Counted::new(store, metrics.store_errors.clone()));
        let keys = bootstrap::find_keys(config)?;
        bootstrap::create_first_admin(&*store, config)?;

        // From here on a signal asks for a clean stop.
        let signals =
            Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(ServerError::Start)?;
        let dead = end.clone();
        let mut jobs = Jobs::new(move |job| drop(dead.send(End::Dead(job.into()))));

        let own_keys = Arc::new(OwnKeys::new(store.clone()));
        own_keys.start(&mut jobs).map_err(ServerError::Start)?;
        let taken = match config.agents.mode {
            AgentMode::Strict => KeysTaken::OwnOnly,
            AgentMode::Shared | AgentMode::Enroll => KeysTaken::All,
        };
        let auth = Auth::new(
            AgentAuth::new(keys.agents, own_keys, taken),
            &keys.secret,
            config.auth.clone(),
            store.clone(),
        );
        let state = start_jobs(&mut jobs, config, store, auth, &keys.secret, metrics)
            .map_err(ServerError::Start)?;
        if let Some(certificates) = &certificates {
            certificates::start(&mut jobs, certificates.clone())
                .map_err(ServerError::Start)?;
        }
        let listener = listen(config, sockets, state, certificates.as_deref())?;
        jobs.watch(listener.ended_thread());
        let reread = move || {
            if let Some(certificates) = &certificates {
                certificates.reread();
            }
            log::info!(
                "asked to reload: of all settings only the certificate is read again; \
                 restart the server to take over the others"
            );
        };
        start_watching(&mut jobs, &listener, signals, reread, end)
            .map_err(ServerError::Start)?;

        Ok(Running { listener, jobs })
    }

    /// Stops all parts in order. A part that does not stop in time ends with the process.
    fn stop(self) -> Result<(), ServerError> {
        let (tell_stopped, stopped) = mpsc::channel();
        let thread = spawn("stop", move || {
            // First the listener: what has come in is still stored and answered.
            self.listener.stop();
            self.jobs.stop();
            let _ = tell_stopped.send(());
        });
        thread.map_err(ServerError::Start)?;

        if stopped.recv_timeout(MAX_STOP).is_ok() {
            log::info!("stopped");
        } else {
            log::warn!("stopped before every request was answered");
        }
        Ok(())
    }
}

/// Starts the jobs behind the handlers, in the order in which they are stopped, and gives
/// what handlers work with.
fn start_jobs(
    jobs: &mut Jobs,
    config: &Config,
    store: Arc<dyn Store>,
    auth: Auth,
    secret: &SecretKeys,
    metrics: Arc<Metrics>,
) -> io::Result<ApiState> {
    let gather = config.storage.gather();
    let ingest = Ingest::start(jobs, store.clone(), gather, metrics.clone())?;
    let slots = (config::cores() / 2).max(1);
    let logins = Logins::start(jobs, slots, auth.known_networks(), metrics.clone())?;
    let places = Arc::new(Places::new(config.mmdb.clone()));
    // The log tells at the start what is wrong with the file.
    drop(places.database());
    let snapshots = Snapshots::start(jobs, store.clone(), places.clone())?;
    let failures = ingest.clone();
    let last_failed_commit = move || failures.last_failed_commit();
    let counts = metrics.clone();
    sweep::start(
        jobs,
        store.clone(),
        config.sweep,
        last_failed_commit,
        counts,
    )?;

    let chronicle = Arc::new(Chronicle::new(store.clone()));
    let down_after = config.sweep.down_after;
    let alerting = Alerting::new(
        store.clone(),
        snapshots.clone(),
        &config.alerts,
        down_after,
        secret,
        metrics.clone(),
    )?;
    let order = watch::Order {
        down_after,
        retention: config.events,
    };
    let looker = Looker::new(alerting.clone(), Instant::now());
    let told = chronicle.clone();
    watch::start(jobs, store.clone(), told, order, looker, metrics.clone())?;
    alerting::start(jobs, &alerting)?;
    chronicle.started(clock::now());
    history::start(jobs, store.clone(), snapshots.clone(), metrics.clone())?;

    let (watched, closed) = (store.clone(), store.clone());
    jobs.watch(move || watched.find_ended_thread());
    jobs.then(move || closed.close());

    Ok(ApiState {
        hosts: Hosts::new(store.clone(), snapshots, places, config.workers),
        users: store.clone(),
        api_tokens: store.clone(),
        keys: store.clone(),
        alerts: store.clone(),
        alerting,
        store,
        backend: config.storage.name(),
        down_after,
        host_rules: host_rules(config.agents),
        new_flags: FlagsPatch {
            enabled: (!config.agents.offer_new).then_some(false),
            ..FlagsPatch::default()
        },
        auth: Arc::new(auth),
        ingest,
        logins,
        chronicle,
        metrics,
        readiness: Readiness::default(),
    })
}

/// What the operator has decided about hosts.
fn host_rules(agents: AgentSettings) -> HostRules {
    HostRules {
        follow_moves: agents.follow_moves,
        unknown: match agents.mode {
            AgentMode::Shared => UnknownHosts::Welcome,
            AgentMode::Enroll | AgentMode::Strict => UnknownHosts::NeedCode,
        },
    }
}

/// The certificate for TLS, if the configuration asks for it.
///
/// # Errors
/// The certificate cannot be used.
pub(crate) fn load_certificates(
    config: &Config,
) -> Result<Option<Certificates>, ServerError> {
    let files = config.tls.as_ref().map(|tls| CertificateFiles {
        certificate: tls.certificate.clone(),
        key: tls.key.clone(),
    });
    Ok(files.map(Certificates::load).transpose()?)
}

/// Takes the addresses.
fn bind(config: &Config) -> Result<Sockets, ServerError> {
    let redirect = config.tls.as_ref().and_then(|tls| tls.redirect_listen);
    let sockets = Sockets::bind(&config.listen, redirect);
    sockets.map_err(|source| cannot_listen(config, source))
}

/// Listens, and gives what comes in to the API.
fn listen(
    config: &Config,
    sockets: Sockets,
    state: ApiState,
    certificates: Option<&Certificates>,
) -> Result<Listener, ServerError> {
    let observer = observe(state.metrics.clone(), config.access_log);
    let handler = move |request: &mut Request| api::handle(&state, request);
    let service = Service::new(handler, observer);
    let trusted = TrustedProxies::new(config.trusted_proxies.clone());
    let certificate = certificates.map(Certificates::current);

    let listener =
        Listener::start(sockets, certificate, trusted, config.workers, &service);
    listener.map_err(|source| cannot_listen(config, source))
}

/// Counts each answer, and logs it if that is asked for.
fn observe(metrics: Arc<Metrics>, access_log: AccessLog) -> Observer {
    Observer::new(move |answered| {
        metrics.requests.count(answered);
        match access_log {
            AccessLog::On => access_log::write(answered),
            AccessLog::Off => {}
        }
    })
}

fn cannot_listen(config: &Config, source: io::Error) -> ServerError {
    ServerError::Listen {
        address: config.url(),
        source,
    }
}

fn warn_of_plain_network(config: &Config) {
    if let Some(warning) = config.find_plain_network() {
        log::warn!("{warning}");
    }
}

fn tell_of_proxy(config: &Config) {
    if let Some(proxy) = &config.auth.proxy {
        log::warn!(
            "users are logged in by the word of a proxy: {}",
            proxy.show()
        );
    }
}

/// Waits for signals, and watches over the listener and all jobs so far. These two jobs
/// end last: the watchdog may be waiting for an answer that will not come any more.
fn start_watching(
    jobs: &mut Jobs,
    listener: &Listener,
    mut signals: Signals,
    reread: impl Fn() + Send + 'static,
    end: &Sender<End>,
) -> io::Result<()> {
    let (handle, asked) = (signals.handle(), end.clone());
    jobs.start_at_queue(
        "signals",
        move || handle.close(),
        move |_| {
            let mut is_stopping = false;
            for signal in signals.forever() {
                match signal {
                    SIGHUP => reread(),
                    // The first signal asks for a clean stop, a second one means now.
                    _ if is_stopping => process::exit(EXIT_SECOND_SIGNAL),
                    _ => {
                        is_stopping = true;
                        let _ = asked.send(End::Signal);
                    }
                }
            }
        },
    )?;

    log::info!("listening on {}", listener.url());
    let dead = end.clone();
    let progress = listener.progress();
    watchdog::start(jobs, listener.address(), progress, move |death| {
        let _ = dead.send(End::Dead(death));
    })
}
