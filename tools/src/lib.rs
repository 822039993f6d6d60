//! The parts of `fleetsim`, of the measurements and of the end-to-end tests.
//!
//! Without the feature `harness` only the modules of `fleetsim` are built, and with
//! `peers` the stand-ins that need no other program.

pub mod client;
#[cfg(feature = "harness")]
pub mod contract;
#[cfg(feature = "harness")]
pub mod cut;
#[cfg(feature = "harness")]
pub mod dashboard;
#[cfg(feature = "peers")]
pub mod fake_http;
#[cfg(feature = "peers")]
pub mod fake_smtp;
pub mod fleet;
#[cfg(feature = "harness")]
pub mod front;
pub mod load;
#[cfg(feature = "harness")]
pub mod mmdb;
#[cfg(feature = "harness")]
pub mod nginx;
#[cfg(feature = "harness")]
pub mod outage;
#[cfg(feature = "harness")]
pub mod process;
#[cfg(feature = "harness")]
pub mod proxy;
#[cfg(feature = "harness")]
pub mod recorder;
#[cfg(feature = "harness")]
pub mod redis_server;
#[cfg(feature = "harness")]
pub mod report;
#[cfg(feature = "harness")]
pub mod secrets;
#[cfg(feature = "harness")]
pub mod server;
#[cfg(feature = "peers")]
pub mod stand_in;
#[cfg(feature = "harness")]
pub mod wait;
