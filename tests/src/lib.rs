//! What the end-to-end tests share among themselves; `fleetbeat-tools` has what they
//! share with the measurements.

pub mod container;
pub mod nspawn;
