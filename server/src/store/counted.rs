//! A store whose failed calls are counted, whichever backend it is.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use fleetbeat_history::chart::ChartQuery;
use fleetbeat_history::{Chunk, Day, HostSamples, HostTraffic};
use fleetbeat_protocol::{AgentId, KeyHash, Server, Timestamp};

use super::alert_store::{
    AlertQuery, AlertRow, AlertSlice, AlertStore, Decision, DeliveryOutcome,
    DeliveryQuery, DeliveryRow, DeliveryState, Object, ObjectChange, ObjectKind, Page,
    SavedAlerts,
};
use super::api_token::{ApiToken, ApiTokenStore};
use super::backend::{CacheState, Store, StoreHealth};
use super::bulk::Bulk;
use super::error::StoreError;
use super::event::{Act, Cursor, NewEvent};
use super::event_store::{
    EventPage, EventQuery, EventStore, Retention, WatchOrder, Watched,
};
use super::flags::{HostPatch, Judge};
use super::history::{
    DaysRead, GroupHistory, Groups, HistoryStore, HostHistory, Tended, TrafficQuery,
};
use super::key::{
    AgentKey, Code, EnrollRefusal, EnrollRequest, Enrolled, KeyStore, ListedKey,
};
use super::life::{Life, LifeQuery};
use super::server::{
    Beat, Due, Fleet, HostName, Recorded, RemovedServer, ServerStore, SweepOrder, Swept,
};
use super::user::{User, UserChange, UserStore};
use crate::metrics::StoreErrors;

/// The store `inner`, whose failed calls are counted by the method's name.
pub(crate) struct Counted {
    inner: Arc<dyn Store>,
    errors: StoreErrors,
}

impl Counted {
    /// Counts the failed calls of `inner`.
    pub(crate) fn new(inner: Arc<dyn Store>, errors: StoreErrors) -> Counted {
        let names = [
            OF_SERVERS,
            &HostPatch::OPERATIONS,
            OF_USERS,
            OF_API_TOKENS,
            OF_KEYS,
            OF_EVENTS,
            OF_HISTORY,
            OF_ALERTS,
            OF_STORE,
        ];
        errors.show(&names.concat());
        Counted { inner, errors }
    }

    fn count<T>(
        &self,
        operation: &str,
        result: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        result.inspect_err(|error| {
            // A conflict is the caller's matter.
            if !matches!(error, StoreError::Conflict(_)) {
                self.errors.count(operation);
            }
        })
    }
}

/// Implements a trait, or the fallible half of one, by calls of the inner store, and names
/// the methods in a constant.
macro_rules! counted {
    ($trait:ident as $names:ident {
        $(fn $method:ident(&$this:ident $(, $argument:ident: $type:ty)*) -> $ok:ty;)*
        $(with { $($further:item)* })?
    }) => {
        const $names: &[&str] = &[$(stringify!($method)),*];

        impl $trait for Counted {
            $(fn $method(&$this $(, $argument: $type)*) -> Result<$ok, StoreError> {
                $this.count(stringify!($method), $this.inner.$method($($argument),*))
            })*
            $($($further)*)?
        }
    };
}

counted! {
    ServerStore as OF_SERVERS {
        fn record(&self, beats: &[Beat]) -> Recorded;
        fn fleet(&self, known: Option<&Arc<Fleet>>) -> Arc<Fleet>;
        fn server(&self, host: &HostName) -> Option<Server>;
        fn moved_to(&self, ip: IpAddr) -> Option<IpAddr>;
        fn set_many(&self, hosts: &[String], bulk: &Bulk<'_>) -> usize;
        fn remove_server(&self, host: &HostName, act: &Act) -> Option<RemovedServer>;
        fn sweep(&self, order: &SweepOrder) -> Swept;
        fn prune(&self, delete_after: Duration) -> Due;
        with {
            fn set(
                &self,
                host: &HostName,
                patch: HostPatch<'_>,
                judge: Judge<'_>,
                act: &Act,
            ) -> Result<Option<Server>, StoreError> {
                self.count(patch.operation(), self.inner.set(host, patch, judge, act))
            }
        }
    }
}

counted! {
    UserStore as OF_USERS {
        fn users(&self) -> Vec<User>;
        fn user(&self, username: &str) -> Option<User>;
        fn add_user(&self, user: &User, act: &Act) -> ();
        fn change_user(&self, username: &str, change: &UserChange, act: &Act) -> Option<User>;
        fn remove_user(&self, username: &str, act: &Act) -> ();
    }
}

counted! {
    ApiTokenStore as OF_API_TOKENS {
        fn api_tokens(&self) -> Vec<ApiToken>;
        fn add_api_token(&self, token: &ApiToken, act: &Act) -> ();
        fn remove_api_token(&self, id: &str, act: &Act) -> ();
        fn note_api_token_use(&self, id: &str, day: Timestamp) -> ();
    }
}

counted! {
    KeyStore as OF_KEYS {
        fn codes(&self) -> Vec<Code>;
        fn add_code(&self, code: &Code, act: &Act) -> ();
        fn remove_code(&self, id: &str, act: &Act) -> Option<Code>;
        fn enroll(&self, request: &EnrollRequest) -> Result<Enrolled, EnrollRefusal>;
        fn keys(&self) -> Vec<ListedKey>;
        fn key(&self, id: AgentId) -> Option<AgentKey>;
        fn keys_since(&self, rev: i64, each: &mut dyn FnMut(AgentKey)) -> ();
        fn use_next_key(&self, id: AgentId, next: KeyHash, at: Timestamp) -> Option<AgentKey>;
        fn revoke_key(&self, id: AgentId, act: &Act) -> Option<AgentKey>;
        fn readmit(&self, id: AgentId, act: &Act) -> Option<AgentKey>;
        fn ask_for_rotation(&self, id: AgentId, act: &Act) -> Option<AgentKey>;
    }
}

counted! {
    EventStore as OF_EVENTS {
        fn append(&self, events: &[NewEvent]) -> ();
        fn events(&self, query: &EventQuery) -> EventPage;
        fn newest_event(&self) -> Cursor;
        fn lives(&self, query: &LifeQuery) -> Vec<Life>;
        fn watch(&self, order: &WatchOrder) -> Watched;
        fn number_events(&self) -> ();
        fn forget_events(&self, retention: &Retention) -> usize;
    }
}

counted! {
    HistoryStore as OF_HISTORY {
        fn tend_history(&self, now: Timestamp) -> Option<Tended>;
        fn history(&self, host: &HostName, query: &ChartQuery) -> Option<HostHistory>;
        fn history_days(
            &self,
            host: &HostName,
            days: (Day, Day),
            each: &mut dyn FnMut(&Chunk)
        ) -> Option<DaysRead>;
        fn traffic(&self, hosts: &[TrafficQuery]) -> Vec<HostTraffic>;
        fn add_groups(&self, groups: &[HostSamples]) -> ();
        fn group_history(&self, groups: Groups, query: &ChartQuery) -> Vec<GroupHistory>;
    }
}

counted! {
    AlertStore as OF_ALERTS {
        fn alert_objects(&self, kind: ObjectKind) -> Vec<Object>;
        fn alert_object(&self, kind: ObjectKind, id: &str) -> Option<Object>;
        fn put_alert_object(&self, change: &ObjectChange<'_>) -> i64;
        fn remove_alert_object(&self, kind: ObjectKind, id: &str, event: &NewEvent) -> bool;
        fn load_alerts(&self, lately: Timestamp) -> Option<SavedAlerts>;
        fn alert_state(&self) -> Option<String>;
        fn write_alerts(&self, slice: &AlertSlice<'_>) -> ();
        fn queue_delivery(&self, delivery: &DeliveryRow) -> ();
        fn change_delivery(&self, delivery: &DeliveryRow) -> bool;
        fn claim_delivery(&self, id: &str, message: &str) -> Option<String>;
        fn settle_delivery(
            &self,
            id: &str,
            outcome: &DeliveryOutcome,
            event: Option<&NewEvent>
        ) -> ();
        fn take_asked_deliveries(&self, now: Timestamp) -> Vec<DeliveryRow>;
        fn alerts(&self, query: &AlertQuery) -> Page<AlertRow>;
        fn alert(&self, id: &str) -> Option<AlertRow>;
        fn deliveries(&self, query: &DeliveryQuery) -> Page<DeliveryRow>;
        fn count_deliveries(&self, state: DeliveryState) -> u64;
        fn delivery(&self, id: &str) -> Option<DeliveryRow>;
        fn decide_delivery(
            &self,
            id: &str,
            decision: Decision,
            event: &NewEvent
        ) -> Option<DeliveryRow>;
        fn forget_alerts(&self, keep: Duration) -> usize;
    }
}

counted! {
    StoreHealth as OF_STORE {
        fn ping(&self) -> ();
        fn try_write(&self) -> ();
        with {
            fn cache_state(&self) -> Option<CacheState> {
                self.inner.cache_state()
            }

            fn cache_errors(&self) -> u64 {
                self.inner.cache_errors()
            }

            fn holds_lease(&self) -> Option<bool> {
                self.inner.holds_lease()
            }
        }
    }
}

impl Store for Counted {
    fn find_ended_thread(&self) -> Option<&'static str> {
        self.inner.find_ended_thread()
    }

    fn close(&self) {
        self.inner.close();
    }
}
