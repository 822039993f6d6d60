//! The commands that work beside a running server.

pub(crate) mod proxy_config;
pub(crate) mod user;
