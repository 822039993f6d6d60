//! Strict reading of TOML settings, shared by agent and server.
//!
//! A wrong setting on a machine far away must be found in one go: nothing here stops at
//! the first problem. [`Document`] is the parsed file (or several, merged), [`Table`]
//! hands out its values typed and within their limits, [`Problems`] collects whatever was
//! wrong on the way, each with file, line and key. Keys that nobody asked for are
//! problems, too.
//!
//! ```
//! use fleetbeat_settings::{Document, Problems};
//!
//! let mut problems = Problems::default();
//! let document = Document::parse("server.toml", "[sweep]\ninterval = \"60s\"\nworkers = 0", &mut problems);
//! let interval = document.read(&mut problems, |root| {
//!     let day = std::time::Duration::from_secs(86_400);
//!     root.section("sweep", |sweep| sweep.duration("interval", std::time::Duration::from_secs(1)..=day))
//! });
//! assert_eq!(interval.unwrap().as_secs(), 60);
//! let told = problems.into_result().unwrap_err().to_string();
//! assert_eq!(told, "server.toml:3: sweep.workers: is not a known key; known here: interval");
//! ```

mod document;
mod duration;
mod problem;
mod secret;
mod table;
mod value;

pub use document::Document;
pub use duration::show_duration;
pub use problem::{Problem, Problems};
pub use secret::Secret;
pub use table::Table;
