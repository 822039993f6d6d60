//! `alerts import`: the rules of a file become those of the server. A rule is known by its
//! name. A file with a mistake changes nothing.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use fleetbeat_protocol::Rule;

use super::error::AlertsError;
use super::export::{StoredRule, read_rules};
use super::file;
use super::names::Channels;
use crate::alerting::{Kept, MAX_RULES, advise, new_id, read_policies};
use crate::cli::{Import, Leftover, Trial};
use crate::commands::{audit, show};
use crate::store::{
    Act, Conflict, EventKind, Expected, Facts, ObjectChange, ObjectKind, Store,
    StoreError, facts,
};

/// A file is read up to here: 200 rules have less.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// What becomes of one rule.
enum Step {
    Create(Rule),
    Change(Box<StoredRule>, Rule),
    /// It is so already.
    Keep(Rule),
    /// The file does not have it, and it stays.
    Leave(Box<StoredRule>),
    /// The file does not have it, and it goes.
    Remove(Box<StoredRule>),
}

impl Step {
    fn name(&self) -> &str {
        match self {
            Step::Create(rule) | Step::Change(_, rule) | Step::Keep(rule) => &rule.name,
            Step::Leave(stored) | Step::Remove(stored) => stored.name(),
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Step::Create(_) => "created",
            Step::Change(..) => "changed",
            Step::Keep(_) => "unchanged",
            Step::Leave(_) => "left",
            Step::Remove(_) => "removed",
        }
    }
}

/// Takes the rules of the file over, and says of each rule what has become of it.
///
/// # Errors
/// The file has mistakes, and nothing was changed; or the store has not done all of it.
pub(in crate::commands) fn import(
    store: &dyn Store,
    wish: &Import,
) -> Result<(), AlertsError> {
    let unreadable = |source| AlertsError::File {
        file: wish.file.clone(),
        source,
    };
    let text = read(&wish.file).map_err(unreadable)?;
    let rules = file::parse(&text, &Channels::read(store)?);
    let rules = rules.map_err(|mistakes| tell(&wish.file, &mistakes))?;

    let steps = plan(rules, read_rules(store)?, wish.leftover);
    let stay = steps.iter().filter(|step| !matches!(step, Step::Remove(_)));
    let number = stay.count();
    if number > MAX_RULES {
        let mistake = format!("there would be {number} rules, and {MAX_RULES} may be");
        return Err(tell(&wish.file, &[mistake]));
    }
    warn(store, &steps)?;

    for step in &steps {
        if wish.trial == Trial::No {
            take(store, step, &audit::act())?;
        }
        println!("{}\t{}", step.word(), show::text(step.name()));
    }
    if wish.trial == Trial::Yes {
        println!("a dry run: nothing was changed");
    }
    Ok(())
}

fn read(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?
        .take(MAX_FILE_BYTES)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// Tells all mistakes, and gives the error that ends the command.
fn tell(file: &Path, mistakes: &[String]) -> AlertsError {
    for mistake in mistakes {
        eprintln!("{}: {mistake}", file.display());
    }
    AlertsError::Mistakes {
        file: file.to_owned(),
        mistakes: match mistakes.len() {
            1 => "one mistake".to_owned(),
            several => format!("{several} mistakes"),
        },
    }
}

/// What is to be done. What goes comes first, so that there is room for what is new.
fn plan(rules: Vec<Rule>, stored: Vec<StoredRule>, leftover: Leftover) -> Vec<Step> {
    let (mut known, others): (Vec<StoredRule>, Vec<StoredRule>) = stored
        .into_iter()
        .partition(|stored| rules.iter().any(|rule| rule.name == stored.name()));

    let others = others.into_iter().map(|stored| match leftover {
        Leftover::Stays => Step::Leave(Box::new(stored)),
        Leftover::Goes => Step::Remove(Box::new(stored)),
    });
    let mut steps: Vec<Step> = others.collect();
    for rule in rules {
        let place = known.iter().position(|stored| stored.name() == rule.name);
        steps.push(match place.map(|place| known.swap_remove(place)) {
            None => Step::Create(rule),
            Some(stored) if stored.kept.what == rule => Step::Keep(rule),
            Some(stored) => Step::Change(Box::new(stored), rule),
        });
    }
    steps
}

/// Tells what of the rules is likely not meant so, as the API does.
fn warn(store: &dyn Store, steps: &[Step]) -> Result<(), AlertsError> {
    let channels = read_policies(store)?;
    for step in steps {
        if let Step::Create(rule) | Step::Change(_, rule) | Step::Keep(rule) = step {
            for advice in advise(rule, &channels, &[]) {
                let (name, field) = (show::text(&rule.name), advice.field);
                eprintln!("warning: {name}: {field} {}", advice.message);
            }
        }
    }
    Ok(())
}

/// Does one step.
fn take(store: &dyn Store, step: &Step, act: &Act) -> Result<(), AlertsError> {
    let by = act.name();
    let done = match step {
        Step::Keep(_) | Step::Leave(_) => return Ok(()),
        Step::Create(rule) => {
            let (id, new) = (new_id("rul")?, Expected::Nothing { most: MAX_RULES });
            let kept = Kept::new(rule.clone(), by, act.at);
            put(store, act, (&id, EventKind::RuleCreated, new), &kept)
        }
        Step::Change(stored, rule) => {
            let object = &stored.object;
            let as_read = Expected::Version(object.version);
            let kept = stored.kept.clone().changed(rule.clone(), by, act.at);
            put(
                store,
                act,
                (&object.id, EventKind::RuleChanged, as_read),
                &kept,
            )
        }
        Step::Remove(stored) => {
            let id = &stored.object.id;
            let event = act.event(EventKind::RuleDeleted, describe(id, step.name()));
            let removed = store.remove_alert_object(ObjectKind::Rule, id, &event);
            removed.map(drop)
        }
    };
    done.map_err(|error| match error {
        StoreError::Conflict(Conflict::Changed(_)) => AlertsError::Changed,
        error => error.into(),
    })?;
    audit::log(&format!("{} the rule {:?}", step.word(), step.name()));
    Ok(())
}

fn put(
    store: &dyn Store,
    act: &Act,
    (id, kind, expected): (&str, EventKind, Expected),
    kept: &Kept<Rule>,
) -> Result<(), StoreError> {
    let put = store.put_alert_object(&ObjectChange {
        kind: ObjectKind::Rule,
        id,
        body: &kept.body(),
        expected,
        event: &act.event(kind, describe(id, &kept.what.name)),
    });
    put.map(drop)
}

fn describe(id: &str, name: &str) -> Facts {
    facts([("rule", id.into()), ("name", name.into())])
}
