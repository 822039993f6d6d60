//! What admins have set on a host, its flags, tags, state and settings, and in which
//! order: of two records of one host, the later change of each counts.

use std::collections::BTreeMap;

use fleetbeat_protocol::{
    Flags, FlagsPatch, HostState, Server, SettingsPatch, StatePatch, TagsPatch, Timestamp,
};

use super::column::{FLAGS, flag_changes};
use super::error::Conflict;
use super::event::{Act, NewEvent};
use super::settings::{SetSettings, setting_changes};
use super::state::{SetState, state_change};
use super::tags::{SetTags, tag_changes};

/// The flags of a host, and its tags, its state and its settings, which go wherever the
/// flags go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SetFlags {
    pub(super) flags: Flags,
    pub(super) tags: SetTags,
    pub(super) state: SetState,
    pub(super) settings: SetSettings,
    /// By flag, the number of the change that has set the flag last. Later changes have
    /// higher numbers, in the whole store. A flag that nobody has set is missing.
    pub(super) flag_changes: BTreeMap<String, i64>,
}

/// What an admin asks for on a host.
#[derive(Debug, Clone, Copy)]
pub(crate) enum HostPatch<'a> {
    /// Flags get other values.
    Flags(FlagsPatch),
    /// Tags are set and removed.
    Tags(&'a TagsPatch),
    /// The host has this state.
    State(&'a StatePatch),
    /// Settings are set and removed.
    Settings(&'a SettingsPatch),
}

/// Whether a caller may make a change on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The caller may.
    Allowed,
    /// The caller does not see the host.
    Unseen,
    /// The caller would not see the host any more.
    Leaves,
}

/// Judges a change of a host by the host's record; `None` where every host may be changed.
/// The store asks about the record as it is at the moment of the change: nothing that a
/// scope may ask about is another thing when the change is made.
pub(crate) type Judge<'a> = Option<&'a dyn Fn(&Server) -> Verdict>;

impl HostPatch<'_> {
    /// The names of the operations, for metrics.
    pub(super) const OPERATIONS: [&'static str; 4] =
        ["set_flags", "set_tags", "set_state", "set_settings"];

    /// The name of the operation, for metrics.
    pub(super) fn operation(self) -> &'static str {
        let [flags, tags, state, settings] = HostPatch::OPERATIONS;
        match self {
            HostPatch::Flags(_) => flags,
            HostPatch::Tags(_) => tags,
            HostPatch::State(_) => state,
            HostPatch::Settings(_) => settings,
        }
    }
}

impl SetFlags {
    /// What the flags of a new host begin with. Whatever an admin sets is later.
    pub(super) fn of_new_host(patch: FlagsPatch) -> SetFlags {
        SetFlags {
            flags: patch.apply(Flags::default()),
            ..SetFlags::default()
        }
    }

    /// Makes the change of this number, at this time.
    ///
    /// # Errors
    /// The host would have too many tags. Nothing is changed then.
    pub(super) fn change(
        &mut self,
        patch: HostPatch<'_>,
        at: Timestamp,
        number: i64,
    ) -> Result<(), Conflict> {
        match patch {
            HostPatch::Flags(patch) => self.change_flags(&patch, number),
            HostPatch::Tags(patch) => self.tags.change(patch, number)?,
            HostPatch::State(patch) => self.state.change(patch, at, number),
            HostPatch::Settings(patch) => self.settings.change(patch, number),
        }
        Ok(())
    }

    /// The events of a patch of what is set now: one for each thing that it changes.
    pub(super) fn changes(&self, patch: HostPatch<'_>, act: &Act) -> Vec<NewEvent> {
        match patch {
            HostPatch::Flags(patch) => flag_changes(self.flags, patch, act),
            HostPatch::Tags(patch) => tag_changes(&self.tags.shown(), patch, act),
            HostPatch::State(patch) => {
                let change = state_change(&self.state.state, patch, act);
                change.into_iter().collect()
            }
            HostPatch::Settings(patch) => setting_changes(&self.settings, patch, act),
        }
    }

    fn change_flags(&mut self, patch: &FlagsPatch, number: i64) {
        for flag in FLAGS {
            if let Some(value) = (flag.in_patch)(patch) {
                *(flag.in_flags)(&mut self.flags) = value;
                self.flag_changes.insert(flag.name.to_owned(), number);
            }
        }
    }

    /// Whether everything is as it is on a host for which nobody has set anything.
    pub(super) fn are_defaults(&self) -> bool {
        self.flags == Flags::default()
            && self.tags.shown().is_empty()
            && self.state.state == HostState::default()
            && self.settings.values().is_empty()
    }

    /// Takes over each flag, each tag, each setting and the state that were set later in
    /// `other`.
    pub(super) fn merge(&mut self, other: &SetFlags) {
        self.tags.merge(&other.tags);
        self.state.merge(&other.state);
        self.settings.merge(&other.settings);
        let mut others = other.flags;
        for flag in FLAGS {
            let newer = other.flag_changes.get(flag.name).copied();
            if let Some(number) = newer
                && self.flag_changes.get(flag.name).copied() < newer
            {
                *(flag.in_flags)(&mut self.flags) = *(flag.in_flags)(&mut others);
                self.flag_changes.insert(flag.name.to_owned(), number);
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
                    flags.change_flags(patch, *number);
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
