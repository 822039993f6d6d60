//! Secrets from the environment, or from files that the environment names.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::Path;

use crate::problem::{Fault, Problems};

/// A key or password. `Debug` shows `Secret(…)`, never the value, so that no log can.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret in the environment variable `name`, or in the file whose path is in the
    /// variable `name` + `_FILE`; `None` if neither variable is set. Problems, and
    /// `None`, too: both variables are set, the file cannot be read, the secret is empty.
    ///
    /// `variable` looks up an environment variable: `|name| std::env::var_os(name)`.
    /// `read` reads a file: `std::fs::read_to_string`, for example, or a stricter
    /// function that looks at the file's mode first.
    pub fn find(
        name: &str,
        variable: impl Fn(&str) -> Option<OsString>,
        read: impl Fn(&Path) -> io::Result<String>,
        problems: &mut Problems,
    ) -> Option<Secret> {
        let file_name = format!("{name}_FILE");

        let (used, found) = match (variable(name), variable(&file_name)) {
            (None, None) => return None,
            (Some(_), Some(_)) => (
                name,
                Err(Fault::from(format!(
                    "is set, and so is {file_name}: one of them must go"
                ))),
            ),
            (Some(value), None) => (
                name,
                value
                    .into_string()
                    .map_err(|_| "is not UTF-8".into())
                    .and_then(|value| Secret::from_text(value).map_err(Fault::from)),
            ),
            (None, Some(path)) => {
                (file_name.as_str(), Secret::read(Path::new(&path), read))
            }
        };

        found
            .map_err(|fault| problems.add_variable(used, fault))
            .ok()
    }

    /// The secret in the file at `path`, without the line ends at the file's end.
    ///
    /// # Errors
    /// A sentence that names the path, for a file that `read` cannot read or that is
    /// empty.
    pub fn read(
        path: &Path,
        read: impl Fn(&Path) -> io::Result<String>,
    ) -> Result<Secret, Fault> {
        let text = read(path).map_err(|error| Fault::unreadable(path, &error))?;
        let secret = text.trim_end_matches(['\r', '\n']).to_owned();
        // Whoever writes the file may be about to.
        let empty = |what| Fault::temporary(format!("{}: {what}", path.display()));
        Secret::from_text(secret).map_err(empty)
    }

    /// The value, to be used and never shown.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The secret that `text` is.
    ///
    /// # Errors
    /// The text is empty.
    pub fn from_text(text: String) -> Result<Secret, &'static str> {
        if text.is_empty() {
            Err("is empty")
        } else {
            Ok(Secret(text))
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
