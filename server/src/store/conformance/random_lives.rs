//! Hosts that boot, move, swap addresses, fall silent and are installed again, in random
//! order, while an admin sets flags. When they have been quiet for a while, each host is
//! in a record of its own at its address, with the flags that were set last for it, and
//! there is no other record; and the events tell of each record what has happened to it,
//! once.
//!
//! Three things cannot be kept, so no life has them. They all are one: nobody can tell
//! whose heartbeat it is.
//! - A host without an `agent_id` is whoever has its address.
//! - A host with a new `agent_id` is the host whose address it has, installed again; one
//!   that is installed again and moves before it is heard is a new host.
//! - Copies of a host that speak at the same time, or one host that takes turns with
//!   another one at an address.

use std::ops::Range;
use std::time::Duration;

use fleetbeat_protocol::{AgentId, Flags, FlagsPatch, Status, Timestamp};

use super::fixtures::{act, beat, ip, minutes, now};
use super::told_lives;
use crate::store::embedded::Embedded;
use crate::store::server::SweepOrder;
use crate::store::{Beat, HostName, HostPatch, Store, WatchOrder};

const HOSTS: usize = 5;
const ADDRESSES: usize = 8;
/// Steps of a minute or two in which something happens.
const STORM: usize = 30;
/// Steps until all moves are done: a host moves once in ten minutes, and a chain of hosts
/// waits one for another.
const QUIET: usize = 60;

/// Numbers that look random, the same for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % limit
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// A host as it really is.
#[derive(Debug, Clone)]
struct Life {
    name: String,
    agent: u128,
    boot: u32,
    address: usize,
    is_up: bool,
    /// What an admin has set last.
    flags: Flags,
}

/// All hosts of one seed.
struct World<'a> {
    store: &'a dyn Store,
    seed: u64,
    chance: Chance,
    now: Timestamp,
    lives: Vec<Life>,
    agents: u128,
    /// What has happened, for the message of a failure.
    told: Vec<String>,
}

impl World<'_> {
    fn new(store: &dyn Store, seed: u64) -> World<'_> {
        let mut world = World {
            store,
            seed,
            chance: Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            now: now(),
            lives: Vec::new(),
            agents: u128::from(seed) << 32,
            told: Vec::new(),
        };
        for address in 0..HOSTS {
            world.agents += 1;
            world.lives.push(Life {
                name: format!("life-{seed}-{address}"),
                agent: world.agents,
                boot: 0,
                address,
                is_up: true,
                flags: Flags::default(),
            });
        }
        world
    }

    fn address(&self, index: usize) -> String {
        format!("10.{}.{}.{index}", self.seed / 256, self.seed % 256)
    }

    /// The heartbeat of a host.
    fn beat(&self, life: &Life) -> Beat {
        let mut beat = beat(&self.address(life.address), self.now);
        beat.heartbeat.agent_id = Some(AgentId::from_bits(life.agent));
        beat.heartbeat.boot_id = Some(format!("boot-{}", life.boot));
        beat.heartbeat.hostname.clone_from(&life.name);
        beat
    }

    /// The `server_id`s of the records that show the host, with their addresses.
    fn records(&self, life: &Life) -> Vec<(usize, String)> {
        let shown = |index| {
            let name = ip(&self.address(index)).into();
            let server = self.store.server(&name).unwrap()?;
            (server.hostname == life.name).then_some((index, server.server_id))
        };
        (0..ADDRESSES).filter_map(shown).collect()
    }

    /// The heartbeats of those who are up, in any order; some are lost.
    fn beats(&mut self, lost_one_in: Option<usize>) -> Vec<Beat> {
        let mut beats = Vec::new();
        for life in self.lives.clone().iter().filter(|life| life.is_up) {
            let is_lost = lost_one_in.is_some_and(|count| self.chance.one_in(count));
            if !is_lost {
                let place = self.chance.below(beats.len() + 1);
                beats.insert(place, self.beat(life));
            }
        }
        beats
    }

    /// An address that no host has.
    fn free_address(&mut self) -> usize {
        loop {
            let address = self.chance.below(ADDRESSES);
            if self
                .lives
                .iter()
                .all(|life| !life.is_up || life.address != address)
            {
                return address;
            }
        }
    }

    fn happen(&mut self) {
        let (one, other) = (self.chance.below(HOSTS), self.chance.below(HOSTS));
        let boots = self.chance.one_in(2);
        match self.chance.below(7) {
            0 if self.lives[one].is_up => {
                self.lives[one].address = self.free_address();
                self.lives[one].boot += u32::from(boots);
            }
            1 if one != other && self.lives[one].is_up && self.lives[other].is_up => {
                let address = self.lives[one].address;
                self.lives[one].address = self.lives[other].address;
                self.lives[other].address = address;
                for host in [one, other] {
                    self.lives[host].boot += u32::from(self.chance.one_in(2));
                }
            }
            2 => self.lives[one].is_up = false,
            3 => self.return_of(one),
            4 | 5 => self.set_a_flag(one),
            _ if boots => self.install_again(one),
            _ => self.lives[one].boot += 1,
        }
        let state = |life: &Life| {
            let Life {
                boot,
                address,
                is_up,
                ..
            } = life;
            format!("{address}{} b{boot}", if *is_up { "" } else { " down" })
        };
        let states: Vec<String> = self.lives.iter().map(state).collect();
        self.told
            .push(format!("{}: {}", self.now, states.join(", ")));
    }

    /// A host that was down is up again, perhaps with another address.
    fn return_of(&mut self, host: usize) {
        if !self.lives[host].is_up {
            self.lives[host].address = self.free_address();
            self.lives[host].boot += 1;
            self.lives[host].is_up = true;
        }
    }

    /// The admin sets a flag on any record that shows the host.
    fn set_a_flag(&mut self, host: usize) {
        let records = self.records(&self.lives[host]);
        if records.is_empty() {
            return;
        }
        let (_, server_id) = &records[self.chance.below(records.len())];
        let value = self.chance.one_in(2);
        let mut patch = FlagsPatch::default();
        let flags = &mut self.lives[host].flags;
        match self.chance.below(3) {
            0 => (patch.paid, flags.paid) = (Some(value), value),
            1 => (patch.gaming, flags.gaming) = (Some(value), value),
            _ => (patch.enabled, flags.enabled) = (Some(value), value),
        }
        let name = HostName::ServerId(server_id.clone());
        self.store
            .set(&name, HostPatch::Flags(patch), None, &act())
            .unwrap()
            .unwrap();
        self.told.push(format!("{host}: {patch:?} on {records:?}"));
    }

    /// A host that is where its record is gets another agent, which is heard at once.
    fn install_again(&mut self, host: usize) {
        let life = &self.lives[host];
        let records = self.records(life);
        let is_settled = records.len() == 1 && records[0].0 == life.address;
        if life.is_up && is_settled {
            self.store.record(&[self.beat(life)]).unwrap();
            self.agents += 1;
            self.lives[host].agent = self.agents;
            let beat = self.beat(&self.lives[host]);
            self.store.record(&[beat]).unwrap();
            self.told.push(format!("{host}: installed again"));
        }
    }

    /// The hosts have been quiet for long enough.
    fn check(&self) {
        let (seed, told) = (self.seed, self.told.join("\n"));
        let shown = |index| {
            let server = self.store.server(&ip(&self.address(index)).into()).unwrap();
            server.map(|server| (server.hostname, server.status, server.flags))
        };
        for index in 0..ADDRESSES {
            let life = self.lives.iter().find(|life| life.address == index);
            let expected =
                life.map(|life| (life.name.clone(), Status::Active, life.flags));
            assert_eq!(
                shown(index),
                expected,
                "seed {seed}, {index}: {life:?}\n{told}"
            );
        }
    }
}

/// Worlds that know nothing of each other, with one clock and one store.
struct Worlds<'a> {
    store: &'a dyn Store,
    chance: Chance,
    /// The service time after which a silent host is deleted.
    delete_after: Duration,
    worlds: Vec<World<'a>>,
}

impl Worlds<'_> {
    fn new(store: &dyn Store, seeds: Range<u64>, delete_after: Duration) -> Worlds<'_> {
        Worlds {
            store,
            chance: Chance(seeds.start),
            delete_after,
            worlds: seeds.map(|seed| World::new(store, seed)).collect(),
        }
    }

    /// A minute or two pass, and everybody beats.
    fn step(&mut self, lost_one_in: Option<usize>) {
        let passed = minutes(1 + i64::from(self.chance.one_in(2)));
        let mut beats = Vec::new();
        for world in &mut self.worlds {
            world.now += passed;
            beats.extend(world.beats(lost_one_in));
        }
        // A store that is slow at the moment asks agents to come again.
        for _ in 0..20 {
            let refused = self.store.record(&beats).unwrap().refused;
            beats.retain(|beat| refused.contains(&beat.ip));
            if beats.is_empty() {
                break;
            }
        }
        assert!(beats.is_empty(), "not stored");
        self.watch();
        if self.chance.one_in(5) {
            self.sweep();
        }
    }

    fn watch(&self) {
        let order = WatchOrder {
            now: self.worlds[0].now,
            down_after: Duration::from_secs(240),
        };
        self.store.watch(&order).unwrap();
    }

    /// Marks silent hosts, and now and then deletes those that are silent for longer.
    fn sweep(&mut self) {
        let order = SweepOrder {
            now: self.worlds[0].now,
            served: Duration::from_secs(600 * u64::from(self.chance.one_in(2))),
            down_after: Duration::from_secs(240),
            delete_after: self.delete_after,
        };
        self.store.prune(order.delete_after).unwrap();
        self.store.sweep(&order).unwrap();
    }

    fn live(mut self) {
        self.step(None);
        for _ in 0..STORM {
            for world in &mut self.worlds {
                for _ in 0..world.chance.below(3) {
                    world.happen();
                }
            }
            self.step(Some(5));
        }
        for world in &mut self.worlds {
            (0..HOSTS).for_each(|host| world.return_of(host));
        }
        (0..QUIET).for_each(|_| self.step(None));
        self.worlds.iter().for_each(World::check);
        self.watch();
        told_lives::check(self.store);
    }
}

/// Silent hosts are deleted while others live.
const SOON: Duration = Duration::from_secs(1200);
/// No host is deleted, and no record that should be another one's.
const NEVER: Duration = Duration::from_secs(1_000_000);

pub(super) fn after_any_life_each_host_is_in_its_own_record_with_its_flags(
    store: &dyn Store,
) {
    Worlds::new(store, 1..4, NEVER).live();
    Worlds::new(store, 4..6, SOON).live();
}

#[test]
fn after_many_lives_each_host_is_in_its_own_record_with_its_flags() {
    for (seeds, delete_after) in [(100..220, NEVER), (220..280, SOON)] {
        let folder = tempfile::tempdir().unwrap();
        let store = Embedded::open(folder.path()).unwrap();
        Worlds::new(&store, seeds, delete_after).live();
    }
}
