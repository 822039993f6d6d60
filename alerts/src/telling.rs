//! Who is told what at one look: for each alert and channel the rule of pairing is asked,
//! and what is to be told is gathered in groups, whose messages keep their distance.

use std::collections::BTreeMap;
use std::time::Duration;

use fleetbeat_protocol::{Severity, Timestamp};

use crate::alert::{Alert, AlertState, DEAF_RULE, HeldBy, Mark, Reminder, Told};
use crate::audience::{Audience, Call, Ear};
use crate::book::Book;
use crate::delivery::{Delivery, DeliveryItem, DeliveryKind};
use crate::fleet::Fleet;
use crate::holds::Holds;
use crate::ids::Chance;
use crate::look::FleetHost;
use crate::news::News;
use crate::outbox::Outbox;
use crate::pairing::{self, Sight, Step, Worth};
use crate::saved::EngineState;
use crate::time::between;

/// What was open for less is not worth a message once it is over, unless it is critical.
const WORTH_TELLING: Duration = Duration::from_secs(300);
/// How long messages of a group wait whose rule is gone.
const USUAL_WAIT: Duration = Duration::from_secs(30);
/// How far apart messages of a group are whose rule is gone.
const USUAL_INTERVAL: Duration = Duration::from_secs(300);

/// How far apart messages are that the server hears nobody: the end is waited for.
const DEAF_INTERVAL: Duration = Duration::from_secs(60);

/// What is told together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GroupKey {
    pub(crate) rule: String,
    pub(crate) group: Vec<(String, String)>,
    pub(crate) channel: String,
}

/// When a group's next message may be.
#[derive(Debug, Default)]
pub(crate) struct GroupClock {
    /// Since when there is something to tell.
    waits_since: Option<Timestamp>,
    /// When the last message was queued.
    pub(crate) told_at: Option<Timestamp>,
}

/// The clocks of all groups.
pub(crate) type GroupClocks = BTreeMap<GroupKey, GroupClock>;

/// What stands between a channel and what is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Barrier {
    /// An alert that says more, a server that has just started, or the channel is
    /// switched off.
    Hold,
    /// The channel's quiet hours.
    Quiet,
    /// Nobody wants the channel to be told: a mute, maintenance, too little severity, a
    /// rule that does not name the channel now.
    Unwanted,
}

/// Tells of the alerts at one look.
pub(crate) struct Teller<'a, H> {
    pub(crate) fleet: &'a Fleet<'a, H>,
    pub(crate) holds: &'a Holds<'a, H>,
    pub(crate) audience: &'a Audience<'a>,
    pub(crate) book: &'a mut Book,
    pub(crate) outbox: &'a mut Outbox,
    pub(crate) clocks: &'a mut GroupClocks,
    pub(crate) chance: &'a mut Chance,
    pub(crate) state: &'a mut EngineState,
}

impl<'a, H: FleetHost> Teller<'a, H> {
    /// The new deliveries of this look. They are in the outbox, and still to be written.
    pub(crate) fn tell(&mut self) -> Vec<Delivery> {
        let mut news: BTreeMap<GroupKey, Vec<(String, News)>> = BTreeMap::new();
        for id in self.book.ids() {
            let held_by = self.note_hold(&id);
            for (channel, step) in self.decide(&id, held_by.as_ref()) {
                if let Some((key, told)) = self.carry_out(&id, channel, step) {
                    news.entry(key).or_default().push((id.clone(), told));
                }
            }
        }

        let now = self.fleet.look.now;
        self.clocks.retain(|key, clock| {
            if !news.contains_key(key) {
                clock.waits_since = None;
            }
            let is_recent =
                |told_at| between(told_at, now) <= Duration::from_secs(86_400);
            clock.waits_since.is_some() || clock.told_at.is_some_and(is_recent)
        });
        let mut deliveries = Vec::new();
        for (key, items) in news {
            if self.is_due(&key) {
                deliveries.push(self.queue(key, items));
            }
        }
        deliveries
    }

    /// Why no channel is to be told of the alert. What holds some back is noted, too, for
    /// people who look.
    fn note_hold(&mut self, id: &str) -> Option<HeldBy> {
        let alert = self.book.get(id)?;
        if alert.is_instant() {
            return self.holds.held_by(alert);
        }
        if alert.state != AlertState::Firing {
            return None;
        }

        let held_by = self.holds.held_by(alert);
        let noted = held_by.clone().or_else(|| self.partly_held_by(alert));
        if noted != alert.held_by
            && let Some(alert) = self.book.change(id)
        {
            alert.held_by = noted;
        }
        held_by
    }

    /// What holds the alert back from one of its channels at least.
    fn partly_held_by(&self, alert: &Alert) -> Option<HeldBy> {
        let called = self.audience.called(alert).into_iter();
        let mut named =
            called.filter(|channel| self.audience.call(alert, channel) == Call::Named);
        named.find_map(|channel| self.holds.held_for(alert, channel))
    }

    /// What is to be done for each channel, where there is something to do.
    fn decide(&self, id: &str, held_by: Option<&HeldBy>) -> Vec<(String, Step)> {
        let alert = self.book.get(id);
        let Some(alert) = alert.filter(|alert| alert.state != AlertState::Pending) else {
            return Vec::new();
        };
        let worth = worth(alert);
        let mut steps = Vec::new();
        let mut see = |channel: &str, mark: Option<&Mark>| {
            let Some(ear) = self.audience.ear(channel) else {
                // The channel is gone: nobody is there to be told anything.
                if mark.is_some_and(|mark| mark.told != Told::Closed) {
                    steps.push((channel.to_owned(), Step::Close));
                }
                return;
            };
            let sight = self.sight(alert, ear, held_by);
            let told = mark.map_or(&Told::Untold, |mark| &mark.told);
            let mut step = pairing::step(told, sight, worth);
            if step == Step::Stay && sight == Sight::Fires {
                let reminder = mark.and_then(|mark| self.reminder(alert, mark));
                step = reminder.map_or(Step::Stay, Step::Tell);
            }
            let is_noted = mark.is_some() || alert.is_instant();
            let is_news = matches!(step, Step::Tell(_));
            let is_nothing = mark.is_some() && step == Step::Stay;
            if is_news || is_noted && !is_nothing {
                steps.push((channel.to_owned(), step));
            }
        };

        for (channel, mark) in &alert.told {
            see(channel, Some(mark));
        }
        for channel in self.audience.called(alert) {
            if !alert.told.contains_key(channel) {
                see(channel, None);
            }
        }
        steps
    }

    /// What a channel may see of an alert now.
    fn sight(&self, alert: &Alert, ear: &Ear<'_>, held_by: Option<&HeldBy>) -> Sight {
        let channel = ear.channel();
        let call = self.audience.call(alert, channel);
        if alert.is_instant() {
            return match self.barrier(alert, ear, call, held_by) {
                None => Sight::Once,
                Some(Barrier::Hold | Barrier::Quiet) => Sight::OnceHeld,
                Some(Barrier::Unwanted) => Sight::OnceUnwanted,
            };
        }
        if alert.state == AlertState::Firing && call != Call::Dropped {
            return match self.barrier(alert, ear, call, held_by) {
                None => Sight::Fires,
                Some(Barrier::Hold) => Sight::FiresHeld,
                Some(Barrier::Quiet | Barrier::Unwanted) => Sight::FiresUnwanted,
            };
        }
        let is_held =
            ear.is_deaf(alert.severity) || self.holds.holds_recovery(alert, channel);
        if is_held {
            Sight::OverHeld
        } else {
            Sight::Over
        }
    }

    /// What stands between a channel and what is wrong; `None` if nothing does.
    fn barrier(
        &self,
        alert: &Alert,
        ear: &Ear<'_>,
        call: Call,
        held_by: Option<&HeldBy>,
    ) -> Option<Barrier> {
        let is_muted = matches!(held_by, Some(HeldBy::Mute(_) | HeldBy::Maintenance));
        if is_muted || call != Call::Named || !ear.wants(alert.severity) {
            return Some(Barrier::Unwanted);
        }
        if ear.is_quiet(alert.severity) {
            return Some(Barrier::Quiet);
        }
        let is_held = !ear.is_on()
            || held_by.is_some()
            || self.holds.held_for(alert, ear.channel()).is_some();
        is_held.then_some(Barrier::Hold)
    }

    /// What a channel is told that knows the alert to fire.
    fn reminder(&self, alert: &Alert, mark: &Mark) -> Option<News> {
        let Told::Told { firing } = &mark.told else {
            return None;
        };
        let last = mark.reminder.as_ref().map_or(firing, |last| &last.delivery);
        if self.outbox.has(&last.id) {
            return None;
        }

        match (alert.flapping, mark.flapping) {
            (true, false) => Some(News::Flapping),
            (false, true) => Some(News::Settled),
            (true, true) => None,
            (false, false) if alert.ack.is_some() => None,
            (false, false) if has_grown(alert, mark) => Some(News::Repeat),
            (false, false) => {
                let rule = self.audience.rule(&alert.rule)?;
                let is_due = between(mark.at, self.fleet.look.now) >= rule.repeat?;
                is_due.then_some(News::Repeat)
            }
        }
    }

    /// Does what needs no new message. Gives what does.
    fn carry_out(
        &mut self,
        id: &str,
        channel: String,
        step: Step,
    ) -> Option<(GroupKey, News)> {
        let now = self.fleet.look.now;
        if let Step::Tell(news) = step {
            let alert = self.book.get(id)?;
            let key = GroupKey {
                rule: alert.rule.clone(),
                group: alert.group.clone(),
                channel,
            };
            // What is over is kept as long as somebody has to be told of it.
            if alert.is_instant() && !alert.told.contains_key(&key.channel) {
                let mark = Mark::new(Told::Untold, now);
                self.book.change(id)?.told.insert(key.channel.clone(), mark);
            }
            return Some((key, news));
        }

        let told = &mut self.book.change(id)?.told;
        let mark = told.entry(channel).or_insert(Mark::new(Told::Untold, now));
        let before = mark.told.clone();
        mark.told = pairing::done(before.clone(), step);
        if let (Step::TakeOut | Step::TakeBack, Told::Waiting { firing }) = (step, before)
        {
            self.outbox.take_out(&firing.id, id);
        }
        None
    }

    /// Whether the group's next message may go. From now on it waits, if not.
    fn is_due(&mut self, key: &GroupKey) -> bool {
        let now = self.fleet.look.now;
        let (wait, interval) = match self.audience.rule(&key.rule) {
            Some(rule) => (rule.group_wait, rule.group_interval),
            None if key.rule == DEAF_RULE => (Duration::ZERO, DEAF_INTERVAL),
            None => (USUAL_WAIT, USUAL_INTERVAL),
        };

        let clock = self.clocks.entry(key.clone()).or_default();
        let since = *clock.waits_since.get_or_insert(now);
        // A time in the future is from before the clock jumped back.
        let has_waited = since > now || between(since, now) >= wait;
        let keeps_distance = |told_at| told_at > now || between(told_at, now) >= interval;
        has_waited && clock.told_at.is_none_or(keeps_distance)
    }

    fn queue(&mut self, key: GroupKey, news: Vec<(String, News)>) -> Delivery {
        let now = self.fleet.look.now;
        let items = news.into_iter().map(|(alert, news)| DeliveryItem {
            alert,
            news,
            taken_from: None,
        });
        let delivery = Delivery {
            id: self.chance.id("dlv"),
            number: self.state.take_number(),
            channel: key.channel.clone(),
            kind: DeliveryKind::Alerts {
                rule: key.rule.clone(),
                group: key.group.clone(),
            },
            created_at: now,
            items: items.collect(),
            folds: Vec::new(),
        };

        for item in &delivery.items {
            if let Some(alert) = self.book.change(&item.alert) {
                note_queued(alert, &delivery, item.news);
            }
        }
        let clock = self.clocks.entry(key).or_default();
        clock.waits_since = None;
        clock.told_at = Some(now);
        self.outbox.queue(delivery.clone());
        delivery
    }
}

/// Whether more hosts of the group are down than the channel knows. While hosts come
/// back, the next message is that of the end.
fn has_grown(alert: &Alert, mark: &Mark) -> bool {
    let hosts = alert.counted.map(|counted| counted.hosts);
    mark.counted.is_some() && hosts > mark.counted && !alert.course.is_shrinking
}

fn note_queued(alert: &mut Alert, delivery: &Delivery, news: News) {
    let at = delivery.created_at;
    let told = &mut alert.told;
    let mark = told.entry(delivery.channel.clone());
    let mark = mark.or_insert(Mark::new(Told::Untold, at));
    let before = std::mem::replace(&mut mark.told, Told::Untold);
    mark.told = pairing::queued(before, news, delivery.reference());
    mark.at = at;
    mark.counted = alert.counted.map(|counted| counted.hosts);
    match news {
        News::Repeat | News::Flapping | News::Settled => {
            mark.flapping = news == News::Flapping;
            let delivery = delivery.reference();
            mark.reminder = Some(Reminder { delivery, news });
        }
        _ => {
            mark.flapping = false;
            mark.reminder = None;
        }
    }
}

/// Of what fires on, a channel that the rule does not name any more is told nothing.
fn worth(alert: &Alert) -> Worth {
    if alert.is_open() {
        return Worth::Nothing;
    }
    let open = alert.fired_at.zip(alert.ended_at);
    let was_long = open.is_some_and(|(from, to)| between(from, to) >= WORTH_TELLING);
    if was_long || alert.severity == Severity::Critical {
        Worth::Telling
    } else {
        Worth::Nothing
    }
}
