//! What is wrong with the settings: every problem, not only the first.

use std::fmt;
use std::io;
use std::path::Path;

/// One mistake in the settings, and the place of the mistake.
///
/// Displayed as `agent.toml:12: schedule.sample_every: must be a duration such as "30s"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file's name as the program was given it, or `environment`.
    pub file: String,
    /// The line, from 1; `None` where the whole file is meant.
    pub line: Option<usize>,
    /// The full dotted key, or the variable's name; empty where the text is not TOML.
    pub key: String,
    /// What is wrong, and what would be right. Never a secret's value.
    pub message: String,
    /// What is wrong is not in what the operator has written, and may be right at the
    /// next try: a file is missing, closed, or just being written.
    pub is_temporary: bool,
}

impl Problem {
    /// The file or folder at `path` cannot be read.
    #[must_use]
    pub fn unreadable(path: &Path, error: &io::Error) -> Problem {
        Problem {
            file: path.display().to_string(),
            line: None,
            key: String::new(),
            message: format!("cannot be read: {error}"),
            is_temporary: is_temporary(error),
        }
    }
}

/// What is wrong with a value, and whether waiting may help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// As in [`Problem::message`].
    pub message: String,
    /// As in [`Problem::is_temporary`].
    pub is_temporary: bool,
}

impl Fault {
    /// What may be right at the next try.
    pub fn temporary(message: impl Into<String>) -> Fault {
        Fault {
            message: message.into(),
            is_temporary: true,
        }
    }

    /// The file at `path` cannot be read.
    #[must_use]
    pub fn unreadable(path: &Path, error: &io::Error) -> Fault {
        Fault {
            message: format!("{}: {error}", path.display()),
            is_temporary: is_temporary(error),
        }
    }
}

impl<T: Into<String>> From<T> for Fault {
    fn from(message: T) -> Fault {
        Fault {
            message: message.into(),
            is_temporary: false,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Whether the system has not let a file be read. Whoever reads has errors of its own, too,
/// without a code of the system: about what stands in the file, or about its mode.
fn is_temporary(error: &io::Error) -> bool {
    error.raw_os_error().is_some()
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Every problem found so far.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Adds a problem.
    pub fn add(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    /// Adds a problem with the environment variable `name`.
    pub fn add_variable(&mut self, name: &str, fault: impl Into<Fault>) {
        self.add_fault(
            "environment".to_owned(),
            None,
            name.to_owned(),
            fault.into(),
        );
    }

    /// Adds the problem that `fault` is at its place.
    pub fn add_fault(
        &mut self,
        file: String,
        line: Option<usize>,
        key: String,
        fault: Fault,
    ) {
        self.add(Problem {
            file,
            line,
            key,
            message: fault.message,
            is_temporary: fault.is_temporary,
        });
    }

    /// Whether waiting may help with every problem.
    pub fn are_temporary(&self) -> bool {
        self.0.iter().all(|problem| problem.is_temporary)
    }

    /// How many problems there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// `Ok` if there are no problems.
    ///
    /// # Errors
    /// All problems, by file and line.
    pub fn into_result(mut self) -> Result<(), Problems> {
        self.0
            .sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}

/// One line for each problem.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
