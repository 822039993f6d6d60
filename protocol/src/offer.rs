//! What follows from a record: how much a host has to do, how many of the next clients it
//! is to get, and where it is.

use serde::{Deserialize, Serialize};

use crate::server::Server;

/// A VPN host as the API shows it: an element of `GET /servers`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShownServer {
    /// The record; in JSON, its fields stand beside those of the offer.
    #[serde(flatten)]
    pub server: Server,
    /// How much the host has to do.
    #[serde(flatten)]
    pub offer: Offer,
    /// Where the host is, beside the names in the record.
    pub geo: ShownGeo,
}

/// How much a host has to do, and how many of the next clients it is to get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The most of what is used of all that the host has, in percent, rounded up to a
    /// multiple of five. `None` if nothing is known.
    pub load_percent: Option<u8>,
    /// Of what the most is used.
    pub load_reason: Option<LoadReason>,
    /// The host's share of the next clients, compared with the weights of other hosts: 0
    /// for none, 1000 for a usual host that has nothing to do.
    pub weight: u32,
}

/// Where a host is, beside the names of country and city.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct ShownGeo {
    /// Who has said where the host is; `None` if nobody has. It is the database as soon as
    /// any part of it is the database's.
    pub source: Option<GeoSource>,
    /// Degrees north; there together with the longitude.
    pub latitude: Option<f64>,
    /// Degrees east.
    pub longitude: Option<f64>,
}

/// Who says where a host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GeoSource {
    /// The host's agent.
    Agent,
    /// Admins, by the setting `geo`.
    Admin,
    /// The database that the operator has named.
    Database,
}

/// What a host has, and can use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoadReason {
    /// The processors.
    Cpu,
    /// The bandwidth.
    Network,
    /// Sessions of clients.
    Clients,
    /// Entries of the kernel's table of connections.
    Conntrack,
    /// Memory.
    Ram,
}
