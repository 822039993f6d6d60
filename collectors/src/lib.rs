//! Fleetbeat collectors.
