//! The agent's loop: waits for what is due next, and does it.
//!
//! One thread owns all of the agent's state. Calls to the server and collectors run in
//! separate threads, so that neither a slow server nor a hanging collector holds up the
//! loop. The end of a call is an [`Event`].

use std::mem;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{Builder, Scope};
use std::time::{Duration, Instant};

use fleetbeat_daemon::clock;
use fleetbeat_daemon::service_manager::{self, ServiceManager};
use fleetbeat_protocol::Heartbeat;
use fleetbeat_settings::{Secret, show_duration};

use crate::call::Calls;
use crate::config::{CollectorTables, Config, ConfigError};
use crate::delivery::spool::Spool;
use crate::delivery::{Delivery, Destination, Outcome, Request, Sender};
use crate::enrollment::{self, KeyInUse, Rotation};
use crate::host::{Host, Identity, Keeping};
use crate::jitter;
use crate::sampling::Sampler;
use crate::sampling::schedule::{Schedule, Task};

/// A reason to wake the loop before anything is due.
pub(crate) enum Event {
    /// The agent is to end.
    Stop,
    /// The configuration may have changed.
    Reload,
    /// The call of this number has ended.
    CallEnded(u64, Outcome),
    /// The host has a new key, or why it has not.
    KeyReplaced(Result<Secret, String>),
}

/// What the agent keeps in its state folder.
pub(crate) struct KeptState {
    pub(crate) spool: Spool,
    pub(crate) identity: Identity,
}

/// Samples and sends until told to stop. `load` reads the configuration again. Calls post
/// their outcomes to `post`, the other end of `events`. `settled` is dropped when nothing
/// is left to keep, although a call may still be under way.
pub(crate) fn run(
    config: Config,
    load: impl Fn() -> Result<Config, ConfigError>,
    kept: KeptState,
    post: &mpsc::Sender<Event>,
    events: &Receiver<Event>,
    settled: mpsc::Sender<()>,
) {
    let mut agent = Agent::new(config, kept);
    let mut manager = ServiceManager::ready(Instant::now());
    std::thread::scope(|scope| {
        loop {
            let wake_at = earliest(agent.wake_at(), manager.due());
            match events.recv_timeout(wake_at.saturating_duration_since(Instant::now())) {
                Ok(Event::CallEnded(number, outcome)) => {
                    if outcome == (Outcome::Accepted { rotate: true }) {
                        agent.replace_key(scope, post);
                    }
                    if agent.calls.end(number) {
                        agent.settle(outcome);
                    }
                }
                Ok(Event::KeyReplaced(result)) => agent.take_key(result),
                Ok(Event::Reload) => manager.reloading(|| agent.reload(load())),
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    service_manager::stopping();
                    agent.keep_samples();
                    drop(settled);
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }

            let now = Instant::now();
            manager.alive(now);
            agent.apply_configuration(now);
            if agent.calls.is_given_up(now) {
                agent.settle(Outcome::failed("the call has not come back in time"));
            }
            match agent.begin_call(now) {
                Some(Ok((number, request))) => {
                    start_call(scope, Arc::clone(&agent.sender), number, request, post);
                }
                Some(Err(outcome)) => agent.settle(outcome),
                None => {}
            }
            agent.do_task(now);
        }
    });
}

fn earliest(at: Instant, other: Option<Instant>) -> Instant {
    other.map_or(at, |other| other.min(at))
}

/// The loop's state.
struct Agent {
    settings: ActiveSettings,
    sender: Arc<Sender>,
    host: Host,
    sampler: Sampler,
    delivery: Delivery,
    calls: Calls,
    schedule: Schedule,
    /// The place of the heartbeats in the interval, as a fraction from 0 to just under 1.
    /// Differs from host to host.
    offset: f64,
    /// A configuration waiting for the end of a sample's window.
    pending_config: Option<Config>,
    key: KeyInUse,
    rotation: Rotation,
}

/// The settings in force, as far as a new configuration is compared with them.
struct ActiveSettings {
    url: String,
    sample_every: Duration,
    samples: u32,
    /// Where the key is.
    key_source: String,
    collectors: CollectorTables,
}

impl ActiveSettings {
    fn of(config: &Config) -> ActiveSettings {
        ActiveSettings {
            url: config.server.url.base.clone(),
            sample_every: config.sample_every,
            samples: config.samples_per_heartbeat,
            key_source: config.server.key_source.clone().unwrap_or_default(),
            collectors: config.tables.clone(),
        }
    }

    fn interval(&self) -> Duration {
        self.sample_every * self.samples
    }

    /// Logs the settings behind the words `event`.
    fn log(&self, event: &str) {
        log::info!(
            "{event}a heartbeat to {} every {}, with the key of {}",
            self.url,
            show_duration(self.interval()),
            self.key_source
        );
    }
}

impl Agent {
    fn new(config: Config, kept: KeptState) -> Agent {
        let settings = ActiveSettings::of(&config);
        settings.log("");
        let offset = jitter::fraction();
        let (sample_every, samples) = (settings.sample_every, settings.samples);

        Agent {
            key: KeyInUse::of(&config.server),
            rotation: Rotation::default(),
            sender: Arc::new(Sender::new(&config.server)),
            host: Host::new(
                config.host,
                config.roots,
                config.server.way(),
                Keeping::Service(kept.identity),
            ),
            sampler: Sampler::new(config.collectors),
            delivery: Delivery::new(settings.interval(), kept.spool),
            calls: Calls::default(),
            schedule: Schedule::new(Instant::now(), sample_every, samples, offset),
            settings,
            offset,
            pending_config: None,
        }
    }

    /// The server asks for a new key: a thread of its own replaces the key, and heartbeats
    /// go on with the old one meanwhile.
    fn replace_key<'scope>(
        &mut self,
        scope: &'scope Scope<'scope, '_>,
        post: &mpsc::Sender<Event>,
    ) {
        let Some((id, file)) = self.rotation.begin(&self.key) else {
            return;
        };
        let (sender, hostname) = (Arc::clone(&self.sender), self.host.hostname());
        let tell = post.clone();
        let work = move || {
            let result = enrollment::replace_key(sender.client(), id, &file, &hostname);
            let _ = tell.send(Event::KeyReplaced(result));
        };
        let started = Builder::new()
            .name("rotate".to_owned())
            .spawn_scoped(scope, work);
        if let Err(error) = started {
            let result = Err(format!("cannot start a thread: {error}"));
            let _ = post.send(Event::KeyReplaced(result));
        }
    }

    /// The replacement of the key has ended.
    fn take_key(&mut self, result: Result<Secret, String>) {
        let old = self.sender.client().key().cloned();
        if let Some(key) = self.rotation.end(old, result) {
            self.sender = Arc::new(self.sender.with_key(key));
        }
    }

    /// When a call or a task is due.
    fn wake_at(&self) -> Instant {
        let (task_at, _) = self.schedule.next();
        earliest(earliest(task_at, self.delivery.due()), self.calls.due())
    }

    /// The call under way has ended, or cannot begin.
    fn settle(&mut self, outcome: Outcome) {
        let chance = jitter::fraction();
        self.delivery.settle(outcome, Instant::now(), chance);
    }

    /// Does the schedule's next task, if due.
    fn do_task(&mut self, now: Instant) {
        let (at, task) = self.schedule.next();
        if at > now {
            return;
        }

        match task {
            Task::Open => self.sampler.open(now, self.schedule.window_at(now)),
            Task::Close => self.sampler.close(now, clock::now()),
            Task::Beat => {
                if let Some(body) = self.take_samples() {
                    self.delivery.offer(body, now);
                }
            }
        }
        self.schedule.done(now);
    }

    /// The number of the call and the request to be sent `now`, under the address that the
    /// host has now; or why the request cannot be sent yet.
    fn begin_call(&mut self, now: Instant) -> Option<Result<(u64, Request), Outcome>> {
        let mut request = self.delivery.begin(now)?;
        match self.host.address() {
            Some(ip) => request.set_address(ip),
            None if self.host.needs_address() => {
                return Some(Err(Outcome::failed(
                    "this host's own address is not known yet, and the proxy hides it \
                     from the server (host.ip can set it)",
                )));
            }
            None => {}
        }
        let begun = self.calls.begin(now).map(|number| (number, request));
        Some(begun.ok_or_else(|| Outcome::failed("earlier calls have not come back")))
    }

    /// The heartbeat's body made of the samples so far; `None` without samples.
    fn take_samples(&mut self) -> Option<Vec<u8>> {
        let readings = self.sampler.take()?;
        Some(body(&self.host.heartbeat(readings)))
    }

    /// The agent ends: the spool keeps the samples so far, as a heartbeat for the agent's
    /// next start.
    fn keep_samples(&mut self) {
        if let Some(body) = self.take_samples() {
            self.delivery.keep(&body);
        }
    }

    /// The configuration was read again. A wrong configuration changes nothing.
    fn reload(&mut self, loaded: Result<Config, ConfigError>) {
        match loaded {
            Ok(config) => self.pending_config = Some(config),
            Err(problems) => {
                log::error!("the configuration is wrong, so the one before stays:");
                for problem in problems.to_string().lines() {
                    log::error!("{problem}");
                }
            }
        }
    }

    /// Puts the pending configuration into force, unless a window is open. A call under
    /// way goes on with the old settings.
    fn apply_configuration(&mut self, now: Instant) {
        if matches!(self.schedule.next(), (_, Task::Close)) {
            return;
        }
        let Some(mut config) = self.pending_config.take() else {
            return;
        };
        self.rotation.update(&mut config.server);
        self.key = KeyInUse::of(&config.server);
        self.host.match_key(config.server.key_owner());

        if !self.delivery.spool().set_folder(&config.spool) {
            log::warn!(
                "spool.path takes effect when the agent starts again; \
                 the spool stays in its old folder until then"
            );
        }
        let new = ActiveSettings::of(&config);
        new.log("configuration reloaded: ");
        let old = mem::replace(&mut self.settings, new);
        self.apply_settings(&old, now);

        self.sender = Arc::new(Sender::new(&config.server));
        self.host
            .describe(config.host, config.roots, config.server.way());
        let new = &self.settings.collectors;
        let is_same = |name: &str| old.collectors.get(name) == new.get(name);
        self.sampler.replace(config.collectors, is_same);
    }

    /// Follows the new settings where the old ones differ.
    fn apply_settings(&mut self, old: &ActiveSettings, now: Instant) {
        let new = &self.settings;
        if (new.sample_every, new.samples) != (old.sample_every, old.samples) {
            self.schedule =
                Schedule::after_change(now, new.sample_every, new.samples, self.offset);
        }
        let destination = if new.url == old.url {
            Destination::Same
        } else {
            Destination::Other
        };
        self.delivery.reconfigure(new.interval(), destination);
    }
}

/// Sends `request` in a thread, which posts the outcome.
fn start_call<'scope>(
    scope: &'scope Scope<'scope, '_>,
    sender: Arc<Sender>,
    number: u64,
    request: Request,
    post: &mpsc::Sender<Event>,
) {
    let tell = post.clone();
    let call = move || {
        let outcome = sender.send(request.kind, &request.body);
        let is_over =
            matches!(outcome, Outcome::Accepted { .. } | Outcome::Refused { .. });
        let _ = tell.send(Event::CallEnded(number, outcome));

        // A disk may take its time. In this thread nothing else waits for the disk.
        if let (false, Some(unsynced)) = (is_over, request.unsynced)
            && let Err(error) = unsynced.sync()
        {
            log::warn!(
                "the spool cannot be synced, so a power cut may take the heartbeats in \
                 it: {error}"
            );
        }
    };

    let started = Builder::new()
        .name("call".to_owned())
        .spawn_scoped(scope, call);
    if let Err(error) = started {
        let outcome = Outcome::failed(format!("cannot start a thread: {error}"));
        let _ = post.send(Event::CallEnded(number, outcome));
    }
}

/// The heartbeat as sent over the wire.
pub(crate) fn body(heartbeat: &Heartbeat) -> Vec<u8> {
    serde_json::to_vec(heartbeat).expect("a heartbeat has text keys only")
}
