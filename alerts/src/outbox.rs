//! The deliveries that are on their way, in their order, and when each is tried again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use fleetbeat_protocol::Timestamp;

use crate::delivery::{Delivery, DeliveryKind, DeliveryState, Outcome, Settlement};
use crate::ids::Chance;
use crate::plan::WaitingChange;
use crate::saved::{EngineState, Failing};
use crate::time::{after, between};

/// How long a delivery waits after its first tries, in seconds; then each time the last.
const PAUSES_S: [u64; 6] = [5, 15, 45, 120, 300, 600];
/// After so long a delivery is given up.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(86_400);
/// If more deliveries wait for a channel, one digest takes their place.
const MOST_WAITING: usize = 20;
/// After so many failures in a row another channel is told.
const FAILS_TOLD: u32 = 3;
/// That is told once in so long.
const FAILS_TOLD_EVERY: Duration = Duration::from_secs(86_400);

/// A delivery on its way.
pub(crate) struct Queued {
    pub(crate) delivery: Delivery,
    /// How often it has been tried.
    pub(crate) tries: u32,
    /// Not before.
    pub(crate) next_at: Timestamp,
    /// What is sent at each try, once it has been tried.
    pub(crate) message: Option<String>,
    pub(crate) is_in_flight: bool,
}

/// All deliveries on their way.
#[derive(Default)]
pub(crate) struct Outbox {
    /// By channel, then in their order.
    queues: HashMap<String, BTreeMap<i64, Queued>>,
    /// By id.
    places: HashMap<String, (String, i64)>,
    /// What has become of folded ones: the delivery that has their items.
    folded: HashMap<String, String>,
    changes: Vec<WaitingChange>,
}

impl Outbox {
    /// Takes a delivery in.
    pub(crate) fn insert(&mut self, queued: Queued) {
        let delivery = &queued.delivery;
        let (channel, number) = (delivery.channel.clone(), delivery.number);
        self.places
            .insert(delivery.id.clone(), (channel.clone(), number));
        self.note_folds(&queued.delivery);
        self.queues
            .entry(channel)
            .or_default()
            .insert(number, queued);
    }

    /// Takes a new delivery in.
    pub(crate) fn queue(&mut self, delivery: Delivery) {
        self.insert(Queued {
            next_at: delivery.created_at,
            delivery,
            tries: 0,
            message: None,
            is_in_flight: false,
        });
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Queued> {
        let (channel, number) = self.places.get(id)?;
        self.queues.get(channel)?.get(number)
    }

    pub(crate) fn change(&mut self, id: &str) -> Option<&mut Queued> {
        let (channel, number) = self.places.get(id)?;
        self.queues.get_mut(channel)?.get_mut(number)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Queued> {
        self.queues.values().flat_map(BTreeMap::values)
    }

    /// The channels for which something is on its way.
    pub(crate) fn channels(&self) -> Vec<String> {
        let mut channels: Vec<String> = self.queues.keys().cloned().collect();
        channels.sort_unstable();
        channels
    }

    /// Remembers which deliveries a digest speaks for.
    pub(crate) fn note_folds(&mut self, digest: &Delivery) {
        for id in &digest.folds {
            self.folded.insert(id.clone(), digest.id.clone());
        }
    }

    /// Whether the delivery, or the digest that has its items, is on its way.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.places.contains_key(self.holder(id))
    }

    /// The delivery that has the items of this one: itself, or a digest.
    pub(crate) fn holder<'a>(&'a self, id: &'a str) -> &'a str {
        self.folded.get(id).map_or(id, String::as_str)
    }

    /// The next delivery of a channel, if it is due: one at a time, in their order.
    pub(crate) fn next(&self, channel: &str, now: Timestamp) -> Option<&Queued> {
        let queue = self.queues.get(channel)?;
        if queue.values().any(|queued| queued.is_in_flight) {
            return None;
        }
        let (_, first) = queue.first_key_value()?;
        // What is due far in the future was put off before the clock jumped back.
        let longest = after(now, GIVEN_UP_AFTER);
        let is_due = first.next_at <= now || first.next_at > longest;
        is_due.then_some(first)
    }

    pub(crate) fn remove(&mut self, id: &str) -> Option<Queued> {
        let (channel, number) = self.places.remove(id)?;
        let queue = self.queues.get_mut(&channel)?;
        let queued = queue.remove(&number);
        if queue.is_empty() {
            self.queues.remove(&channel);
        }
        queued
    }

    /// Lets a delivery go of which nothing is left to tell, or whose channel is gone.
    pub(crate) fn drop_as(&mut self, id: &str, state: DeliveryState) -> Option<Delivery> {
        let delivery = self.remove(id)?.delivery;
        self.note_change(delivery.clone(), state);
        Some(delivery)
    }

    pub(crate) fn note_change(&mut self, delivery: Delivery, state: DeliveryState) {
        self.changes.push(WaitingChange { delivery, state });
    }

    pub(crate) fn take_changes(&mut self) -> Vec<WaitingChange> {
        std::mem::take(&mut self.changes)
    }

    /// The ids of the deliveries whose channel is not one of these.
    pub(crate) fn of_other_channels(&self, known: &HashSet<&str>) -> Vec<String> {
        let queues = self.queues.iter();
        let others = queues.filter(|(channel, _)| !known.contains(channel.as_str()));
        let others = others.flat_map(|(_, queue)| queue.values());
        others
            .filter(|queued| !queued.is_in_flight)
            .map(|queued| queued.delivery.id.clone())
            .collect()
    }

    /// Takes an item out of a delivery that nobody has tried. That an empty one is let go
    /// is noticed when its turn comes.
    pub(crate) fn take_out(&mut self, id: &str, alert: &str) {
        let holder = self.holder(id).to_owned();
        if let Some(queued) = self.change(&holder).filter(|queued| queued.tries == 0) {
            queued.delivery.items.retain(|item| item.alert != alert);
            let delivery = queued.delivery.clone();
            self.note_change(delivery, DeliveryState::Waiting);
        }
    }

    /// The digests that take the place of too many waiting deliveries. They are in the
    /// outbox, and still to be written.
    pub(crate) fn fold(
        &mut self,
        chance: &mut Chance,
        state: &mut EngineState,
        now: Timestamp,
    ) -> Vec<Delivery> {
        let mut digests = Vec::new();
        for channel in self.channels() {
            let ids = self.foldable(&channel);
            if ids.len() <= MOST_WAITING {
                continue;
            }

            let mut digest = Delivery {
                id: chance.id("dlv"),
                number: state.take_number(),
                channel,
                kind: DeliveryKind::Digest,
                created_at: now,
                items: Vec::new(),
                folds: Vec::new(),
            };
            for id in ids {
                if let Some(folded) = self.drop_as(&id, DeliveryState::Folded) {
                    take_items(&mut digest, folded);
                }
            }
            self.queue(digest.clone());
            digests.push(digest);
        }
        digests
    }

    fn foldable(&self, channel: &str) -> Vec<String> {
        let queue = self.queues.get(channel).into_iter().flatten();
        let untried = queue.filter(|(_, queued)| {
            let is_notice =
                matches!(queued.delivery.kind, DeliveryKind::ChannelFails { .. });
            queued.tries == 0 && !queued.is_in_flight && !is_notice
        });
        untried
            .map(|(_, queued)| queued.delivery.id.clone())
            .collect()
    }

    /// What becomes of a delivery that was tried. `None` if it is not on its way.
    pub(crate) fn settle(
        &mut self,
        id: &str,
        outcome: Outcome,
        chance: &mut Chance,
        now: Timestamp,
    ) -> Option<(Settlement, Delivery)> {
        let queued = self.change(id)?;
        queued.is_in_flight = false;
        let delivery = queued.delivery.clone();
        let settlement = match outcome {
            Outcome::Sent => Settlement::Sent,
            Outcome::Refused { error } => Settlement::Dead { error },
            Outcome::Failed { error, retry_after } => {
                let pause = pause(queued.tries, chance);
                let pause = pause.max(retry_after.unwrap_or_default());
                if between(delivery.created_at, now) >= GIVEN_UP_AFTER {
                    Settlement::Dead { error }
                } else {
                    let at = after(now, pause.min(GIVEN_UP_AFTER));
                    queued.next_at = at;
                    Settlement::Again { at, error }
                }
            }
        };
        if !matches!(settlement, Settlement::Again { .. }) {
            self.remove(id);
        }
        Some((settlement, delivery))
    }
}

/// Takes over the items, each with the delivery for which it was queued first.
fn take_items(digest: &mut Delivery, folded: Delivery) {
    let Delivery {
        id, items, folds, ..
    } = folded;
    let origin = Some(id.clone());
    for mut item in items {
        item.taken_from = item.taken_from.or_else(|| origin.clone());
        digest.items.push(item);
    }
    digest.folds.extend(folds);
    digest.folds.push(id);
}

/// How long to wait after so many tries.
fn pause(tries: u32, chance: &mut Chance) -> Duration {
    let place = (tries.max(1) - 1) as usize;
    let last = PAUSES_S.len() - 1;
    let seconds = PAUSES_S.get(place).unwrap_or(&PAUSES_S[last]);
    Duration::from_secs(*seconds).mul_f64(chance.around_one())
}

impl EngineState {
    /// The number of a new delivery.
    pub(crate) fn take_number(&mut self) -> i64 {
        self.next_number += 1;
        self.next_number - 1
    }

    /// Notes that a try has failed.
    pub(crate) fn note_failure(&mut self, channel: &str, now: Timestamp) {
        let failing = self.failing.entry(channel.to_owned()).or_insert(Failing {
            since: now,
            tries: 0,
            told_at: None,
        });
        if failing.tries == 0 {
            failing.since = now;
        }
        failing.tries = failing.tries.saturating_add(1);
    }

    /// Notes that a channel works. When another one was told that it does not is
    /// remembered, so that this is not told again soon.
    pub(crate) fn note_success(&mut self, channel: &str, now: Timestamp) {
        let Some(failing) = self.failing.get_mut(channel) else {
            return;
        };
        failing.tries = 0;
        let is_old = |told: Timestamp| between(told, now) >= FAILS_TOLD_EVERY;
        if failing.told_at.is_none_or(is_old) {
            self.failing.remove(channel);
        }
    }

    /// The channels that fail and of which another one is to be told now.
    pub(crate) fn failing_untold(&self, now: Timestamp) -> Vec<String> {
        let failing = self.failing.iter().filter(|(_, failing)| {
            let told_at = failing.told_at;
            failing.tries >= FAILS_TOLD
                && told_at.is_none_or(|at| between(at, now) >= FAILS_TOLD_EVERY)
        });
        failing.map(|(channel, _)| channel.clone()).collect()
    }
}
