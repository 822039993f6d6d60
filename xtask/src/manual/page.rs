//! Manual pages in roff, with the macros of man(7).

use crate::manual::help::{Entry, Help, Part};
use crate::manual::settings::{Item, Key, Settings};

/// The page of a program, in section 8.
pub(crate) fn of_program(program: &str, help: &Help, configuration: &str) -> String {
    let about = help.about.trim_end_matches('.');
    let small = about[..1].to_lowercase();
    let about = about.replacen(|c: char| c.is_ascii_uppercase(), &small, 1);

    let mut page = head(program, 8, &about);
    page += &format!(".SH SYNOPSIS\n{}\n", bold_first(&help.usage));
    page += &format!(".SH DESCRIPTION\n{}\n", escape(&help.about));
    for part in &help.parts {
        match part {
            Part::Paragraph(text) => page += &format!(".SH NOTES\n{}\n", escape(text)),
            Part::Section(heading, entries) => page += &of_section(heading, entries),
        }
    }
    page + &see_also(&[(configuration, 5)])
}

fn of_section(heading: &str, entries: &[Entry]) -> String {
    let mut section = format!(".SH {}\n", heading.to_uppercase());
    for entry in entries {
        let term = format!("\\fB{}\\fR", escape(&entry.term));
        section += &tagged(&term, &escape(&entry.text));
    }
    section
}

/// The page of a configuration file, in section 5.
pub(crate) fn of_settings(file: &str, settings: &Settings, program: &str) -> String {
    let mut page = head(file, 5, &format!("configuration of {program}"));
    page += &format!(
        ".SH SYNOPSIS\n.I /etc/fleetbeat/{}\n.SH DESCRIPTION\n",
        escape(file)
    );

    for table in &settings.tables {
        if !table.name.is_empty() {
            page += &format!(".SS [{}]\n", escape(&table.name));
        }
        for item in &table.items {
            match item {
                Item::Text(lines) => page += &format!(".PP\n{}", paragraph(lines)),
                Item::Key(key) => page += &of_key(key),
            }
        }
    }
    page + &see_also(&[(program, 8)])
}

fn of_key(key: &Key) -> String {
    let term = format!("\\fB{}\\fR = {}", escape(&key.name), escape(&key.value));
    tagged(&term, paragraph(&key.about).trim_end())
}

fn head(name: &str, section: u8, about: &str) -> String {
    let title = name.to_uppercase();
    let version = env!("CARGO_PKG_VERSION");
    format!(
        ".TH {} {section} \"\" \"Fleetbeat {version}\" Fleetbeat\n.SH NAME\n{} \\- {}\n",
        escape(&title),
        escape(name),
        escape(about)
    )
}

fn see_also(pages: &[(&str, u8)]) -> String {
    let page =
        |(name, section): &(&str, u8)| format!(".BR {} ({section})\n", escape(name));
    let pages: Vec<_> = pages.iter().map(page).collect();

    format!(".SH \"SEE ALSO\"\n{}", pages.concat())
}

fn tagged(term: &str, text: &str) -> String {
    // Without any text, roff would take the next term for the text.
    format!(
        ".TP\n{term}\n{}\n",
        if text.is_empty() { "\\&" } else { text }
    )
}

/// Lines that `man` fills. The indented lines of a list stay as they are.
fn paragraph(lines: &[String]) -> String {
    let line = |line: &String| match line.strip_prefix("  ") {
        Some(kept) => format!(".br\n{}\n", escape(kept)),
        None => escape(line) + "\n",
    };
    let text: String = lines.iter().map(line).collect();

    // In the file, the last sentence may lead to the key below: "Without this line:". In
    // the page, the key stands above its text.
    text.strip_suffix(":\n")
        .map_or(text.clone(), |text| text.to_owned() + ".\n")
}

fn bold_first(usage: &str) -> String {
    let (program, rest) = usage.split_once(' ').unwrap_or((usage, ""));
    format!("\\fB{}\\fR {}", escape(program), escape(rest))
}

/// Takes the meaning that roff has for it from `text`: escapes, a request at the
/// beginning of a line, and a hyphen for a minus.
fn escape(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    if escaped.starts_with(['.', '\'']) {
        format!("\\&{escaped}")
    } else {
        escaped
    }
}
