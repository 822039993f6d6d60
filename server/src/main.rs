//! Fleetbeat server.
fn main() {}
