//! Writes the manual pages and the shells' completions: `fleetbeat-xtask FOLDER`.
//!
//! Their source is what the programs themselves print and what they are shipped with:
//! `help.txt` is the text of `--help`, and the packaged configuration files describe
//! every setting. So neither can say anything else.

mod completion;
mod help;
mod page;
mod settings;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

use help::Help;
use settings::Settings;

/// The programs, and the configuration file of each.
const PROGRAMS: [(&str, &str); 2] =
    [("fleetbeat-agent", "agent"), ("fleetbeat-server", "server")];

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: fleetbeat-xtask FOLDER");
        return ExitCode::from(2);
    };
    match write_all(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fleetbeat-xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write_all(folder: &Path) -> io::Result<()> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (program, of) in PROGRAMS {
        let text = fs::read_to_string(repository.join(of).join("src/help.txt"))?;
        let help = Help::parse(&text);
        let file = format!("{of}.toml");
        let settings = Settings::parse(&fs::read_to_string(
            repository.join("packaging").join(&file),
        )?);
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
            fs::create_dir_all(path.parent().unwrap_or(folder))?;
            fs::write(path, text)?;
        }
    }
    Ok(())
}
