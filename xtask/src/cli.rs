//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use fleetbeat_xtask::error::XtaskError;
use lexopt::{Arg, Parser};

/// The task that is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Print how to call the program.
    Help,
    /// Write manual pages and completions below a folder.
    Manual(PathBuf),
    /// Print the licences of all parts of a package's binary.
    Licences(String),
    /// Print measurements of some code.
    MeasureCode(Code, Detail),
    /// Print the circles among the files of each crate.
    Circles(Code),
    /// Print the types that have no doc comment.
    Undocumented(Code),
}

/// The code that is looked at.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// This repository with its uncommitted changes.
    Here,
    /// The code in a folder.
    Folder(PathBuf),
    /// A revision of this repository.
    Revision(String),
}

/// How much `measure-code` prints.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// The table.
    Numbers,
    /// The places behind the numbers, too.
    Places,
}

/// The parts of a command line, not yet checked against the command.
struct Words {
    values: std::vec::IntoIter<OsString>,
    revision: Option<String>,
    is_verbose: bool,
}

/// The command that `arguments`, without the program's name, ask for.
pub(crate) fn parse(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Command, XtaskError> {
    let mut values = Vec::new();
    let (mut revision, mut is_verbose) = (None, false);

    let mut parser = Parser::from_args(arguments);
    while let Some(argument) = parser.next().map_err(usage)? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(Command::Help),
            Arg::Long("rev") => {
                let value = parser.value().map_err(usage)?;
                revision = Some(value.to_string_lossy().into_owned());
            }
            Arg::Long("verbose") => is_verbose = true,
            Arg::Value(value) => values.push(value),
            Arg::Short(_) | Arg::Long(_) => return Err(usage(argument.unexpected())),
        }
    }
    let values = values.into_iter();
    command(Words {
        values,
        revision,
        is_verbose,
    })
}

fn command(mut words: Words) -> Result<Command, XtaskError> {
    let Some(name) = words.values.next() else {
        return Err(usage("COMMAND is missing"));
    };
    let command = match &*name.to_string_lossy() {
        "manual" => Command::Manual(words.value("FOLDER")?.into()),
        "licences" => {
            let package = words.value("PACKAGE")?;
            Command::Licences(package.to_string_lossy().into_owned())
        }
        "measure-code" => Command::MeasureCode(words.code(), words.detail()),
        "circles" => Command::Circles(words.code()),
        "undocumented" => Command::Undocumented(words.code()),
        unknown => return Err(usage(format!("unknown command {unknown}"))),
    };

    words.end()?;
    Ok(command)
}

impl Words {
    fn value(&mut self, name: &str) -> Result<OsString, XtaskError> {
        let value = self.values.next();
        value.ok_or_else(|| usage(format!("{name} is missing")))
    }

    fn code(&mut self) -> Code {
        match self.revision.take() {
            Some(revision) => Code::Revision(revision),
            None => self
                .values
                .next()
                .map_or(Code::Here, |at| Code::Folder(at.into())),
        }
    }

    fn detail(&mut self) -> Detail {
        if std::mem::take(&mut self.is_verbose) {
            Detail::Places
        } else {
            Detail::Numbers
        }
    }

    /// Refuses arguments that the command has not taken.
    fn end(mut self) -> Result<(), XtaskError> {
        if let Some(value) = self.values.next() {
            return Err(usage(format!("unexpected argument {}", value.display())));
        }
        if self.revision.is_some() {
            return Err(usage("unexpected option --rev"));
        }
        if self.is_verbose {
            return Err(usage("unexpected option --verbose"));
        }
        Ok(())
    }
}

#[allow(clippy::needless_pass_by_value, reason = "map_err hands over values")]
fn usage(message: impl ToString) -> XtaskError {
    XtaskError::Usage(message.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        let error = |error| match error {
            XtaskError::Usage(message) => message,
            error => panic!("{error}"),
        };
        parse(line.split_whitespace().map(OsString::from)).map_err(error)
    }

    #[test]
    fn a_command_takes_what_belongs_to_it() {
        let at = Code::Folder("/x".into());
        for (line, expected) in [
            ("manual target", Command::Manual("target".into())),
            (
                "licences fleetbeat-agent",
                Command::Licences("fleetbeat-agent".into()),
            ),
            (
                "measure-code",
                Command::MeasureCode(Code::Here, Detail::Numbers),
            ),
            (
                "measure-code /x --verbose",
                Command::MeasureCode(at, Detail::Places),
            ),
            (
                "circles --rev HEAD~1",
                Command::Circles(Code::Revision("HEAD~1".into())),
            ),
            ("circles --help", Command::Help),
        ] {
            assert_eq!(parsed(line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (line, complaint) in [
            ("", "COMMAND is missing"),
            ("manual", "FOLDER is missing"),
            ("manual a b", "unexpected argument b"),
            ("measure-code --rev HEAD /x", "unexpected argument /x"),
            ("manual target --rev HEAD", "unexpected option --rev"),
            ("circles --verbose", "unexpected option --verbose"),
            ("circles --fast", "invalid option '--fast'"),
            ("dance", "unknown command dance"),
        ] {
            assert_eq!(parsed(line), Err(complaint.to_owned()), "{line}");
        }
    }
}
