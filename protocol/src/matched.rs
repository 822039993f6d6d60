//! Which hosts a selector means, as far as people need to know it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::problem::Problem;

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

/// A problem with all that the server tells. An agent reads [`Problem`] alone, and so has
/// no code for what concerns people who change many hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FullProblem {
    /// What every problem has.
    #[serde(flatten)]
    pub problem: Problem,
    /// For 409 of a change of many hosts: those that are meant, who are more or fewer than
    /// was expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matched: Option<MatchedHosts>,
}
