//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use fleetbeat_protocol::{NewCode, Role, Timestamp};
use fleetbeat_selector::Selector;
use lexopt::{Arg, Parser, ValueExt};
use serde_json::{Map, Value, json};

use crate::commands::proxy_config::{
    Site, check_domain, check_listen, check_path, check_sso,
};
use crate::fleet::scope::HostScope;
use crate::store::Extent;

/// What --help prints, and what the manual page and the completions are made from.
pub(crate) const HELP: &str = include_str!("help.txt");

/// What was typed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cli {
    /// The configuration that was named.
    pub(crate) config: Option<PathBuf>,
    /// What to do.
    pub(crate) command: Command,
}

/// What to do; help.txt says what each command does.
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
    UserResetTotp {
        username: String,
    },
    UserScope {
        username: String,
        /// `None` for every host.
        scope: Option<HostScope>,
    },
    UserRemove {
        username: String,
    },
    EnrollCode(NewCode),
    ServersList {
        /// Which hosts; `None` for all.
        select: Option<Selector>,
    },
    HistoryExport(Export),
    AlertsExport {
        /// `None` for standard output.
        file: Option<PathBuf>,
    },
    AlertsImport(Import),
    AlertsTestChannel {
        /// The channel's name or id.
        channel: String,
    },
    Prune,
    Backup {
        file: PathBuf,
        extent: Extent,
    },
    Restore {
        file: PathBuf,
        extent: Extent,
    },
    ProxyConfig(Site),
    Help,
    Version,
}

/// Which heartbeats are exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Export {
    /// The host's address, or its `server_id`.
    pub(crate) host: String,
    /// Not those before.
    pub(crate) from: Option<Timestamp>,
    /// Those before this.
    pub(crate) to: Option<Timestamp>,
}

/// Which rules are taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Import {
    /// The file of rules.
    pub(crate) file: PathBuf,
    /// What becomes of rules that the file does not have.
    pub(crate) leftover: Leftover,
    /// Whether anything is changed.
    pub(crate) trial: Trial,
}

/// What becomes of what a file does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leftover {
    /// It stays as it is.
    Stays,
    /// It is removed.
    Goes,
}

/// Whether a command only says what it would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trial {
    /// It does it.
    No,
    /// It says it.
    Yes,
}

/// Where a new password comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PasswordFrom {
    /// The terminal, where the user is asked.
    Prompt,
    /// Standard input.
    Stdin,
}

/// Reads the command line, without the program's name.
///
/// # Errors
/// A sentence that names what cannot be understood.
pub(crate) fn parse(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Cli, String> {
    parse_arguments(Parser::from_args(arguments)).map_err(|error| error.to_string())
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
    code: Map<String, Value>,
    sso: Option<String>,
    select: Option<Selector>,
    ip: Option<String>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    csv: bool,
    extent: Option<Extent>,
    all_hosts: bool,
    leftover: Option<Leftover>,
    trial: Option<Trial>,
}

fn parse_arguments(mut parser: Parser) -> Result<Cli, lexopt::Error> {
    let mut config = None;
    let mut options = Options::default();
    let mut words: Vec<OsString> = Vec::new();

    while let Some(argument) = parser.next()? {
        let asked = match argument {
            Arg::Short('h') | Arg::Long("help") => Some(Command::Help),
            Arg::Short('V') | Arg::Long("version") => Some(Command::Version),
            Arg::Short('c') | Arg::Long("config") => {
                config = Some(parser.value()?.into());
                None
            }
            Arg::Value(word) => {
                words.push(word);
                None
            }
            Arg::Long(name) => {
                let name = name.to_owned();
                options.set(&name, &mut parser)?;
                None
            }
            Arg::Short(_) => return Err(argument.unexpected()),
        };
        if let Some(command) = asked {
            return Ok(Cli { config, command });
        }
    }

    let words: Vec<String> = words
        .into_iter()
        .map(ValueExt::string)
        .collect::<Result<_, _>>()?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let command = parse_command(&words, options)?;
    Ok(Cli { config, command })
}

fn parse_command(words: &[&str], options: Options) -> Result<Command, lexopt::Error> {
    options.check_command(words)?;
    let password = options.password.unwrap_or(PasswordFrom::Prompt);

    Ok(match *words {
        [] | ["run"] => Command::Run,
        ["check-config"] => Command::CheckConfig,
        ["health"] => Command::Health,
        ["user", "add", username] => Command::UserAdd {
            username: username.to_owned(),
            role: options
                .role
                .ok_or("`user add` needs --role readonly, admin or superadmin")?,
            password,
        },
        ["user", "passwd", username] => Command::UserPasswd {
            username: username.to_owned(),
            password,
        },
        ["user", "list"] => Command::UserList,
        ["user", "reset-totp", username] => Command::UserResetTotp {
            username: username.to_owned(),
        },
        ["user", "scope", username] if options.all_hosts => Command::UserScope {
            username: username.to_owned(),
            scope: None,
        },
        ["user", "scope", username, selector] if !options.all_hosts => {
            Command::UserScope {
                username: username.to_owned(),
                scope: Some(parse_scope(selector)?),
            }
        }
        ["user", "scope", _, ..] => {
            let message = "`user scope` needs NAME, and either a selector as one word, \
                           in quotes, or --all";
            return Err(message.into());
        }
        ["user", "remove", username] => Command::UserRemove {
            username: username.to_owned(),
        },
        ["enroll-code"] => Command::EnrollCode(options.into_code()?),
        ["servers", "list"] => Command::ServersList {
            select: options.select,
        },
        ["history", "export"] => Command::HistoryExport(options.into_export()?),
        ["alerts", "export"] => Command::AlertsExport { file: None },
        ["alerts", "export", file] => Command::AlertsExport {
            file: Some(file.into()),
        },
        ["alerts", "import", file] => Command::AlertsImport(Import {
            file: file.into(),
            leftover: options.leftover.unwrap_or(Leftover::Stays),
            trial: options.trial.unwrap_or(Trial::No),
        }),
        ["alerts", "test-channel", channel] => Command::AlertsTestChannel {
            channel: channel.to_owned(),
        },
        ["prune"] => Command::Prune,
        ["backup", file] => Command::Backup {
            file: file.into(),
            extent: options.extent.unwrap_or(Extent::Database),
        },
        ["restore", file] => Command::Restore {
            file: file.into(),
            extent: options.extent.unwrap_or(Extent::Database),
        },
        ["proxy-config", "nginx"] => Command::ProxyConfig(options.into_site()?),
        ["proxy-config", ..] => return Err("`proxy-config` knows nginx only".into()),
        _ => return Err(explain_unknown(words).into()),
    })
}

/// The commands, each with what has to stand behind it.
const NEEDS: [(&[&str], &str); 23] = [
    (&["run"], ""),
    (&["check-config"], ""),
    (&["health"], ""),
    (&["user", "add"], "NAME"),
    (&["user", "passwd"], "NAME"),
    (&["user", "list"], ""),
    (&["user", "reset-totp"], "NAME"),
    (&["user", "scope"], "NAME SELECTOR"),
    (&["user", "remove"], "NAME"),
    (&["user"], "add, passwd, list, reset-totp, scope or remove"),
    (&["enroll-code"], ""),
    (&["servers", "list"], ""),
    (&["servers"], "list"),
    (&["history", "export"], ""),
    (&["history"], "export"),
    (&["alerts", "export"], "FILE"),
    (&["alerts", "import"], "FILE"),
    (&["alerts", "test-channel"], "NAME"),
    (&["alerts"], "export, import or test-channel"),
    (&["prune"], ""),
    (&["backup"], "FILE"),
    (&["restore"], "FILE"),
    (&["proxy-config"], "nginx"),
];

/// What is wrong with words that are not a whole command.
fn explain_unknown(words: &[&str]) -> String {
    let begun = NEEDS.iter().find_map(|(command, needed)| {
        let behind = words.strip_prefix(*command)?;
        Some((command.join(" "), *needed, behind))
    });

    match begun {
        Some((command, needed, [])) => format!("`{command}` needs {needed}"),
        Some((command, _, _))
            if ["user", "servers", "history", "alerts"].contains(&command.as_str()) =>
        {
            format!("{:?} is not a command: see --help", words.join(" "))
        }
        Some((command, "", [more, ..])) => {
            format!("`{command}` takes nothing, and was given {more:?}")
        }
        Some((command, needed, [_, more, ..])) => {
            format!("`{command}` takes one {needed}, and was given {more:?}, too")
        }
        _ => format!("{:?} is not a command: see --help", words.join(" ")),
    }
}

impl Options {
    /// Sets the option `name` to the value that follows in `parser`.
    fn set(&mut self, name: &str, parser: &mut Parser) -> Result<(), lexopt::Error> {
        match name {
            "role" => self.role = Some(parser.value()?.parse()?),
            "password-stdin" => self.password = Some(PasswordFrom::Stdin),
            "domain" => self.domain = Some(parser.value()?.string()?),
            "plain" => self.plain = true,
            "listen" => self.listen = Some(parser.value()?.string()?),
            "certificate" => self.certificate = Some(parser.value()?.string()?),
            "key" => self.key = Some(parser.value()?.string()?),
            "uses" => {
                let uses: u32 = parser.value()?.parse()?;
                self.code.insert("max_uses".to_owned(), uses.into());
            }
            "expires" => self.set_of_code("expires_in", parser)?,
            "note" => self.set_of_code("note", parser)?,
            "network" => {
                let network = parser.value()?.string()?;
                let networks = self.code.entry("networks").or_insert_with(|| json!([]));
                if let Value::Array(networks) = networks {
                    networks.push(network.into());
                }
            }
            "reinstall" => drop(self.code.insert("reinstall".to_owned(), true.into())),
            "sso" => self.sso = Some(parser.value()?.string()?),
            "select" => self.select = Some(parse_selector(&parser.value()?.string()?)?),
            "ip" => self.ip = Some(parser.value()?.string()?),
            "from" => self.from = Some(parse_time("--from", parser)?),
            "to" => self.to = Some(parse_time("--to", parser)?),
            "csv" => self.csv = true,
            "all" => self.all_hosts = true,
            "delete-others" => self.leftover = Some(Leftover::Goes),
            "dry-run" => self.trial = Some(Trial::Yes),
            "with-history" => self.extent = Some(Extent::WithHistory),
            _ => return Err(Arg::Long(name).unexpected()),
        }
        Ok(())
    }

    /// Sets the member `name` of the code to the value that follows in `parser`.
    fn set_of_code(
        &mut self,
        name: &str,
        parser: &mut Parser,
    ) -> Result<(), lexopt::Error> {
        let value = parser.value()?.string()?;
        self.code.insert(name.to_owned(), value.into());
        Ok(())
    }

    /// Refuses options that the command does not take.
    fn check_command(&self, words: &[&str]) -> Result<(), &'static str> {
        if self.role.is_some() && !matches!(words, ["user", "add", ..]) {
            return Err("--role goes with `user add` only");
        }
        if self.password.is_some() && !matches!(words, ["user", "add" | "passwd", ..]) {
            return Err("--password-stdin goes with `user add` and `user passwd` only");
        }
        if !self.code.is_empty() && !matches!(words, ["enroll-code", ..]) {
            return Err(
                "--uses, --expires, --note, --network and --reinstall go with \
                 `enroll-code` only",
            );
        }
        if self.all_hosts && !matches!(words, ["user", "scope", ..]) {
            return Err("--all goes with `user scope` only");
        }
        if self.select.is_some() && !matches!(words, ["servers", "list", ..]) {
            return Err("--select goes with `servers list` only");
        }
        if self.is_about_history() && !matches!(words, ["history", "export", ..]) {
            return Err("--ip, --from, --to and --csv go with `history export` only");
        }
        if self.extent.is_some() && !matches!(words, ["backup" | "restore", ..]) {
            return Err("--with-history goes with `backup` and `restore` only");
        }
        let is_about_rules = self.leftover.is_some() || self.trial.is_some();
        if is_about_rules && !matches!(words, ["alerts", "import", ..]) {
            return Err("--delete-others and --dry-run go with `alerts import` only");
        }
        if self.is_about_a_site() && !matches!(words, ["proxy-config", ..]) {
            return Err(
                "--domain, --plain, --listen, --certificate, --key and --sso go with \
                        `proxy-config` only",
            );
        }
        Ok(())
    }

    fn is_about_history(&self) -> bool {
        let has_time = self.from.is_some() || self.to.is_some();
        self.ip.is_some() || has_time || self.csv
    }

    /// What the options describe is to be exported.
    fn into_export(self) -> Result<Export, String> {
        let host = self
            .ip
            .ok_or("`history export` needs --ip and the host's address")?;
        if !self.csv {
            return Err("`history export` needs --csv, the form that it writes".into());
        }
        if self.from.zip(self.to).is_some_and(|(from, to)| to <= from) {
            return Err("--to must be later than --from".to_owned());
        }
        Ok(Export {
            host,
            from: self.from,
            to: self.to,
        })
    }

    fn is_about_a_site(&self) -> bool {
        let texts = [
            &self.domain,
            &self.listen,
            &self.certificate,
            &self.key,
            &self.sso,
        ];
        self.plain || texts.into_iter().any(Option::is_some)
    }

    /// The code that the options describe, by the rules of the API.
    fn into_code(self) -> Result<NewCode, String> {
        let text = Value::from(self.code).to_string();
        let json = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        NewCode::from_json(&json).map_err(|errors| {
            let told = errors.iter().map(|error| {
                let option = match error.field.as_str() {
                    "max_uses" => "uses",
                    "expires_in" => "expires",
                    "networks" => "network",
                    field => field,
                };
                format!("--{option} {}", error.message)
            });
            told.collect::<Vec<_>>().join("; ")
        })
    }

    /// The site that the options describe.
    fn into_site(self) -> Result<Site, String> {
        let domain = self
            .domain
            .ok_or("`proxy-config nginx` needs --domain and the name that agents use")?;
        check_domain(&domain)?;
        if let Some(listen) = &self.listen {
            check_listen(listen)?;
        }

        if self.certificate.is_some() != self.key.is_some() {
            return Err("--certificate and --key go together".to_owned());
        }
        if self.plain && self.key.is_some() {
            return Err("--plain needs no --certificate and no --key".to_owned());
        }
        for (option, path) in [("--certificate", &self.certificate), ("--key", &self.key)]
        {
            if let Some(path) = path {
                check_path(option, path)?;
            }
        }

        if let Some(url) = &self.sso {
            check_sso(url)?;
        }

        Ok(Site {
            domain,
            plain: self.plain,
            listen: self.listen,
            certificate: self.certificate,
            key: self.key,
            sso: self.sso,
        })
    }
}

fn parse_time(option: &str, parser: &mut Parser) -> Result<Timestamp, lexopt::Error> {
    let text = parser.value()?.string()?;
    let time = text.parse();
    time.map_err(|_| {
        format!("{option} must be a time such as 2026-01-31T12:00:00Z").into()
    })
}

fn parse_scope(text: &str) -> Result<HostScope, String> {
    HostScope::parse(text).map_err(|error| format!("the selector, {error}"))
}

fn parse_selector(text: &str) -> Result<Selector, String> {
    Selector::parse(text).map_err(|error| format!("--select: {error}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
            (
                "user reset-totp ann",
                Command::UserResetTotp { username: name() },
            ),
            (
                "user scope ann tag.customer=acme",
                Command::UserScope {
                    username: name(),
                    scope: Some(HostScope::parse("tag.customer = acme").unwrap()),
                },
            ),
            (
                "user scope ann --all",
                Command::UserScope {
                    username: name(),
                    scope: None,
                },
            ),
            ("user remove ann", Command::UserRemove { username: name() }),
            ("enroll-code", Command::EnrollCode(NewCode::default())),
            (
                "enroll-code --uses 50 --expires 7d --note rack --network 10.0.0.0/8 \
                 --network ::1 --reinstall",
                Command::EnrollCode(NewCode {
                    max_uses: 50,
                    expires_in: Duration::from_secs(7 * 24 * 60 * 60),
                    networks: vec!["10.0.0.0/8".to_owned(), "::1".to_owned()],
                    reinstall: true,
                    note: "rack".to_owned(),
                    ..NewCode::default()
                }),
            ),
            ("servers list", Command::ServersList { select: None }),
            (
                "servers list --select country=de",
                Command::ServersList {
                    select: Some(Selector::parse("country = de").unwrap()),
                },
            ),
            (
                "history export --ip 192.0.2.7 --csv --from 2026-01-31T00:00:00Z",
                Command::HistoryExport(Export {
                    host: "192.0.2.7".to_owned(),
                    from: "2026-01-31T00:00:00Z".parse().ok(),
                    to: None,
                }),
            ),
            ("alerts export", Command::AlertsExport { file: None }),
            (
                "alerts export /r",
                Command::AlertsExport {
                    file: Some("/r".into()),
                },
            ),
            (
                "alerts import /r --delete-others --dry-run",
                Command::AlertsImport(Import {
                    file: "/r".into(),
                    leftover: Leftover::Goes,
                    trial: Trial::Yes,
                }),
            ),
            (
                "alerts test-channel chn-1",
                Command::AlertsTestChannel {
                    channel: "chn-1".to_owned(),
                },
            ),
            (
                "backup /b",
                Command::Backup {
                    file: "/b".into(),
                    extent: Extent::Database,
                },
            ),
            (
                "restore --with-history /b",
                Command::Restore {
                    file: "/b".into(),
                    extent: Extent::WithHistory,
                },
            ),
            (
                "proxy-config nginx --domain a.example --plain --listen [::1]:81",
                Command::ProxyConfig(Site {
                    domain: "a.example".to_owned(),
                    plain: true,
                    listen: Some("[::1]:81".to_owned()),
                    certificate: None,
                    key: None,
                    sso: None,
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
            let typed = typed.replace(['[', ']'], "");
            let typed = typed.replace("ROLE", "admin").replace("SELECTOR", "all");
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
            (
                "user",
                "`user` needs add, passwd, list, reset-totp, scope or remove",
            ),
            ("user frob", "\"user frob\" is not a command"),
            ("user add", "`user add` needs NAME"),
            ("user passwd", "`user passwd` needs NAME"),
            ("user remove", "`user remove` needs NAME"),
            ("user scope", "`user scope` needs NAME SELECTOR"),
            ("user scope ann", "either a selector"),
            ("user scope ann paid --all", "either a selector"),
            ("user scope ann tag.a = b", "in quotes"),
            (
                "user scope ann country=de",
                "the selector, at character 1: country cannot be used here",
            ),
            ("user list --all", "--all goes with `user scope` only"),
            (
                "user remove ann bob",
                "takes one NAME, and was given \"bob\", too",
            ),
            (
                "user list all",
                "`user list` takes nothing, and was given \"all\"",
            ),
            ("servers", "`servers` needs list"),
            ("servers frob", "\"servers frob\" is not a command"),
            ("servers list all", "`servers list` takes nothing"),
            ("servers list --select", "--select"),
            (
                "servers list --select wg",
                "--select: at character 1: \"wg\" is not a field",
            ),
            ("user list --select all", "--select"),
            ("alerts", "`alerts` needs export, import or test-channel"),
            ("alerts frob", "\"alerts frob\" is not a command"),
            ("alerts import", "`alerts import` needs FILE"),
            (
                "alerts export a b",
                "takes one FILE, and was given \"b\", too",
            ),
            (
                "alerts export --dry-run",
                "--dry-run go with `alerts import` only",
            ),
            ("alerts test-channel", "`alerts test-channel` needs NAME"),
            ("backup", "`backup` needs FILE"),
            ("backup a b", "takes one FILE, and was given \"b\", too"),
            ("restore", "`restore` needs FILE"),
            ("check-config f", "takes nothing, and was given \"f\""),
            ("run run", "`run` takes nothing"),
            ("health now", "`health` takes nothing"),
            ("prune all", "`prune` takes nothing"),
            ("enroll-code now", "`enroll-code` takes nothing"),
            ("enroll-code --uses 0", "--uses must be"),
            ("enroll-code --uses many", "many"),
            ("enroll-code --expires 31d", "--expires must be"),
            ("run --uses 5", "--uses"),
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
            ("run --sso http://127.0.0.1:9091/", "--sso"),
            (
                "proxy-config nginx --domain a --sso 127.0.0.1:9091",
                "--sso",
            ),
            ("proxy-config nginx --domain a --sso http://a/;b", "--sso"),
            ("proxy-config nginx --domain a --sso http://", "--sso"),
            ("--verbose", "--verbose"),
            ("-c", "-c"),
        ] {
            let message = command(line).unwrap_err();
            assert!(message.contains(named), "{line}: {message}");
        }
    }
}
