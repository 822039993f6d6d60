//! What `fleetbeat-agent` and `fleetbeat-server` need alike to be a service.
//!
//! Both programs log to systemd's journal or to a terminal, end with the exit codes of
//! sysexits.h, tell the service manager how they are, own named threads, and say a
//! trouble when it begins and when it is over. Each of these is written here once, so
//! that the two programs cannot grow apart. A thing that only one of them has stays in
//! that program: the agent's size is a feature.

pub mod clock;
pub mod condition;
pub mod exit;
pub mod lock;
pub mod logging;
pub mod service_manager;
pub mod thread;
