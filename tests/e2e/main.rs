//! End-to-end tests: the real binaries in temporary folders, spoken to over real sockets.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod agent;
mod auth;
mod compose;
mod disk;
mod durability;
mod front;
mod heartbeat;
mod mongodb;
mod policy;
mod servers;
mod spool;
mod start;
mod whole;
