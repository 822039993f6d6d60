//! A packaged configuration file, taken apart: its comments describe its settings.

/// A configuration file as it is packaged.
#[derive(Debug, PartialEq)]
pub struct Settings {
    /// The tables, in order. Lines before the first header are in a table without a
    /// name.
    pub tables: Vec<Table>,
}

/// A table of the file.
#[derive(Debug, PartialEq)]
pub struct Table {
    /// The name in the header, without brackets.
    pub name: String,
    /// Whether the header is commented out.
    pub kind: LineKind,
    /// The keys and comments below the header, in order.
    pub items: Vec<Item>,
}

/// A piece of a table.
#[derive(Debug, PartialEq)]
pub enum Item {
    /// A comment that does not describe a key, by lines.
    Text(Vec<String>),
    /// A setting.
    Key(Key),
}

/// A key and its value.
#[derive(Debug, PartialEq)]
pub struct Key {
    /// The key's own name, without that of the table.
    pub name: String,
    /// The value as TOML.
    pub value: String,
    /// Whether the line is commented out.
    pub kind: LineKind,
    /// The comment above the key, by lines.
    pub about: Vec<String>,
}

/// Whether a program that reads the file sees a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineKind {
    /// The line counts.
    Active,
    /// The line shows a default, or an example.
    CommentedOut,
}

impl Settings {
    /// A comment belongs to the key below it. A comment above an empty line does
    /// not describe a key. A comment above a header belongs to the header's table. A key
    /// or a header may be commented out, too.
    pub fn parse(text: &str) -> Settings {
        let mut read = Reading {
            tables: vec![Table::new("", LineKind::Active)],
            comment: Vec::new(),
        };
        for line in text.lines() {
            read.add(line);
        }
        read.end_comment();

        let mut tables = read.tables;
        tables.retain(|table| !table.name.is_empty() || !table.items.is_empty());
        Settings { tables }
    }
}

impl Table {
    fn new(name: &str, kind: LineKind) -> Table {
        Table {
            name: name.to_owned(),
            kind,
            items: Vec::new(),
        }
    }
}

/// A file of which some lines have been read.
struct Reading {
    /// At least one.
    tables: Vec<Table>,
    /// The comment that goes on, by lines.
    comment: Vec<String>,
}

impl Reading {
    fn add(&mut self, line: &str) {
        let (setting, kind) = match line.strip_prefix("# ") {
            Some(rest) => (rest, LineKind::CommentedOut),
            None => (line, LineKind::Active),
        };
        let header = setting.strip_prefix('[');
        let header = header.and_then(|rest| rest.strip_suffix(']'));

        if let Some(name) = header {
            self.tables.push(Table::new(name, kind));
            self.end_comment();
        } else if let Some((name, value)) = split_key(setting) {
            let about = std::mem::take(&mut self.comment);
            let (name, value) = (name.to_owned(), value.to_owned());
            self.push(Item::Key(Key {
                name,
                value,
                kind,
                about,
            }));
        } else if let Some(text) = line.strip_prefix('#') {
            let text = text.strip_prefix(' ').unwrap_or(text);
            self.comment.push(text.to_owned());
        } else {
            self.end_comment();
        }
    }

    fn end_comment(&mut self) {
        if !self.comment.is_empty() {
            let comment = std::mem::take(&mut self.comment);
            self.push(Item::Text(comment));
        }
    }

    fn push(&mut self, item: Item) {
        let table = self.tables.last_mut().expect("there is at least one table");
        table.items.push(item);
    }
}

/// Splits `key = value`. In a sentence with an equals sign, what stands before the sign
/// is not a key.
fn split_key(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(" = ")?;
    let is_key = name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    is_key.then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_go_with_what_they_stand_above() {
        let text = "# The file.\n\n# How\n# often.\n[a]\n# every = 1\n# Left out.\n# [b.c]\nname = \"x\"\n\n# The end.\n";
        let lines = |lines: &[&str]| {
            lines
                .iter()
                .map(|line| (*line).to_owned())
                .collect::<Vec<_>>()
        };
        let key = |name: &str, value: &str, kind| {
            Item::Key(Key {
                name: name.into(),
                value: value.into(),
                kind,
                about: Vec::new(),
            })
        };
        let table = |name: &str, kind, items| Table {
            name: name.to_owned(),
            kind,
            items,
        };
        let (active, commented) = (LineKind::Active, LineKind::CommentedOut);

        let expected = [
            table("", active, vec![Item::Text(lines(&["The file."]))]),
            table(
                "a",
                active,
                vec![
                    Item::Text(lines(&["How", "often."])),
                    key("every", "1", commented),
                ],
            ),
            table(
                "b.c",
                commented,
                vec![
                    Item::Text(lines(&["Left out."])),
                    key("name", "\"x\"", active),
                    Item::Text(lines(&["The end."])),
                ],
            ),
        ];
        assert_eq!(Settings::parse(text).tables, expected);
    }
}
