//! The agent's loop: waits for what is due next, and does it.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use fleetbeat_daemon::clock;
use fleetbeat_daemon::service_manager::{self, ServiceManager};
use fleetbeat_protocol::Heartbeat;
use fleetbeat_settings::{Problems, show_duration};

use crate::config::Config;
use crate::delivery::sender::{Outcome, Sender};
use crate::delivery::spool::Spool;
use crate::delivery::{Delivery, Kind, Request};
use crate::host::Host;
use crate::jitter;
use crate::sampling::Sampler;
use crate::sampling::schedule::{Schedule, Step};

/// What wakes the agent before something is due.
pub(crate) enum Event {
    /// It is to end.
    Stop,
    /// Its configuration may have changed.
    Reload,
    /// A call has ended.
    Called(Outcome),
}

/// Samples and sends until told to stop; `load` reads the configuration again. A call has
/// a thread of its own while it lasts, so that a slow server takes no sample's time; it
/// tells its outcome by `post`.
pub(crate) fn run(
    config: Config,
    load: impl Fn() -> Result<Config, Problems>,
    spool: Spool,
    post: &mpsc::Sender<Event>,
    events: &Receiver<Event>,
) {
    let mut agent = Agent::new(config, spool);
    let mut manager = ServiceManager::ready(Instant::now());
    thread::scope(|scope| {
        loop {
            let wake_at = manager
                .due()
                .into_iter()
                .fold(agent.wake_at(), Instant::min);
            match events.recv_timeout(wake_at.saturating_duration_since(Instant::now())) {
                Ok(Event::Called(outcome)) => {
                    agent
                        .delivery
                        .settle(outcome, Instant::now(), jitter::fraction());
                }
                Ok(Event::Reload) => manager.reloading(|| agent.reload(load())),
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    service_manager::stopping();
                    return agent.keep_samples();
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = Instant::now();
            manager.alive(now);
            agent.change(now);
            if let Some(request) = agent.delivery.begin(now) {
                call(scope, Arc::clone(&agent.sender), request, post);
            }
            agent.step(now);
        }
    });
}

/// Everything that runs by the configuration.
struct Agent {
    settings: Settings,
    sender: Arc<Sender>,
    host: Host,
    sampler: Sampler,
    delivery: Delivery,
    schedule: Schedule,
    /// Differs from host to host.
    offset: f64,
    /// A configuration that waits for the end of a sample's window.
    changed: Option<Config>,
}

/// What of the configuration is compared with a new one.
struct Settings {
    url: String,
    every: Duration,
    samples: u32,
}

impl Settings {
    fn of(config: &Config) -> Settings {
        let url = config.server.url.base.clone();
        Settings {
            url,
            every: config.sample_every,
            samples: config.samples_per_heartbeat,
        }
    }

    fn interval(&self) -> Duration {
        self.every * self.samples
    }

    fn log(&self, event: &str) {
        log::info!(
            "{event}a heartbeat to {} every {}",
            self.url,
            show_duration(self.interval())
        );
    }
}

impl Agent {
    fn new(config: Config, spool: Spool) -> Agent {
        let settings = Settings::of(&config);
        settings.log("");
        let offset = jitter::fraction();
        Agent {
            sender: Arc::new(Sender::new(&config.server)),
            host: Host::new(config.host, config.roots, config.server.target()),
            sampler: Sampler::new(config.collectors),
            delivery: Delivery::new(settings.interval(), spool),
            schedule: Schedule::new(
                Instant::now(),
                settings.every,
                settings.samples,
                offset,
            ),
            settings,
            offset,
            changed: None,
        }
    }

    fn wake_at(&self) -> Instant {
        let (step_at, _) = self.schedule.next();
        self.delivery
            .due()
            .map_or(step_at, |send_at| send_at.min(step_at))
    }

    /// Does what is due of sampling.
    fn step(&mut self, now: Instant) {
        let (at, step) = self.schedule.next();
        if at > now {
            return;
        }
        match step {
            Step::Open => self.sampler.open(now, self.schedule.is_last_window(now)),
            Step::Close => self.sampler.close(now, clock::now()),
            Step::Beat => {
                if let Some(body) = self.take_samples() {
                    self.delivery.offer(body, now);
                }
            }
        }
        self.schedule.done(now);
    }

    /// The body of the heartbeat that the samples so far make.
    fn take_samples(&mut self) -> Option<Vec<u8>> {
        let readings = self.sampler.take()?;
        Some(body(&self.host.heartbeat(readings)))
    }

    /// The agent ends: what it has measured is sent when it runs again.
    fn keep_samples(&mut self) {
        if let Some(body) = self.take_samples() {
            self.delivery.keep(&body);
        }
    }

    /// A configuration was read; a bad one changes nothing.
    fn reload(&mut self, loaded: Result<Config, Problems>) {
        match loaded {
            Ok(config) => self.changed = Some(config),
            Err(problems) => {
                log::error!("the configuration is wrong, so the one before stays:");
                problems
                    .to_string()
                    .lines()
                    .for_each(|problem| log::error!("{problem}"));
            }
        }
    }

    /// Takes over the configuration that was read, between two windows; what is under way
    /// stays so.
    fn change(&mut self, now: Instant) {
        if matches!(self.schedule.next(), (_, Step::Close)) {
            return;
        }
        let Some(config) = self.changed.take() else {
            return;
        };
        if !self.delivery.spool().set_folder(&config.spool) {
            log::warn!(
                "spool.path takes effect when the agent starts again; the one before stays until then"
            );
        }
        let new = Settings::of(&config);
        new.log("configuration reloaded: ");
        let old = std::mem::replace(&mut self.settings, new);
        let (every, samples) = (self.settings.every, self.settings.samples);
        if (every, samples) != (old.every, old.samples) {
            self.schedule = Schedule::after_change(now, every, samples, self.offset);
        }
        self.delivery
            .change(self.settings.interval(), self.settings.url != old.url);
        self.sender = Arc::new(Sender::new(&config.server));
        self.host
            .describe(config.host, config.roots, config.server.target());
        self.sampler.replace(config.collectors);
    }
}

/// Sends `request` in a thread.
fn call<'scope>(
    scope: &'scope Scope<'scope, '_>,
    sender: Arc<Sender>,
    request: Request,
    post: &mpsc::Sender<Event>,
) {
    let tell = post.clone();
    let send = move || {
        // Without an outcome, no further heartbeat would be sent.
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| match request.kind {
            Kind::Newest => sender.send(&request.body),
            Kind::Batch => sender.send_batch(&request.body),
        }));
        let outcome = outcome.unwrap_or_else(|_| Outcome::failed("the call panicked"));
        let is_over = matches!(outcome, Outcome::Accepted | Outcome::Refused { .. });
        let _ = tell.send(Event::Called(outcome));
        // A disk may take its time: here nobody waits for it.
        if let (false, Some(file)) = (is_over, request.unsynced)
            && let Err(error) = file.sync_data()
        {
            log::warn!(
                "the spool cannot be synced, so a power cut may take what is in it: {error}"
            );
        }
    };
    if let Err(error) = thread::Builder::new()
        .name("call".to_owned())
        .spawn_scoped(scope, send)
    {
        let _ = post.send(Event::Called(Outcome::failed(format!(
            "cannot start a thread: {error}"
        ))));
    }
}

/// What goes over the wire.
pub(crate) fn body(heartbeat: &Heartbeat) -> Vec<u8> {
    serde_json::to_vec(heartbeat).expect("a heartbeat has text keys only")
}
