//! The command line, as typed.

use std::path::PathBuf;

use lexopt::prelude::*;

use crate::service::exit::AgentError;

/// The text of --help. Manual page and completions are made from the same text.
const HELP: &str = include_str!("help.txt");

/// The command, and the path of the configuration.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) config: PathBuf,
    pub(crate) command: Command,
}

/// A command as in the help text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Run,
    CheckConfig,
    Doctor,
    Health,
    Once {
        send: bool,
    },
    Enroll {
        server: Option<String>,
        /// `-` for standard input.
        code: Option<String>,
    },
    /// Print this text and do nothing else.
    Print(String),
}

/// Parses the command line of this process.
pub(crate) fn parse() -> Result<Arguments, AgentError> {
    parse_from(lexopt::Parser::from_env())
        .map_err(|error| AgentError::Usage(error.to_string()))
}

fn parse_from(mut parser: lexopt::Parser) -> Result<Arguments, lexopt::Error> {
    let mut config = PathBuf::from("/etc/fleetbeat/agent.toml");
    let mut command = None;

    while let Some(argument) = parser.next()? {
        match (argument, &mut command) {
            (Short('c') | Long("config"), _) => config = parser.value()?.into(),
            (Short('h') | Long("help"), _) => {
                command = Some(Command::Print(HELP.to_owned()));
            }
            (Short('V') | Long("version"), _) => {
                let version =
                    concat!("fleetbeat-agent ", env!("CARGO_PKG_VERSION"), "\n");
                command = Some(Command::Print(version.to_owned()));
            }
            (Long("send"), Some(Command::Once { send })) => *send = true,
            (Long("server"), Some(Command::Enroll { server, .. })) => {
                *server = Some(parser.value()?.string()?);
            }
            (Long("code"), Some(Command::Enroll { code, .. })) => {
                *code = Some(parser.value()?.string()?);
            }
            (Value(name), None) => command = Some(named_command(&name.string()?)?),
            (argument, _) => return Err(argument.unexpected()),
        }
    }

    if let Some(Command::Enroll { code: None, .. }) = command {
        return Err(
            "enroll needs --code CODE, or --code - and the code on standard \
                    input"
                .into(),
        );
    }
    Ok(Arguments {
        config,
        command: command.unwrap_or(Command::Run),
    })
}

fn named_command(name: &str) -> Result<Command, String> {
    match name {
        "run" => Ok(Command::Run),
        "check-config" => Ok(Command::CheckConfig),
        "doctor" => Ok(Command::Doctor),
        "health" => Ok(Command::Health),
        "once" => Ok(Command::Once { send: false }),
        "enroll" => Ok(Command::Enroll {
            server: None,
            code: None,
        }),
        _ => Err(format!("unknown command {name:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        parse_from(lexopt::Parser::from_args(line.split_whitespace()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn every_command_is_understood() {
        for (line, expected) in [
            ("", Command::Run),
            ("run", Command::Run),
            ("check-config", Command::CheckConfig),
            ("doctor", Command::Doctor),
            ("health", Command::Health),
            ("once", Command::Once { send: false }),
            ("once --send", Command::Once { send: true }),
            (
                "enroll --server https://a --code fbe_1",
                Command::Enroll {
                    server: Some("https://a".to_owned()),
                    code: Some("fbe_1".to_owned()),
                },
            ),
            (
                "enroll --code -",
                Command::Enroll {
                    server: None,
                    code: Some("-".to_owned()),
                },
            ),
            (
                "--version",
                Command::Print(format!(
                    "fleetbeat-agent {}\n",
                    env!("CARGO_PKG_VERSION")
                )),
            ),
            ("run --help", Command::Print(HELP.to_owned())),
        ] {
            assert_eq!(parse(line).unwrap().command, expected, "{line}");
        }
        for line in ["-c a.toml once", "once -c a.toml", "--config=a.toml once"] {
            assert_eq!(
                parse(line).unwrap().config,
                PathBuf::from("a.toml"),
                "{line}"
            );
        }
    }

    #[test]
    fn the_help_names_commands_that_there_are() {
        let commands = HELP
            .split_once("Commands:\n")
            .unwrap()
            .1
            .split_once("\n\n")
            .unwrap()
            .0;
        // A line that is indented further goes on with the line before.
        let lines = commands.lines().filter(|line| !line.starts_with("   "));
        for line in lines {
            let (command, _) = line.trim_start().split_once("  ").unwrap();
            parse(&command.replace(['[', ']'], "")).unwrap();
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            "start",
            "run run",
            "--send",
            "run --send",
            "once --send --key x",
            "enroll",
            "enroll --code",
            "enroll --server https://a",
            "run --code x",
            "-c",
            "-x",
        ] {
            parse(line).unwrap_err();
        }
    }
}
