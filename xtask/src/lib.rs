//! Tasks of the repository: what is written from the sources (manual pages, completions,
//! licences), and what the sources themselves have to be like (measurements, rules).
//!
//! The program `fleetbeat-xtask` is a thin shell around this library, and so are the
//! tests that hold the repository to its rules.

pub mod cargo;
pub mod checkout;
pub mod error;
pub mod guard;
pub mod licences;
pub mod manual;
pub mod measure;
pub mod source;
pub mod surface;

/// What `fleetbeat-xtask --help` prints.
pub const HELP: &str = include_str!("help.txt");
