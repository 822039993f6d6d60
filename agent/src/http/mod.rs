//! HTTP and TLS, as the agent speaks them.

pub(crate) mod tls;
