//! Parameters of lists that are read page by page.

use crate::store::Place;

/// The most elements in an answer, and how many there are without a word.
pub(super) const MAX_LIMIT: usize = 1000;
pub(super) const DEFAULT_LIMIT: usize = 100;

/// Words with commas between.
///
/// # Errors
/// What is `wanted`.
pub(super) fn words<T>(
    value: &str,
    parse: impl Fn(&str) -> Option<T>,
    wanted: &str,
) -> Result<Vec<T>, String> {
    let words: Option<Vec<T>> = value.split(',').map(parse).collect();
    words.ok_or_else(|| wanted.to_owned())
}

/// An id of a rule, a channel or an alert.
///
/// # Errors
/// Says what is wanted.
pub(super) fn parse_id(value: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if (1..=64).contains(&value.len()) && value.chars().all(is_plain) {
        Ok(value.to_owned())
    } else {
        Err("must be an id".to_owned())
    }
}

/// A place in a list, for a client that goes on from there.
pub(super) fn show_place(place: &Place) -> String {
    format!("{}.{}", place.number, place.id)
}

/// A place of an earlier answer.
///
/// # Errors
/// Says what is wanted.
pub(super) fn parse_place(value: &str) -> Result<Place, String> {
    let place = value.split_once('.').and_then(|(number, id)| {
        let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
        let number = number.parse().ok().filter(|_| is_number)?;
        Some(Place {
            number,
            id: parse_id(id).ok()?,
        })
    });
    place.ok_or_else(|| "must be the next of an earlier answer".to_owned())
}
