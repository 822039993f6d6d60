//! The agent's loop: waits for what is due next, and does it.

use std::time::Instant;

use fleetbeat_protocol::Heartbeat;

use crate::config::Config;
use crate::delivery::Delivery;
use crate::host::{self, Host};
use crate::random;
use crate::sampler::Sampler;
use crate::schedule::{Schedule, Step};
use crate::sender::Sender;
use crate::signal::Stop;

/// Samples and sends until told to stop.
pub(crate) fn run(config: Config, sender: &Sender, stop: &Stop) {
    let (every, samples) = (config.sample_every, config.samples_per_heartbeat);
    log::info!("a heartbeat to {} every {:?}", config.server.url.base, every * samples);
    let mut host = Host::new(config.host, config.roots, &config.server.url);
    let mut sampler = Sampler::new(config.collectors);
    let mut delivery = Delivery::new(every * samples);
    let mut schedule = Schedule::new(Instant::now(), every, samples, random::fraction());
    loop {
        let (step_at, step) = schedule.next();
        // A call can take long: it waits for the end of an open window, or that sample would be wrong.
        let due = delivery.due().filter(|_| step != Step::Close);
        if stop.wait_until(due.map_or(step_at, |(send_at, _)| send_at.min(step_at))) {
            return;
        }
        let now = Instant::now();
        if let Some((_, body)) = due.filter(|(send_at, _)| *send_at <= now) {
            let outcome = sender.send(body);
            delivery.settle(outcome, Instant::now(), random::fraction());
        } else if step_at <= now {
            match step {
                Step::Open => sampler.open(now),
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
}

/// What goes over the wire.
pub(crate) fn body(heartbeat: &Heartbeat) -> Vec<u8> {
    serde_json::to_vec(heartbeat).expect("a heartbeat has text keys only")
}
