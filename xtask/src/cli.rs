//! The command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use fleetbeat_xtask::error::XtaskError;
use fleetbeat_xtask::guard::{circles, undocumented};
use fleetbeat_xtask::source::package::read_packages;
use fleetbeat_xtask::source::tree::Crate;
use fleetbeat_xtask::{HELP, manual};
use lexopt::{Arg, Parser};

/// What is to be done.
pub(crate) enum Command {
    /// Print how to call the program.
    Help,
    /// Write manual pages and completions below a folder.
    Manual(PathBuf),
    /// Print the circles among the files of a checkout's crates.
    Circles(PathBuf),
    /// Print a checkout's types that have no doc comment.
    Undocumented(PathBuf),
}

/// The command that `arguments`, without the program's name, ask for.
pub(crate) fn parse(
    arguments: impl Iterator<Item = OsString>,
) -> Result<Command, XtaskError> {
    let mut words = Vec::new();
    let mut parser = Parser::from_args(arguments);
    while let Some(argument) = parser.next().map_err(usage)? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(Command::Help),
            Arg::Value(word) => words.push(word),
            Arg::Short(_) | Arg::Long(_) => return Err(usage(argument.unexpected())),
        }
    }

    let mut words = words.into_iter();
    let Some(name) = words.next() else {
        return Err(usage("a command is missing"));
    };
    let operand = words.next();
    if let Some(word) = words.next() {
        return Err(usage(format!("unexpected argument {}", word.display())));
    }
    command(&name.to_string_lossy(), operand)
}

fn command(name: &str, operand: Option<OsString>) -> Result<Command, XtaskError> {
    let checkout = || operand.clone().map_or_else(repository, PathBuf::from);
    match name {
        "manual" => {
            let folder = operand.ok_or_else(|| usage("manual: FOLDER is missing"))?;
            Ok(Command::Manual(folder.into()))
        }
        "circles" => Ok(Command::Circles(checkout())),
        "undocumented" => Ok(Command::Undocumented(checkout())),
        _ => Err(usage(format!("unknown command {name}"))),
    }
}

/// Does what is to be done. The exit code of a rule says whether the code keeps it.
pub(crate) fn run(command: Command) -> Result<ExitCode, XtaskError> {
    match command {
        Command::Help => print!("{HELP}"),
        Command::Manual(folder) => manual::write(&repository(), &folder)?,
        Command::Circles(folder) => {
            return print_places(&folder, |of| {
                let graph = circles::Graph::new(of);
                graph.circles().iter().map(ToString::to_string).collect()
            });
        }
        Command::Undocumented(folder) => {
            return print_places(&folder, undocumented::places);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the places that break a rule, and says by the exit code whether there are any.
fn print_places(
    folder: &Path,
    places: impl Fn(&Crate) -> Vec<String>,
) -> Result<ExitCode, XtaskError> {
    let folder = folder.canonicalize().map_err(XtaskError::read(folder))?;
    let mut found = 0;
    for package in read_packages(&folder)? {
        for root in &package.roots {
            for place in places(&Crate::read(&folder, root)?) {
                println!("{place}");
                found += 1;
            }
        }
    }
    println!("{found} found");
    Ok(if found == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The repository from whose source this program was built.
fn repository() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}

fn usage(message: impl ToString) -> XtaskError {
    XtaskError::Usage(message.to_string())
}
