//! A packaged configuration file, taken apart: its comments describe its settings.

/// The file's tables; what stands before the first one is in a table without a name.
#[derive(Debug, PartialEq)]
pub struct Settings(pub(crate) Vec<Table>);

#[derive(Debug, PartialEq)]
pub struct Table {
    /// As in its header, without brackets.
    pub name: String,
    pub items: Vec<Item>,
}

/// A piece of a table, in its order.
#[derive(Debug, PartialEq)]
pub enum Item {
    Text(Vec<String>),
    /// A key, its value, and the comment above it.
    Key {
        name: String,
        value: String,
        about: Vec<String>,
    },
}

impl Settings {
    /// A comment belongs to the key or header below it, or stands for itself where an
    /// empty line follows. A key or a header may be commented out, too.
    pub fn parse(text: &str) -> Settings {
        let mut tables = vec![Table {
            name: String::new(),
            items: Vec::new(),
        }];
        let mut comment = Vec::new();
        for line in text.lines().chain([""]) {
            let setting = line.strip_prefix("# ").unwrap_or(line);
            if let Some(name) = setting
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
            {
                tables.push(Table {
                    name: name.to_owned(),
                    items: Vec::new(),
                });
            } else if let Some((name, value)) = split_key(setting) {
                let about = std::mem::take(&mut comment);
                last(&mut tables).push(Item::Key {
                    name: name.to_owned(),
                    value: value.to_owned(),
                    about,
                });
                continue;
            } else if let Some(text) = line.strip_prefix('#') {
                comment.push(text.strip_prefix(' ').unwrap_or(text).to_owned());
                continue;
            }
            if !comment.is_empty() {
                last(&mut tables).push(Item::Text(std::mem::take(&mut comment)));
            }
        }
        tables.retain(|table| !table.name.is_empty() || !table.items.is_empty());
        Settings(tables)
    }
}

fn last(tables: &mut [Table]) -> &mut Vec<Item> {
    &mut tables
        .last_mut()
        .expect("there is one from the beginning")
        .items
}

/// `key = value`, in which the value is one of TOML's: what a sentence says with an
/// equals sign is none.
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
        let key = |name: &str, value: &str| Item::Key {
            name: name.into(),
            value: value.into(),
            about: Vec::new(),
        };
        let table = |name: &str, items| Table {
            name: name.to_owned(),
            items,
        };
        let expected = [
            table("", vec![Item::Text(lines(&["The file."]))]),
            table(
                "a",
                vec![Item::Text(lines(&["How", "often."])), key("every", "1")],
            ),
            table(
                "b.c",
                vec![
                    Item::Text(lines(&["Left out."])),
                    key("name", "\"x\""),
                    Item::Text(lines(&["The end."])),
                ],
            ),
        ];
        assert_eq!(Settings::parse(text).0, expected);
    }
}
