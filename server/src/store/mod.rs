//! The store: the fleet and the users, kept durably.
//!
//! There are two storage backends: an embedded SQLite file, and MongoDB with Redis. The
//! rest of the server sees a trait for each aggregate, in words of the domain, and no
//! type of a database's library. Every backend passes the same conformance suite.

#![cfg_attr(
    not(feature = "mongodb"),
    allow(dead_code, reason = "some things only MongoDB needs")
)]

mod alert_store;
mod api_token;
mod backend;
mod bulk;
mod column;
mod counted;
mod embedded;
mod enrollment;
mod error;
mod event;
mod event_spans;
mod event_store;
mod flags;
#[cfg(test)]
mod fuse;
mod history;
mod identity;
mod key;
mod life;
#[cfg(feature = "mongodb")]
mod mongodb;
mod open;
mod removal;
mod server;
mod settings;
mod sighting;
mod state;
mod tags;
mod user;

#[cfg(test)]
pub(crate) mod conformance;

pub(crate) use alert_store::{
    AlertQuery, AlertRow, AlertSlice, AlertState, AlertStore, Decision, DeliveryOutcome,
    DeliveryQuery, DeliveryRow, DeliveryState, Expected, Object, ObjectChange,
    ObjectKind, Page, Place, SavedAlerts,
};
pub(crate) use api_token::{ApiToken, ApiTokenStore};
pub(crate) use backend::{CacheState, Store, StoreHealth};
pub(crate) use bulk::Bulk;
pub(crate) use counted::Counted;
pub(crate) use error::{Conflict, StoreError, Unavailable};
pub(crate) use event::{
    Act, Audience, Cursor, Event, EventKind, Facts, NewEvent, Who, facts,
};
pub(crate) use event_store::{
    EventPage, EventQuery, EventStore, KnownHosts, Mass, Retention, WatchOrder, Watched,
};
pub(crate) use flags::{HostPatch, Judge, Verdict};
pub(crate) use history::{
    DaysRead, Extent, GroupHistory, Groups, HistorySettings, HistoryStore, HostHistory,
    Tended, TrafficQuery,
};
pub(crate) use key::{
    AgentKey, Code, EnrollRefusal, EnrollRequest, Enrolled, KeyStore, ListedKey,
    flags_as_json, networks_as_texts,
};
pub(crate) use life::{Life, LifeQuery, Turn};
pub(crate) use open::{
    backup, find_wrong_settings, open, open_before_server, open_beside_server,
    open_history, peek_channels, restore,
};
pub(crate) use server::{
    Beat, Denial, Fleet, HostName, HostRules, Recorded, RemovedServer, ServerStore,
    Speaker, Supersedes, SweepOrder, Swept, UnknownHosts,
};
#[cfg(test)]
pub(crate) use user::Totp;
pub(crate) use user::{ScopeChange, User, UserChange, UserStore, new_version};
