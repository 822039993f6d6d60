//! A look: the engine sees the fleet as it is shown, and what it says is written.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleetbeat_alerts::{
    AlertEvent, AlertEventKind, DeliveryState, DryRun, Engine, EngineState, FleetHost,
    Hearing, HostEvent, HostEventKind, Look, Plan, Saved, SavedDelivery,
};
use fleetbeat_daemon::condition::Condition;
use fleetbeat_daemon::lock::lock;
use fleetbeat_protocol::{FieldError, Rule, Server, Timestamp};

use super::setup::{ReadyChannel, Setup};
use super::shared::Alerting;
use super::{advice, defaults, rows};
use crate::fleet::selection::Record;
use crate::fleet::shown::ShownFleet;
use crate::metrics::AlertCounts;
use crate::store::{
    AlertSlice, Conflict, Cursor, DeliveryState as StoreDeliveryState, Event, EventKind,
    EventQuery, NewEvent, ObjectKind, StoreError, facts,
};

/// Alerts that are written at once.
const SLICE: usize = 500;
/// Events that are looked through at one look. The others come at the next.
const MAX_EVENTS: usize = 1000;
/// The time between two deletions of what is old.
const FORGET_EVERY: Duration = Duration::from_secs(10 * 60);
/// The kinds of events that rules can be about.
const KINDS: [EventKind; 3] = [
    EventKind::HostRebooted,
    EventKind::HostConflict,
    EventKind::HostClock,
];

impl FleetHost for Record<'_> {
    fn server(&self) -> &Server {
        self.shown()
    }
}

/// Looks each time the watch has looked. What a kill prevents, the next look makes good,
/// because each one sees the whole fleet.
pub(crate) struct Looker {
    alerting: Arc<Alerting>,
    /// When hosts were heard well last, or may be from then on.
    grace_until: Instant,
    looked: Instant,
    forgot: Instant,
    trouble: Condition,
    /// The list of hosts is out of date.
    stale: Condition,
}

impl Looker {
    /// Nobody can be called silent before a whole `down_after` is over.
    pub(crate) fn new(alerting: Arc<Alerting>, instant: Instant) -> Looker {
        Looker {
            grace_until: instant + alerting.down_after,
            alerting,
            looked: instant,
            forgot: instant,
            trouble: Condition::default(),
            stale: Condition::default(),
        }
    }

    /// The store was away: hosts could not be heard.
    pub(crate) fn note_away(&mut self, instant: Instant) {
        self.grace_until = instant + self.alerting.down_after;
    }

    /// Looks at `now`, which is `instant` by the clock that does not jump.
    pub(crate) fn look(&mut self, now: Timestamp, instant: Instant) {
        if !self.alerting.settings.is_enabled {
            return;
        }
        match self.try_to_look(now, instant) {
            Ok(()) => {
                if self.trouble.ends() {
                    log::info!("alerts can be judged again");
                }
            }
            Err(error) => {
                *lock(&self.alerting.engine) = None;
                // Another instance was faster: that is no trouble.
                if matches!(error, StoreError::Conflict(Conflict::LostAlerts)) {
                    return;
                }
                self.note_away(instant);
                if self.trouble.begins(error.to_string()) {
                    log::error!("alerts cannot be judged: {error}");
                }
            }
        }
    }

    fn try_to_look(
        &mut self,
        now: Timestamp,
        instant: Instant,
    ) -> Result<(), StoreError> {
        let alerting = &*self.alerting;
        let store = &*alerting.store;
        let (fleet, newest) = alerting.snapshots.fleet_and_newest_event()?;
        // Of hosts that another instance may have deleted, nothing is judged.
        if fleet.stale {
            self.grace_until = instant + alerting.down_after;
            if self.stale.begins("stale") {
                log::warn!("alerts are not judged: the list of hosts is out of date");
            }
            return Ok(());
        }
        if self.stale.ends() {
            log::info!("the list of hosts is up to date, and alerts are judged again");
        }

        let mut engine = lock(&alerting.engine);
        if engine.is_none() {
            *engine = load(alerting, newest, now)?;
        }
        // An instance without an engine knows the channels, too: `/readyz` tells of them.
        let setup = alerting.read_setup()?;
        let Some(engine) = engine.as_mut() else {
            *lock(&alerting.looked) = None;
            alerting.metrics.alerts.left_to_another();
            return Ok(());
        };
        end_mutes(alerting, &setup, now)?;
        let retried = store.take_asked_deliveries(now)?;
        let retried: Vec<SavedDelivery> =
            retried.iter().filter_map(rows::saved_delivery).collect();
        let heard = Heard::read(alerting, engine.state().events_after, newest)?;

        let plan = self.tick(engine, &fleet, &setup, &retried, &heard, (now, instant));
        write(alerting, &plan, now)?;
        let counts = count(alerting, engine, &setup)?;
        let metrics = &alerting.metrics.alerts;
        metrics.judged(&counts, instant.elapsed(), now);

        self.looked = instant;
        *lock(&alerting.looked) = Some(instant);
        if self.forgot.elapsed() >= FORGET_EVERY {
            self.forgot = instant;
            store.forget_alerts(alerting.settings.keep)?;
        }
        Ok(())
    }

    fn tick(
        &self,
        engine: &mut Engine,
        fleet: &ShownFleet,
        setup: &Setup,
        retried: &[SavedDelivery],
        heard: &Heard,
        (now, instant): (Timestamp, Instant),
    ) -> Plan {
        let hosts: Vec<Record<'_>> = fleet.servers.iter().map(Record::new).collect();
        let hearing = if instant < self.grace_until {
            Hearing::Starting
        } else {
            Hearing::Well
        };
        engine.tick(&Look {
            now,
            elapsed: instant.duration_since(self.looked),
            down_after: self.alerting.down_after,
            hearing,
            hosts: &hosts,
            events: &heard.events,
            events_through: heard.through,
            rules: &setup.rules,
            mutes: &setup.mutes,
            channels: &setup.policies,
            acks: &setup.acks,
            retried,
        })
    }
}

/// What there is at the end of a look.
fn count(
    alerting: &Alerting,
    engine: &Engine,
    setup: &Setup,
) -> Result<AlertCounts, StoreError> {
    let alerts = engine.alerts().filter(|alert| alert.is_open());
    let failing = failing(engine.state());
    let is_failing = |channel: &&Arc<ReadyChannel>| {
        channel.sends.is_some() && failing.contains(&channel.id)
    };
    let failing = setup.channels.iter().filter(is_failing).count();
    let closed = setup.closed().len();
    Ok(AlertCounts {
        alerts: alerts
            .map(|alert| (alert.state.as_str(), alert.severity))
            .collect(),
        well: setup.channels.len() - closed - failing,
        failing,
        closed,
        waiting: engine.waiting(),
        dead: alerting.store.count_deliveries(StoreDeliveryState::Dead)?,
    })
}

/// Removes the mutes whose time is over, and tells it.
fn end_mutes(
    alerting: &Alerting,
    setup: &Setup,
    now: Timestamp,
) -> Result<(), StoreError> {
    for ended in setup.mutes.iter().filter(|stored| stored.mute.until <= now) {
        let told = facts([
            ("mute", ended.id.as_str().into()),
            ("reason", ended.mute.reason.as_str().into()),
        ]);
        let event = NewEvent::new(EventKind::MuteEnded, now, told);
        let kind = ObjectKind::Mute;
        alerting
            .store
            .remove_alert_object(kind, &ended.id, &event)?;
    }
    Ok(())
}

/// The engine that goes on from what is stored; `None` while another instance has one. The
/// first engine of a store begins with rules that most fleets want, and with the events
/// that are to come.
fn load(
    alerting: &Alerting,
    newest: Cursor,
    now: Timestamp,
) -> Result<Option<Engine>, StoreError> {
    let lately = Saved::ended_after(now);
    let Some(rows) = alerting.store.load_alerts(lately)? else {
        return Ok(None);
    };
    let mut saved = rows::saved(&rows);
    if saved.state.is_none() {
        defaults::make(&*alerting.store, now)?;
        saved.state = Some(EngineState {
            events_after: newest.0,
            ..EngineState::default()
        });
    }
    let random = || getrandom::u64().unwrap_or_default();
    Ok(Some(Engine::load(saved, Box::new(random))))
}

/// What events have told since the last look.
struct Heard {
    events: Vec<HostEvent>,
    /// The last event that was looked through.
    through: i64,
}

impl Heard {
    /// The events behind `after`, up to the newest one of which the fleet has the host.
    fn read(
        alerting: &Alerting,
        after: i64,
        newest: Cursor,
    ) -> Result<Heard, StoreError> {
        let query = EventQuery {
            kinds: KINDS.to_vec(),
            after: Some(Cursor(after)),
            ..EventQuery::newest(MAX_EVENTS)
        };
        let page = alerting.store.events(&query)?;
        let known = page.events.iter().filter(|event| event.id <= newest);
        Ok(Heard {
            events: known.filter_map(heard).collect(),
            through: page.cursor.min(newest).0,
        })
    }
}

/// The event as the engine knows it.
fn heard(event: &Event) -> Option<HostEvent> {
    let told = &event.event;
    let offset = told
        .facts
        .get("offset_s")
        .and_then(serde_json::Value::as_i64);
    let kind = match told.kind {
        EventKind::HostRebooted => HostEventKind::Rebooted,
        EventKind::HostConflict => HostEventKind::Conflict,
        EventKind::HostClock if offset == Some(0) => HostEventKind::ClockRight,
        EventKind::HostClock => HostEventKind::ClockWrong,
        _ => return None,
    };
    Some(HostEvent {
        number: event.id.0,
        kind,
        server_id: event.host.as_ref()?.server_id.clone()?,
        at: told.at,
    })
}

/// Writes what the engine has said, in the order in which a kill may come anywhere.
fn write(alerting: &Alerting, plan: &Plan, now: Timestamp) -> Result<(), StoreError> {
    let store = &*alerting.store;
    write_alerts(alerting, plan)?;
    for delivery in &plan.deliveries {
        let row = rows::delivery_row(delivery, DeliveryState::Waiting, now);
        store.queue_delivery(&row)?;
    }
    for change in &plan.changed_waiting {
        let row = rows::delivery_row(&change.delivery, change.state, now);
        store.change_delivery(&row)?;
    }
    Ok(())
}

/// Writes alerts in slices, each with its events; those that have never fired are dropped.
fn write_alerts(alerting: &Alerting, plan: &Plan) -> Result<(), StoreError> {
    let state = plan.state.as_ref().map(|state| {
        serde_json::to_string(state).expect("the engine's state is plain JSON")
    });
    let slices = plan.alerts.len().div_ceil(SLICE);
    for place in 0..slices {
        let from = place * SLICE;
        let until = plan.alerts.len().min(from + SLICE);
        let (void, kept): (Vec<usize>, Vec<usize>) =
            (from..until).partition(|index| plan.alerts[*index].is_void());
        let alerts: Vec<_> = kept
            .iter()
            .map(|index| rows::alert_row(&plan.alerts[*index]))
            .collect();
        let dropped: Vec<String> = void
            .iter()
            .map(|index| plan.alerts[*index].id.clone())
            .collect();
        let events: Vec<(usize, NewEvent)> = plan
            .events
            .iter()
            .filter_map(|event| {
                let at = kept.iter().position(|index| *index == event.alert)?;
                Some((at, told(plan, event)))
            })
            .collect();
        alerting.store.write_alerts(&AlertSlice {
            alerts: &alerts,
            events: &events,
            dropped: &dropped,
            state: state.as_deref().filter(|_| place + 1 == slices),
        })?;
    }
    if slices == 0 && state.is_some() {
        alerting.store.write_alerts(&AlertSlice {
            state: state.as_deref(),
            ..AlertSlice::default()
        })?;
    }
    Ok(())
}

/// The event that tells of an alert.
fn told(plan: &Plan, event: &AlertEvent) -> NewEvent {
    let kind = match event.kind {
        AlertEventKind::Fired => EventKind::AlertFiring,
        AlertEventKind::Resolved => EventKind::AlertResolved,
        AlertEventKind::Flapping => EventKind::AlertFlapping,
        AlertEventKind::Settled => EventKind::AlertSettled,
    };
    let alert = &plan.alerts[event.alert];
    let mut told = facts([
        ("alert", alert.id.as_str().into()),
        ("rule", alert.rule.as_str().into()),
        ("name", alert.rule_name.as_str().into()),
        ("severity", alert.severity.as_str().into()),
    ]);
    if !alert.object.is_empty() {
        told.insert("object".to_owned(), alert.object.as_str().into());
    }
    if let Some(value) = alert.value {
        told.insert("value".to_owned(), value.into());
    }
    if let Some(reason) = alert.reason {
        told.insert("reason".to_owned(), reason.as_str().into());
    }
    NewEvent::new(kind, event.at, told)
}

impl Alerting {
    /// What a rule would say of the fleet as it is now.
    ///
    /// # Errors
    /// The fleet cannot be read.
    pub(crate) fn dry_run(
        &self,
        rule: &Rule,
        now: Timestamp,
    ) -> Result<(DryRun, Vec<FieldError>), StoreError> {
        let fleet = self.snapshots.fleet()?;
        let hosts: Vec<Record<'_>> = fleet.servers.iter().map(Record::new).collect();
        let channels = advice::read_policies(&*self.store)?;
        let found = fleetbeat_alerts::dry_run(
            rule,
            &Look {
                now,
                elapsed: Duration::ZERO,
                down_after: self.down_after,
                hearing: Hearing::Well,
                hosts: &hosts,
                events: &[],
                events_through: 0,
                rules: &[],
                mutes: &[],
                channels: &channels,
                acks: &[],
                retried: &[],
            },
        );
        let advice = advice::advise(rule, &channels, &hosts);
        Ok((found, advice))
    }

    /// The ids of the channels that have not taken their last message. The instance that
    /// sends knows them; others learn of them by what its engine remembers in the store.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) fn failing(&self) -> Result<BTreeSet<String>, StoreError> {
        let here = lock(&self.engine)
            .as_ref()
            .map(|engine| failing(engine.state()));
        if let Some(here) = here {
            return Ok(here);
        }
        let saved = self.store.alert_state()?;
        let saved = saved.and_then(|state| rows::engine_state(&state));
        Ok(saved.as_ref().map(failing).unwrap_or_default())
    }
}

fn failing(state: &EngineState) -> BTreeSet<String> {
    let failing = state
        .failing
        .iter()
        .filter(|(_, failing)| failing.tries > 0);
    failing.map(|(id, _)| id.clone()).collect()
}
