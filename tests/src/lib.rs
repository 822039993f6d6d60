//! The parts of the end-to-end tests that need root: machines and containers. The parts
//! that the tests have in common with the measurements are in `fleetbeat-tools`.

pub mod container;
pub mod nspawn;
