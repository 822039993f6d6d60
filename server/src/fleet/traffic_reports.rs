//! What was read of hosts' traffic, and is used again for a moment.
//!
//! A host's cycle costs the store some reads, and those of a large fleet take seconds. So
//! the traffic is kept by month and host, and only what is missing is read. Many hosts are
//! read for one request at a time. The others get what is there, if it is not too old; a
//! few wait; the rest are sent away, because whoever waits here has a worker that
//! heartbeats may need.
//!
//! Bytes alone are kept. Which hosts there are, who sees them and what billing says of
//! them is asked of the newest list each time.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use fleetbeat_daemon::lock::lock;
use fleetbeat_history::HostTraffic;
use fleetbeat_protocol::{Counted, Timestamp};

use super::shown::Shown;
use super::traffic::{Cycle, Month, Usage};
use crate::store::{StoreError, TrafficQuery};

/// What was read is not read again before it is this old…
const MIN_AGE: Duration = Duration::from_secs(1);
/// …nor before it has been used this many times as long as it took to read.
const AGE_PER_COST: u32 = 4;
/// While another request reads, what is there is used until it is this old.
const MAX_AGE: Duration = Duration::from_secs(60);
/// So few hosts are read at once, by whoever asks for them: it takes milliseconds.
const FEW: usize = 100;
/// Of many hosts, so many are read in a row.
const CHUNK: usize = 256;
/// The pause behind that, in which heartbeats go: as long as the chunk took, but no longer
/// than this.
const MAX_PAUSE: Duration = Duration::from_millis(20);
/// So long a request waits for the one that reads.
const MAX_WAIT: Duration = Duration::from_secs(2);
/// So many months are kept.
const MAX_MONTHS: usize = 6;

/// Why there is no traffic to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoTraffic {
    /// The store cannot be read.
    Store(StoreError),
    /// Another request reads the traffic of many hosts.
    Busy,
}

/// Reads the traffic of hosts, in their order.
type Read<'a> = &'a dyn Fn(&[TrafficQuery]) -> Result<Vec<HostTraffic>, StoreError>;

/// The traffic that was read last.
pub(crate) struct TrafficReports {
    state: Mutex<State>,
    /// The one that read has read.
    changed: Condvar,
    /// The requests that may wait at once.
    max_waiting: usize,
    /// [`MIN_AGE`], but in tests.
    min_age: Duration,
}

/// What requests share.
#[derive(Default)]
struct State {
    /// The month that was asked for last comes last.
    sheets: Vec<Sheet>,
    /// Whether a request reads many hosts.
    is_reading: bool,
    /// The requests that wait for that one.
    waiting: usize,
}

/// What is known of the cycles of a month; of the present ones without a month.
struct Sheet {
    month: Option<Month>,
    /// By `server_id`.
    hosts: HashMap<String, Known>,
}

/// What is known of a host's cycle.
#[derive(Clone, Copy)]
struct Known {
    cycle: Cycle,
    traffic: HostTraffic,
    read: Instant,
    fresh_for: Duration,
}

/// How old may be what is used again.
#[derive(Clone, Copy)]
enum Age {
    /// As young as it is to be.
    Fresh,
    /// Better than nothing.
    Usable,
}

impl Known {
    fn is(&self, age: Age) -> bool {
        let limit = match age {
            Age::Fresh => self.fresh_for,
            Age::Usable => self.fresh_for.max(MAX_AGE),
        };
        self.read.elapsed() < limit
    }
}

/// A host's cycle that is asked for.
struct Asked<'a> {
    server_id: &'a str,
    cycle: Cycle,
}

/// What a request has so far, host by host.
struct Found<'a> {
    month: Option<Month>,
    asked: &'a [Asked<'a>],
    traffic: Vec<Option<HostTraffic>>,
}

impl Found<'_> {
    /// The places of hosts of which nothing is known.
    fn missing(&self) -> Vec<usize> {
        let places = self.traffic.iter().enumerate();
        let missing = places.filter(|(_, traffic)| traffic.is_none());
        missing.map(|(place, _)| place).collect()
    }

    fn into_traffic(self) -> Vec<HostTraffic> {
        self.traffic.into_iter().flatten().collect()
    }
}

impl State {
    /// What is known of the hosts that are asked for, as far as it is young enough.
    fn find<'a>(
        &mut self,
        month: Option<Month>,
        asked: &'a [Asked<'a>],
        age: Age,
    ) -> Found<'a> {
        let sheet = self.sheet(month);
        let traffic = asked.iter().map(|of| {
            let known = sheet.hosts.get(of.server_id)?;
            (known.cycle == of.cycle && known.is(age)).then_some(known.traffic)
        });
        Found {
            month,
            asked,
            traffic: traffic.collect(),
        }
    }

    /// The sheet of the month. The one that nobody has asked for longest makes place.
    fn sheet(&mut self, month: Option<Month>) -> &mut Sheet {
        let place = self.sheets.iter().position(|sheet| sheet.month == month);
        let sheet = match place {
            Some(place) => self.sheets.remove(place),
            None => Sheet {
                month,
                hosts: HashMap::new(),
            },
        };
        if self.sheets.len() >= MAX_MONTHS {
            self.sheets.remove(0);
        }
        self.sheets.push(sheet);
        self.sheets.last_mut().expect("pushed just now")
    }
}

impl TrafficReports {
    /// No traffic yet, where so many workers answer requests: half of them stay free, and
    /// one reads.
    pub(crate) fn new(workers: usize) -> TrafficReports {
        TrafficReports {
            state: Mutex::default(),
            changed: Condvar::new(),
            max_waiting: (workers / 2).saturating_sub(1),
            min_age: MIN_AGE,
        }
    }

    /// What is known of the hosts' cycles that begin in `month`, or of the present ones,
    /// in the order of the hosts and about a second old; up to a minute while another
    /// request reads many hosts.
    ///
    /// # Errors
    /// The store cannot be read; or nothing is known yet, and others read and wait.
    pub(crate) fn find<'a>(
        &self,
        read: Read<'_>,
        hosts: impl Iterator<Item = &'a Shown>,
        month: Option<Month>,
        now: Timestamp,
    ) -> Result<Vec<Usage>, NoTraffic> {
        let hosts: Vec<&Shown> = hosts.collect();
        let asked = hosts.iter().map(|server| Asked {
            server_id: &server.server_id,
            cycle: Cycle::find(server.settings.billing.as_deref(), month, now),
        });
        let asked: Vec<Asked<'_>> = asked.collect();
        let traffic = self.traffic(read, month, &asked)?;

        let usages = hosts.iter().zip(&asked).zip(traffic);
        let usages = usages.map(|((server, asked), traffic)| {
            let billing = server.settings.billing.as_deref();
            let counted = billing.and_then(|billing| billing.count);
            Usage::of(asked.cycle, traffic, counted.unwrap_or(Counted::Sum), now)
        });
        Ok(usages.collect())
    }

    fn traffic(
        &self,
        read: Read<'_>,
        month: Option<Month>,
        asked: &[Asked<'_>],
    ) -> Result<Vec<HostTraffic>, NoTraffic> {
        let deadline = Instant::now() + MAX_WAIT;
        let mut state = lock(&self.state);
        loop {
            let found = state.find(month, asked, Age::Fresh);
            if found.missing().len() <= FEW {
                drop(state);
                return self.complete(read, found);
            }
            if !state.is_reading {
                state.is_reading = true;
                drop(state);
                let _turn = Turn(self);
                return self.complete(read, found);
            }

            let found = state.find(month, asked, Age::Usable);
            if found.missing().len() <= FEW {
                drop(state);
                return self.complete(read, found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || state.waiting >= self.max_waiting {
                return Err(NoTraffic::Busy);
            }
            state = self.wait(state, left);
        }
    }

    /// Waits until nobody reads many hosts, but no longer than `left`.
    fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        left: Duration,
    ) -> MutexGuard<'a, State> {
        let mut state = state;
        state.waiting += 1;
        let waited = self
            .changed
            .wait_timeout_while(state, left, |state| state.is_reading);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.waiting -= 1;
        state
    }

    /// Reads what is missing, and keeps it for others.
    fn complete(
        &self,
        read: Read<'_>,
        found: Found<'_>,
    ) -> Result<Vec<HostTraffic>, NoTraffic> {
        let mut found = found;
        let missing = found.missing();
        let started = Instant::now();
        let mut pause = Duration::ZERO;
        for places in missing.chunks(CHUNK) {
            thread::sleep(pause);
            let before = Instant::now();
            let queries = places.iter().map(|place| {
                let of = &found.asked[*place];
                TrafficQuery {
                    server_id: of.server_id.to_owned(),
                    days: of.cycle.days(),
                }
            });
            let traffic = read(&queries.collect::<Vec<_>>()).map_err(NoTraffic::Store)?;
            for (place, traffic) in places.iter().zip(traffic) {
                found.traffic[*place] = Some(traffic);
            }
            pause = before.elapsed().min(MAX_PAUSE);
        }

        if !missing.is_empty() {
            self.keep(&found, &missing, started);
        }
        Ok(found.into_traffic())
    }

    /// Keeps what was read since `started`, and nothing that is too old to be used.
    fn keep(&self, found: &Found<'_>, places: &[usize], started: Instant) {
        let read = Instant::now();
        let fresh_for = self.min_age.max((read - started) * AGE_PER_COST);
        let mut state = lock(&self.state);
        let sheet = state.sheet(found.month);
        sheet.hosts.retain(|_, known| known.is(Age::Usable));
        for place in places {
            let Some(traffic) = found.traffic[*place] else {
                continue;
            };
            let of = &found.asked[*place];
            let known = Known {
                cycle: of.cycle,
                traffic,
                read,
                fresh_for,
            };
            sheet.hosts.insert(of.server_id.to_owned(), known);
        }
    }
}

/// The turn of the one request that reads many hosts.
struct Turn<'a>(&'a TrafficReports);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).is_reading = false;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    use fleetbeat_history::traffic::{Flow, Traffic};
    use fleetbeat_protocol::{Billing, Server};

    use super::*;

    /// A moment in November.
    fn now() -> Timestamp {
        "2026-11-27T12:00:00Z".parse().unwrap()
    }

    fn october() -> Option<Month> {
        Month::parse("2026-10")
    }

    /// Hosts with these numbers, whose cycles begin on that day.
    fn hosts(numbers: std::ops::Range<usize>, day: u8) -> Vec<Shown> {
        let golden = include_str!("../../../protocol/golden/server.json");
        let golden: Server = serde_json::from_str(golden).unwrap();
        let shown = numbers.map(|n| {
            let mut server = golden.clone();
            server.server_id = format!("srv-{n:08}");
            server.settings.billing = Some(Box::new(Billing {
                day: Some(day),
                count: Some(Counted::Sent),
                ..Billing::default()
            }));
            Shown::new(Arc::new(server), now(), None)
        });
        shown.collect()
    }

    /// The same for each host: that it has sent so many bytes.
    fn sent(queries: &[TrafficQuery], bytes: u64) -> Vec<HostTraffic> {
        let traffic = HostTraffic {
            traffic: Some(Traffic {
                received: None,
                sent: Some(Flow {
                    bytes,
                    known_from: 0,
                    has_gap: false,
                }),
            }),
            is_incomplete: false,
        };
        vec![traffic; queries.len()]
    }

    /// What was used by the last of the hosts; how many hosts were read for that.
    fn used(
        reports: &TrafficReports,
        hosts: &[Shown],
        month: Option<Month>,
    ) -> (Option<u64>, usize) {
        let count = RefCell::new(0);
        let read = |queries: &[TrafficQuery]| {
            *count.borrow_mut() += queries.len();
            Ok(sent(queries, 7))
        };
        let usages = reports.find(&read, hosts.iter(), month, now()).unwrap();
        assert_eq!(usages.len(), hosts.len());
        (usages.last().unwrap().used, count.into_inner())
    }

    #[test]
    fn only_what_is_missing_is_read() {
        let reports = lasting(4);
        let many = hosts(0..1000, 1);
        assert_eq!(used(&reports, &many, None), (Some(7), 1000));
        assert_eq!(used(&reports, &many, None), (Some(7), 0));
        // A host that was added, a host whose cycle begins on another day, another month.
        assert_eq!(used(&reports, &hosts(0..1001, 1), None), (Some(7), 1));
        assert_eq!(used(&reports, &hosts(3..4, 2), None), (Some(7), 1));
        assert_eq!(used(&reports, &hosts(3..5, 1), october()), (Some(7), 2));
        assert_eq!(used(&reports, &many, october()), (Some(7), 998));
    }

    #[test]
    fn months_that_nobody_asks_for_make_place() {
        let reports = lasting(4);
        let host = hosts(0..1, 1);
        for month in 1..=MAX_MONTHS {
            let month = Month::parse(&format!("2026-{month:02}"));
            assert_eq!(used(&reports, &host, month).1, 1);
            assert_eq!(used(&reports, &host, Month::parse("2026-01")).1, 0);
        }
        assert_eq!(used(&reports, &host, None).1, 1);
        assert_eq!(lock(&reports.state).sheets.len(), MAX_MONTHS);
        assert_eq!(used(&reports, &host, Month::parse("2026-01")).1, 0);
        assert_eq!(used(&reports, &host, Month::parse("2026-02")).1, 1);
    }

    /// Does `meanwhile` while another request reads many hosts, which waits for its end.
    fn while_one_reads(reports: &TrafficReports, meanwhile: impl FnOnce()) {
        let many = hosts(0..1000, 1);
        let (begun, is_begun) = channel();
        let (end, ended) = channel::<()>();
        thread::scope(|scope| {
            scope.spawn(|| {
                let (begun, ended) = (begun, ended);
                let read = |queries: &[TrafficQuery]| {
                    let _ = begun.send(());
                    // Until the sender is gone.
                    let _ = ended.recv();
                    Ok(sent(queries, 9))
                };
                let month = Month::parse("2026-01");
                reports.find(&read, many.iter(), month, now()).unwrap();
            });
            is_begun.recv().unwrap();
            meanwhile();
            drop(end);
        });
    }

    /// Waits until nothing that is known of the present cycles is fresh.
    fn wait_until_stale(reports: &TrafficReports) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let is_fresh = |known: &Known| known.is(Age::Fresh);
        while lock(&reports.state)
            .sheet(None)
            .hosts
            .values()
            .any(is_fresh)
        {
            assert!(Instant::now() < deadline);
            thread::yield_now();
        }
    }

    /// Reports that stay fresh however slow the machine is.
    fn lasting(workers: usize) -> TrafficReports {
        TrafficReports {
            min_age: Duration::from_secs(3600),
            ..TrafficReports::new(workers)
        }
    }

    /// That many hosts are asked for in vain.
    fn is_sent_away(reports: &TrafficReports, hosts: &[Shown]) {
        let read = |_: &[TrafficQuery]| panic!("two would read");
        let found = reports.find(&read, hosts.iter(), None, now());
        assert_eq!(found, Err(NoTraffic::Busy));
    }

    #[test]
    fn while_one_reads_a_few_wait_and_the_others_are_sent_away() {
        let many = hosts(0..1000, 1);
        for (workers, may_wait) in [(1, 0), (2, 0), (4, 1), (9, 3)] {
            let reports = lasting(workers);
            while_one_reads(&reports, || {
                thread::scope(|scope| {
                    for _ in 0..may_wait {
                        scope.spawn(|| is_sent_away(&reports, &many));
                    }
                    let deadline = Instant::now() + MAX_WAIT;
                    while lock(&reports.state).waiting < may_wait {
                        assert!(Instant::now() < deadline, "{may_wait} may wait");
                        thread::yield_now();
                    }
                    // At once: the others have not waited long enough themselves.
                    is_sent_away(&reports, &many);
                    assert_eq!(lock(&reports.state).waiting, may_wait);
                    // Whoever sees a few hosts has them read.
                    assert_eq!(used(&reports, &many[..FEW], None), (Some(7), FEW));
                });
            });
            assert_eq!(lock(&reports.state).waiting, 0);
            assert_eq!(used(&reports, &many, None).1, 1000 - FEW);
        }
    }

    #[test]
    fn while_one_reads_the_others_get_what_there_is() {
        let mut reports = TrafficReports::new(1);
        reports.min_age = Duration::ZERO;
        let many = hosts(0..1000, 1);
        used(&reports, &many, None);
        wait_until_stale(&reports);
        while_one_reads(&reports, || {
            assert_eq!(used(&reports, &many, None), (Some(7), 0));
            // But for a host that has come since.
            assert_eq!(used(&reports, &hosts(0..1001, 1), None), (Some(7), 1));
        });
        wait_until_stale(&reports);
        assert_eq!(used(&reports, &many, None), (Some(7), 1000));
    }

    #[test]
    fn a_turn_ends_with_an_error_too() {
        let reports = TrafficReports::new(4);
        let many = hosts(0..1000, 1);
        let error = StoreError::from(crate::store::Unavailable::Away);
        let read = |_: &[TrafficQuery]| Err(error.clone());
        let found = reports.find(&read, many.iter(), None, now());
        assert_eq!(found, Err(NoTraffic::Store(error.clone())));
        assert_eq!(used(&reports, &many, None), (Some(7), 1000));
    }
}
