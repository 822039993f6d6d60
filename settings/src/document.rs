//! Settings files as a tree: each value knows the file and the line.
//!
//! The parser goes on after a mistake. A line that is not TOML is a problem and has the
//! value [`Kind::Broken`], but everything else in the file is read as usual, so that a
//! single run finds all mistakes.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use crate::file::{MAX_SETTINGS_BYTES, read_text};
use crate::problem::{Problem, Problems};
use crate::table::Table;
use crate::value::{Absent, Entries, Kind, Place, Value};

/// A settings file, or several files merged.
#[derive(Debug, Clone)]
pub struct Document {
    place: Place,
    entries: Entries,
    absent: Absent,
}

impl Document {
    /// The settings in `text`; `file` is the text's name in problems. A line that is not
    /// TOML is a problem, the rest is read.
    pub fn parse(file: &str, text: &str, problems: &mut Problems) -> Document {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut parsing = Parsing {
            file: file.into(),
            text,
            broken_lines: Vec::new(),
        };

        for error in errors {
            let line = parsing.line(error.span().unwrap_or_default().start);
            // One mistake can upset the parser several times; the first message says it
            // best.
            if parsing.broken_lines.contains(&line) {
                continue;
            }
            parsing.broken_lines.push(line);
            let message = format!("is no TOML: {}", error.message());
            let (file, key) = (file.to_owned(), String::new());
            problems.add_fault(file, Some(line), key, message.into());
        }

        let place = Place {
            file: parsing.file.clone(),
            line: None,
        };
        Document {
            place,
            entries: parsing.entries(table.get_ref()),
            absent: Absent::Unset,
        }
    }

    /// The settings in the file at `path`. An unreadable file is a problem and counts as
    /// empty, but no key is then said to be missing.
    pub fn open(path: &Path, problems: &mut Problems) -> Document {
        let file = path.display().to_string();
        match read_text(path, MAX_SETTINGS_BYTES) {
            Ok(text) => Document::parse(&file, &text, problems),
            Err(error) => {
                problems.add(Problem::unreadable(path, &error));
                Document {
                    place: Place {
                        file: file.into(),
                        line: None,
                    },
                    entries: Entries::new(),
                    absent: Absent::Unknown,
                }
            }
        }
    }

    /// Takes over the settings of `later`: tables are merged, anything else is replaced.
    pub fn merge(&mut self, later: Document) {
        if later.absent == Absent::Unknown {
            self.absent = Absent::Unknown;
        }
        merge(&mut self.entries, later.entries);
    }

    /// Takes over the settings of the drop-ins of the file at `path`, which
    /// [`list_drop_ins`] finds.
    pub fn merge_drop_ins(&mut self, path: &Path, problems: &mut Problems) {
        match list_drop_ins(path) {
            Ok(paths) => {
                for path in paths {
                    self.merge(Document::open(&path, problems));
                }
            }
            Err(error) => {
                problems.add(Problem::unreadable(&path.with_extension("d"), &error));
            }
        }
    }

    /// What `read` makes of the root table. Keys that `read` did not ask for are
    /// problems.
    pub fn read<T>(
        &self,
        problems: &mut Problems,
        read: impl FnOnce(&mut Table<'_>) -> T,
    ) -> T {
        let path = String::new();
        Table::new(path, &self.place, &self.entries, self.absent, problems).read(read)
    }
}

/// The drop-ins of the file at `path`: the `*.toml` files in the folder beside it that ends
/// in `.d`, in the order of their names. A hidden file, such as an editor's copy, is left
/// out. An absent folder is like an empty one.
///
/// # Errors
/// The folder cannot be read.
pub fn list_drop_ins(path: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(path.with_extension("d")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.retain(|path| {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        name.ends_with(b".toml") && !name.starts_with(b".")
    });
    paths.sort();
    Ok(paths)
}

fn merge(earlier: &mut Entries, later: Entries) {
    for (key, value) in later {
        match (earlier.get_mut(&key), value) {
            (
                Some(Value {
                    kind: Kind::Table(earlier),
                    ..
                }),
                Value {
                    kind: Kind::Table(later),
                    ..
                },
            ) => {
                merge(earlier, later);
            }
            (_, value) => drop(earlier.insert(key, value)),
        }
    }
}

/// A file's text while the parser's result becomes values: turns byte offsets into lines.
struct Parsing<'a> {
    file: Arc<str>,
    text: &'a str,
    /// Lines that are not TOML.
    broken_lines: Vec<usize>,
}

impl Parsing<'_> {
    fn line(&self, offset: usize) -> usize {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }

    fn entries(&self, table: &DeTable<'_>) -> Entries {
        let mut entries = Entries::new();
        for (key, value) in table {
            // The place of a table is the place of the key, because the table's own span
            // may be a header far away.
            entries.insert(key.get_ref().to_string(), self.value(&key.span(), value));
        }
        entries
    }

    fn value(&self, place: &Range<usize>, value: &toml::Spanned<DeValue<'_>>) -> Value {
        let line = self.line(place.start);
        let mut lines = line..=self.line(value.span().end);

        let kind = match value.get_ref() {
            DeValue::Table(table) => Kind::Table(self.entries(table)),
            _ if lines.any(|line| self.broken_lines.contains(&line)) => Kind::Broken,
            DeValue::String(text) => Kind::Text(text.to_string()),
            DeValue::Boolean(value) => Kind::Boolean(*value),
            DeValue::Integer(number) => {
                // A number too large for an i128 is outside of every setting's range.
                let parsed = i128::from_str_radix(number.as_str(), number.radix());
                Kind::Integer(parsed.unwrap_or(i128::MAX))
            }
            DeValue::Array(items) => Kind::Array(
                items
                    .iter()
                    .map(|item| self.value(&item.span(), item))
                    .collect(),
            ),
            DeValue::Float(_) => Kind::Other("a float"),
            DeValue::Datetime(_) => Kind::Other("a date"),
        };

        Value {
            place: Place {
                file: self.file.clone(),
                line: Some(line),
            },
            kind,
        }
    }
}
