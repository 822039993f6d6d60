//! The text of `--help`, taken apart.

/// The text of a program's `--help`.
#[derive(Debug, PartialEq)]
pub struct Help {
    /// The first line: what the program does.
    pub about: String,
    /// How the program is called.
    pub usage: String,
    /// The rest of the text, in order.
    pub parts: Vec<Part>,
}

/// A piece of the text.
#[derive(Debug, PartialEq)]
pub enum Part {
    /// Sentences, in one line.
    Paragraph(String),
    /// A heading without its colon, and the entries below the heading.
    Section(String, Vec<Entry>),
}

/// A line of a section.
#[derive(Debug, PartialEq)]
pub struct Entry {
    /// The described word, for example `-h, --help`.
    pub term: String,
    /// The description, in one line.
    pub text: String,
}

/// A command as it is typed.
#[derive(Debug, PartialEq)]
pub struct Command<'a> {
    /// The words, for example `user` and `add`.
    pub words: Vec<&'a str>,
    /// The options of this command alone, for example `--role`.
    pub options: Vec<&'a str>,
    /// Whether the path of a file follows.
    pub takes_file: bool,
    /// The description.
    pub about: &'a str,
}

/// An option as it is typed.
#[derive(Debug, PartialEq)]
pub struct Choice<'a> {
    /// The names: `-c` and `--config`, or one of the two kinds.
    pub names: Vec<&'a str>,
    /// `FILE`, or the possible values with bars between.
    pub value: Option<&'a str>,
    /// The description.
    pub about: &'a str,
}

impl Help {
    /// A heading ends in a colon, and the entries below are indented. Two spaces end an
    /// entry's term. A line that is indented further than a term continues the entry's text.
    pub fn parse(text: &str) -> Help {
        let mut lines = text.lines();
        let mut help = Help {
            about: lines.next().unwrap_or_default().to_owned(),
            usage: String::new(),
            parts: Vec::new(),
        };

        let mut is_after_blank = true;
        for line in lines {
            help.add_line(line, is_after_blank);
            is_after_blank = line.is_empty();
        }
        help
    }

    /// The entries below a heading, in order.
    pub fn section(&self, name: &str) -> impl Iterator<Item = &Entry> {
        self.parts.iter().flat_map(move |part| match part {
            Part::Section(heading, entries) if heading == name => entries.as_slice(),
            _ => &[],
        })
    }

    /// The commands, in order.
    pub fn commands(&self) -> Vec<Command<'_>> {
        self.section("Commands").map(Entry::as_command).collect()
    }

    /// The options that have an entry, in order.
    pub fn options(&self) -> Vec<Choice<'_>> {
        self.section("Options").map(Entry::as_choice).collect()
    }

    fn add_line(&mut self, line: &str, is_after_blank: bool) {
        if line.is_empty() {
            return;
        }

        match (line.strip_prefix("  "), self.parts.last_mut()) {
            (Some(line), Some(Part::Section(_, entries))) => add_entry(entries, line),
            _ if line.starts_with("Usage: ") => {
                self.usage = line["Usage: ".len()..].to_owned();
            }
            _ if line.ends_with(':') => {
                let heading = line.trim_end_matches(':').to_owned();
                self.parts.push(Part::Section(heading, Vec::new()));
            }
            (_, Some(Part::Paragraph(text))) if !is_after_blank => {
                *text = format!("{text} {line}");
            }
            _ => self.parts.push(Part::Paragraph(line.to_owned())),
        }
    }
}

impl Entry {
    fn as_command(&self) -> Command<'_> {
        let is_word = |word: &&str| word.starts_with(|c: char| c.is_ascii_lowercase());
        let words = self.term.split(' ');
        let typed = words.clone().map(|word| word.trim_matches(['[', ']']));

        Command {
            words: words.take_while(is_word).collect(),
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
        // A long option without a short name is indented by the width of a short name.
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
