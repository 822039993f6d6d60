//! Fleetbeat settings.
