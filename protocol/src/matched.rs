//! Which hosts a selector means, as far as people need to know it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The hosts that a selector means: how many, and which are the first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchedHosts {
    /// How many.
    pub hosts: usize,
    /// The first twenty, by address.
    pub first: Vec<MatchedHost>,
}

/// A host, as far as people need it to know which one is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchedHost {
    /// The address.
    pub ip: IpAddr,
    /// The host's name.
    pub hostname: String,
}
