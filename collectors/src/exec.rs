//! `exec`: numbers that commands of the operator's own print.
//!
//! A command runs as the agent's user, without a shell, and sees nothing of the agent's
//! environment. A command prints lines of a name and a number (Prometheus's text format),
//! or one JSON object of numbers. The metrics' names begin with the command's name, so
//! that the metrics of two commands never have the same name.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fleetbeat_settings::Table;

use crate::collector::{Collector, PartError, Roots, Sample};
use crate::error::Error;
use crate::leftovers;
use crate::prometheus_text;
use crate::subprocess::{Invocation, Subprocess};

/// How long a command may take at least and at most, from the beginning of the window.
/// The limit is below the three seconds until the first heartbeat has to be sent.
/// A command that takes longer should write its numbers into a file for textfile.
const TIMEOUT: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(2));
/// Longest output of a command, in bytes. More is not needed: a heartbeat has place
/// for 64 metrics.
const MAX_OUTPUT: usize = 16 * 1024;
/// Most commands. All of them run at the same time.
const MAX_COMMANDS: usize = 16;
/// Longest name of a command: half of the longest name of a metric.
const MAX_NAME_BYTES: usize = 32;
/// The `PATH` of commands.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The windows of all collectors so far: one that a reload has replaced may still run.
static WINDOWS: AtomicU64 = AtomicU64::new(0);

pub(crate) fn build(
    options: &mut Table<'_>,
    roots: &Roots,
) -> Option<Box<dyn Collector>> {
    options.require("commands");
    let commands = options
        .tables("commands", parse_command)?
        .into_iter()
        .collect::<Option<Vec<Command>>>()?;

    if commands.is_empty() || commands.len() > MAX_COMMANDS {
        let count = commands.len();
        let message = format!("must have 1 to {MAX_COMMANDS} elements, not {count}");
        options.problem("commands", message);
    }
    refuse_names_that_meet(&commands, options);

    Some(Box::new(Exec {
        proc: roots.proc.clone(),
        commands,
        window: 0,
        running: Vec::new(),
        part_errors: Vec::new(),
    }))
}

/// Two commands whose metrics could have the same name are a problem.
fn refuse_names_that_meet(commands: &[Command], options: &mut Table<'_>) {
    let mut names = Vec::new();
    for name in commands.iter().map(|command| command.name.as_str()) {
        let meets = |other: &&str| begins_with(name, other) || begins_with(other, name);
        if let Some(other) = names.iter().copied().find(meets) {
            let message = format!(
                "has the names {other:?} and {name:?}, whose metrics could be called the same"
            );
            options.problem("commands", message);
        }
        names.push(name);
    }
}

/// Whether a metric of the command `name` could have the name of a metric of the command
/// `other`: the metric `b_c` of `a` is `a_b_c`, and so is the metric `c` of `a_b`.
fn begins_with(name: &str, other: &str) -> bool {
    name.strip_prefix(other)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}

fn parse_command(table: &mut Table<'_>) -> Option<Command> {
    table.require("name");
    table.require("run");
    let name = table.parsed("name", parse_name);
    let run = table.parsed_list("run", parse_word);

    let program = run
        .as_ref()
        .map(|run| PathBuf::from(run.first().map_or("", String::as_str)));
    if program.as_ref().is_some_and(|path| !path.is_absolute()) {
        table.problem(
            "run",
            "must begin with a program's absolute path such as \"/usr/local/bin/queue\"",
        );
    }

    let timeout = table
        .duration("timeout", TIMEOUT.0..=TIMEOUT.1)
        .unwrap_or(TIMEOUT.1);
    let arguments = run?.into_iter().skip(1).collect();
    Some(Command {
        name: name?,
        program: program?,
        arguments,
        timeout,
    })
}

fn parse_name(name: &str) -> Result<String, String> {
    let is_name = prometheus_text::is_name(name)
        && !name.contains(':')
        && name.len() <= MAX_NAME_BYTES;
    is_name.then(|| name.to_owned()).ok_or_else(|| {
        format!(
            "must be a word of letters, digits and _, at most {MAX_NAME_BYTES} characters"
        )
    })
}

/// A program or an argument: the kernel takes no NUL in either.
fn parse_word(word: &str) -> Result<String, String> {
    if word.contains('\0') {
        Err("must not contain a NUL character".to_owned())
    } else {
        Ok(word.to_owned())
    }
}

/// Starts all commands at the beginning of the window and takes the outputs at the end.
struct Exec {
    proc: PathBuf,
    commands: Vec<Command>,
    /// The window's number, which tells its commands from those of other windows.
    window: u64,
    /// A subprocess for each command, from the beginning of the window until the end.
    running: Vec<Result<Subprocess, Error>>,
    part_errors: Vec<PartError>,
}

/// A command of the configuration.
struct Command {
    /// The beginning of the names of the command's metrics.
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    timeout: Duration,
}

impl Collector for Exec {
    fn open(&mut self, now: Instant) -> Result<(), Error> {
        // A window that was never closed may have left commands, which end before others
        // begin.
        self.running.clear();
        self.window = WINDOWS.fetch_add(1, Ordering::Relaxed);
        let mark = self.mark();
        self.running = self
            .commands
            .iter()
            .map(|command| command.start(&mark, now))
            .collect();
        Ok(())
    }

    fn collect(&mut self, _now: Instant) -> Result<Option<Sample>, Error> {
        let mut metrics = Vec::new();
        self.part_errors.clear();

        let running = std::mem::take(&mut self.running);
        let groups: Vec<_> = running.iter().flatten().map(Subprocess::group).collect();
        for (command, subprocess) in self.commands.iter().zip(running) {
            let finished = subprocess.and_then(|subprocess| command.finish(subprocess));
            let error = finished.map_or_else(Some, |(found, error)| {
                metrics.extend(found.into_iter().map(|(series, value)| {
                    (format!("{}_{series}", command.name), value)
                }));
                error
            });
            self.part_errors.extend(error.map(|error| PartError {
                part: command.name.clone(),
                error,
            }));
        }

        for part in leftovers::end(&self.proc, &self.mark(), &groups) {
            let text = "leaves processes behind, which are ended".to_owned();
            let error = Error::Unknown(text);
            self.part_errors.push(PartError { part, error });
        }
        Ok(Some(Sample::Metrics(metrics)))
    }

    fn part_errors(&mut self) -> Vec<PartError> {
        std::mem::take(&mut self.part_errors)
    }
}

impl Exec {
    /// The mark of what the window's commands start.
    fn mark(&self) -> String {
        format!("{}.{}", std::process::id(), self.window)
    }
}

impl Command {
    fn start(&self, mark: &str, now: Instant) -> Result<Subprocess, Error> {
        let mark = format!("{mark}.{}", self.name);
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let invocation = Invocation {
            program: &self.program,
            arguments: &arguments,
            path: Some(OsStr::new(PATH)),
            mark: Some(&mark),
            timeout: self.timeout,
            max_bytes: MAX_OUTPUT,
        };
        Subprocess::start(&invocation, now)
    }

    /// The metrics in the command's output. A command that fails has no metrics, even if
    /// the output has some. Beside the metrics, what is wrong with the output.
    fn finish(
        &self,
        subprocess: Subprocess,
    ) -> Result<(BTreeMap<String, f64>, Option<Error>), Error> {
        let output = subprocess.wait()?;
        let wrong = |why: String| Error::Detailed {
            message: format!("{} {why}", self.program.display()),
            detail: output.complaint,
        };
        match output.status {
            Some(status) if !status.success() => {
                Err(wrong(format!("ended with {status}")))
            }
            _ => match parse_metrics(&output.text) {
                (found, None) => Ok((found, None)),
                (found, Some(why)) if found.is_empty() => {
                    Err(wrong(format!("prints no metrics: {why}")))
                }
                (found, Some(why)) => {
                    let error = wrong(format!("prints what is left out: {why}"));
                    Ok((found, Some(error)))
                }
            },
        }
    }
}

/// The metrics in the output of a command, which is in one of the two forms, and what is
/// wrong with the rest.
fn parse_metrics(text: &str) -> (BTreeMap<String, f64>, Option<String>) {
    if text.trim_start().starts_with('{') {
        return match parse_object(text) {
            Ok(metrics) => (metrics, None),
            Err(why) => (BTreeMap::new(), Some(why)),
        };
    }
    let (metrics, faults) = prometheus_text::parse_good_lines(text);
    let wrong = faults.into_iter().find(|fault| fault.is_left_out);
    (metrics, wrong.map(|fault| fault.text))
}

fn parse_object(text: &str) -> Result<BTreeMap<String, f64>, String> {
    // From bytes, as the server's answers: the agent then has one reader of JSON, not two.
    let numbers = serde_json::from_slice(text.as_bytes());
    let numbers: BTreeMap<String, f64> = numbers.map_err(|error| {
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
            (expected, None)
        );
        let expected = [
            ("jobs{queue=\"a b\"}".to_owned(), 3.0),
            ("up".to_owned(), 1.5),
        ]
        .into();
        assert_eq!(
            parse_metrics(" {\"up\": 1.5, \"jobs{queue=\\\"a b\\\"}\": 3}\n"),
            (expected, None)
        );
        for nothing in ["", "\n", "{}", "# nothing"] {
            let expected = (BTreeMap::new(), None);
            assert_eq!(parse_metrics(nothing), expected, "{nothing:?}");
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
            assert_eq!(parse_metrics(text).1.as_deref(), Some(why), "{text}");
        }
    }

    #[test]
    fn a_wrong_line_takes_no_other_with_it() {
        let (metrics, why) = parse_metrics("up 1\nsh: oops\ndown 2\n");
        assert_eq!(metrics.into_keys().collect::<Vec<_>>(), ["down", "up"]);
        assert_eq!(why.as_deref(), Some("line 2: has no number after the name"));
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
