//! The surface of a program: all names and values that an operator or a script may rely
//! on, without the descriptions.
//!
//! Golden files hold the surface of each program and of each packaged configuration file.
//! So a test notices a changed name or value, and better words change nothing.

use crate::manual::help::{Entry, Help};
use crate::manual::settings::{Item, LineKind, Settings};

/// The surface of a program: its usage, commands, options with their values and defaults,
/// environment variables, files and exit codes, a line each.
pub fn of_program(help: &Help) -> String {
    let mut lines = vec![format!("usage: {}", help.usage)];

    let mut add = |kind: &str, heading: &str, term: fn(&Entry) -> String| {
        let entries = help.section(heading);
        lines.extend(entries.map(|entry| format!("{kind}: {}", term(entry))));
    };
    add("command", "Commands", |entry| entry.term.clone());
    add("option", "Options", option);
    add("environment", "Environment", |entry| entry.term.clone());
    add("file", "Files", |entry| entry.term.clone());
    add("exit code", "Exit codes", |entry| entry.term.clone());

    lines.join("\n") + "\n"
}

/// The surface of a packaged configuration file: the keys with their values, below the
/// headers of the tables. A line that is commented out keeps the `#`.
pub fn of_settings(settings: &Settings) -> String {
    let mut text = String::new();
    let mark = |kind| match kind {
        LineKind::Active => "",
        LineKind::CommentedOut => "# ",
    };

    for table in &settings.tables {
        if !table.name.is_empty() {
            text += &format!("{}[{}]\n", mark(table.kind), table.name);
        }
        for item in &table.items {
            if let Item::Key(key) = item {
                text += &format!("{}{} = {}\n", mark(key.kind), key.name, key.value);
            }
        }
    }
    text
}

/// An option with the default, the only word of the description that counts.
fn option(entry: &Entry) -> String {
    let default = entry.text.split_once("[default: ").and_then(|(_, rest)| {
        let end = rest.find([',', ']', ';', ' '])?;
        Some(&rest[..end])
    });
    match default {
        Some(default) => format!("{} [default: {default}]", entry.term),
        None => entry.term.clone(),
    }
}
