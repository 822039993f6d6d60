//! What this server itself has to tell: its start and stop, logins, and that the database
//! was away.
//!
//! What cannot be written waits in memory until the database is back. Refusals are counted
//! for a minute and then told together, so that a flood of them makes few events.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use fleetbeat_daemon::lock::lock;
use fleetbeat_protocol::Timestamp;

use crate::auth::{Network, network, show_network};
use crate::store::{Act, EventKind, EventStore, NewEvent, Who, facts};

/// Events that wait for the database, of refusals and of all else. The oldest go.
const MAX_WAITING: usize = 1000;
/// Events of refusals in a minute. The last one of each kind counts all that have no event
/// of their own.
const MAX_REFUSALS: usize = 60;
/// The kinds of refusals: so many events are set aside for what has none of its own.
const REFUSAL_KINDS: usize = 4;

/// Tells events, and keeps those that cannot be written.
pub(crate) struct Chronicle {
    store: Arc<dyn EventStore>,
    untold: Mutex<Untold>,
    minute: Mutex<Minute>,
}

/// What waits for the database.
#[derive(Default)]
struct Untold {
    events: VecDeque<NewEvent>,
    refusals: VecDeque<NewEvent>,
    /// Since when the database is away.
    away_since: Option<Timestamp>,
}

/// Something that was refused.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refused<'a> {
    /// What kind of event tells it: one of [`crate::store::EventKind`]'s refusals.
    pub(crate) kind: EventKind,
    /// The user whom it is about. Never a name of which there is no user: it may be a
    /// password that was typed in the wrong place.
    pub(crate) user: Option<&'a str>,
    /// The id of the API token that was shown.
    pub(crate) token: Option<&'a str>,
    /// Why it was refused, in a word or two.
    pub(crate) reason: &'static str,
    /// From where it came.
    pub(crate) address: Option<IpAddr>,
}

/// What is counted together.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Subject {
    kind: EventKind,
    user: Option<String>,
    token: Option<String>,
    reason: &'static str,
    network: Network,
}

/// What was refused in one minute.
#[derive(Default)]
struct Minute {
    /// The minute's number since 1970, and the time of the first refusal.
    began: Option<(i64, Timestamp)>,
    refused: BTreeMap<Subject, u64>,
    others: BTreeMap<EventKind, u64>,
}

impl Chronicle {
    /// Nothing has been told yet.
    pub(crate) fn new(store: Arc<dyn EventStore>) -> Chronicle {
        Chronicle {
            store,
            untold: Mutex::default(),
            minute: Mutex::default(),
        }
    }

    /// The server has started.
    pub(crate) fn started(&self, now: Timestamp) {
        self.tell(server_event(EventKind::ServerStarted, now));
    }

    /// The server stops: what still waits is told as well.
    pub(crate) fn stopped(&self, now: Timestamp) {
        lock(&self.untold)
            .events
            .push_back(server_event(EventKind::ServerStopped, now));
        let refusals = lock(&self.minute).close();
        self.keep_refusals(refusals);
        self.write();
    }

    /// A user has logged in by these means.
    pub(crate) fn logged_in(
        &self,
        user: &str,
        by: &'static str,
        address: Option<IpAddr>,
        now: Timestamp,
    ) {
        let act = Act {
            who: Who::User(user.to_owned()),
            address,
            at: now,
        };
        let facts = facts([("by", by.into())]);
        self.tell(act.event(EventKind::LoginOk, facts).about(user));
    }

    /// Something was refused.
    pub(crate) fn refused(&self, refused: Refused<'_>, now: Timestamp) {
        let refusals = {
            let mut minute = lock(&self.minute);
            let over = minute.close_if_over(now);
            minute.note(refused, now);
            over
        };
        self.keep_refusals(refusals);
    }

    /// Tells what waits, if that can be done: every few seconds. `is_away` says whether
    /// the database could not be reached at this moment.
    pub(crate) fn round(&self, is_away: bool, now: Timestamp) {
        let refusals = lock(&self.minute).close_if_over(now);
        self.keep_refusals(refusals);

        let mut untold = lock(&self.untold);
        match (untold.away_since, is_away) {
            (None, true) => {
                untold.away_since = Some(now);
                untold.add(server_event(EventKind::StoreAway, now));
            }
            (Some(since), false) => {
                untold.away_since = None;
                let away_for = now.duration_since(since).as_secs().max(0);
                let event = NewEvent {
                    facts: facts([("away_s", away_for.into())]),
                    ..server_event(EventKind::StoreBack, now)
                };
                untold.add(event);
            }
            _ => {}
        }
        drop(untold);
        if !is_away {
            self.write();
        }
    }

    /// Tells an event now, or when the database is back.
    fn tell(&self, event: NewEvent) {
        lock(&self.untold).add(event);
        self.write();
    }

    /// Writes what waits. What could not be written goes on waiting.
    fn write(&self) {
        let mut untold = lock(&self.untold);
        let events: Vec<NewEvent> = untold
            .events
            .iter()
            .chain(&untold.refusals)
            .cloned()
            .collect();
        if events.is_empty() {
            return;
        }
        match self.store.append(&events) {
            Ok(()) => {
                untold.events.clear();
                untold.refusals.clear();
            }
            Err(error) => {
                let waiting = events.len();
                log::debug!("{waiting} events wait for the database: {error}");
            }
        }
    }

    fn keep_refusals(&self, refusals: Vec<NewEvent>) {
        let mut untold = lock(&self.untold);
        untold.refusals.extend(refusals);
        let too_many = untold.refusals.len().saturating_sub(MAX_WAITING);
        untold.refusals.drain(..too_many);
    }
}

impl Untold {
    fn add(&mut self, event: NewEvent) {
        self.events.push_back(event);
        if self.events.len() > MAX_WAITING {
            self.events.pop_front();
        }
    }
}

impl Minute {
    fn note(&mut self, refused: Refused<'_>, now: Timestamp) {
        self.began.get_or_insert((minute_of(now), now));
        let kind = refused.kind;
        let subject = Subject {
            kind,
            user: refused.user.map(str::to_owned),
            token: refused.token.map(str::to_owned),
            reason: refused.reason,
            network: network(refused.address),
        };
        let has_room = self.refused.len() < MAX_REFUSALS - REFUSAL_KINDS;
        match self.refused.get_mut(&subject) {
            Some(count) => *count += 1,
            None if has_room => drop(self.refused.insert(subject, 1)),
            None => *self.others.entry(kind).or_default() += 1,
        }
    }

    /// The events of the minute before that of `now`.
    fn close_if_over(&mut self, now: Timestamp) -> Vec<NewEvent> {
        // Also after a jump of the clock.
        let is_over = |(minute, _)| minute != minute_of(now);
        if self.began.is_some_and(is_over) {
            self.close()
        } else {
            Vec::new()
        }
    }

    /// The events of the minute so far, which is over then.
    fn close(&mut self) -> Vec<NewEvent> {
        let minute = std::mem::take(self);
        let Some((_, at)) = minute.began else {
            return Vec::new();
        };
        let refused = minute.refused.into_iter();
        let refused = refused.map(|(subject, count)| {
            let network = subject.network.map(show_network);
            let mut facts = facts([
                ("count", count.into()),
                ("network", network.into()),
                ("reason", subject.reason.into()),
            ]);
            let token = subject.token.map(|id| ("token".to_owned(), id.into()));
            facts.extend(token);
            NewEvent {
                user: subject.user,
                ..NewEvent::new(subject.kind, at, facts)
            }
        });
        let others = minute.others.into_iter().map(|(kind, count)| {
            let members = [("count", count.into()), ("others", true.into())];
            NewEvent::new(kind, at, facts(members))
        });
        refused.chain(others).collect()
    }
}

fn minute_of(at: Timestamp) -> i64 {
    at.as_second().div_euclid(60)
}

/// An event of the server itself.
fn server_event(kind: EventKind, now: Timestamp) -> NewEvent {
    let version = env!("CARGO_PKG_VERSION");
    let act = Act::program("server", now);
    act.event(kind, facts([("version", version.into())]))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use jiff::SignedDuration;

    use super::*;
    use crate::store::{
        Cursor, EventPage, EventQuery, Life, LifeQuery, Retention, StoreError,
        Unavailable, WatchOrder, Watched,
    };

    /// Keeps what it is told, unless it is away.
    #[derive(Default)]
    struct Kept {
        events: Mutex<Vec<NewEvent>>,
        is_away: AtomicBool,
    }

    impl EventStore for Kept {
        fn append(&self, events: &[NewEvent]) -> Result<(), StoreError> {
            if self.is_away.load(Ordering::Relaxed) {
                return Err(Unavailable::Away.into());
            }
            lock(&self.events).extend_from_slice(events);
            Ok(())
        }

        fn events(&self, _: &EventQuery) -> Result<EventPage, StoreError> {
            Err(Unavailable::Away.into())
        }

        fn newest_event(&self) -> Result<Cursor, StoreError> {
            Err(Unavailable::Away.into())
        }

        fn lives(&self, _: &LifeQuery) -> Result<Vec<Life>, StoreError> {
            Err(Unavailable::Away.into())
        }

        fn watch(&self, _: &WatchOrder) -> Result<Watched, StoreError> {
            Err(Unavailable::Away.into())
        }

        fn forget_events(&self, _: &Retention) -> Result<usize, StoreError> {
            Err(Unavailable::Away.into())
        }
    }

    impl Kept {
        fn kinds(&self) -> Vec<&'static str> {
            let events = lock(&self.events);
            events.iter().map(|event| event.kind.as_str()).collect()
        }
    }

    fn login(user: Option<&str>, source: IpAddr) -> Refused<'_> {
        Refused {
            kind: EventKind::LoginFailed,
            user,
            token: None,
            reason: "password",
            address: Some(source),
        }
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(secs)
    }

    #[test]
    fn a_flood_of_refused_logins_makes_sixty_events_a_minute_that_count_all() {
        let store = Arc::new(Kept::default());
        let chronicle = Chronicle::new(store.clone());
        for second in 0..120 {
            for n in 0..100_u32 {
                let source = IpAddr::from((0x0A00_0000 + n).to_be_bytes());
                let user = (n % 2 == 0).then_some("ann");
                chronicle.refused(login(user, source), at(second));
            }
            chronicle.round(false, at(second));
        }
        chronicle.logged_in("ann", "password", None, at(120));
        chronicle.round(false, at(120));

        let events = lock(&store.events);
        let refused = events
            .iter()
            .filter(|event| event.kind == EventKind::LoginFailed);
        let counts: Vec<u64> = refused
            .filter_map(|event| event.facts["count"].as_u64())
            .collect();
        assert_eq!(counts.len(), 2 * (MAX_REFUSALS - REFUSAL_KINDS + 1));
        assert_eq!(
            counts.iter().sum::<u64>(),
            12_000,
            "each refusal is counted"
        );
        assert_eq!(events.len(), counts.len() + 1, "and the login is told");
    }

    #[test]
    fn what_cannot_be_told_waits_and_refusals_push_out_nothing_else() {
        let store = Arc::new(Kept::default());
        let chronicle = Chronicle::new(store.clone());
        chronicle.started(at(0));
        store.is_away.store(true, Ordering::Relaxed);
        chronicle.round(true, at(10));
        chronicle.logged_in("ann", "password", None, at(20));
        for minute in 1..100 {
            for n in 0..100_u32 {
                let source = IpAddr::from((0x0A00_0000 + n).to_be_bytes());
                chronicle.refused(login(Some("ann"), source), at(minute * 60));
            }
        }
        chronicle.round(true, at(6000));
        assert_eq!(store.kinds(), ["server.started"]);

        store.is_away.store(false, Ordering::Relaxed);
        chronicle.round(false, at(6010));
        chronicle.stopped(at(6020));
        let kinds = store.kinds();
        let (first, last) = (&kinds[..4], kinds.last());
        let expected = ["server.started", "store.away", "login.ok", "store.back"];
        assert_eq!((first, last), (&expected[..], Some(&"server.stopped")));
        assert_eq!(kinds.len(), 5 + MAX_WAITING);
    }
}
