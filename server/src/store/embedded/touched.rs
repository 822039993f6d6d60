//! Which hosts the watch has to look at.
//!
//! Nearly every heartbeat says what the one before has said, as far as events go. So what
//! a heartbeat says is remembered as a hash, and only a host with another hash is looked
//! at. After a start nothing is remembered and every host is looked at once, so that
//! nothing that is remembered here has to outlive the process.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use fleetbeat_daemon::lock::lock;
use fleetbeat_protocol::AgentId;

use crate::store::server::{Beat, Supersedes};
use crate::store::sighting::Clock;

/// What is remembered is thrown away after so long, so that addresses that hosts have
/// left do not stay.
const REMEMBERED_FOR: Duration = Duration::from_secs(60 * 60);

/// What the watch has to look at.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ToSee {
    /// Every host.
    All,
    /// The hosts at these addresses.
    At(BTreeSet<IpAddr>),
}

/// The hosts that have changed, or may have, since the watch has looked.
pub(super) struct Touched(Mutex<Inner>);

/// What is remembered, and what is still to be looked at.
struct Inner {
    hasher: RandomState,
    /// What the last live heartbeat of each address has said.
    said: HashMap<IpAddr, u64>,
    since: Instant,
    to_see: ToSee,
}

impl Default for Touched {
    fn default() -> Touched {
        Touched(Mutex::new(Inner {
            hasher: RandomState::new(),
            said: HashMap::new(),
            since: Instant::now(),
            to_see: ToSee::All,
        }))
    }
}

impl Touched {
    /// These heartbeats have been stored.
    pub(super) fn note(&self, beats: &[Beat]) {
        let mut inner = lock(&self.0);
        for beat in beats {
            let said = say(&inner.hasher, beat);
            if beat.supersedes == Supersedes::Always {
                if inner.said.insert(beat.ip, said) != Some(said) {
                    inner.to_see.add(beat.ip);
                }
            } else {
                inner.said.remove(&beat.ip);
                inner.to_see.add(beat.ip);
            }
        }
    }

    /// The records at these addresses have changed by more than an ordinary heartbeat, so
    /// the next one may say something else about them, even if it is the same.
    pub(super) fn add(&self, ips: impl IntoIterator<Item = IpAddr>) {
        let mut inner = lock(&self.0);
        for ip in ips {
            inner.said.remove(&ip);
            inner.to_see.add(ip);
        }
    }

    /// Any host may have changed.
    pub(super) fn add_all(&self) {
        let mut inner = lock(&self.0);
        inner.said.clear();
        inner.to_see = ToSee::All;
    }

    /// The hosts that are to be looked at now.
    pub(super) fn take(&self) -> ToSee {
        let mut inner = lock(&self.0);
        if inner.since.elapsed() > REMEMBERED_FOR {
            inner.said.clear();
            inner.since = Instant::now();
        }
        std::mem::replace(&mut inner.to_see, ToSee::At(BTreeSet::new()))
    }
}

impl ToSee {
    fn add(&mut self, ip: IpAddr) {
        if let ToSee::At(ips) = self {
            ips.insert(ip);
        }
    }
}

/// What a heartbeat says that an event could tell.
fn say(hasher: &RandomState, beat: &Beat) -> u64 {
    let mut hash = hasher.build_hasher();
    let heartbeat = &beat.heartbeat;
    heartbeat.agent_id.map(AgentId::expose).hash(&mut hash);
    heartbeat.boot_id.hash(&mut hash);
    Clock::of(beat.clock_off()).hash(&mut hash);
    for service in &heartbeat.services {
        service.name.hash(&mut hash);
        service.active.hash(&mut hash);
    }
    hash.finish()
}

#[cfg(test)]
mod tests {
    use fleetbeat_protocol::Timestamp;

    use super::*;
    use crate::store::conformance::{beat, spooled};

    #[test]
    fn a_host_is_looked_at_when_it_says_something_else() {
        let touched = Touched::default();
        let at = Timestamp::UNIX_EPOCH;
        let ips =
            |ips: &[&str]| ToSee::At(ips.iter().map(|ip| ip.parse().unwrap()).collect());
        let mut other = beat("10.0.0.2", at);
        other.heartbeat.boot_id = Some("b".to_owned());
        assert_eq!(touched.take(), ToSee::All, "the first look");

        touched.note(&[beat("10.0.0.1", at), beat("10.0.0.2", at)]);
        assert_eq!(
            touched.take(),
            ips(&["10.0.0.1", "10.0.0.2"]),
            "never heard"
        );
        touched.note(&[beat("10.0.0.1", at), other]);
        assert_eq!(touched.take(), ips(&["10.0.0.2"]), "booted");
        touched.add(["10.0.0.1".parse().unwrap()]);
        assert_eq!(touched.take(), ips(&["10.0.0.1"]), "marked down");
        touched.note(&[beat("10.0.0.1", at)]);
        assert_eq!(touched.take(), ips(&["10.0.0.1"]), "and back");
        touched.note(&[spooled("10.0.0.1", at, 1.0)]);
        assert_eq!(touched.take(), ips(&["10.0.0.1"]), "spooled");
        assert_eq!(touched.take(), ips(&[]));
        touched.add_all();
        assert_eq!(touched.take(), ToSee::All);
    }
}
