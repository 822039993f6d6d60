//! How many wrong passwords are allowed, by user, by network and by both.
//!
//! Only wrong passwords count. So nobody can lock a user out who comes from elsewhere:
//!
//! - A user and a network together have [`PER_PAIR`] wrong passwords in a [`WINDOW`]. That
//!   is all that counts for a user in a network where that user has been before.
//! - From other networks the network's wrong passwords for all names count, too; IPv6
//!   networks with the networks around them, because one customer may have a /48.
//! - A name that many networks try at once has a single wrong password from each further
//!   network. The right password is still taken at the first try.
//! - Wrong codes behind the right password count as wrong passwords do, and also for the
//!   user in all networks where the user has not been: whoever can try codes knows the
//!   password, and a code has only a million values.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::networks::{KnownNetworks, Network, network, wider_networks};
use crate::usernames::fold_username;

/// The time over which wrong passwords are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// Wrong passwords for one user from one network.
const PER_PAIR: usize = 5;
/// The same, while the user is under attack from many networks.
const PER_PAIR_UNDER_ATTACK: usize = 1;
/// Wrong passwords for one user from networks where the user has not been, from which on
/// the user is under attack.
const ATTACK: usize = 20;
/// Wrong passwords from one network, an IPv4 address or an IPv6 /64, for all names.
const PER_NETWORK: usize = 30;
/// The same from an IPv6 /56 and from a /48.
const PER_56: usize = 60;
const PER_48: usize = 120;
/// Wrong codes for one user from networks where the user has not been.
const PER_CODE: usize = 10;
/// Wrong passwords remembered at once. The oldest is forgotten rather than a login
/// refused.
const MAX_REMEMBERED: usize = 20_000;

/// The wrong passwords of the last minute.
#[derive(Default)]
pub(super) struct Limits {
    hasher: RandomState,
    /// The oldest first, so that forgetting needs no search.
    failures: VecDeque<Failed>,
    /// When each subject's failures were, the oldest first. A subject without any is not
    /// there.
    times: HashMap<Subject, VecDeque<Instant>>,
}

/// A wrong password, and for whom it counts.
struct Failed {
    at: Instant,
    subjects: Vec<Subject>,
}

/// Whose wrong passwords are counted. Names are hashes: a name that somebody makes up may
/// be a kilobyte long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Subject {
    /// A user from a network.
    Pair(u64, Network),
    /// A network, whatever the name.
    Network(Network),
    /// A user from all networks where the user has not been.
    Name(u64),
    /// Codes of a user from all networks where the user has not been.
    Code(u64),
}

/// What was wrong with a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WrongPart {
    /// The password.
    Password,
    /// The code, with the right password.
    Code,
}

impl Limits {
    /// Whether a login at `now` may be tried.
    ///
    /// # Errors
    /// The time until the next one may.
    pub(super) fn check(
        &mut self,
        username: &str,
        source: Option<IpAddr>,
        known: &KnownNetworks,
        now: Instant,
    ) -> Result<(), Duration> {
        self.forget_old(now);
        let name = self.hasher.hash_one(fold_username(username));
        let pair = Subject::Pair(name, network(source));
        self.allow(pair, PER_PAIR, now)?;
        if known.contains(username, source) {
            return Ok(());
        }

        for (subject, limit) in network_limits(source) {
            self.allow(subject, limit, now)?;
        }
        if self.count(Subject::Name(name)) >= ATTACK {
            self.allow(pair, PER_PAIR_UNDER_ATTACK, now)?;
        }
        Ok(())
    }

    /// Whether a code of a user whose password was right may be tried.
    ///
    /// # Errors
    /// The time until the next one may.
    pub(super) fn check_code(
        &mut self,
        username: &str,
        source: Option<IpAddr>,
        known: &KnownNetworks,
        now: Instant,
    ) -> Result<(), Duration> {
        self.forget_old(now);
        if known.contains(username, source) {
            return Ok(());
        }
        let name = self.hasher.hash_one(fold_username(username));
        self.allow(Subject::Code(name), PER_CODE, now)
    }

    /// Whether the network of `source`, or one around it that a single customer may have,
    /// has got anything wrong lately.
    pub(super) fn is_suspect(&mut self, source: Option<IpAddr>, now: Instant) -> bool {
        self.forget_old(now);
        network_limits(source).any(|(subject, _)| self.count(subject) > 0)
    }

    /// Counts a wrong password, or a wrong code.
    pub(super) fn failed(
        &mut self,
        part: WrongPart,
        username: &str,
        source: Option<IpAddr>,
        known: &KnownNetworks,
        now: Instant,
    ) {
        self.forget_old(now);
        if self.failures.len() >= MAX_REMEMBERED {
            self.forget_oldest();
        }

        let name = self.hasher.hash_one(fold_username(username));
        let mut subjects = vec![Subject::Pair(name, network(source))];
        subjects.extend(network_limits(source).map(|(subject, _)| subject));
        if !known.contains(username, source) {
            subjects.push(Subject::Name(name));
            if part == WrongPart::Code {
                subjects.push(Subject::Code(name));
            }
        }
        for subject in &subjects {
            self.times.entry(*subject).or_default().push_back(now);
        }
        self.failures.push_back(Failed { at: now, subjects });
    }

    fn count(&self, subject: Subject) -> usize {
        self.times.get(&subject).map_or(0, VecDeque::len)
    }

    /// Whether the subject has fewer failures than `limit`.
    ///
    /// # Errors
    /// The time until it has.
    fn allow(
        &self,
        subject: Subject,
        limit: usize,
        now: Instant,
    ) -> Result<(), Duration> {
        let Some(times) = self.times.get(&subject) else {
            return Ok(());
        };
        match times.len().checked_sub(limit) {
            Some(excess) => Err(WINDOW.saturating_sub(now.duration_since(times[excess]))),
            None => Ok(()),
        }
    }

    fn forget_old(&mut self, now: Instant) {
        while let Some(oldest) = self.failures.front()
            && now.duration_since(oldest.at) >= WINDOW
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.failures.pop_front() else {
            return;
        };
        for subject in oldest.subjects {
            if let Some(times) = self.times.get_mut(&subject) {
                times.pop_front();
                if times.is_empty() {
                    self.times.remove(&subject);
                }
            }
        }
    }
}

/// The networks of `source` that count, each with its limit.
fn network_limits(source: Option<IpAddr>) -> impl Iterator<Item = (Subject, usize)> {
    let wider = wider_networks(source).into_iter().map(|(ip, bits)| {
        let limit = if bits == 56 { PER_56 } else { PER_48 };
        (Subject::Network(Some((ip, bits))), limit)
    });
    let own = (Subject::Network(network(source)), PER_NETWORK);
    std::iter::once(own).chain(wider)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Limits, and a clock that a test sets.
    struct Table {
        limits: Limits,
        known: KnownNetworks,
        start: Instant,
    }

    impl Table {
        fn new() -> Table {
            Table {
                limits: Limits::default(),
                known: KnownNetworks::default(),
                start: Instant::now(),
            }
        }

        /// The seconds to wait before a login at `secs`; 0 if it may be tried.
        fn check(&mut self, name: &str, source: &str, secs: u64) -> u64 {
            let now = self.start + Duration::from_secs(secs);
            let source = source.parse().ok();
            let checked = self.limits.check(name, source, &self.known, now);
            checked.err().map_or(0, |wait| wait.as_secs())
        }

        /// Tries a wrong password; true if it was let in.
        fn fail(&mut self, name: &str, source: &str, secs: u64) -> bool {
            let is_let_in = self.check(name, source, secs) == 0;
            if is_let_in {
                let now = self.start + Duration::from_secs(secs);
                let source = source.parse().ok();
                let part = WrongPart::Password;
                self.limits.failed(part, name, source, &self.known, now);
            }
            is_let_in
        }

        fn log_in(&self, name: &str, source: &str) {
            self.known.note(name, source.parse().ok());
        }
    }

    #[test]
    fn a_user_and_a_network_have_five_wrong_passwords_a_minute() {
        let mut table = Table::new();
        for secs in 0..5 {
            assert!(table.fail("admin", "192.0.2.1", secs));
        }
        for (name, source, secs, wait) in [
            ("admin", "192.0.2.1", 10, 50),
            ("admin", "192.0.2.1", 59, 1),
            ("admin", "192.0.2.1", 60, 0),
            ("another", "192.0.2.1", 60, 0),
            ("admin", "192.0.2.2", 60, 0),
            ("admin", "2001:db8::1", 60, 0),
            ("admin", "nobody knows", 60, 0),
        ] {
            assert_eq!(
                table.check(name, source, secs),
                wait,
                "{name} {source} {secs}"
            );
        }
        assert!(table.fail("admin", "192.0.2.1", 60));
        assert_eq!(
            table.check("admin", "192.0.2.1", 60),
            1,
            "the second is at 61"
        );
    }

    #[test]
    fn a_network_has_thirty_for_all_names_and_wider_ones_have_more() {
        for (limit, sources) in [
            (30, &["192.0.2.1"][..]),
            (30, &["2001:db8::1", "2001:db8::2"]),
            (60, &["2001:db8::1", "2001:db8:0:1::", "2001:db8:0:2::"]),
            (
                120,
                &[
                    "2001:db8:0:0::",
                    "2001:db8:0:1::",
                    "2001:db8:0:100::",
                    "2001:db8:0:101::",
                    "2001:db8:0:200::",
                    "2001:db8:0:300::",
                ],
            ),
        ] {
            let mut table = Table::new();
            let let_in = (0..1000)
                .filter(|n| {
                    let source = sources[n % sources.len()];
                    table.fail(&format!("user{n}"), source, 0)
                })
                .count();
            assert_eq!(let_in, limit, "{sources:?}");
            let elsewhere = ["198.51.100.1", "2001:db8:1::"];
            assert!(elsewhere.iter().all(|ip| table.check("new", ip, 0) == 0));
        }
    }

    #[test]
    fn a_user_keeps_a_reserve_where_the_user_has_been() {
        let mut table = Table::new();
        table.log_in("admin", "192.0.2.1");
        for n in 0..30 {
            assert!(table.fail(&format!("user{n}"), "192.0.2.1", 0));
        }
        assert!(
            table.check("bob", "192.0.2.1", 1) > 0,
            "the network is used up"
        );
        assert_eq!(table.check("admin", "192.0.2.1", 1), 0, "but not for admin");
        for _ in 0..5 {
            assert!(table.fail("admin", "192.0.2.1", 1));
        }
        assert!(!table.fail("admin", "192.0.2.1", 1), "the pair's own limit");
    }

    #[test]
    fn a_name_under_attack_is_slowed_for_strangers_and_never_shut() {
        let mut table = Table::new();
        table.log_in("admin", "192.0.2.1");
        let attack = |table: &mut Table, secs| {
            (0..1000u32)
                .filter(|n| {
                    let [_, _, c, d] = n.to_be_bytes();
                    table.fail("admin", &format!("10.0.{c}.{d}"), secs)
                })
                .count()
        };
        assert_eq!(attack(&mut table, 0), 1000, "each network's first");
        assert_eq!(attack(&mut table, 1), 0, "no network's second");
        for (source, secs, wait) in [
            ("198.51.100.7", 2, 0),
            ("192.0.2.1", 2, 0),
            ("10.0.0.1", 2, 58),
        ] {
            assert_eq!(
                table.check("admin", source, secs),
                wait,
                "{source} at {secs}"
            );
        }

        // A typing mistake at home costs nothing, and in a hotel a minute.
        assert!(
            table.fail("admin", "192.0.2.1", 3) && table.fail("admin", "192.0.2.1", 4)
        );
        assert!(table.fail("admin", "198.51.100.7", 5));
        assert_eq!(table.check("admin", "198.51.100.7", 6), 59);
        assert_eq!(table.check("another", "198.51.100.7", 6), 0);
    }

    #[test]
    fn whoever_knows_the_password_has_ten_codes_a_minute_in_all() {
        let mut table = Table::new();
        table.log_in("Ann", "192.0.2.1");
        let now = table.start;
        let try_code = |table: &mut Table, source: &str| {
            let source = source.parse().ok();
            let may = table.limits.check_code("ann", source, &table.known, now);
            if may.is_ok() {
                let part = WrongPart::Code;
                table.limits.failed(part, "ANN", source, &table.known, now);
            }
            may.is_ok()
        };
        let tried = (0..100).filter(|n| try_code(&mut table, &format!("10.0.0.{n}")));
        assert_eq!(tried.count(), PER_CODE);
        assert!(try_code(&mut table, "192.0.2.1"), "where ann has been");
        assert_eq!(table.check("bob", "10.0.0.200", 0), 0);
    }

    #[test]
    fn a_flood_pushes_out_the_oldest_and_shuts_no_door() {
        let mut table = Table::new();
        for _ in 0..5 {
            assert!(table.fail("admin", "192.0.2.1", 0));
        }
        assert!(table.check("admin", "192.0.2.1", 1) > 0);
        for n in 0..u32::try_from(MAX_REMEMBERED).unwrap() + 5 {
            let [a, b, c, d] = n.to_be_bytes();
            let source = format!("2001:db8:{a:02x}{b:02x}:{c:02x}{d:02x}::");
            table.limits.failed(
                WrongPart::Password,
                &n.to_string(),
                source.parse().ok(),
                &table.known,
                table.start + Duration::from_secs(1),
            );
        }
        assert_eq!(table.limits.failures.len(), MAX_REMEMBERED);
        assert_eq!(
            table.check("admin", "192.0.2.1", 1),
            0,
            "the oldest have gone"
        );
        assert_eq!(table.check("late", "198.51.100.1", 1), 0, "no door is shut");
        assert_eq!(table.check("late", "198.51.100.1", 61), 0);
        assert!(table.limits.times.is_empty(), "nothing is left behind");
    }
}
