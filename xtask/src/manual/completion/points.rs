//! The words that can be typed at each point of the command line.

use std::collections::BTreeMap;

use crate::manual::help::{Choice, Command, Help};

/// A word that can be typed, and its description.
pub(crate) type Offer<'a> = (&'a str, &'a str);

/// A point of the command line, and the words that can follow there.
pub(crate) struct Point<'a> {
    /// The words that were typed.
    pub(crate) words: String,
    /// Whether the words are a whole command, after which arguments may follow.
    pub(crate) is_command: bool,
    pub(crate) offers: Vec<Offer<'a>>,
    /// Whether the path of a file can follow, too.
    pub(crate) takes_file: bool,
}

impl Point<'_> {
    /// For a `case` of bash and zsh.
    pub(crate) fn pattern(&self) -> String {
        format!("'{}'{}", self.words, if self.is_command { "*" } else { "" })
    }
}

/// An option with a value.
pub(crate) struct Valued<'a> {
    pub(crate) names: Vec<&'a str>,
    /// The possible values; `None` for a file.
    pub(crate) values: Option<Vec<&'a str>>,
}

/// Each point of the command line. The options that go with every command are offered
/// everywhere, and left out here.
pub(crate) fn points(help: &Help) -> Vec<Point<'_>> {
    let (commands, options) = (help.commands(), help.options());
    let mut points: Vec<_> = beginnings(&commands)
        .into_iter()
        .map(|(words, offers)| Point {
            words,
            is_command: false,
            offers,
            takes_file: false,
        })
        .collect();

    points.extend(commands.iter().map(|command| {
        let names = command.options.iter();
        Point {
            words: command.words.join(" "),
            is_command: true,
            offers: names.map(|name| (*name, about(&options, name))).collect(),
            takes_file: command.takes_file,
        }
    }));
    points
}

/// The options that go with every command.
pub(crate) fn general(help: &Help) -> Vec<Offer<'_>> {
    let commands = help.commands();
    let of_one_command = |name: &&str| {
        commands
            .iter()
            .any(|command| command.options.contains(name))
    };

    let options = help.options().into_iter();
    let options = options.filter(|option| !option.names.iter().any(of_one_command));
    options
        .flat_map(|option| {
            let about = option.about;
            option.names.into_iter().map(move |name| (name, about))
        })
        .collect()
}

/// The options that take a value.
pub(crate) fn valued(help: &Help) -> Vec<Valued<'_>> {
    let valued = help.options().into_iter().filter_map(|option| {
        let value = option.value?;
        Some(Valued {
            names: option.names,
            values: (value != "FILE").then(|| value.split('|').collect()),
        })
    });
    valued.collect()
}

/// The beginnings of commands, such as `user`, each with the words that can follow.
fn beginnings<'a>(commands: &[Command<'a>]) -> BTreeMap<String, Vec<Offer<'a>>> {
    let mut beginnings: BTreeMap<String, Vec<Offer<'a>>> = BTreeMap::new();
    for command in commands {
        for (count, word) in command.words.iter().enumerate() {
            let beginning = command.words[..count].join(" ");
            let offers = beginnings.entry(beginning).or_default();

            if !offers.iter().any(|(known, _)| known == word) {
                let is_last = count + 1 == command.words.len();
                offers.push((*word, if is_last { command.about } else { "" }));
            }
        }
    }
    beginnings
}

/// The description of an option.
fn about<'a>(options: &[Choice<'a>], name: &str) -> &'a str {
    let mut options = options.iter();
    let option = options.find(|option| option.names.contains(&name));
    option.map_or("", |option| option.about)
}
