//! Versions of the agent, which are ordered by their numbers.

use std::cmp::Ordering;
use std::fmt;

use crate::number::is_digits;

/// The most numbers of a version in a selector.
const MAX_NUMBERS: usize = 4;
/// The most digits of a number.
const MAX_DIGITS: usize = 9;

/// One to four numbers: `1.2.0`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Version(Vec<u32>);

impl Version {
    /// The version that `text` spells.
    pub(crate) fn parse(text: &str) -> Option<Version> {
        let numbers = parse_numbers(text)?;
        (numbers.len() <= MAX_NUMBERS).then_some(Version(numbers))
    }

    /// How the version `text` of a host stands to this one; `None` if `text` begins with
    /// anything but numbers. What is missing counts as 0, and `1.2.0-rc.1` is less than
    /// `1.2.0`.
    pub(crate) fn compare(&self, text: &str) -> Option<Ordering> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (numbers, rest) = text.split_at(end.unwrap_or(text.len()));
        let numbers = parse_numbers(numbers)?;

        let at = |numbers: &[u32], place: usize| numbers.get(place).copied().unwrap_or(0);
        let places = 0..numbers.len().max(self.0.len());
        let order = places
            .map(|place| at(&numbers, place).cmp(&at(&self.0, place)))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal);

        let is_before = order.is_eq() && rest.starts_with('-');
        Some(if is_before { Ordering::Less } else { order })
    }
}

fn parse_numbers(text: &str) -> Option<Vec<u32>> {
    let parse = |number: &str| {
        let is_number = is_digits(number) && number.len() <= MAX_DIGITS;
        is_number.then(|| number.parse().ok()).flatten()
    };
    text.split('.').map(parse).collect()
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<_> = self.0.iter().map(u32::to_string).collect();
        f.write_str(&numbers.join("."))
    }
}
