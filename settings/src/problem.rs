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
        }
    }
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
    pub fn add_variable(&mut self, name: &str, message: impl Into<String>) {
        let (file, key) = ("environment".to_owned(), name.to_owned());
        self.add(Problem {
            file,
            line: None,
            key,
            message: message.into(),
        });
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
