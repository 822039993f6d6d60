//! What admins have set on a host, its flags and tags, and in which order: of two records
//! of one host, the later change of each flag and of each tag counts.

use std::collections::BTreeMap;

use fleetbeat_protocol::{Flags, FlagsPatch};

use super::column::FLAGS;
use super::tags::SetTags;

/// The flags of a host, and its tags, which go wherever the flags go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SetFlags {
    pub(super) flags: Flags,
    pub(super) tags: SetTags,
    /// By flag, the number of the change that has set the flag last. Later changes have
    /// higher numbers, in the whole store. A flag that nobody has set is missing.
    pub(super) changes: BTreeMap<String, i64>,
}

impl SetFlags {
    /// What the flags of a new host begin with. Whatever an admin sets is later.
    pub(super) fn of_new_host(patch: FlagsPatch) -> SetFlags {
        SetFlags {
            flags: patch.apply(Flags::default()),
            ..SetFlags::default()
        }
    }

    /// Makes the change of this number.
    pub(super) fn change(&mut self, patch: &FlagsPatch, number: i64) {
        for flag in FLAGS {
            if let Some(value) = (flag.in_patch)(patch) {
                *(flag.in_flags)(&mut self.flags) = value;
                self.changes.insert(flag.name.to_owned(), number);
            }
        }
    }

    /// Whether flags and tags are as they are on a host for which nobody has set any.
    pub(super) fn are_defaults(&self) -> bool {
        self.flags == Flags::default() && self.tags.shown().is_empty()
    }

    /// Takes over each flag and each tag that was set later in `other`.
    pub(super) fn merge(&mut self, other: &SetFlags) {
        self.tags.merge(&other.tags);
        let mut others = other.flags;
        for flag in FLAGS {
            let newer = other.changes.get(flag.name).copied();
            if let Some(number) = newer
                && self.changes.get(flag.name).copied() < newer
            {
                *(flag.in_flags)(&mut self.flags) = *(flag.in_flags)(&mut others);
                self.changes.insert(flag.name.to_owned(), number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: FlagsPatch = FlagsPatch {
        gaming: None,
        streaming: None,
        paid: None,
        enabled: None,
        is_static: None,
    };

    #[test]
    fn the_later_change_of_each_flag_counts_whatever_the_order_of_merging() {
        let disable = FlagsPatch {
            enabled: Some(false),
            ..NONE
        };
        let pay = FlagsPatch {
            paid: Some(true),
            ..NONE
        };
        let enable = FlagsPatch {
            enabled: Some(true),
            paid: Some(false),
            ..NONE
        };
        for (one, other, expected) in [
            // Each record has a flag of its own.
            (vec![(disable, 1)], vec![(pay, 2)], (false, true)),
            // Both have the same flag.
            (vec![(disable, 1)], vec![(enable, 2)], (true, false)),
            (vec![(disable, 3)], vec![(enable, 2)], (false, false)),
            (
                vec![(enable, 1), (disable, 4)],
                vec![(disable, 2), (pay, 3)],
                (false, true),
            ),
            // Nobody has set anything on the other one.
            (vec![(disable, 1)], vec![], (false, false)),
        ] {
            let flags = |changes: &[(FlagsPatch, i64)]| {
                let mut flags = SetFlags::default();
                for (patch, number) in changes {
                    flags.change(patch, *number);
                }
                flags
            };
            let (mut first, mut second) = (flags(&one), flags(&other));
            first.merge(&flags(&other));
            second.merge(&flags(&one));
            assert_eq!(first, second);
            assert_eq!((first.flags.enabled, first.flags.paid), expected);
        }
    }
}
