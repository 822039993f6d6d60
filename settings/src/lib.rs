//! Strict reading of TOML settings, shared by agent and server.
//!
//! Whoever corrects the settings of a machine far away wants to be told all mistakes in
//! one go: nothing here stops at the first problem. [`Document`] is the parsed file (or
//! several, merged), [`Table`] hands out the values, typed and within their limits, and
//! [`Problems`] collects whatever was wrong on the way, each with file, line and key. A
//! key that nobody asked for is a problem, too.
//!
//! ```
//! use fleetbeat_settings::{Document, Problems};
//!
//! let mut problems = Problems::default();
//! let text = "[sweep]\ninterval = \"60s\"\nworkers = 0";
//! let document = Document::parse("server.toml", text, &mut problems);
//!
//! let [second, day] = [1, 86_400].map(std::time::Duration::from_secs);
//! let interval = document.read(&mut problems, |root| {
//!     root.section("sweep", |sweep| sweep.duration("interval", second..=day))
//! });
//!
//! assert_eq!(interval.unwrap().as_secs(), 60);
//! let told = problems.into_result().unwrap_err().to_string();
//! assert_eq!(
//!     told,
//!     "server.toml:3: sweep.workers: is not a known key; known here: interval"
//! );
//! ```

mod document;
mod duration;
mod file;
mod problem;
mod secret;
mod size;
mod table;
mod value;

pub use document::{Document, list_drop_ins};
pub use duration::{parse_duration, show_duration};
pub use file::{read_file, read_text};
pub use problem::{Fault, Problem, Problems};
pub use secret::Secret;
pub use size::{parse_size, show_size};
pub use table::Table;
