//! What the end-to-end tests, `fleetsim` and the benchmark share.

pub mod client;
pub mod container;
pub mod fleet;
pub mod front;
pub mod load;
pub mod machine;
pub mod nginx;
pub mod outage;
pub mod process;
pub mod program;
pub mod proxy;
pub mod recorder;
pub mod redis_server;
pub mod report;
pub mod server;
pub mod wait;
