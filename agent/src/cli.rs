//! The command line, as typed.

use std::path::PathBuf;

use lexopt::prelude::*;

use crate::failure::Failure;

const HELP: &str = "\
Measures this host and sends a heartbeat to fleetbeat-server.

Usage: fleetbeat-agent [-c FILE] [COMMAND]

Commands:
  run             send heartbeats until stopped (the default)
  check-config    say what the configuration means, or everything that is wrong with it
  doctor          check all that a heartbeat needs, and say what is wrong and what to do
  once [--send]   measure once and print the heartbeat that would be sent; --send sends it, too

Options:
  -c, --config FILE   configuration [default: /etc/fleetbeat/agent.toml]; the *.toml files in the
                      folder beside it that ends in .d (agent.d) follow in the order of their names
  -h, --help          print this
  -V, --version       print the version

The key that the server asks for: AGENT_API_KEY, AGENT_API_KEY_FILE (a path), or server.api_key_file.
";

/// What to do, and with which configuration.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) config: PathBuf,
    pub(crate) command: Command,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Run,
    CheckConfig,
    Doctor,
    Once {
        send: bool,
    },
    /// Print this and nothing else.
    Print(String),
}

/// This process's command line.
pub(crate) fn parse() -> Result<Arguments, Failure> {
    parse_from(lexopt::Parser::from_env()).map_err(|error| Failure::Usage(error.to_string()))
}

fn parse_from(mut parser: lexopt::Parser) -> Result<Arguments, lexopt::Error> {
    let mut config = PathBuf::from("/etc/fleetbeat/agent.toml");
    let mut command = None;
    while let Some(argument) = parser.next()? {
        match (argument, &mut command) {
            (Short('c') | Long("config"), _) => config = parser.value()?.into(),
            (Short('h') | Long("help"), _) => command = Some(Command::Print(HELP.to_owned())),
            (Short('V') | Long("version"), _) => {
                let version = concat!("fleetbeat-agent ", env!("CARGO_PKG_VERSION"), "\n");
                command = Some(Command::Print(version.to_owned()));
            }
            (Long("send"), Some(Command::Once { send })) => *send = true,
            (Value(name), None) => command = Some(named_command(&name.string()?)?),
            (argument, _) => return Err(argument.unexpected()),
        }
    }
    Ok(Arguments { config, command: command.unwrap_or(Command::Run) })
}

fn named_command(name: &str) -> Result<Command, String> {
    match name {
        "run" => Ok(Command::Run),
        "check-config" => Ok(Command::CheckConfig),
        "doctor" => Ok(Command::Doctor),
        "once" => Ok(Command::Once { send: false }),
        _ => Err(format!("{name:?} is no command")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        parse_from(lexopt::Parser::from_args(line.split_whitespace())).map_err(|error| error.to_string())
    }

    #[test]
    fn every_command_is_understood() {
        for (line, expected) in [
            ("", Command::Run),
            ("run", Command::Run),
            ("check-config", Command::CheckConfig),
            ("doctor", Command::Doctor),
            ("once", Command::Once { send: false }),
            ("once --send", Command::Once { send: true }),
            ("--version", Command::Print(format!("fleetbeat-agent {}\n", env!("CARGO_PKG_VERSION")))),
            ("run --help", Command::Print(HELP.to_owned())),
        ] {
            assert_eq!(parse(line).unwrap().command, expected, "{line}");
        }
        for line in ["-c a.toml once", "once -c a.toml", "--config=a.toml once"] {
            assert_eq!(parse(line).unwrap().config, PathBuf::from("a.toml"), "{line}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for line in ["start", "run run", "--send", "run --send", "once --send --key x", "-c", "-x"] {
            parse(line).unwrap_err();
        }
    }
}
