//! What every backend must do: each case runs on an empty store of each backend.
//!
//! The cases are functions over a store, one file for each aggregate. A new case is
//! named in `cases!`, a new backend in `backends!`.

mod fixtures;
#[cfg(feature = "mongodb")]
mod mongodb_databases;
mod servers;
mod users;

use super::Store;
use super::embedded::Embedded;

pub(crate) use fixtures::{beat, servers, spooled};
#[cfg(feature = "mongodb")]
use mongodb_databases::{FreshMongoDb, variable};

/// One line for each backend: its name, and an expression that opens an empty store in a
/// temporary folder.
macro_rules! backends {
    ($($(#[$attribute:meta])* $name:ident: $open:expr;)+) => { $(
        $(#[$attribute])*
        mod $name {
            use super::*;
            cases!($open);
        }
    )+ };
}

/// One line for each case, under the file that has it.
macro_rules! cases {
    ($open:expr) => {
        cases!($open; servers:
            a_first_heartbeat_makes_a_server,
            a_later_heartbeat_keeps_identity_and_flags,
            a_spooled_heartbeat_counts_only_if_newer,
            a_host_whose_clock_is_ahead_changes_no_newer_state,
            sending_a_batch_twice_changes_nothing,
            addresses_of_both_families_are_sorted,
            a_patch_sets_only_its_flags,
            names_come_back_as_sent,
            a_sweep_marks_and_deletes,
            the_revision_moves_with_what_is_shown,
            flags_and_heartbeats_race_without_loss,
        );
        cases!($open; users:
            users_are_kept,
            the_last_superadmin_stays,
        );
    };
    ($open:expr; $file:ident: $($case:ident,)+) => { $(
        #[test]
        fn $case() {
            let folder = tempfile::tempdir().unwrap();
            let open: fn(&std::path::Path) -> Box<dyn Opened> = $open;
            super::$file::$case(open(folder.path()).store());
        }
    )+ };
}

backends! {
    embedded: |folder| Box::new(Embedded::open(folder).unwrap());
    #[cfg(feature = "mongodb")]
    mongodb: |_| Box::new(FreshMongoDb::open(&variable("REDIS_URL")));
    #[cfg(feature = "mongodb")]
    mongodb_with_a_redis_cluster: |_| {
        Box::new(FreshMongoDb::open(&variable("REDIS_CLUSTER_URL")))
    };
    #[cfg(feature = "mongodb")]
    mongodb_with_one_node_of_a_cluster: |_| {
        let cluster = variable("REDIS_CLUSTER_URL");
        Box::new(FreshMongoDb::open(cluster.split(',').next().unwrap()))
    };
    #[cfg(feature = "mongodb")]
    mongodb_without_redis: |_| Box::new(FreshMongoDb::open(""));
}

/// A store for one test, with what has to be cleared away behind it.
trait Opened {
    fn store(&self) -> &dyn Store;
}

impl Opened for Embedded {
    fn store(&self) -> &dyn Store {
        self
    }
}

#[cfg(feature = "mongodb")]
impl Opened for FreshMongoDb {
    fn store(&self) -> &dyn Store {
        &self.store
    }
}
