//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use fleetbeat_protocol::Role;
use lexopt::{Arg, Parser, ValueExt};

/// What --help prints, and what the manual page and the completions are made from.
pub(crate) const HELP: &str = include_str!("help.txt");

/// What was typed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cli {
    pub(crate) config: Option<PathBuf>,
    pub(crate) command: Command,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Run,
    CheckConfig,
    UserAdd { username: String, role: Role, password: PasswordFrom },
    UserPasswd { username: String, password: PasswordFrom },
    UserList,
    UserRemove { username: String },
    Backup { file: PathBuf },
    Help,
    Version,
}

/// Where a new password comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PasswordFrom {
    Prompt,
    Stdin,
}

/// Reads the command line, without the program's name.
///
/// # Errors
/// A sentence that names what cannot be understood.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, String> {
    read(Parser::from_args(arguments)).map_err(|error| error.to_string())
}

fn read(mut parser: Parser) -> Result<Cli, lexopt::Error> {
    let mut config = None;
    let mut role = None;
    let mut password = None;
    let mut words: Vec<OsString> = Vec::new();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Short('c') | Arg::Long("config") => config = Some(parser.value()?.into()),
            Arg::Long("role") => role = Some(parser.value()?.parse()?),
            Arg::Long("password-stdin") => password = Some(PasswordFrom::Stdin),
            Arg::Short('h') | Arg::Long("help") => return Ok(Cli { config, command: Command::Help }),
            Arg::Short('V') | Arg::Long("version") => return Ok(Cli { config, command: Command::Version }),
            Arg::Value(word) => words.push(word),
            _ => return Err(argument.unexpected()),
        }
    }
    let words: Vec<String> = words.into_iter().map(ValueExt::string).collect::<Result<_, _>>()?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let command = command(&words, role, password)?;
    Ok(Cli { config, command })
}

fn command(
    words: &[&str],
    role: Option<Role>,
    password: Option<PasswordFrom>,
) -> Result<Command, lexopt::Error> {
    let takes_role = matches!(words, ["user", "add", ..]);
    let takes_password = matches!(words, ["user", "add" | "passwd", ..]);
    if role.is_some() && !takes_role {
        return Err("--role goes with `user add` only".into());
    }
    if password.is_some() && !takes_password {
        return Err("--password-stdin goes with `user add` and `user passwd` only".into());
    }
    let password = password.unwrap_or(PasswordFrom::Prompt);
    Ok(match *words {
        [] | ["run"] => Command::Run,
        ["check-config"] => Command::CheckConfig,
        ["user", "add", username] => {
            let role = role.ok_or("`user add` needs --role readonly, admin or superadmin")?;
            Command::UserAdd { username: username.to_owned(), role, password }
        }
        ["user", "passwd", username] => Command::UserPasswd { username: username.to_owned(), password },
        ["user", "list"] => Command::UserList,
        ["user", "remove", username] => Command::UserRemove { username: username.to_owned() },
        ["backup", file] => Command::Backup { file: file.into() },
        _ => return Err(format!("{:?} is no command: see --help", words.join(" ")).into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(OsString::from)).map(|cli| cli.command)
    }

    #[test]
    fn each_command_is_understood() {
        let name = || "ann".to_owned();
        for (line, expected) in [
            ("", Command::Run),
            ("-c /x run", Command::Run),
            ("check-config", Command::CheckConfig),
            (
                "user add ann --role admin --password-stdin",
                Command::UserAdd { username: name(), role: Role::Admin, password: PasswordFrom::Stdin },
            ),
            ("user passwd ann", Command::UserPasswd { username: name(), password: PasswordFrom::Prompt }),
            ("user list", Command::UserList),
            ("user remove ann", Command::UserRemove { username: name() }),
            ("backup /b", Command::Backup { file: "/b".into() }),
            ("--help", Command::Help),
            ("run -V", Command::Version),
        ] {
            assert_eq!(command(line).as_ref(), Ok(&expected), "{line}");
        }
    }

    #[test]
    fn the_help_names_commands_that_there_are() {
        let commands = HELP.split_once("Commands:\n").unwrap().1.split_once("\n\n").unwrap().0;
        for line in commands.lines() {
            let (typed, _) = line.trim_start().split_once("  ").unwrap();
            let typed = typed.replace(['[', ']'], "").replace("ROLE", "admin");
            command(&typed).unwrap();
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (line, named) in [
            ("serve", "serve"),
            ("user add ann", "--role"),
            ("user add ann --role root", "root"),
            ("user list --role admin", "--role"),
            ("run --password-stdin", "--password-stdin"),
            ("user add", "user add"),
            ("--verbose", "--verbose"),
            ("-c", "-c"),
        ] {
            let message = command(line).unwrap_err();
            assert!(message.contains(named), "{line}: {message}");
        }
    }
}
