//! The tags that admins have set on a host, and in which order: of two records of one
//! host, the later change of each tag counts.

use std::collections::BTreeMap;

use fleetbeat_protocol::{MAX_TAGS, Tags, TagsPatch};
use serde::{Deserialize, Serialize};

use super::error::Conflict;
use super::event::{Act, EventKind, NewEvent, facts};

/// The tags of a host by key, also those that were removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct SetTags(pub(super) BTreeMap<String, SetTag>);

/// What was last done to a tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SetTag {
    /// The value; `None` for a tag that was removed.
    pub(super) value: Option<String>,
    /// The number of the change. Later changes have higher numbers, in the whole store.
    pub(super) change: i64,
}

impl SetTags {
    /// The tags as they are shown.
    pub(super) fn shown(&self) -> Tags {
        let tags = self.0.iter();
        tags.filter_map(|(key, tag)| Some((key.clone(), tag.value.clone()?)))
            .collect()
    }

    /// Makes the change of this number.
    ///
    /// # Errors
    /// The host would have more tags than it may have. Nothing is changed then.
    pub(super) fn change(
        &mut self,
        patch: &TagsPatch,
        number: i64,
    ) -> Result<(), Conflict> {
        let mut changed = self.clone();
        for (key, value) in &patch.0 {
            let tag = SetTag {
                value: value.clone(),
                change: number,
            };
            changed.0.insert(key.clone(), tag);
        }

        let count = changed.shown().len();
        if count > MAX_TAGS {
            return Err(Conflict::TooManyTags { count });
        }
        changed.forget();
        *self = changed;
        Ok(())
    }

    /// Takes over each tag that was set or removed later in `other`. Of more tags than a
    /// host may have, those that were set last stay.
    pub(super) fn merge(&mut self, other: &SetTags) {
        for (key, theirs) in &other.0 {
            let own = self.0.get(key).map(|own| own.change);
            if own < Some(theirs.change) {
                self.0.insert(key.clone(), theirs.clone());
            }
        }
        self.forget();
    }

    /// Keeps what was changed last, of the tags and again of those that were removed.
    fn forget(&mut self) {
        for is_set in [true, false] {
            let of_kind = self
                .0
                .iter()
                .filter(|(_, tag)| tag.value.is_some() == is_set);
            let mut by_age: Vec<(i64, String)> = of_kind
                .map(|(key, tag)| (tag.change, key.clone()))
                .collect();
            by_age.sort_unstable_by(|a, b| b.cmp(a));
            for (_, key) in by_age.iter().skip(MAX_TAGS) {
                self.0.remove(key);
            }
        }
    }
}

/// The events of a patch: one for each tag that it gives another value than `before`.
pub(super) fn tag_changes(before: &Tags, patch: &TagsPatch, act: &Act) -> Vec<NewEvent> {
    let change = |(key, to): (&String, &Option<String>)| {
        let from = before.get(key);
        let members = [
            ("tag", key.as_str().into()),
            ("from", from.map(String::as_str).into()),
            ("to", to.as_deref().into()),
        ];
        let is_changed = from != to.as_ref();
        is_changed.then(|| act.event(EventKind::TagChanged, facts(members)))
    };
    patch.0.iter().filter_map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys, each with the value to set.
    type Changes<'a> = &'a [(&'a str, Option<&'a str>)];

    fn patch(tags: Changes<'_>) -> TagsPatch {
        let tags = tags.iter();
        TagsPatch(
            tags.map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned)))
                .collect(),
        )
    }

    fn set(changes: &[(Changes<'_>, i64)]) -> SetTags {
        let mut tags = SetTags::default();
        for (tags_of_change, number) in changes {
            tags.change(&patch(tags_of_change), *number).unwrap();
        }
        tags
    }

    #[test]
    fn the_later_change_of_each_tag_counts_whatever_the_order_of_merging() {
        let one = set(&[
            (&[("a", Some("1")), ("b", Some("1"))], 1),
            (&[("c", Some("1"))], 4),
        ]);
        let other = set(&[
            (&[("b", Some("2"))], 2),
            (&[("c", Some("2"))], 3),
            (&[("a", None)], 5),
        ]);
        let (mut first, mut second) = (one.clone(), other.clone());
        first.merge(&other);
        second.merge(&one);
        assert_eq!(first, second);
        let expected = [("b", "2"), ("c", "1")];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(first.shown(), Tags::from(expected));
    }

    #[test]
    fn a_host_has_at_most_so_many_tags_and_removed_ones_are_forgotten() {
        let keys: Vec<String> = (0..200).map(|n| format!("k{n}")).collect();
        let mut tags = SetTags::default();
        for (number, key) in (1..).zip(&keys[..MAX_TAGS]) {
            tags.change(&patch(&[(key, Some(""))]), number).unwrap();
        }
        let before = tags.clone();
        let error = tags.change(&patch(&[("more", Some(""))]), 100).unwrap_err();
        assert_eq!(
            error,
            Conflict::TooManyTags {
                count: MAX_TAGS + 1
            }
        );
        assert_eq!(tags, before);
        // One goes in the same change.
        tags.change(&patch(&[("more", Some("")), ("k0", None)]), 101)
            .unwrap();
        assert_eq!(tags.shown().len(), MAX_TAGS);

        for (number, key) in (200..).zip(&keys) {
            tags.change(&patch(&[(key, None)]), number).unwrap();
        }
        assert_eq!(tags.shown().len(), 1);
        assert_eq!(tags.0.len(), MAX_TAGS + 1);
    }

    #[test]
    fn two_full_records_make_one_with_the_tags_that_were_set_last() {
        let full = |name: &str, number: i64| {
            let mut tags = SetTags::default();
            for n in 0..MAX_TAGS {
                let key = format!("{name}{n}");
                tags.change(&patch(&[(&key, Some(""))]), number).unwrap();
            }
            tags
        };
        let (older, newer) = (full("a", 1), full("b", 2));
        let mut merged = older.clone();
        merged.merge(&newer);
        assert_eq!(merged, newer);
        let mut merged = newer.clone();
        merged.merge(&older);
        assert_eq!(merged, newer);
    }
}
