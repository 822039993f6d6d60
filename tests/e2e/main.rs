//! End-to-end tests: the real binaries in temporary folders, spoken to over real sockets.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod access_log;
mod accounts;
mod accuracy;
mod agent;
mod ansible;
mod api_tokens;
mod attacks;
mod auth;
mod authorization;
mod backup;
mod codes;
mod compatibility;
mod compose;
mod configuration;
mod demo;
mod disk;
mod doctor;
mod durability;
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
mod selectors;
mod servers;
mod spool;
mod sso;
mod start;
mod static_agent;
mod systemd;
mod tidy;
mod totp;
