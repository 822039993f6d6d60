//! The variables that count: the caller's own, and behind them those of the service.

use std::ffi::OsString;
use std::path::PathBuf;

use super::service::Variable;

/// The variables of the caller and of the service.
pub(in crate::commands) struct Variables<Own> {
    own: Own,
    of_service: Vec<Variable>,
    closed: Vec<PathBuf>,
}

impl<Own: Fn(&str) -> Option<OsString>> Variables<Own> {
    /// `own` looks up the caller's variables; `of_service` are the service's, and the
    /// files of them that the caller may not read.
    pub(super) fn new(
        own: Own,
        (of_service, closed): (Vec<Variable>, Vec<PathBuf>),
    ) -> Variables<Own> {
        Variables {
            own,
            of_service,
            closed,
        }
    }

    /// The value of a variable.
    pub(in crate::commands) fn value(&self, name: &str) -> Option<OsString> {
        let own = (self.own)(name);
        own.or_else(|| Some(self.find(name)?.value.as_str().into()))
    }

    /// Where the secret `name` is given, for people.
    pub(super) fn place(&self, name: &str) -> String {
        let in_file = format!("{name}_FILE");
        for name in [name, &in_file] {
            if (self.own)(name).is_some() {
                return format!("{name} of the environment");
            }
            if let Some(variable) = self.find(name) {
                return format!("{name} of {}", variable.place);
            }
        }
        format!("{name}, which is not set")
    }

    /// What to tell where variables of the service are not known.
    pub(super) fn find_closed(&self) -> Option<String> {
        let file = self.closed.first()?.display();
        Some(format!(
            "{file} cannot be read by this user, so the variables in it are left out here"
        ))
    }

    fn find(&self, name: &str) -> Option<&Variable> {
        self.of_service
            .iter()
            .find(|variable| variable.name == name && !variable.value.is_empty())
    }
}
