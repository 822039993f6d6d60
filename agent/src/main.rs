//! Fleetbeat agent.
fn main() {}
