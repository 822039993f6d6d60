//! `exec`: numbers that commands of the host's own print.
//!
//! A command runs as the agent's user, without a shell, and sees nothing of the agent's
//! environment. It prints lines of a name and a number (Prometheus's text format), or one
//! JSON object of numbers. Its metrics' names begin with its own, so that no two commands
//! meet.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fleetbeat_settings::Table;

use crate::subprocess::Call;
use crate::{Collector, Error, Failure, Roots, Sample, prometheus_text};

/// How long a command may take, from the beginning of the window: the first heartbeat has
/// three seconds. What takes longer had better leave its numbers to textfile.
const TIMEOUT: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(2));
/// Most that a command may print, in bytes: a heartbeat has place for 64 metrics.
const MAX_OUTPUT: usize = 16 * 1024;
/// Most commands: they run at the same time.
const MAX_COMMANDS: usize = 16;
/// Longest name of a command, half of what the metric's may have.
const MAX_NAME_BYTES: usize = 32;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(crate) fn build(
    options: &mut Table<'_>,
    _roots: &Roots,
) -> Option<Box<dyn Collector>> {
    options.require("commands");
    let commands = options
        .tables("commands", read_command)?
        .into_iter()
        .collect::<Option<Vec<Command>>>()?;
    if commands.is_empty() || commands.len() > MAX_COMMANDS {
        options.problem(
            "commands",
            format!(
                "must have 1 to {MAX_COMMANDS} elements, not {}",
                commands.len()
            ),
        );
    }
    let mut names = BTreeSet::new();
    for name in commands.iter().map(|command| command.name.as_str()) {
        let meets = |other: &&str| begins_with(name, other) || begins_with(other, name);
        if let Some(other) = names.iter().copied().find(meets) {
            let message = format!(
                "has the names {other:?} and {name:?}, whose metrics could be called the same"
            );
            options.problem("commands", message);
        }
        names.insert(name);
    }
    Some(Box::new(Exec {
        commands,
        calls: Vec::new(),
        failures: Vec::new(),
    }))
}

/// Whether metrics of the one command could have the name of the other one's.
fn begins_with(name: &str, other: &str) -> bool {
    name.strip_prefix(other)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}

fn read_command(table: &mut Table<'_>) -> Option<Command> {
    table.require("name");
    table.require("run");
    let name = table.parsed("name", |name| {
        let is_name = prometheus_text::is_name(name) && !name.contains(':') && name.len() <= MAX_NAME_BYTES;
        let wrong =
            || format!("must be a word of letters, digits and _, at most {MAX_NAME_BYTES} characters");
        is_name.then(|| name.to_owned()).ok_or_else(wrong)
    });
    let run = table.parsed_list("run", |word| {
        if word.contains('\0') {
            Err("must not contain a NUL character".to_owned())
        } else {
            Ok(word.to_owned())
        }
    });
    let program = run
        .as_ref()
        .map(|run| PathBuf::from(run.first().map_or("", String::as_str)));
    if program
        .as_ref()
        .is_some_and(|program| !program.is_absolute())
    {
        table.problem(
            "run",
            "must begin with a program's absolute path such as \"/usr/local/bin/queue\"",
        );
    }
    let timeout = table
        .duration("timeout", TIMEOUT.0..=TIMEOUT.1)
        .unwrap_or(TIMEOUT.1);
    let words = run?.into_iter().skip(1).collect();
    Some(Command {
        name: name?,
        program: program?,
        words,
        timeout,
    })
}

struct Exec {
    commands: Vec<Command>,
    /// One for each command, from the beginning of the window.
    calls: Vec<Result<Call, Error>>,
    failures: Vec<Failure>,
}

struct Command {
    name: String,
    program: PathBuf,
    words: Vec<String>,
    timeout: Duration,
}

impl Collector for Exec {
    /// Starts all of them; what they print is read at the end of the window.
    fn open(&mut self, now: Instant) -> Result<(), Error> {
        self.calls = Vec::new();
        self.calls = self
            .commands
            .iter()
            .map(|command| command.start(now))
            .collect();
        Ok(())
    }

    fn collect(&mut self, _now: Instant) -> Result<Option<Sample>, Error> {
        let mut metrics = BTreeMap::new();
        self.failures.clear();
        for (command, call) in self.commands.iter().zip(std::mem::take(&mut self.calls)) {
            match call.and_then(|call| command.finish(call)) {
                Ok(found) => metrics.extend(found.into_iter().map(|(series, value)| {
                    (format!("{}_{series}", command.name), value)
                })),
                Err(error) => self.failures.push(Failure {
                    part: command.name.clone(),
                    error,
                }),
            }
        }
        Ok(Some(Sample::Metrics(metrics)))
    }

    fn failures(&mut self) -> Vec<Failure> {
        std::mem::take(&mut self.failures)
    }
}

impl Command {
    fn start(&self, now: Instant) -> Result<Call, Error> {
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        Call::start(
            &self.program,
            &words,
            Some(OsStr::new(PATH)),
            (now, self.timeout),
            MAX_OUTPUT,
        )
    }

    fn finish(&self, call: Call) -> Result<BTreeMap<String, f64>, Error> {
        let answer = call.answer()?;
        let wrong =
            |why: String| Error::Unknown(format!("{} {why}", self.program.display()));
        match answer.status {
            Some(status) if !status.success() => {
                Err(wrong(format!("ended with {status}")))
            }
            _ => parse_metrics(&answer.text)
                .map_err(|why| wrong(format!("prints no metrics: {why}"))),
        }
    }
}

/// What a command printed, in one of the two forms.
fn parse_metrics(text: &str) -> Result<BTreeMap<String, f64>, String> {
    if !text.trim_start().starts_with('{') {
        return prometheus_text::parse(text);
    }
    let numbers: BTreeMap<String, f64> = serde_json::from_str(text).map_err(|error| {
        format!(
            "line {} column {}: is no JSON object of numbers",
            error.line(),
            error.column()
        )
    })?;
    let mut metrics = BTreeMap::new();
    for (name, value) in numbers {
        let series = prometheus_text::parse_whole_series(&name);
        let series =
            series.map_err(|why| format!("a member of the JSON object {why}"))?;
        if metrics.insert(series, value).is_some() {
            return Err("two members of the JSON object are the same metric".to_owned());
        }
    }
    Ok(metrics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_json_say_the_same() {
        let expected = [
            ("jobs{queue=\"a b\"}".to_owned(), 3.0),
            ("up".to_owned(), 1.5),
        ]
        .into();
        assert_eq!(
            parse_metrics("# a comment\nup 1.5\njobs{queue=\"a b\"} 3\n"),
            Ok(expected)
        );
        let expected = [
            ("jobs{queue=\"a b\"}".to_owned(), 3.0),
            ("up".to_owned(), 1.5),
        ]
        .into();
        assert_eq!(
            parse_metrics(" {\"up\": 1.5, \"jobs{queue=\\\"a b\\\"}\": 3}\n"),
            Ok(expected)
        );
        for nothing in ["", "\n", "{}", "# nothing"] {
            assert_eq!(parse_metrics(nothing), Ok(BTreeMap::new()), "{nothing:?}");
        }
    }

    #[test]
    fn rubbish_is_named_by_its_place_and_not_repeated() {
        for (text, why) in [
            (
                "sh: 1: oops: not found",
                "line 1: has no number after the name",
            ),
            ("up 1\nup two", "line 2: has no number after the name"),
            ("[1]", "line 1: does not begin with a metric's name"),
            (
                "{\"up\": \"1\"}",
                "line 1 column 10: is no JSON object of numbers",
            ),
            (
                "{\"up\": null}",
                "line 1 column 11: is no JSON object of numbers",
            ),
            (
                "{\"up\": 1} {}",
                "line 1 column 11: is no JSON object of numbers",
            ),
            (
                "{\"up\": 1e999}",
                "line 1 column 12: is no JSON object of numbers",
            ),
            (
                "{\"a b\": 1}",
                "a member of the JSON object does not begin with a metric's name",
            ),
            (
                "{\"a{x=\\\"1\\\",y=\\\"2\\\"}\": 1, \"a{y=\\\"2\\\",x=\\\"1\\\"}\": 1}",
                "two members of the JSON object are the same metric",
            ),
        ] {
            assert_eq!(parse_metrics(text), Err(why.to_owned()), "{text}");
        }
    }

    #[test]
    fn names_meet_where_metrics_could() {
        for (name, other, meets) in [
            ("a", "a", true),
            ("a_b", "a", true),
            ("ab", "a", false),
            ("a", "a_b", false),
            ("b_a", "a", false),
        ] {
            assert_eq!(begins_with(name, other), meets, "{name} {other}");
        }
    }
}
