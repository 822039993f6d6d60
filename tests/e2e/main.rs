//! End-to-end tests: the real binaries in temporary folders, spoken to over real sockets.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod access_log;
mod accuracy;
mod agent;
mod agent_keys;
mod ansible;
mod attacks;
mod auth;
mod backup;
mod compatibility;
mod compose;
mod configuration;
mod demo;
mod disk;
mod doctor;
mod durability;
mod enrollment;
mod events;
mod first_steps;
mod heartbeat;
mod http;
mod identity;
mod images;
mod manual;
mod metrics;
mod mongodb;
mod names;
mod networked_host;
mod nginx;
mod openapi;
mod packages;
mod prometheus;
mod repository;
mod rotation;
mod servers;
mod spool;
mod start;
mod static_agent;
mod systemd;
mod tidy;
