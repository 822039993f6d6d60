//! `doctor`: everything between this host and its heartbeats, checked in the order in
//! which one needs the other.
//!
//! Each check is a line: ok with what was found, failed with what is wrong and what to
//! do, or skipped because of a failure before it. Nothing is changed anywhere: the server
//! is asked in a way that makes no host of this one.

mod clock;
mod collector;
mod connection;
mod spool;
mod tls_error;

use std::io::{self, Write};
use std::path::Path;

use crate::config::Config;
use crate::sampling::schedule;
use crate::service::exit::AgentError;

/// What is wrong, and what to do.
pub(super) struct Trouble {
    what: String,
    advice: String,
}

impl Trouble {
    fn new(what: impl Into<String>, advice: impl Into<String>) -> Trouble {
        Trouble {
            what: what.into(),
            advice: advice.into(),
        }
    }
}

/// What a check has found.
type Finding = Result<String, Trouble>;

/// Runs every check on the configuration at `path` and prints what it finds.
///
/// # Errors
/// If something is wrong.
pub(crate) fn run(path: &Path) -> Result<(), AgentError> {
    let mut report = Report::default();
    // A missing key is the key's check to tell: all before it goes without.
    match Config::load(path, false) {
        Err(problems) => {
            let advice = "correct this; man agent.toml shows every setting";
            report.add(
                "configuration",
                Err(Trouble::new(problems.to_string(), advice)),
            );
            for name in [connection::CHECKS.as_slice(), &["collectors", "spool"]].concat()
            {
                report.skip(name, "configuration");
            }
        }
        Ok(config) => {
            report.add("configuration", Ok(format!("{} is valid", path.display())));
            connection::check(&config.server, &mut report);
            collector::check(
                config.collectors,
                schedule::window(config.sample_every),
                &mut report,
            );
            report.add("spool", spool::check(&config.spool));
        }
    }
    report.end()
}

/// Prints the lines and counts what failed.
#[derive(Default)]
pub(super) struct Report {
    failed: usize,
}

impl Report {
    /// The outcome of the check `name`; whether all is well with it.
    fn add(&mut self, name: &str, finding: Finding) -> bool {
        match finding {
            Ok(found) => {
                print("ok", name, &found);
                true
            }
            Err(Trouble { what, advice }) => {
                self.failed += 1;
                print("failed", name, &what);
                print("", "", &format!("-> {advice}"));
                false
            }
        }
    }

    /// The check `name` cannot be made because of the one that it needs.
    fn skip(&mut self, name: &str, needed: &str) {
        print("skipped", name, &format!("needs {needed}"));
    }

    fn end(self) -> Result<(), AgentError> {
        if self.failed == 0 {
            Ok(())
        } else {
            Err(AgentError::Unwell(self.failed))
        }
    }
}

/// A line as soon as there is something to say, for a reader who may be gone; further
/// lines of the text stand below.
fn print(state: &str, name: &str, text: &str) {
    let text = text.replace('\n', &format!("\n{:31}", ""));
    let _ = writeln!(io::stdout(), "{state:<8} {name:<21} {text}");
}
