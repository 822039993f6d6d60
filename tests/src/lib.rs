//! What the end-to-end tests, `fleetsim` and the benchmark share.

pub mod program;
