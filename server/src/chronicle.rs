//! What this server itself has to tell: its start and stop, logins, and that the database
//! was away.
//!
//! What cannot be written waits in memory until the database is back. Refused logins are
//! counted for a minute and then told together, so that a flood of them makes few events.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use fleetbeat_daemon::lock::lock;
use fleetbeat_protocol::Timestamp;

use crate::auth::{Network, network, show_network};
use crate::store::{Act, EventKind, EventStore, NewEvent, Who, facts};

/// Events that wait for the database, of refused logins and of all else. The oldest go.
const MAX_WAITING: usize = 1000;
/// Events of refused logins in a minute. The last one counts all that have no event of
/// their own.
const MAX_REFUSALS: usize = 60;

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

/// The refused logins of one minute.
#[derive(Default)]
struct Minute {
    /// The minute's number since 1970, and the time of the first refusal.
    began: Option<(i64, Timestamp)>,
    /// By user, where there is one, and network.
    refused: BTreeMap<(Option<String>, Network), u64>,
    others: u64,
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

    /// A user has logged in.
    pub(crate) fn logged_in(&self, user: &str, address: Option<IpAddr>, now: Timestamp) {
        let act = Act {
            who: Who::User(user.to_owned()),
            address,
            at: now,
        };
        self.tell(act.event(EventKind::LoginOk, facts([])).about(user));
    }

    /// A login was refused. `user` is a user that there is: another name may be a
    /// password that was typed in the wrong place, and is told nowhere.
    pub(crate) fn login_refused(
        &self,
        user: Option<&str>,
        address: Option<IpAddr>,
        now: Timestamp,
    ) {
        let refusals = {
            let mut minute = lock(&self.minute);
            let over = minute.close_if_over(now);
            minute.note(user, address, now);
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
    fn note(&mut self, user: Option<&str>, address: Option<IpAddr>, now: Timestamp) {
        self.began.get_or_insert((minute_of(now), now));
        let key = (user.map(str::to_owned), network(address));
        let has_room = self.refused.len() < MAX_REFUSALS - 1;
        match self.refused.get_mut(&key) {
            Some(count) => *count += 1,
            None if has_room => drop(self.refused.insert(key, 1)),
            None => self.others += 1,
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
        let mut events: Vec<NewEvent> = minute
            .refused
            .into_iter()
            .map(|((user, network), count)| {
                let network = network.map(show_network);
                let members = [("count", count.into()), ("network", network.into())];
                NewEvent {
                    user,
                    ..NewEvent::new(EventKind::LoginFailed, at, facts(members))
                }
            })
            .collect();
        if minute.others > 0 {
            let members = [("count", minute.others.into()), ("others", true.into())];
            events.push(NewEvent::new(EventKind::LoginFailed, at, facts(members)));
        }
        events
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
        EventPage, EventQuery, Retention, StoreError, Unavailable, WatchOrder, Watched,
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
                chronicle.login_refused(user, Some(source), at(second));
            }
            chronicle.round(false, at(second));
        }
        chronicle.logged_in("ann", None, at(120));
        chronicle.round(false, at(120));

        let events = lock(&store.events);
        let refused = events
            .iter()
            .filter(|event| event.kind == EventKind::LoginFailed);
        let counts: Vec<u64> = refused
            .filter_map(|event| event.facts["count"].as_u64())
            .collect();
        assert_eq!(counts.len(), 120);
        assert_eq!(
            counts.iter().sum::<u64>(),
            12_000,
            "each refusal is counted"
        );
        assert_eq!(events.len(), 121, "and the login is told");
    }

    #[test]
    fn what_cannot_be_told_waits_and_refusals_push_out_nothing_else() {
        let store = Arc::new(Kept::default());
        let chronicle = Chronicle::new(store.clone());
        chronicle.started(at(0));
        store.is_away.store(true, Ordering::Relaxed);
        chronicle.round(true, at(10));
        chronicle.logged_in("ann", None, at(20));
        for minute in 1..100 {
            for n in 0..100_u32 {
                let source = IpAddr::from((0x0A00_0000 + n).to_be_bytes());
                chronicle.login_refused(Some("ann"), Some(source), at(minute * 60));
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
