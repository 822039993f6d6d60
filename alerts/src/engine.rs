//! The engine: shown the fleet, it says what to write, and hands out what to send.

use std::collections::{HashMap, HashSet};

use fleetbeat_protocol::{Rule, Severity, Timestamp};

use crate::alert::{Alert, AlertState, Told};
use crate::audience::Audience;
use crate::book::Book;
use crate::deaf;
use crate::delivery::{
    Claim, Delivery, DeliveryKind, DeliveryState, Draft, DraftItem, Outcome, Settlement,
};
use crate::episode;
use crate::fleet::{Fleet, Memory};
use crate::holds::{self, Holds};
use crate::ids::{Chance, Random};
use crate::judge::Judge;
use crate::load;
use crate::look::{ChannelPolicy, FleetHost, Look};
use crate::news::News;
use crate::outbox::Outbox;
use crate::pairing;
use crate::plan::Plan;
use crate::saved::{EngineState, Saved, SavedDelivery};
use crate::telling::{GroupClocks, Teller};

/// All alerts and deliveries that are not over, and the way from one look to the next.
///
/// An engine belongs to whoever alone may write alerts. It changes as if all it says were
/// written: if something cannot be, it is dropped, and another one is loaded.
pub struct Engine {
    book: Book,
    outbox: Outbox,
    clocks: GroupClocks,
    memory: Memory,
    /// The rules' versions that were judged last, by id.
    judged: HashMap<String, i64>,
    /// The channels that take messages.
    open_channels: HashSet<String>,
    state: EngineState,
    /// The state that was written last.
    written: Option<EngineState>,
    chance: Chance,
}

impl Engine {
    /// The engine that goes on where the saved one was stopped or killed. `random` gives
    /// the ids of what is new.
    pub fn load(mut saved: Saved, random: Random) -> Engine {
        let mended = load::mend(&mut saved);
        let clocks = load::clocks(saved.alerts.iter());
        let mut book = Book::load(saved.alerts);
        for id in &mended {
            book.change(id);
        }
        let written = saved.state.clone();
        let mut state = saved.state.unwrap_or_default();
        let numbers = saved.deliveries.iter().map(|saved| saved.delivery.number);
        let next = numbers.max().map_or(0, |newest| newest + 1);
        state.next_number = state.next_number.max(next);

        Engine {
            book,
            outbox: load::outbox(saved.deliveries),
            clocks,
            memory: Memory::default(),
            judged: HashMap::new(),
            open_channels: HashSet::new(),
            state,
            written,
            chance: Chance(random),
        }
    }

    /// What the engine remembers besides alerts and deliveries.
    pub fn state(&self) -> &EngineState {
        &self.state
    }

    /// The alerts that are not over, and those whose end is not told yet.
    pub fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.book.all()
    }

    /// When the oldest delivery that is on its way was queued.
    pub fn oldest_waiting(&self) -> Option<Timestamp> {
        self.outbox
            .all()
            .map(|queued| queued.delivery.created_at)
            .min()
    }

    /// How many deliveries are on their way.
    pub fn waiting(&self) -> usize {
        self.outbox.all().count()
    }

    /// Looks at the fleet. The plan has to be written before the next look, and before
    /// the next message is asked for.
    pub fn tick<H: FleetHost>(&mut self, look: &Look<'_, H>) -> Plan {
        // All that was said at the last look has been written.
        self.state.written_below = self.state.next_number;
        self.book.forget(look.now, Saved::ended_after(look.now));
        if self.memory.note_time(look.now, look.elapsed) {
            episode::count_anew(&mut self.book, look.now);
        }
        self.take_acks(look);
        self.take_retried(look.retried);
        self.take_channels(look.channels);

        let mut deliveries = self.judge_and_tell(look);
        deliveries.extend(self.tell_of_failing(look));
        let digests = self
            .outbox
            .fold(&mut self.chance, &mut self.state, look.now);
        deliveries.extend(digests);
        self.state.events_after = self.state.events_after.max(look.events_through);
        self.plan(deliveries)
    }

    fn plan(&mut self, deliveries: Vec<Delivery>) -> Plan {
        let (alerts, events) = self.book.take_changes();
        let is_changed = self.written.as_ref() != Some(&self.state);
        let state = is_changed.then(|| self.state.clone());
        self.written = Some(self.state.clone());
        Plan {
            alerts,
            events,
            state,
            deliveries,
            changed_waiting: self.outbox.take_changes(),
        }
    }

    fn judge_and_tell<H: FleetHost>(&mut self, look: &Look<'_, H>) -> Vec<Delivery> {
        let rules = look.rules.iter();
        let rules: HashMap<&str, &Rule> = rules
            .map(|stored| (stored.id.as_str(), &stored.rule))
            .collect();
        self.memory
            .prepare(holds::selectors(rules.values().copied(), look.mutes));
        self.judged.retain(|id, _| rules.contains_key(id.as_str()));

        let fleet = Fleet::new(look, &mut self.memory);
        deaf::judge(&fleet, &mut self.book, &mut self.chance);
        let mut judge = Judge {
            fleet: &fleet,
            book: &mut self.book,
            chance: &mut self.chance,
            judged: &mut self.judged,
        };
        judge.judge();

        let audience = Audience::new(look, &rules);
        let holds = Holds::new(&fleet, &self.book, &audience);
        let mut teller = Teller {
            fleet: &fleet,
            holds: &holds,
            audience: &audience,
            book: &mut self.book,
            outbox: &mut self.outbox,
            clocks: &mut self.clocks,
            chance: &mut self.chance,
            state: &mut self.state,
        };
        teller.tell()
    }

    fn take_acks<H>(&mut self, look: &Look<'_, H>) {
        let acks = look.acks.iter().map(|(id, ack)| (id.as_str(), ack));
        let acks: HashMap<_, _> = acks.collect();
        for id in self.book.ids() {
            let ack = acks.get(id.as_str()).copied();
            let alert = self.book.get(&id).filter(|alert| alert.is_open());
            if alert.is_some_and(|alert| alert.ack.as_ref() != ack)
                && let Some(alert) = self.book.change(&id)
            {
                alert.ack = ack.cloned();
            }
        }
    }

    /// Takes back in what was dead: a firing may arrive after all.
    fn take_retried(&mut self, retried: &[SavedDelivery]) {
        for saved in retried {
            if saved.tries == 0 || self.outbox.has(&saved.delivery.id) {
                continue;
            }
            for (item, origin) in saved.delivery.origins() {
                let channel = &saved.delivery.channel;
                self.mark(&item.alert, channel, |told| pairing::revived(told, origin));
            }
            self.outbox.insert(load::queued(saved.clone()));
        }
    }

    /// What is for a channel that is gone is given up.
    fn take_channels(&mut self, channels: &[ChannelPolicy]) {
        let known: HashSet<&str> = channels.iter().map(|c| c.id.as_str()).collect();
        for id in self.outbox.of_other_channels(&known) {
            self.outbox.drop_as(&id, DeliveryState::Dead);
        }
        self.state
            .failing
            .retain(|id, _| known.contains(id.as_str()));
        let open = channels.iter().filter(|channel| channel.enabled);
        self.open_channels = open.map(|channel| channel.id.clone()).collect();
    }

    /// Tells one channel that another one fails.
    fn tell_of_failing<H>(&mut self, look: &Look<'_, H>) -> Vec<Delivery> {
        let mut notices = Vec::new();
        for channel in self.state.failing_untold(look.now) {
            let works = |other: &&ChannelPolicy| {
                let failing = self.state.failing.get(&other.id);
                other.enabled && failing.is_none_or(|failing| failing.tries == 0)
            };
            let Some(other) = look.channels.iter().find(works) else {
                continue;
            };
            let Some(failing) = self.state.failing.get_mut(&channel) else {
                continue;
            };
            failing.told_at = Some(look.now);
            let since = failing.since;
            let notice = Delivery {
                id: self.chance.id("dlv"),
                number: self.state.take_number(),
                channel: other.id.clone(),
                kind: DeliveryKind::ChannelFails { channel, since },
                created_at: look.now,
                items: Vec::new(),
                folds: Vec::new(),
            };
            self.outbox.queue(notice.clone());
            notices.push(notice);
        }
        notices
    }

    /// The channels for which something is on its way.
    pub fn busy_channels(&self) -> Vec<String> {
        self.outbox.channels()
    }

    /// What is to be sent to a channel now, if anything: one delivery at a time, in their
    /// order. At its first try `render` writes the message, of the alerts as they are
    /// now. The claim has to be written before it is sent, and [`Engine::settled`] told
    /// of the outcome.
    pub fn next_message(
        &mut self,
        channel: &str,
        now: Timestamp,
        render: impl FnOnce(&Draft<'_>) -> String,
    ) -> Option<Claim> {
        if !self.open_channels.contains(channel) {
            return None;
        }
        let id = self.next_id(channel, now)?;
        let queued = self.outbox.get(&id)?;
        let message = match &queued.message {
            Some(message) => message.clone(),
            None => render(&self.draft(&queued.delivery)),
        };
        if queued.tries == 0 || queued.message.is_none() {
            self.note_tried(&queued.delivery.clone());
        }
        let queued = self.outbox.change(&id)?;
        let tries = queued.tries;
        queued.tries += 1;
        queued.is_in_flight = true;
        queued.message = Some(message.clone());
        Some(Claim {
            id,
            channel: channel.to_owned(),
            tries,
            message,
        })
    }

    /// The delivery whose turn it is. Those of which nothing is left to tell are let go.
    fn next_id(&mut self, channel: &str, now: Timestamp) -> Option<String> {
        loop {
            let next = self.outbox.next(channel, now)?;
            let delivery = &next.delivery;
            let is_notice = matches!(delivery.kind, DeliveryKind::ChannelFails { .. });
            let id = delivery.id.clone();
            if next.message.is_some() || is_notice || !self.items(delivery).is_empty() {
                return Some(id);
            }
            self.outbox.drop_as(&id, DeliveryState::Folded);
        }
    }

    /// What a delivery says of each alert, as things are now: of each the last.
    fn items(&self, delivery: &Delivery) -> Vec<(&Alert, News)> {
        let mut items: Vec<(&Alert, News)> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        for (item, origin) in delivery.origins() {
            let Some(alert) = self.book.get(&item.alert) else {
                continue;
            };
            let Some(news) = said(alert, &delivery.channel, origin, item.news) else {
                continue;
            };
            match places.get(item.alert.as_str()) {
                Some(place) => items[*place] = (alert, news),
                None => {
                    places.insert(&item.alert, items.len());
                    items.push((alert, news));
                }
            }
        }
        items
    }

    fn draft<'a>(&'a self, delivery: &'a Delivery) -> Draft<'a> {
        let items = self.items(delivery);
        let severity = items.iter().map(|(alert, _)| alert.severity).max();
        let firing = match &delivery.kind {
            DeliveryKind::Alerts { rule, group } => {
                let firing = self.book.all().filter(|alert| {
                    alert.state == AlertState::Firing
                        && alert.rule == *rule
                        && alert.group == *group
                });
                firing.count()
            }
            _ => 0,
        };
        Draft {
            delivery,
            severity: severity.unwrap_or(Severity::Warning),
            firing,
            also: self.also(&items),
            items: items
                .into_iter()
                .map(|(alert, news)| self.draft_item(alert, news, delivery))
                .collect(),
        }
    }

    fn draft_item<'a>(
        &self,
        alert: &'a Alert,
        news: News,
        delivery: &Delivery,
    ) -> DraftItem<'a> {
        let mark = alert.told.get(&delivery.channel);
        let firing = mark.and_then(|mark| match &mark.told {
            Told::Told { firing } | Told::Recovering { firing, .. } => {
                Some(firing.clone())
            }
            _ => None,
        });
        let firing = firing.map(|mut firing| {
            firing.id = self.outbox.holder(&firing.id).to_owned();
            firing
        });
        let is_over = matches!(news, News::Resolved | News::Short);
        let dropped = crate::alert::EndReason::ChannelRemoved;
        let reason = if alert.is_open() {
            Some(dropped)
        } else {
            alert.reason
        };
        DraftItem {
            alert,
            news,
            reason: reason.filter(|_| is_over),
            firing,
        }
    }

    /// What else fires on the host, if all is about one.
    fn also(&self, items: &[(&Alert, News)]) -> Vec<&Alert> {
        let hosts = items.iter().map(|(alert, _)| alert.subject.server_id());
        let hosts: HashSet<Option<&str>> = hosts.collect();
        let host = hosts.iter().copied().next().flatten();
        let Some(host) = host.filter(|_| hosts.len() == 1) else {
            return Vec::new();
        };
        let told: HashSet<&str> =
            items.iter().map(|(alert, _)| alert.id.as_str()).collect();
        let others = self.book.all().filter(|alert| {
            alert.state == AlertState::Firing
                && alert.subject.server_id() == Some(host)
                && !told.contains(alert.id.as_str())
        });
        others.collect()
    }

    /// From now on the message may have arrived.
    fn note_tried(&mut self, delivery: &Delivery) {
        let channel = &delivery.channel;
        let items = self.items(delivery).into_iter();
        let flapping = items.filter(|(_, news)| *news == News::Flapping);
        let flapping: Vec<String> = flapping.map(|(alert, _)| alert.id.clone()).collect();

        for (item, origin) in delivery.origins() {
            self.mark(&item.alert, channel, |told| pairing::tried(told, origin));
        }
        for id in flapping {
            if let Some(alert) = self.book.change(&id)
                && let Some(mark) = alert.told.get_mut(channel)
            {
                mark.flapping = true;
            }
        }
    }

    /// What becomes of a delivery after a try, which has to be written. `None` for one
    /// that this engine has not handed out.
    pub fn settled(
        &mut self,
        id: &str,
        outcome: Outcome,
        now: Timestamp,
    ) -> Option<Settlement> {
        let settled = self.outbox.settle(id, outcome, &mut self.chance, now);
        let (settlement, delivery) = settled?;
        match &settlement {
            Settlement::Sent => self.state.note_success(&delivery.channel, now),
            _ => self.state.note_failure(&delivery.channel, now),
        }
        if matches!(settlement, Settlement::Dead { .. }) {
            for (item, origin) in delivery.origins() {
                let channel = &delivery.channel;
                self.mark(&item.alert, channel, |told| pairing::died(told, origin));
            }
        }
        Some(settlement)
    }

    /// Changes what a channel has been told of an alert.
    fn mark(&mut self, alert: &str, channel: &str, change: impl FnOnce(Told) -> Told) {
        let mark = self
            .book
            .get(alert)
            .and_then(|alert| alert.told.get(channel));
        let Some(before) = mark.map(|mark| mark.told.clone()) else {
            return;
        };
        let after = change(before.clone());
        if after != before
            && let Some(alert) = self.book.change(alert)
            && let Some(mark) = alert.told.get_mut(channel)
        {
            mark.told = after;
        }
    }
}

/// What an item says of an alert, as things are now.
fn said(alert: &Alert, channel: &str, origin: &str, item: News) -> Option<News> {
    let mark = alert.told.get(channel)?;
    match pairing::said(&mark.told, origin, item)? {
        News::Firing if alert.flapping => Some(News::Flapping),
        News::Flapping if !alert.flapping => None,
        News::Settled if alert.flapping => None,
        News::Repeat | News::Flapping | News::Settled if !alert.is_open() => None,
        news => Some(news),
    }
}
