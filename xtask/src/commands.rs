//! The commands.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use fleetbeat_xtask::checkout::Checkout;
use fleetbeat_xtask::error::XtaskError;
use fleetbeat_xtask::guard::{circles, undocumented};
use fleetbeat_xtask::licences::licences;
use fleetbeat_xtask::measure::{measure, places, table};
use fleetbeat_xtask::source::package::read_packages;
use fleetbeat_xtask::source::tree::Crate;
use fleetbeat_xtask::{HELP, manual};

use crate::cli::{Code, Command, Detail};

/// Does what `command` asks for. The exit code of a rule says whether the code keeps the
/// rule.
pub(crate) fn run(command: Command) -> Result<ExitCode, XtaskError> {
    match command {
        Command::Help => print!("{HELP}"),
        Command::Manual(folder) => manual::write(&repository(), &folder)?,
        Command::Licences(package) => {
            print!("{}", licences(&repository(), &package)?);
        }
        Command::MeasureCode(code, detail) => {
            let measured = measure(checkout(&code)?.folder())?;
            print!("{}", table(&measured));
            if detail == Detail::Places {
                print!("\n{}", places(&measured));
            }
        }
        Command::Circles(code) => return print_breaches(&code, circles::circles),
        Command::Undocumented(code) => {
            return print_breaches(&code, undocumented::places);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the places that break a rule. The exit code says whether there are any.
fn print_breaches(
    code: &Code,
    breaches: fn(&Crate) -> Vec<String>,
) -> Result<ExitCode, XtaskError> {
    let checkout = checkout(code)?;
    let mut count = 0;
    for package in read_packages(checkout.folder())? {
        for root in &package.roots {
            for breach in breaches(&Crate::read(checkout.folder(), root)?) {
                println!("{breach}");
                count += 1;
            }
        }
    }

    println!("{count} found");
    Ok(if count == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn checkout(code: &Code) -> Result<Checkout, XtaskError> {
    match code {
        Code::Here => Checkout::of_folder(&repository()),
        Code::Folder(folder) => Checkout::of_folder(folder),
        Code::Revision(revision) => Checkout::of_revision(&repository(), revision),
    }
}

/// The repository from whose source this program was built.
fn repository() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}
