//! Typed readers over one table of the settings.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::duration::{parse_duration, show_duration};
use crate::problem::{Fault, Problems};
use crate::value::{Absent, Entries, Kind, Place, Value};

/// A table being read.
///
/// Each reader returns `None` for an absent key, and for a wrong value; the latter is
/// then among the problems. A table is handed out for the length of a closure. Afterwards
/// every key that the closure did not ask for is a problem: nobody can forget to check.
pub struct Table<'a> {
    /// The table's own dotted key, such as `collectors.net`; empty for the root.
    path: String,
    place: &'a Place,
    entries: &'a Entries,
    absent: Absent,
    /// The keys asked for so far.
    known: Vec<&'static str>,
    problems: &'a mut Problems,
}

impl<'a> Table<'a> {
    pub(crate) fn new(
        path: String,
        place: &'a Place,
        entries: &'a Entries,
        absent: Absent,
        problems: &'a mut Problems,
    ) -> Table<'a> {
        Table {
            path,
            place,
            entries,
            absent,
            known: Vec::new(),
            problems,
        }
    }

    /// What `read` makes of the table. Keys that `read` did not ask for are problems.
    pub(crate) fn read<T>(mut self, read: impl FnOnce(&mut Table<'_>) -> T) -> T {
        let value = read(&mut self);
        self.report_unknown_keys();
        value
    }
}

impl Table<'_> {
    /// A string.
    pub fn string(&mut self, key: &'static str) -> Option<String> {
        self.parsed(key, |text| Ok(text.to_owned()))
    }

    /// What `parse` makes of a string; the error of `parse` is the problem's message.
    pub fn parsed<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.value(key, |value| parse(text(value)?))
    }

    /// As [`Table::parsed`], for the path of a file that `open` may not find right now.
    pub fn opened<T>(
        &mut self,
        key: &'static str,
        open: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Option<T> {
        self.value(key, |value| open(text(value)?))
    }

    /// A whole number within `range`.
    pub fn integer<T>(&mut self, key: &'static str, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i128> + PartialOrd + Display,
    {
        self.value(key, |value| match value.kind {
            Kind::Integer(number) => T::try_from(number)
                .ok()
                .filter(|number| range.contains(number))
                .ok_or_else(|| {
                    format!("must be from {} to {}", range.start(), range.end())
                }),
            _ => Err(format!("must be a whole number, not {}", value.kind.name())),
        })
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, key: &'static str) -> Option<bool> {
        self.value(key, |value| match value.kind {
            Kind::Boolean(value) => Ok(value),
            _ => Err(format!("must be true or false, not {}", value.kind.name())),
        })
    }

    /// A duration such as `"500ms"`, `"30s"`, `"4m"`, `"2h"`, `"30d"` or `"1y"` within
    /// `range`.
    pub fn duration(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        self.value(key, |value| {
            let wrong = "must be a duration such as \"30s\"";
            let duration = text(value).ok().and_then(parse_duration).ok_or(wrong)?;

            if range.contains(&duration) {
                return Ok(duration);
            }
            let [least, most] =
                [range.start(), range.end()].map(|limit| show_duration(*limit));
            Err(format!("must be from {least} to {most}"))
        })
    }

    /// An array of strings.
    pub fn strings(&mut self, key: &'static str) -> Option<Vec<String>> {
        self.parsed_list(key, |text| Ok(text.to_owned()))
    }

    /// An array of strings; a single string reads as an array of one.
    pub fn one_or_more(&mut self, key: &'static str) -> Option<Vec<String>> {
        self.one_or_more_parsed(key, |text| Ok(text.to_owned()))
    }

    /// As [`Table::parsed_list`]; a single string reads as an array of one.
    pub fn one_or_more_parsed<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        match &self.get(key)?.kind {
            Kind::Array(_) => self.parsed_list(key, parse),
            _ => self.parsed(key, parse).map(|one| vec![one]),
        }
    }

    /// What `parse` makes of each string of an array; the error of `parse` is the message
    /// of a problem with that element. `None` if any element is wrong.
    pub fn parsed_list<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let items = self.array(key, "strings")?;
        let mut parsed = Vec::with_capacity(items.len());

        for (index, item) in items.iter().enumerate() {
            match text(item).and_then(&parse) {
                Ok(value) => parsed.push(value),
                Err(message) => self.add(
                    &item.place,
                    format!("{}[{index}]", self.path_of(key)),
                    message.into(),
                ),
            }
        }

        (parsed.len() == items.len()).then_some(parsed)
    }

    /// What `read` makes of the table `key`.
    pub fn table<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Table<'_>) -> T,
    ) -> Option<T> {
        let path = self.path_of(key);
        let value = self.get(key)?;
        let entries = self.entries_of(&path, value)?;

        let table = Table::new(path, &value.place, entries, self.absent, self.problems);
        Some(table.read(read))
    }

    /// As [`Table::table`], but an absent table reads as an empty table. For tables with
    /// defaults for all keys.
    pub fn section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Table<'_>) -> T,
    ) -> T {
        static EMPTY: Entries = Entries::new();
        let path = self.path_of(key);
        let value = self.get(key);
        let place = value.map_or(self.place, |value| &value.place);
        let entries = value
            .and_then(|value| self.entries_of(&path, value))
            .unwrap_or(&EMPTY);

        Table::new(path, place, entries, self.absent, self.problems).read(read)
    }

    /// What `parse` makes of each string of the table `key`, whose own keys may be any;
    /// the error of `parse` is the message of a problem with that key. Strings that are
    /// wrong are left out.
    pub fn map<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<(String, T)>> {
        let path = self.path_of(key);
        let value = self.get(key)?;
        let entries = self.entries_of(&path, value)?;

        let mut parsed = Vec::with_capacity(entries.len());
        for (name, value) in entries {
            match text(value).and_then(&parse) {
                Ok(value) => parsed.push((name.clone(), value)),
                Err(message) => {
                    self.add(&value.place, format!("{path}.{name}"), message.into());
                }
            }
        }
        Some(parsed)
    }

    /// What `read` makes of each table of an array; elements that are not tables are
    /// problems and left out.
    pub fn tables<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Table<'_>) -> T,
    ) -> Option<Vec<T>> {
        let items = self.array(key, "tables")?;
        let mut tables = Vec::with_capacity(items.len());

        for (index, item) in items.iter().enumerate() {
            let path = format!("{}[{index}]", self.path_of(key));
            if let Some(entries) = self.entries_of(&path, item) {
                // Arrays are replaced, not merged: no other file has more of the element.
                let absent = Absent::Unset;
                let table = Table::new(path, &item.place, entries, absent, self.problems);
                tables.push(table.read(&mut read));
            }
        }

        Some(tables)
    }

    /// The value of `key` as text, whatever its place and the order of its keys: equal
    /// texts are equal values.
    pub fn text_of(&mut self, key: &'static str) -> Option<String> {
        self.get(key).map(|value| value.kind.text())
    }

    /// Whether the key is there, be the value right or wrong.
    pub fn has(&mut self, key: &'static str) -> bool {
        self.get(key).is_some()
    }

    /// An absent key is a problem, as [`Table::problem`] has it.
    pub fn require(&mut self, key: &'static str) {
        if !self.has(key) {
            self.problem(key, "is missing");
        }
    }

    /// Adds a problem with `key`: at the key's line, or at the table's where the key is
    /// absent. Nothing is added for an absent key while a file could not be read, because
    /// the key may be in the unread file.
    pub fn problem(&mut self, key: &'static str, fault: impl Into<Fault>) {
        let place = match self.get(key) {
            Some(value) => &value.place,
            None if self.absent == Absent::Unknown => return,
            None => self.place,
        };
        self.add(place, self.path_of(key), fault.into());
    }
}

impl<'a> Table<'a> {
    /// The value of `key`; the key counts as known from now on.
    fn get(&mut self, key: &'static str) -> Option<&'a Value> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.entries.get(key)
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    fn add(&mut self, place: &Place, key: String, fault: Fault) {
        let file = place.file.to_string();
        self.problems.add_fault(file, place.line, key, fault);
    }

    /// What `convert` makes of the value; the error of `convert` is the problem's
    /// message.
    fn value<T, E: Into<Fault>>(
        &mut self,
        key: &'static str,
        convert: impl FnOnce(&Value) -> Result<T, E>,
    ) -> Option<T> {
        let value = self.get(key)?;
        if let Kind::Broken = value.kind {
            return None;
        }
        convert(value)
            .map_err(|fault| self.add(&value.place, self.path_of(key), fault.into()))
            .ok()
    }

    fn array(&mut self, key: &'static str, of: &str) -> Option<&'a [Value]> {
        let value = self.get(key)?;
        match &value.kind {
            Kind::Array(items) => return Some(items),
            Kind::Broken => {}
            kind => self.problem(
                key,
                format!("must be an array of {of}, not {}", kind.name()),
            ),
        }
        None
    }

    fn entries_of(&mut self, path: &str, value: &'a Value) -> Option<&'a Entries> {
        match &value.kind {
            Kind::Table(entries) => return Some(entries),
            Kind::Broken => {}
            kind => self.add(
                &value.place,
                path.to_owned(),
                format!("must be a table, not {}", kind.name()).into(),
            ),
        }
        None
    }

    fn report_unknown_keys(mut self) {
        let known = self.known.join(", ");
        for (key, value) in self.entries {
            if !self.known.contains(&key.as_str()) {
                let message = format!("is not a known key; known here: {known}");
                self.add(&value.place, self.path_of(key), message.into());
            }
        }
    }
}

fn text(value: &Value) -> Result<&str, String> {
    match &value.kind {
        Kind::Text(text) => Ok(text),
        kind => Err(format!("must be a string, not {}", kind.name())),
    }
}
