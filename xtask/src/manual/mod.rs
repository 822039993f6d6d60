//! Manual pages and the shells' completions.
//!
//! The pages are made from the texts that the programs print and ship: `help.txt` is the
//! text of `--help`, and the packaged configuration files describe every setting. So a
//! manual page always says the same as the program.

mod completion;
pub mod help;
mod page;
pub mod settings;

use std::fs;
use std::path::Path;

use crate::error::XtaskError;
use help::Help;
use settings::Settings;

/// The programs, and the configuration file of each.
const PROGRAMS: [(&str, &str); 2] =
    [("fleetbeat-agent", "agent"), ("fleetbeat-server", "server")];

/// Writes the pages below `folder/man`, and the completions below `folder/completions`,
/// from the sources in `repository`.
///
/// # Errors
/// A source cannot be read, or a file cannot be written.
pub fn write(repository: &Path, folder: &Path) -> Result<(), XtaskError> {
    for (program, of) in PROGRAMS {
        let file = format!("{of}.toml");
        let help = Help::parse(&read(&repository.join(of).join("src/help.txt"))?);
        let packaged = read(&repository.join("packaging").join(&file))?;
        let settings = Settings::parse(&packaged);

        let completions = folder.join("completions");
        for (path, text) in [
            (
                folder.join(format!("man/{program}.8")),
                page::of_program(program, &help, &file),
            ),
            (
                folder.join(format!("man/{file}.5")),
                page::of_settings(&file, &settings, program),
            ),
            (
                completions.join("bash").join(program),
                completion::bash(program, &help),
            ),
            (
                completions.join(format!("zsh/_{program}")),
                completion::zsh(program, &help),
            ),
            (
                completions.join(format!("fish/{program}.fish")),
                completion::fish(program, &help),
            ),
        ] {
            let parent = path.parent().unwrap_or(folder);
            fs::create_dir_all(parent).map_err(XtaskError::write(parent))?;
            fs::write(&path, text).map_err(XtaskError::write(&path))?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, XtaskError> {
    fs::read_to_string(path).map_err(XtaskError::read(path))
}
