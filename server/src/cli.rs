//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use fleetbeat_protocol::Role;
use lexopt::{Arg, Parser, ValueExt};

use crate::commands::proxy_config::{Site, check_domain, check_listen, check_path};

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
    Health,
    UserAdd {
        username: String,
        role: Role,
        password: PasswordFrom,
    },
    UserPasswd {
        username: String,
        password: PasswordFrom,
    },
    UserList,
    UserRemove {
        username: String,
    },
    Backup {
        file: PathBuf,
    },
    Restore {
        file: PathBuf,
    },
    ProxyConfig(Site),
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
pub(crate) fn parse(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Cli, String> {
    read(Parser::from_args(arguments)).map_err(|error| error.to_string())
}

/// The options, as typed.
#[derive(Default)]
struct Options {
    role: Option<Role>,
    password: Option<PasswordFrom>,
    domain: Option<String>,
    plain: bool,
    listen: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
}

fn read(mut parser: Parser) -> Result<Cli, lexopt::Error> {
    let mut config = None;
    let mut options = Options::default();
    let mut words: Vec<OsString> = Vec::new();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Short('c') | Arg::Long("config") => {
                config = Some(parser.value()?.into())
            }
            Arg::Long("role") => options.role = Some(parser.value()?.parse()?),
            Arg::Long("password-stdin") => options.password = Some(PasswordFrom::Stdin),
            Arg::Long("domain") => options.domain = Some(parser.value()?.string()?),
            Arg::Long("plain") => options.plain = true,
            Arg::Long("listen") => options.listen = Some(parser.value()?.string()?),
            Arg::Long("certificate") => {
                options.certificate = Some(parser.value()?.string()?)
            }
            Arg::Long("key") => options.key = Some(parser.value()?.string()?),
            Arg::Short('h') | Arg::Long("help") => {
                return Ok(Cli {
                    config,
                    command: Command::Help,
                });
            }
            Arg::Short('V') | Arg::Long("version") => {
                return Ok(Cli {
                    config,
                    command: Command::Version,
                });
            }
            Arg::Value(word) => words.push(word),
            _ => return Err(argument.unexpected()),
        }
    }
    let words: Vec<String> = words
        .into_iter()
        .map(ValueExt::string)
        .collect::<Result<_, _>>()?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let command = command(&words, options)?;
    Ok(Cli { config, command })
}

fn command(words: &[&str], options: Options) -> Result<Command, lexopt::Error> {
    let takes_role = matches!(words, ["user", "add", ..]);
    let takes_password = matches!(words, ["user", "add" | "passwd", ..]);
    if options.role.is_some() && !takes_role {
        return Err("--role goes with `user add` only".into());
    }
    if options.password.is_some() && !takes_password {
        return Err(
            "--password-stdin goes with `user add` and `user passwd` only".into(),
        );
    }
    if options.is_about_a_site() && !matches!(words, ["proxy-config", ..]) {
        return Err("--domain, --plain, --listen, --certificate and --key go with `proxy-config` only".into());
    }
    let password = options.password.unwrap_or(PasswordFrom::Prompt);
    Ok(match *words {
        [] | ["run"] => Command::Run,
        ["check-config"] => Command::CheckConfig,
        ["health"] => Command::Health,
        ["user", "add", username] => {
            let role = options
                .role
                .ok_or("`user add` needs --role readonly, admin or superadmin")?;
            Command::UserAdd {
                username: username.to_owned(),
                role,
                password,
            }
        }
        ["user", "passwd", username] => Command::UserPasswd {
            username: username.to_owned(),
            password,
        },
        ["user", "list"] => Command::UserList,
        ["user", "remove", username] => Command::UserRemove {
            username: username.to_owned(),
        },
        ["backup", file] => Command::Backup { file: file.into() },
        ["restore", file] => Command::Restore { file: file.into() },
        ["proxy-config", "nginx"] => Command::ProxyConfig(options.site()?),
        ["proxy-config", ..] => return Err("`proxy-config` knows nginx only".into()),
        _ => {
            return Err(format!("{:?} is no command: see --help", words.join(" ")).into());
        }
    })
}

impl Options {
    fn is_about_a_site(&self) -> bool {
        let texts = [&self.domain, &self.listen, &self.certificate, &self.key];
        self.plain || texts.into_iter().any(Option::is_some)
    }

    fn site(self) -> Result<Site, String> {
        let Options {
            plain,
            listen,
            certificate,
            key,
            ..
        } = self;
        let domain = self
            .domain
            .ok_or("`proxy-config nginx` needs --domain and the name that agents use")?;
        check_domain(&domain)?;
        listen.as_deref().map_or(Ok(()), check_listen)?;
        if certificate.is_some() != key.is_some() {
            return Err("--certificate and --key go together".to_owned());
        }
        if plain && key.is_some() {
            return Err("--plain needs no --certificate and no --key".to_owned());
        }
        certificate
            .as_deref()
            .map_or(Ok(()), |path| check_path("--certificate", path))?;
        key.as_deref()
            .map_or(Ok(()), |path| check_path("--key", path))?;
        Ok(Site {
            domain,
            plain,
            listen,
            certificate,
            key,
        })
    }
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
            ("health", Command::Health),
            (
                "user add ann --role admin --password-stdin",
                Command::UserAdd {
                    username: name(),
                    role: Role::Admin,
                    password: PasswordFrom::Stdin,
                },
            ),
            (
                "user passwd ann",
                Command::UserPasswd {
                    username: name(),
                    password: PasswordFrom::Prompt,
                },
            ),
            ("user list", Command::UserList),
            ("user remove ann", Command::UserRemove { username: name() }),
            ("backup /b", Command::Backup { file: "/b".into() }),
            ("restore /b", Command::Restore { file: "/b".into() }),
            (
                "proxy-config nginx --domain a.example --plain --listen [::1]:81",
                Command::ProxyConfig(Site {
                    domain: "a.example".to_owned(),
                    plain: true,
                    listen: Some("[::1]:81".to_owned()),
                    certificate: None,
                    key: None,
                }),
            ),
            ("--help", Command::Help),
            ("run -V", Command::Version),
        ] {
            assert_eq!(command(line).as_ref(), Ok(&expected), "{line}");
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
            ("restore", "restore"),
            ("proxy-config", "nginx"),
            ("proxy-config nginx", "--domain"),
            ("proxy-config nginx --domain a;b", "a;b"),
            ("proxy-config nginx --domain a --listen 0", "--listen"),
            ("proxy-config nginx --domain a --listen 80;", "80;"),
            ("proxy-config nginx --domain a --key /k", "--certificate"),
            (
                "proxy-config nginx --domain a --key k --certificate /c",
                "--key",
            ),
            (
                "proxy-config nginx --domain a --plain --key /k --certificate /c",
                "--plain",
            ),
            ("run --plain", "--plain"),
            ("--verbose", "--verbose"),
            ("-c", "-c"),
        ] {
            let message = command(line).unwrap_err();
            assert!(message.contains(named), "{line}: {message}");
        }
    }
}
