//! Prints the findings of the doctor's steps.

use std::io::{self, Write};

use super::finding::Trouble;
use crate::delivery::printable;
use crate::service::exit::AgentError;

/// Prints a line for each step and counts the steps that failed.
#[derive(Default)]
pub(super) struct Report {
    failed_count: usize,
}

impl Report {
    pub(super) fn ok(&mut self, name: &str, found: &str) {
        print("ok", name, found);
    }

    pub(super) fn failed(&mut self, name: &str, trouble: &Trouble) {
        self.failed_count += 1;
        print("failed", name, &trouble.what);
        print("", "", &format!("-> {}", trouble.advice));
    }

    pub(super) fn warning(&mut self, name: &str, trouble: &Trouble) {
        print("warning", name, &trouble.what);
        print("", "", &format!("-> {}", trouble.advice));
    }

    /// The step `name` cannot be made because the step `needed` failed.
    pub(super) fn skipped(&mut self, name: &str, needed: &str) {
        print("skipped", name, &format!("needs {needed}"));
    }

    /// An error if a step failed.
    pub(super) fn end(self) -> Result<(), AgentError> {
        match self.failed_count {
            0 => Ok(()),
            count => Err(AgentError::Unwell(count)),
        }
    }
}

/// Prints a line at once; the reader may be gone. What other programs have printed has no
/// power over root's terminal. Further lines of the text stand below
/// the first line.
fn print(outcome: &str, name: &str, text: &str) {
    let text = printable(text).replace('\n', &format!("\n{:31}", ""));
    let _ = writeln!(io::stdout(), "{outcome:<8} {name:<21} {text}");
}
