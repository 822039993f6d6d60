//! What is on its way is sent: some threads that take one message at a time, each from a
//! channel that has none under way.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fleetbeat_alerts::{Alert, AlertState, Claim, Outcome, Settlement, Told};
use fleetbeat_channels::{Channel, Message, SendError};
use fleetbeat_daemon::clock;
use fleetbeat_daemon::lock::lock;
use fleetbeat_protocol::Timestamp;

use super::setup::{ReadyChannel, Setup};
use super::shared::Alerting;
use super::text::{self, Context};
use crate::jobs::Jobs;
use crate::metrics::Delivered;
use crate::recurring::log_if_due;
use crate::store::{DeliveryOutcome, EventKind, NewEvent, facts};

/// So many channels are sent to at once.
const SENDERS: usize = 4;
/// So many channels are reminded at once: a slow one delays the others only if there are as
/// many of its kind.
const REMINDERS: usize = 4;
/// The time between two looks for what is to be sent.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// What a delivery is told of whose channel nobody can open.
const CLOSED: &str = "closed";
/// What a delivery is told of whose message is damaged.
const DAMAGED: &str = "damaged";

/// Starts the senders.
///
/// # Errors
/// The system gives no further thread.
pub(super) fn start(jobs: &mut Jobs, alerting: &Arc<Alerting>) -> io::Result<()> {
    let gaps = Arc::new(Gaps::default());
    for number in 0..SENDERS {
        let (alerting, gaps) = (alerting.clone(), gaps.clone());
        jobs.start(format!("send-{number}"), move |stop, pulse| {
            let mut pause = LOOK_EVERY;
            while stop.wait(pause) {
                let was_sent = pulse.round(|| send_next(&alerting, &gaps));
                pause = if was_sent { Duration::ZERO } else { LOOK_EVERY };
            }
        })?;
    }
    let reminded = Arc::new(Reminded::default());
    for number in 0..REMINDERS {
        let (alerting, reminded) = (alerting.clone(), reminded.clone());
        jobs.start(format!("remind-{number}"), move |stop, pulse| {
            while stop.wait(LOOK_EVERY) {
                pulse.round(|| remind(&alerting, &reminded));
            }
        })?;
    }
    Ok(())
}

/// When each channel may be sent to again.
#[derive(Default)]
struct Gaps {
    until: Mutex<HashMap<String, Instant>>,
}

impl Gaps {
    fn is_free(&self, channel: &str) -> bool {
        let until = lock(&self.until).get(channel).copied();
        until.is_none_or(|until| until <= Instant::now())
    }

    fn begin(&self, channel: &str, gap: Duration) {
        lock(&self.until).insert(channel.to_owned(), Instant::now() + gap);
    }
}

/// A message that is to be sent now.
struct Work {
    claim: Claim,
    channel: Arc<ReadyChannel>,
}

/// Sends one message, if one is to be sent.
fn send_next(alerting: &Alerting, gaps: &Gaps) -> bool {
    let Some(work) = take(alerting, gaps, clock::now()) else {
        return false;
    };
    let outcome = send(alerting, &work);
    let gap = work.channel.sends.as_ref().map(Channel::gap);
    gaps.begin(&work.channel.id, gap.unwrap_or_default());
    settle(alerting, &work, outcome, clock::now());
    true
}

/// Takes the next message of a channel that has time. From then on it may have arrived,
/// and the store says so.
fn take(alerting: &Alerting, gaps: &Gaps, now: Timestamp) -> Option<Work> {
    let setup = alerting.setup();
    let name = |id: &str| setup.find(id).map(|channel| channel.kept.form.name.clone());
    let mut guard = lock(&alerting.engine);
    let engine = guard.as_mut()?;
    for id in engine.busy_channels() {
        let Some(channel) = setup.find(&id).filter(|_| gaps.is_free(&id)) else {
            continue;
        };
        let claim = engine.next_message(&id, now, |draft| {
            let context = Context {
                links: alerting.post.links(Some(&draft.delivery.id), now),
                channel_name: &name,
                now,
            };
            let message = text::message(draft, context);
            serde_json::to_string(&message).expect("a message is plain JSON")
        });
        let Some(claim) = claim else { continue };
        match alerting.store.claim_delivery(&claim.id, &claim.message) {
            Ok(Some(message)) => {
                let claim = Claim { message, ..claim };
                let channel = channel.clone();
                return Some(Work { claim, channel });
            }
            // Somebody else has decided about it, or the lease is lost.
            Ok(None) => {
                *guard = None;
                log::warn!("alerts are loaded again: a message is not as it was written");
            }
            Err(error) => {
                drop(guard);
                alerting.drop_engine(&error);
            }
        }
        return None;
    }
    None
}

fn send(alerting: &Alerting, work: &Work) -> Outcome {
    let Some(channel) = &work.channel.sends else {
        return Outcome::Failed {
            error: CLOSED.to_owned(),
            retry_after: None,
        };
    };
    let Ok(message) = serde_json::from_str::<Message>(&work.claim.message) else {
        return Outcome::Refused {
            error: DAMAGED.to_owned(),
        };
    };
    let name = &work.channel.kept.form.name;
    match channel.send(&message, &alerting.post.sender) {
        Ok(sent) => {
            for remark in sent.remarks {
                log_if_due(log::Level::Warn, "remarks of channels", name, || {
                    format!("channel {name:?}: {remark}")
                });
            }
            Outcome::Sent
        }
        Err(error) => {
            log_if_due(log::Level::Warn, "channels that fail", name, || {
                format!("channel {name:?} has not taken a message: {error}")
            });
            outcome(&error)
        }
    }
}

fn outcome(error: &SendError) -> Outcome {
    let class = error.class.name().to_owned();
    let error_text = match error.status {
        Some(status) => format!("{class} {status}"),
        None => class,
    };
    if error.is_permanent {
        Outcome::Refused { error: error_text }
    } else {
        Outcome::Failed {
            error: error_text,
            retry_after: error.retry_after,
        }
    }
}

/// Tells engine and store what has come of it. If the engine was dropped meanwhile, the
/// next one sends the message once more.
fn settle(alerting: &Alerting, work: &Work, outcome: Outcome, now: Timestamp) {
    let mut guard = lock(&alerting.engine);
    let Some(engine) = guard.as_mut() else { return };
    let Some(settlement) = engine.settled(&work.claim.id, outcome, now) else {
        return;
    };
    let (outcome, event, delivered) = match settlement {
        Settlement::Sent => (DeliveryOutcome::Sent { at: now }, None, Delivered::Sent),
        Settlement::Again { at, error } => {
            let again = DeliveryOutcome::Again { next_at: at, error };
            (again, None, Delivered::Failed)
        }
        Settlement::Dead { error } => {
            let event = given_up(work, &error, now);
            let dead = DeliveryOutcome::Dead { at: now, error };
            (dead, Some(event), Delivered::Dead)
        }
    };
    let kind = &work.channel.kept.form.kind;
    alerting.metrics.alerts.delivered(kind, delivered);
    let id = &work.claim.id;
    if let Err(error) = alerting.store.settle_delivery(id, &outcome, event.as_ref()) {
        drop(guard);
        alerting.drop_engine(&error);
    }
}

fn given_up(work: &Work, error: &str, now: Timestamp) -> NewEvent {
    let told = facts([
        ("delivery", work.claim.id.as_str().into()),
        ("channel", work.channel.id.as_str().into()),
        ("name", work.channel.kept.form.name.as_str().into()),
        ("error", error.into()),
    ]);
    NewEvent::new(EventKind::DeliveryDead, now, told)
}

/// When each channel that forgets was reminded last.
#[derive(Default)]
struct Reminded {
    at: Mutex<HashMap<String, Instant>>,
}

impl Reminded {
    /// The next channel that is to be reminded, which then counts as reminded: no other
    /// thread takes it.
    fn take(&self, setup: &Setup) -> Option<Arc<ReadyChannel>> {
        let mut at = lock(&self.at);
        at.retain(|id, _| setup.find(id).is_some());
        let is_due = |channel: &&Arc<ReadyChannel>| {
            let sends = channel.sends.as_ref().filter(|_| channel.kept.form.enabled);
            let Some(interval) = sends.and_then(Channel::keeps_alive) else {
                return false;
            };
            let last = at.get(&channel.id);
            last.is_none_or(|last| last.elapsed() >= interval)
        };
        let due = setup.channels.iter().find(is_due)?.clone();
        at.insert(due.id.clone(), Instant::now());
        Some(due)
    }
}

/// Tells channels that forget what fires still.
fn remind(alerting: &Alerting, reminded: &Reminded) {
    while let Some(channel) = reminded.take(&alerting.setup()) {
        let now = clock::now();
        let message = {
            let guard = lock(&alerting.engine);
            let Some(engine) = guard.as_ref() else {
                continue;
            };
            let told = engine.alerts().filter(|alert| is_told(alert, &channel.id));
            let told: Vec<&Alert> = told.collect();
            if told.is_empty() {
                continue;
            }
            text::alive(&told, alerting.post.links(None, now), now)
        };
        // The next one comes soon.
        let sends = channel.sends.as_ref();
        let _ = sends.map(|sends| sends.send(&message, &alerting.post.sender));
    }
}

/// Whether the channel knows that the alert fires.
fn is_told(alert: &Alert, channel: &str) -> bool {
    let told = alert.told.get(channel).map(|mark| &mark.told);
    alert.state == AlertState::Firing && matches!(told, Some(Told::Told { .. }))
}
