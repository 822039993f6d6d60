//! The text of `--help`, taken apart.

/// What a program says of itself.
#[derive(Debug, PartialEq)]
pub struct Help {
    /// The first line: what the program does.
    pub about: String,
    /// How it is called.
    pub usage: String,
    pub parts: Vec<Part>,
}

/// A piece of the text, in its order.
#[derive(Debug, PartialEq)]
pub enum Part {
    Paragraph(String),
    /// A heading, and the entries below it.
    Section(String, Vec<Entry>),
}

/// A line of a section: a term and what it means.
#[derive(Debug, PartialEq)]
pub struct Entry {
    pub term: String,
    pub text: String,
}

/// A command as it is typed.
#[derive(Debug, PartialEq)]
pub struct Command<'a> {
    /// Its words, such as `user add`.
    pub words: Vec<&'a str>,
    /// Those of its own, such as `--role`.
    pub options: Vec<&'a str>,
    pub takes_file: bool,
    pub about: &'a str,
}

/// An option as it is typed.
#[derive(Debug, PartialEq)]
pub struct Choice<'a> {
    /// Its names: `-c` and `--config`, or one of them.
    pub names: Vec<&'a str>,
    /// `FILE`, or the possible values with bars between.
    pub value: Option<&'a str>,
    pub about: &'a str,
}

impl Help {
    /// Headings end in a colon and entries are indented; a term ends where two spaces
    /// follow, and so do the lines that continue an entry's text.
    pub fn parse(text: &str) -> Help {
        let mut lines = text.lines();
        let about = lines.next().unwrap_or_default().to_owned();
        let mut help = Help {
            about,
            usage: String::new(),
            parts: Vec::new(),
        };
        let mut is_new = true;
        for line in lines {
            match (line.strip_prefix("  "), help.parts.last_mut()) {
                _ if line.is_empty() => {}
                (Some(line), Some(Part::Section(_, entries))) => add_entry(entries, line),
                _ if line.starts_with("Usage: ") => {
                    help.usage = line["Usage: ".len()..].to_owned()
                }
                _ if line.ends_with(':') => {
                    help.parts.push(Part::Section(
                        line.trim_end_matches(':').to_owned(),
                        Vec::new(),
                    ));
                }
                (_, Some(Part::Paragraph(text))) if !is_new => {
                    *text = format!("{text} {line}")
                }
                _ => help.parts.push(Part::Paragraph(line.to_owned())),
            }
            is_new = line.is_empty();
        }
        help
    }

    fn section(&self, name: &str) -> impl Iterator<Item = &Entry> {
        self.parts.iter().flat_map(move |part| match part {
            Part::Section(heading, entries) if heading == name => entries.as_slice(),
            _ => &[],
        })
    }

    /// The commands, in their order.
    pub fn commands(&self) -> Vec<Command<'_>> {
        self.section("Commands").map(Entry::as_command).collect()
    }

    /// The options that have an entry, in their order.
    pub fn options(&self) -> Vec<Choice<'_>> {
        self.section("Options").map(Entry::as_choice).collect()
    }
}

impl Entry {
    fn as_command(&self) -> Command<'_> {
        let is_word = |word: &&str| word.starts_with(|c: char| c.is_ascii_lowercase());
        let typed = self
            .term
            .split(' ')
            .map(|word| word.trim_matches(['[', ']']));
        Command {
            words: self.term.split(' ').take_while(is_word).collect(),
            options: typed.clone().filter(|word| word.starts_with('-')).collect(),
            takes_file: typed.clone().any(|word| word == "FILE"),
            about: &self.text,
        }
    }

    fn as_choice(&self) -> Choice<'_> {
        let words = self.term.split([' ', ',']).filter(|word| !word.is_empty());
        let (names, values): (Vec<_>, Vec<_>) =
            words.partition(|word| word.starts_with('-'));
        Choice {
            names,
            value: values.first().copied(),
            about: &self.text,
        }
    }
}

fn add_entry(entries: &mut Vec<Entry>, line: &str) {
    let trimmed = line.trim_start();
    let indent = line.len() - trimmed.len();
    match entries.last_mut() {
        // Long options without a short one are indented by as much as that takes.
        Some(last) if indent > 0 && !trimmed.starts_with("--") => {
            last.text = format!("{} {trimmed}", last.text);
        }
        _ => {
            let (term, text) = trimmed.split_once("  ").unwrap_or((trimmed, ""));
            entries.push(Entry {
                term: term.to_owned(),
                text: text.trim_start().to_owned(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
Does things.

Usage: x [-c FILE] [COMMAND]

Commands:
  run                                 do it
  user add NAME --role ROLE [--now]   add one
  backup FILE                         copy

Options:
  -c, --config FILE   where, and
                      what
      --role a|b      which
  -h, --help

More of it
follows.

Exit codes:
  0   fine
";

    #[test]
    fn a_text_is_taken_apart() {
        let help = Help::parse(TEXT);
        assert_eq!(
            (help.about.as_str(), help.usage.as_str()),
            ("Does things.", "x [-c FILE] [COMMAND]")
        );
        assert_eq!(
            help.parts[2],
            Part::Paragraph("More of it follows.".to_owned())
        );
        assert_eq!(help.parts.len(), 4);
        let commands = help.commands();
        assert_eq!(commands[1].words, ["user", "add"]);
        assert_eq!(commands[1].options, ["--role", "--now"]);
        assert!(commands[2].takes_file && !commands[1].takes_file);
        let options = help.options();
        assert_eq!(
            options[0],
            Choice {
                names: vec!["-c", "--config"],
                value: Some("FILE"),
                about: "where, and what"
            }
        );
        assert_eq!(
            options[1],
            Choice {
                names: vec!["--role"],
                value: Some("a|b"),
                about: "which"
            }
        );
        assert_eq!(
            options[2],
            Choice {
                names: vec!["-h", "--help"],
                value: None,
                about: ""
            }
        );
    }
}
