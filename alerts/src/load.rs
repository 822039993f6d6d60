//! What the store has is made into what the engine goes on with.
//!
//! The engine may have been killed between any two writes. Alerts are written before the
//! deliveries that they name, so an alert may name one that is not there: then nothing
//! was queued. And a delivery may have been tried after the alert was written last.

use std::collections::{HashMap, HashSet};

use fleetbeat_protocol::Timestamp;

use crate::alert::{Alert, Mark, Told};
use crate::delivery::DeliveryState;
use crate::news::News;
use crate::outbox::{Outbox, Queued};
use crate::pairing;
use crate::saved::{Saved, SavedDelivery};
use crate::telling::{GroupClock, GroupClocks, GroupKey};

/// What became of the deliveries that the store has, by id.
struct Fates {
    by_id: HashMap<String, Fate>,
    /// Every delivery with a smaller number was written.
    written_below: i64,
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Untried,
    Tried,
    Dead,
    /// It was never written.
    Lost,
}

/// Makes the alerts' marks true. Gives the ids of the alerts that it has changed.
pub(crate) fn mend(saved: &mut Saved) -> HashSet<String> {
    let fates = Fates::new(saved);
    let mut mended = HashSet::new();
    for alert in &mut saved.alerts {
        let fired_at = alert.fired_at.unwrap_or(alert.opened_at);
        for mark in alert.told.values_mut() {
            let before = mark.clone();
            fates.mend(mark, fired_at);
            if *mark != before {
                mended.insert(alert.id.clone());
            }
        }
    }
    mended
}

impl Fates {
    fn new(saved: &Saved) -> Fates {
        let mut deliveries: Vec<&SavedDelivery> = saved.deliveries.iter().collect();
        deliveries.sort_by_key(|saved| saved.delivery.number);
        let mut by_id = HashMap::new();
        for saved in deliveries {
            let fate = match saved.state {
                DeliveryState::Waiting if saved.tries == 0 => Fate::Untried,
                DeliveryState::Dead | DeliveryState::Dismissed => Fate::Dead,
                DeliveryState::Folded if saved.tries == 0 => Fate::Untried,
                _ => Fate::Tried,
            };
            // A digest is younger than what it has taken over, and speaks for it.
            by_id.insert(saved.delivery.id.clone(), fate);
            for id in &saved.delivery.folds {
                by_id.insert(id.clone(), fate);
            }
        }
        let written_below = saved.state.as_ref().map_or(0, |state| state.written_below);
        Fates {
            by_id,
            written_below,
        }
    }

    /// What is not there and was written once has been sent long ago.
    fn of(&self, id: &str, number: i64) -> Fate {
        let unknown = if number < self.written_below {
            Fate::Tried
        } else {
            Fate::Lost
        };
        self.by_id.get(id).copied().unwrap_or(unknown)
    }

    fn mend(&self, mark: &mut Mark, fired_at: Timestamp) {
        let named: Vec<_> = match &mark.told {
            Told::Waiting { firing: one } | Told::Short { message: one } => vec![one],
            Told::Told { firing } | Told::Dead { firing } => vec![firing],
            Told::Recovering { firing, recovery } => vec![firing, recovery],
            Told::Untold | Told::Closed => Vec::new(),
        };
        let named: Vec<_> = named.into_iter().cloned().collect();
        for delivery in named {
            let told = std::mem::replace(&mut mark.told, Told::Closed);
            let id = &delivery.id;
            mark.told = match self.of(id, delivery.number) {
                Fate::Untried => told,
                // Somebody may have had a dead one tried again.
                Fate::Tried if self.by_id.contains_key(id) => {
                    pairing::revived(pairing::tried(told, id), id)
                }
                Fate::Tried => pairing::tried(told, id),
                Fate::Dead => pairing::died(told, id),
                Fate::Lost => pairing::lost(told, id),
            };
        }

        let reminder = mark
            .reminder
            .as_ref()
            .map(|last| (&last.delivery, last.news));
        let is_lost = reminder
            .filter(|(delivery, _)| self.of(&delivery.id, delivery.number) == Fate::Lost);
        if let Some((_, news)) = is_lost {
            match news {
                News::Flapping => mark.flapping = false,
                News::Settled => mark.flapping = true,
                _ => {
                    mark.at = fired_at;
                    mark.counted = mark.counted.map(|_| 0);
                }
            }
            mark.reminder = None;
        }
    }
}

/// The outbox of what is on its way.
pub(crate) fn outbox(deliveries: Vec<SavedDelivery>) -> Outbox {
    let mut deliveries = deliveries;
    deliveries.sort_by_key(|saved| saved.delivery.number);
    let folded: HashSet<String> = deliveries
        .iter()
        .flat_map(|saved| saved.delivery.folds.iter().cloned())
        .collect();

    let mut outbox = Outbox::default();
    for saved in deliveries {
        let is_open =
            matches!(saved.state, DeliveryState::Waiting | DeliveryState::Sending);
        if !is_open {
            outbox.note_folds(&saved.delivery);
            continue;
        }
        // The digest was written, and the engine killed before this one was marked.
        if folded.contains(&saved.delivery.id) {
            outbox.note_change(saved.delivery, DeliveryState::Folded);
            continue;
        }
        outbox.insert(queued(saved));
    }
    outbox
}

/// A delivery as the store has it, on its way. One that was being sent may have arrived,
/// and is sent again.
pub(crate) fn queued(saved: SavedDelivery) -> Queued {
    let is_tried = saved.state == DeliveryState::Sending || saved.tries > 0;
    Queued {
        delivery: saved.delivery,
        tries: saved.tries.max(u32::from(is_tried)),
        next_at: saved.next_at,
        message: saved.message.filter(|_| is_tried),
        is_in_flight: false,
    }
}

/// When each group was told last, as the marks have it.
pub(crate) fn clocks<'a>(alerts: impl Iterator<Item = &'a Alert>) -> GroupClocks {
    let mut clocks = GroupClocks::new();
    for alert in alerts {
        let told = alert.told.iter();
        for (channel, mark) in told.filter(|(_, mark)| mark.told != Told::Untold) {
            let key = GroupKey {
                rule: alert.rule.clone(),
                group: alert.group.clone(),
                channel: channel.clone(),
            };
            let clock: &mut GroupClock = clocks.entry(key).or_default();
            clock.told_at = clock.told_at.max(Some(mark.at));
        }
    }
    clocks
}
