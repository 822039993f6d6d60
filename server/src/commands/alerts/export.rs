//! `alerts export`: the rules as a file.

use std::fs;
use std::io::Write;
use std::path::Path;

use fleetbeat_protocol::{Escalation, Rule};

use super::error::AlertsError;
use super::file;
use super::names::Channels;
use crate::alerting::{ALL_CHANNELS, Kept, read_kept};
use crate::commands::show;
use crate::store::{AlertStore, Object, ObjectKind};

/// Writes the rules to `file`, or to `output`, in the order of their names.
///
/// # Errors
/// The rules cannot be read or written; two of them have one name.
pub(in crate::commands) fn export(
    store: &(impl AlertStore + ?Sized),
    file: Option<&Path>,
    output: &mut dyn Write,
) -> Result<(), AlertsError> {
    let channels = Channels::read(store)?;
    let rules = read_rules(store)?.into_iter();
    let rules: Vec<Rule> = rules
        .map(|stored| name_channels(stored.kept.what, &channels))
        .collect();

    let text = file::write(&rules);
    match file {
        None => {
            let written = output.write_all(text.as_bytes());
            written
                .and_then(|()| output.flush())
                .map_err(AlertsError::Output)
        }
        Some(file) => fs::write(file, text).map_err(|source| AlertsError::File {
            file: file.to_owned(),
            source,
        }),
    }
}

/// A rule in the store.
pub(super) struct StoredRule {
    pub(super) object: Object,
    pub(super) kept: Kept<Rule>,
}

impl StoredRule {
    pub(super) fn name(&self) -> &str {
        &self.kept.what.name
    }
}

/// The rules in the store, in the order of their names, of which no two are alike.
///
/// # Errors
/// They cannot be read, or two have one name.
pub(super) fn read_rules(
    store: &(impl AlertStore + ?Sized),
) -> Result<Vec<StoredRule>, AlertsError> {
    let objects = store.alert_objects(ObjectKind::Rule)?.into_iter();
    let read = |object: Object| match read_kept(&object) {
        Some(kept) => Ok(StoredRule { object, kept }),
        None => Err(AlertsError::Damaged(object.id)),
    };
    let mut rules = objects.map(read).collect::<Result<Vec<_>, _>>()?;
    rules.sort_by(|one, other| one.name().cmp(other.name()));

    let alike = rules.chunk_by(|one, other| one.name() == other.name());
    let several = alike.into_iter().find(|alike| alike.len() > 1);
    match several {
        None => Ok(rules),
        Some(alike) => {
            let ids: Vec<&str> =
                alike.iter().map(|rule| rule.object.id.as_str()).collect();
            Err(AlertsError::SameName {
                name: alike[0].name().to_owned(),
                ids: ids.join(" and "),
            })
        }
    }
}

/// The rule with the names of its channels. Those that are gone are left out: they are
/// told of nothing either way, and no other server knows them.
fn name_channels(mut rule: Rule, channels: &Channels) -> Rule {
    let name = show::text(&rule.name);
    let word = |id: &String| {
        let word = match id.as_str() {
            ALL_CHANNELS => Some(ALL_CHANNELS),
            id => channels.word(id),
        };
        if word.is_none() {
            eprintln!("warning: {name}: the channel {id} is gone, and is left out");
        }
        word.map(str::to_owned)
    };
    rule.channels = rule.channels.iter().filter_map(word).collect();
    if let Some(escalate) = &mut rule.escalate {
        escalate.channels = escalate.channels.iter().filter_map(word).collect();
    }
    // An escalation to nobody could not be read again.
    let names_some = |to: &Escalation| !to.channels.is_empty();
    rule.escalate = rule.escalate.filter(names_some);
    rule
}
