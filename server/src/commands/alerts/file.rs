//! The file of rules: TOML with a table `[[rules]]` for each rule. Its members are those of
//! the API, and channels stand in it by name.

use fleetbeat_alerts::Words;
use fleetbeat_protocol::{Json, Rule};
use serde::Serialize;

use super::names::Channels;
use crate::alerting::ALL_CHANNELS;

/// What a file begins with.
const HEAD: &str = "# The rules of Fleetbeat's alerts: `fleetbeat-server alerts import FILE` \
                    takes them over.\n";

/// A file that is written.
#[derive(Serialize)]
struct File<'a> {
    rules: &'a [Rule],
}

/// The rules as a file, in this order. Channels stand in them by name already.
pub(super) fn write(rules: &[Rule]) -> String {
    let text = toml::to_string_pretty(&File { rules });
    let text = text.expect("a rule is made of what TOML has");
    match rules {
        [] => HEAD.to_owned(),
        _ => format!("{HEAD}\n{text}"),
    }
}

/// The rules in a file, with the ids of their channels.
///
/// # Errors
/// Every mistake, with the rule and the field.
pub(super) fn parse(text: &str, channels: &Channels) -> Result<Vec<Rule>, Vec<String>> {
    let json: Json<'_> = toml::from_str(text).map_err(|error: toml::de::Error| {
        vec![error.to_string().trim_end().to_owned()]
    })?;
    let mut mistakes = Vec::new();
    let mut rules: Vec<Rule> = Vec::new();
    for (place, json) in tables(&json, &mut mistakes).iter().enumerate() {
        let called = show_rule(place, json);
        let read = match find_odd_number(json, "") {
            Some(field) => Err(vec![format!("{field} must be a number")]),
            None => read_rule(json, channels),
        };
        match read {
            Ok(rule) if rules.iter().any(|other| other.name == rule.name) => {
                mistakes.push(format!("{called}: name is that of a rule above"));
            }
            Ok(rule) => rules.push(rule),
            Err(errors) => {
                let errors = errors.iter().map(|error| format!("{called}: {error}"));
                mistakes.extend(errors);
            }
        }
    }
    if mistakes.is_empty() {
        Ok(rules)
    } else {
        Err(mistakes)
    }
}

/// The tables of rules in a file, which has nothing else.
fn tables<'a, 'b>(file: &'b Json<'a>, mistakes: &mut Vec<String>) -> &'b [Json<'a>] {
    let Json::Object(members) = file else {
        return &[];
    };
    let mut tables: &[Json<'_>] = &[];
    for (name, value) in members {
        match value {
            Json::Array(rules) if name == "rules" => tables = rules,
            _ if name == "rules" => {
                mistakes.push("rules must be tables, each with [[rules]]".to_owned());
            }
            _ => mistakes.push(format!("{name} is unknown here: use [[rules]]")),
        }
    }
    tables
}

/// The rule's place in the file, and its name.
fn show_rule(place: usize, json: &Json<'_>) -> String {
    let number = place + 1;
    let members = match json {
        Json::Object(members) => members.as_slice(),
        _ => &[],
    };
    let name = members.iter().find_map(|(name, value)| match value {
        Json::Text(text) if name == "name" => Some(text),
        _ => None,
    });
    match name {
        Some(name) => format!("rule {number} ({name:?})"),
        None => format!("rule {number}"),
    }
}

/// The first member that is not a finite number: TOML has some, and JSON has none.
fn find_odd_number(json: &Json<'_>, place: &str) -> Option<String> {
    match json {
        Json::Number(value) if !value.is_finite() => Some(place.to_owned()),
        Json::Array(elements) => {
            elements.iter().enumerate().find_map(|(index, element)| {
                find_odd_number(element, &format!("{place}[{index}]"))
            })
        }
        Json::Object(members) => members.iter().find_map(|(name, value)| {
            let dot = if place.is_empty() { "" } else { "." };
            find_odd_number(value, &format!("{place}{dot}{name}"))
        }),
        _ => None,
    }
}

fn read_rule(json: &Json<'_>, channels: &Channels) -> Result<Rule, Vec<String>> {
    let read = Rule::from_json(json, &Words);
    let mut rule = read.map_err(|errors| {
        let errors = errors.into_iter();
        errors
            .map(|error| format!("{} {}", error.field, error.message))
            .collect::<Vec<_>>()
    })?;

    let mut mistakes = Vec::new();
    let escalation = rule.escalate.as_mut().map(|to| &mut to.channels);
    let lists = [
        ("channels", Some(&mut rule.channels)),
        ("escalate.channels", escalation),
    ];
    for (field, list) in lists {
        let mut ids: Vec<String> = Vec::new();
        for (place, word) in list.iter().flat_map(|list| list.iter().enumerate()) {
            match find_channel(word, channels) {
                Ok(id) if ids.contains(&id) => {
                    mistakes.push(format!("{field}[{place}] {word:?} is given twice"));
                }
                Ok(id) => ids.push(id),
                Err(wrong) => {
                    mistakes.push(format!("{field}[{place}] {word:?} {wrong}"));
                }
            }
        }
        if let Some(list) = list {
            *list = ids;
        }
    }
    if mistakes.is_empty() {
        Ok(rule)
    } else {
        Err(mistakes)
    }
}

/// The id of the channel that `word` means.
fn find_channel(word: &str, channels: &Channels) -> Result<String, String> {
    if word == ALL_CHANNELS {
        return Ok(word.to_owned());
    }
    Ok(channels.find(word)?.id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
[[rules]]
name = "Disk nearly full"
severity = "warning"
when = "metric"
metric = "disk_used_percent"
labels = {mount = "/var*"}
above = 90
clear = 85
for = "600s"
where = "country=DE and paid"
channels = ["Mail", "all"]
escalate = {after = "1h", channels = ["chn-2"]}
note = """
Look at it:
"quoted" \\ ü"""

[[rules]]
name = "Many hosts down"
severity = "critical"
when = "many_down"
percent = 12.5
group_by = ["country", "tag.env"]
repeat = "4h"
"#;

    fn channels() -> Channels {
        Channels::of(&[("chn-1", "Mail"), ("chn-2", "On \"call\"")])
    }

    /// The rules with their channels by name.
    fn named(mut rules: Vec<Rule>) -> Vec<Rule> {
        let channels = channels();
        for rule in &mut rules {
            let escalation = rule.escalate.iter_mut().flat_map(|to| &mut to.channels);
            for id in rule.channels.iter_mut().chain(escalation) {
                if let Some(word) = channels.word(id) {
                    *id = word.to_owned();
                }
            }
        }
        rules
    }

    #[test]
    fn what_is_written_is_read_as_the_same_and_written_as_the_same() {
        let rules = parse(FILE, &channels()).unwrap();
        assert_eq!(rules[0].channels, ["chn-1", "all"]);
        let written = write(&named(rules.clone()));
        let again = parse(&written, &channels());
        assert_eq!(again.as_ref(), Ok(&rules), "{written}");
        assert_eq!(write(&named(again.unwrap())), written);
        for line in [
            "for = \"10m\"",
            "where = \"country = DE and paid\"",
            "[rules.escalate]",
            "mount = \"/var*\"",
        ] {
            assert!(written.contains(line), "{line} is not in\n{written}");
        }
        assert_eq!(parse(&write(&[]), &channels()), Ok(Vec::new()));
    }

    #[test]
    fn every_mistake_names_rule_and_field() {
        let rule = "[[rules]]\nname = \"A\"\nseverity = \"info\"\nwhen = \"down\"\n";
        for (text, told) in [
            ("[[rules]]\nname = \"A\"\n", "rule 1 (\"A\"): severity"),
            ("[[rules]]\nwhen = \"x\"\n", "rule 1: name"),
            (&format!("{rule}{rule}"), "rule 2 (\"A\"): name is that"),
            (
                &format!("{rule}for = \"soon\"\n"),
                "rule 1 (\"A\"): for must",
            ),
            (&format!("{rule}wher = \"all\"\n"), "rule 1 (\"A\"): wher"),
            (&format!("{rule}group_by = [\"x\"]\n"), "group_by[0]"),
            (
                &format!("{rule}channels = [\"Mail\", \"chn-1\"]\n"),
                "channels[1] \"chn-1\" is given twice",
            ),
            (
                &format!("{rule}channels = [\"Nobody\"]\n"),
                "rule 1 (\"A\"): channels[0] \"Nobody\" is not a channel: there are \"Mail\"",
            ),
            (
                &format!("{rule}escalate = {{after = \"1h\", channels = [\"x\"]}}\n"),
                "rule 1 (\"A\"): escalate.channels[0] \"x\"",
            ),
            (
                "[[rules]]\nname = \"A\"\nseverity = \"info\"\nwhen = \"load\"\n\
                 load = \"cpu\"\nabove = nan\n",
                "rule 1 (\"A\"): above must be a number",
            ),
            ("rule = 1\n", "rule is unknown here"),
            ("rules = 1\n", "rules must be tables"),
            ("rules = [1]\n", "rule 1: "),
            ("[[rules]\n", "line 1"),
        ] {
            let mistakes = parse(text, &channels()).unwrap_err();
            let has = |mistake: &String| mistake.contains(told);
            assert!(mistakes.iter().any(has), "{text}: {mistakes:?}");
        }
    }
}
