//! Completions for bash, zsh and fish.
//!
//! All three work alike: what was typed so far, without options and their values, is the
//! words of a command or the beginning of one, and that decides what is offered next. The
//! templates beside this file are the shells' part.

use std::collections::BTreeMap;

use crate::manual::help::Help;

/// A word that can be typed, and what it means.
type Offer<'a> = (&'a str, &'a str);

/// What can follow after these words.
struct State<'a> {
    /// What was typed; after a command, arguments may follow.
    words: String,
    is_command: bool,
    offers: Vec<Offer<'a>>,
    takes_file: bool,
}

/// An option with a value.
struct Valued<'a> {
    names: Vec<&'a str>,
    /// What it can be; `None` for a file.
    values: Option<Vec<&'a str>>,
}

/// The file for bash-completion.
pub(crate) fn bash(program: &str, help: &Help) -> String {
    let values = valued(help).into_iter().map(|option| {
        let reply = match option.values {
            None => "compopt -o default".to_owned(),
            Some(values) => format!(
                "COMPREPLY=($(compgen -W '{}' -- \"$current\"))",
                values.join(" ")
            ),
        };
        format!("    {}) {reply}; return ;;", option.names.join("|"))
    });
    let states = states(help).into_iter().map(|state| {
        let file = if state.takes_file {
            "compopt -o default; "
        } else {
            ""
        };
        format!(
            "    {}) {file}offers='{}' ;;",
            state.pattern(),
            words(&state.offers)
        )
    });
    fill(
        include_str!("template.bash"),
        program,
        help,
        "|",
        &[
            ("@VALUES@", lines(values)),
            ("@STATES@", lines(states)),
            ("@GENERAL@", words(&general(help))),
        ],
    )
}

/// The function for zsh's fpath.
pub(crate) fn zsh(program: &str, help: &Help) -> String {
    let describe = |offers: &[Offer<'_>]| {
        let offers = offers
            .iter()
            .map(|(word, about)| quote(&format!("{word}:{}", about.replace(':', "\\:"))));
        offers.collect::<Vec<_>>().join(" ")
    };
    let values = valued(help).into_iter().map(|option| {
        let reply = option.values.map_or("_files".to_owned(), |values| {
            format!("compadd -- {}", values.join(" "))
        });
        format!("  ({}) {reply}; return ;;", option.names.join("|"))
    });
    let states = states(help).into_iter().map(|state| {
        let file = if state.takes_file { "_files; " } else { "" };
        format!(
            "  ({}) {file}offers=({}) ;;",
            state.pattern(),
            describe(&state.offers)
        )
    });
    fill(
        include_str!("template.zsh"),
        program,
        help,
        "|",
        &[
            ("@VALUES@", lines(values)),
            ("@STATES@", lines(states)),
            ("@GENERAL@", describe(&general(help))),
        ],
    )
}

/// The file for fish.
pub(crate) fn fish(program: &str, help: &Help) -> String {
    let valued = valued(help);
    let complete = |condition: &str, (word, about): &Offer<'_>| {
        let form = match (word.strip_prefix("--"), word.strip_prefix('-')) {
            (Some(long), _) => format!("-l {long}"),
            (None, Some(short)) => format!("-s {short}"),
            (None, None) => format!("-a {word}"),
        };
        let value = match valued
            .iter()
            .find(|option| option.names.contains(word))
            .map(|option| &option.values)
        {
            None => String::new(),
            Some(None) => " -rF".to_owned(),
            Some(Some(values)) => format!(" -xa {}", quote(&values.join(" "))),
        };
        format!(
            "complete -c {program}{condition} {form}{value} -d {}",
            quote(about)
        )
    };
    let states = states(help).into_iter().flat_map(|state| {
        let pattern =
            format!("{}{}", state.words, if state.is_command { "*" } else { "" });
        let condition = format!(
            " -n {}",
            quote(&format!("{} '{pattern}'", function(program)).replace('\'', "\""))
        );
        let file = state
            .takes_file
            .then(|| format!("complete -c {program}{condition} -F"));
        let offers: Vec<_> = state
            .offers
            .iter()
            .map(|offer| complete(&condition, offer))
            .collect();
        offers.into_iter().chain(file)
    });
    fill(
        include_str!("template.fish"),
        program,
        help,
        " ",
        &[
            ("@STATES@", lines(states)),
            (
                "@GENERAL@",
                lines(general(help).iter().map(|offer| complete("", offer))),
            ),
        ],
    )
}

/// What can be typed at each point, options that go with everything aside.
fn states(help: &Help) -> Vec<State<'_>> {
    let (commands, options) = (help.commands(), help.options());
    let mut beginnings: BTreeMap<String, Vec<Offer<'_>>> = BTreeMap::new();
    for command in &commands {
        for (count, word) in command.words.iter().enumerate() {
            let offers = beginnings
                .entry(command.words[..count].join(" "))
                .or_default();
            if !offers.iter().any(|(known, _)| known == word) {
                let is_last = count + 1 == command.words.len();
                offers.push((*word, if is_last { command.about } else { "" }));
            }
        }
    }
    let beginning = |(words, offers)| State {
        words,
        is_command: false,
        offers,
        takes_file: false,
    };
    let mut states: Vec<State<'_>> = beginnings.into_iter().map(beginning).collect();
    let about = |name: &str| {
        options
            .iter()
            .find(|option| option.names.contains(&name))
            .map_or("", |o| o.about)
    };
    states.extend(commands.iter().map(|command| {
        let offers = command
            .options
            .iter()
            .map(|name| (*name, about(name)))
            .collect();
        State {
            words: command.words.join(" "),
            is_command: true,
            offers,
            takes_file: command.takes_file,
        }
    }));
    states
}

/// The options that go with everything.
fn general(help: &Help) -> Vec<Offer<'_>> {
    let commands = help.commands();
    let is_own = |name: &&str| {
        commands
            .iter()
            .any(|command| command.options.contains(name))
    };
    let options = help
        .options()
        .into_iter()
        .filter(|option| !option.names.iter().any(is_own));
    options
        .flat_map(|option| {
            option
                .names
                .into_iter()
                .map(move |name| (name, option.about))
        })
        .collect()
}

fn valued(help: &Help) -> Vec<Valued<'_>> {
    let valued = help.options().into_iter().filter_map(|option| {
        let value = option.value?;
        Some(Valued {
            names: option.names,
            values: (value != "FILE").then(|| value.split('|').collect()),
        })
    });
    valued.collect()
}

impl State<'_> {
    /// For a `case` of bash and zsh.
    fn pattern(&self) -> String {
        format!("'{}'{}", self.words, if self.is_command { "*" } else { "" })
    }
}

fn fill(
    template: &str,
    program: &str,
    help: &Help,
    separator: &str,
    places: &[(&str, String)],
) -> String {
    let names: Vec<_> = valued(help)
        .into_iter()
        .flat_map(|option| option.names)
        .collect();
    let text = template
        .replace("@PROGRAM@", program)
        .replace("@FUNCTION@", &function(program));
    let text = text.replace("@VALUED@", &names.join(separator));
    places
        .iter()
        .fold(text, |text, (place, content)| text.replace(place, content))
}

fn function(program: &str) -> String {
    format!("_{}", program.replace('-', "_"))
}

fn words(offers: &[Offer<'_>]) -> String {
    offers
        .iter()
        .map(|(word, _)| *word)
        .collect::<Vec<_>>()
        .join(" ")
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.collect::<Vec<_>>().join("\n")
}

/// One word for a shell, whatever is in it.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
