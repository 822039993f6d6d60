//! What every backend must do where the one who sets something sees a part of the hosts.

use std::sync::Barrier;
use std::thread;

use fleetbeat_protocol::{FlagsPatch, Server, TagsPatch};

use super::events::{kinds, watch};
use super::fixtures::{act, beat, ip, now};
use crate::fleet::scope::HostScope;
use crate::store::{
    Bulk, Conflict, Facts, HostName, HostPatch, Store, StoreError, Verdict,
};

const HOST: &str = "10.0.0.1";
/// Of two that ask for opposite things at once, in so many rounds.
const ROUNDS: usize = 40;

fn host() -> HostName {
    ip(HOST).into()
}

/// A tag that is set, or removed.
fn tag(key: &str, value: Option<&str>) -> TagsPatch {
    TagsPatch([(key.to_owned(), value.map(str::to_owned))].into())
}

/// What the scope says of a change that takes tags away.
fn judge(scope: &str, record: &Server, without: &[&str]) -> Verdict {
    let scope = HostScope::parse(scope).unwrap();
    let mut after = record.clone();
    after.tags.retain(|key, _| !without.contains(&key.as_str()));
    match (scope.covers(record), scope.covers(&after)) {
        (false, _) => Verdict::Unseen,
        (true, true) => Verdict::Allowed,
        (true, false) => Verdict::Leaves,
    }
}

/// Removes a tag of the host as somebody who sees the hosts of the scope.
fn untag(store: &dyn Store, scope: &str, key: &str) -> Result<bool, StoreError> {
    let judge = |record: &Server| judge(scope, record, &[key]);
    let patch = tag(key, None);
    let set = store.set(&host(), HostPatch::Tags(&patch), Some(&judge), &act());
    set.map(|server| server.is_some())
}

/// The same as a change of many hosts.
fn untag_many(
    store: &dyn Store,
    scope: &str,
    key: &str,
    id: &str,
) -> Result<bool, StoreError> {
    let judge = |record: &Server| judge(scope, record, &[key]);
    let patch = tag(key, None);
    let bulk = Bulk {
        patches: &[HostPatch::Tags(&patch)],
        judge: Some(&judge),
        act: &act(),
        facts: Facts::default(),
    };
    store
        .set_many(&[id.to_owned()], &bulk)
        .map(|count| count == 1)
}

/// A host with both tags.
fn populate(store: &dyn Store) -> Server {
    store.record(&[beat(HOST, now())]).unwrap();
    set_both(store)
}

fn set_both(store: &dyn Store) -> Server {
    let both = ["a", "b"].map(|key| (key.to_owned(), Some(String::new())));
    let both = TagsPatch(both.into());
    let set = store.set(&host(), HostPatch::Tags(&both), None, &act());
    set.unwrap().unwrap()
}

pub(super) fn a_change_is_judged_by_the_record_in_the_store(store: &dyn Store) {
    populate(store);
    let leaves = Err(StoreError::from(Conflict::LeavesScope));
    assert_eq!(untag(store, "tag.a and tag.b", "b"), leaves);
    assert_eq!(untag(store, "tag.a and not tag.b", "b"), Ok(false));
    assert_eq!(untag(store, "tag.a", "b"), Ok(true));
    assert_eq!(untag(store, "tag.b", "a"), Ok(false));

    // Flags, too; and what is refused is not told.
    let patch = HostPatch::Flags(FlagsPatch {
        paid: Some(true),
        ..FlagsPatch::default()
    });
    for verdict in [Verdict::Unseen, Verdict::Leaves] {
        let judge = |_: &Server| verdict;
        let refused = store.set(&host(), patch, Some(&judge), &act());
        assert!(matches!(refused, Ok(None) | Err(StoreError::Conflict(_))));
    }
    let server = store.server(&host()).unwrap().unwrap();
    assert_eq!(server.tags.into_keys().collect::<Vec<_>>(), ["a"]);
    assert!(!server.flags.paid);
    watch(store, now());
    let told = kinds(store);
    assert_eq!(
        told.iter().filter(|kind| **kind == "tag.changed").count(),
        3
    );
    assert!(!told.contains(&"flag.changed"), "{told:?}");
}

pub(super) fn of_two_changes_that_would_give_a_host_away_together_one_is_made(
    store: &dyn Store,
) {
    const SCOPE: &str = "tag.a or tag.b";
    let id = populate(store).server_id;
    for round in 0..ROUNDS {
        let start = Barrier::new(2);
        let [one, other] = thread::scope(|scope| {
            let one = scope.spawn(|| {
                start.wait();
                untag(store, SCOPE, "a")
            });
            let other = scope.spawn(|| {
                start.wait();
                match round % 2 {
                    0 => untag(store, SCOPE, "b"),
                    _ => untag_many(store, SCOPE, "b", &id),
                }
            });
            [one, other].map(|thread| thread.join().unwrap())
        });

        let made = [&one, &other].map(|done| *done == Ok(true));
        assert!(made[0] != made[1], "{one:?} {other:?}");
        let server = store.server(&host()).unwrap().unwrap();
        assert_eq!(server.tags.len(), 1, "{:?}", server.tags);
        set_both(store);
    }
}
