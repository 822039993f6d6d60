//! Tasks of the repository: texts that are made from the sources (manual pages,
//! completions, licences), and measurements and rules of the sources themselves.
//!
//! The program `fleetbeat-xtask` is a thin shell around this library, and so are the
//! tests that hold the repository to the rules.

pub mod cargo;
pub mod checkout;
pub mod error;
pub mod guard;
pub mod licences;
pub mod manual;
pub mod measure;
pub mod source;
pub mod surface;

/// The text of `fleetbeat-xtask --help`.
pub const HELP: &str = include_str!("help.txt");
