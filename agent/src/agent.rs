//! The agent's loop: waits for what is due next, and does it.

use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, Scope};
use std::time::Instant;

use fleetbeat_protocol::Heartbeat;
use fleetbeat_settings::show_duration;

use crate::config::Config;
use crate::delivery::Delivery;
use crate::host::{self, Host};
use crate::notify::Manager;
use crate::random;
use crate::sampler::Sampler;
use crate::schedule::{Schedule, Step};
use crate::sender::{Outcome, Sender};

/// What wakes the agent before something is due.
pub(crate) enum Event {
    /// It is to end.
    Stop,
    /// A call has ended.
    Called(Outcome),
}

/// Samples and sends until told to stop. A call has a thread of its own while it lasts, so that a slow server
/// takes no sample's time; it tells its outcome by `post`.
pub(crate) fn run(config: Config, sender: &Sender, post: &mpsc::Sender<Event>, events: &Receiver<Event>) {
    let (every, samples) = (config.sample_every, config.samples_per_heartbeat);
    log::info!("a heartbeat to {} every {}", config.server.url.base, show_duration(every * samples));
    let mut host = Host::new(config.host, config.roots, config.server.target());
    let mut sampler = Sampler::new(config.collectors);
    let mut delivery = Delivery::new(every * samples);
    let mut schedule = Schedule::new(Instant::now(), every, samples, random::fraction());
    let mut manager = Manager::ready(Instant::now());
    thread::scope(|scope| {
        loop {
            let (step_at, step) = schedule.next();
            let others = [delivery.due(), manager.due()];
            let wake_at = others.into_iter().flatten().fold(step_at, Instant::min);
            match events.recv_timeout(wake_at.saturating_duration_since(Instant::now())) {
                Ok(Event::Called(outcome)) => delivery.settle(outcome, Instant::now(), random::fraction()),
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => return manager.stopping(),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = Instant::now();
            manager.alive(now);
            if let Some(body) = delivery.begin(now) {
                call(scope, sender, body, post);
            }
            if step_at <= now {
                match step {
                    Step::Open => sampler.open(now, schedule.is_last_window(now)),
                    Step::Close => sampler.close(now, host::now()),
                    Step::Beat => {
                        if let Some(readings) = sampler.take() {
                            delivery.offer(body(&host.heartbeat(readings)), now);
                        }
                    }
                }
                schedule.done(now);
            }
        }
    });
}

/// Sends `body` in a thread.
fn call<'scope>(
    scope: &'scope Scope<'scope, '_>,
    sender: &'scope Sender,
    body: Vec<u8>,
    post: &mpsc::Sender<Event>,
) {
    let tell = post.clone();
    let send = move || {
        // Without an outcome, no further heartbeat would be sent.
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| sender.send(&body)));
        let outcome = outcome.unwrap_or_else(|_| Outcome::failed("the call panicked"));
        let _ = tell.send(Event::Called(outcome));
    };
    if let Err(error) = thread::Builder::new().name("call".to_owned()).spawn_scoped(scope, send) {
        let _ = post.send(Event::Called(Outcome::failed(format!("cannot start a thread: {error}"))));
    }
}

/// What goes over the wire.
pub(crate) fn body(heartbeat: &Heartbeat) -> Vec<u8> {
    serde_json::to_vec(heartbeat).expect("a heartbeat has text keys only")
}
