//! `services`: whether systemd calls each unit active.
//!
//! A unit may be a pattern (`wg-quick@*`), short for all units of such names known to
//! systemd. systemd forgets a stopped unit unless another unit refers to the stopped one;
//! an instance that is not enabled, for example, is forgotten. But a stopped tunnel must
//! not vanish from the dashboard. So the collector remembers each unit it has seen since
//! the agent's start, and calls forgotten units inactive.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use fleetbeat_protocol::{MAX_NAME_CHARS, MAX_SERVICES, Service};
use fleetbeat_settings::Table;
use wildmatch::WildMatch;

use crate::collector::{Collector, PartError, Roots, Sample};
use crate::error::Error;
use crate::subprocess::{Invocation, Output, Subprocess};

/// How long systemctl may take, from the beginning of the window. The limit is below the
/// three seconds until the first heartbeat has to be sent.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Longest output of systemctl, in bytes: enough for a thousand units.
const MAX_OUTPUT: usize = 256 * 1024;
/// Longest name of a unit in systemd, in bytes.
const MAX_UNIT_BYTES: usize = 255;

/// The question for the states of the units named after `--`.
const IS_ACTIVE: [&str; 2] = ["is-active", "--"];
/// The question for the units that match the patterns after `--`.
const LIST_UNITS: [&str; 7] = [
    "list-units",
    "--all",
    "--full",
    "--plain",
    "--no-legend",
    "--no-pager",
    "--",
];

/// What systemctl says of a unit whose state it cannot tell.
const UNKNOWN: &str = "unknown";

/// The type of services; a pattern without a type means services.
const SERVICE: &str = ".service";
/// The characters of patterns.
const WILDCARDS: [char; 2] = ['*', '?'];
/// systemd's types of units.
const UNIT_TYPES: [&str; 11] = [
    "automount",
    "device",
    "mount",
    "path",
    "scope",
    "service",
    "slice",
    "socket",
    "swap",
    "target",
    "timer",
];

pub(crate) fn build(
    options: &mut Table<'_>,
    roots: &Roots,
) -> Option<Box<dyn Collector>> {
    options.require("units");
    let entries = options
        .tables("units", parse_entry)?
        .into_iter()
        .collect::<Option<Vec<Entry>>>()?;

    if entries.is_empty() || entries.len() > MAX_SERVICES {
        let count = entries.len();
        let message = format!("must have 1 to {MAX_SERVICES} elements, not {count}");
        options.problem("units", message);
    }
    for (place, entry) in entries.iter().enumerate() {
        if entries[..place]
            .iter()
            .any(|other| other.name == entry.name)
        {
            options.problem("units", format!("has the name {:?} twice", entry.name));
        }
    }

    Some(Box::new(Services {
        systemctl: roots.systemctl.clone(),
        entries,
        opened_at: None,
        states: None,
        units: None,
        part_errors: Vec::new(),
    }))
}

fn parse_entry(table: &mut Table<'_>) -> Option<Entry> {
    table.require("name");
    table.require("unit");
    let name = table.parsed("name", parse_name);
    let unit = table.parsed("unit", Unit::parse);
    Some(Entry {
        name: name?,
        unit: unit?,
    })
}

fn parse_name(name: &str) -> Result<String, String> {
    let fits =
        (1..=MAX_NAME_CHARS).contains(&name.chars().count()) && !name.contains('\0');
    fits.then(|| name.to_owned())
        .ok_or_else(|| format!("must have 1 to {MAX_NAME_CHARS} characters"))
}

/// Asks systemctl at the beginning of the window and takes the answers at the end.
struct Services {
    systemctl: PathBuf,
    entries: Vec<Entry>,
    /// When the window began; `None` before the first window.
    opened_at: Option<Instant>,
    /// Tells the states of the units with a name; `None` between two windows, and if
    /// there are no such units.
    states: Option<Subprocess>,
    /// Lists the units that match a pattern, with the states; `None` likewise.
    units: Option<Subprocess>,
    part_errors: Vec<PartError>,
}

/// An element of `units` in the configuration.
struct Entry {
    /// The service's name in the heartbeat. The names of a pattern's services begin so.
    name: String,
    unit: Unit,
}

/// The name of the unit in systemd, or a pattern of such names.
enum Unit {
    Name(String),
    Pattern(Pattern),
}

/// A unit's name, and whether the unit is active.
type UnitState = (String, bool);

/// A pattern and the matching units so far.
struct Pattern {
    text: String,
    matcher: WildMatch,
    /// Each unit seen so far, sorted by name.
    seen: Vec<UnitState>,
}

impl Collector for Services {
    fn open(&mut self, now: Instant) -> Result<(), Error> {
        // A window that was never closed may have left a systemctl: end it first.
        (self.states, self.units) = (None, None);
        self.opened_at = Some(now);
        self.part_errors.clear();

        self.states = self.ask(&IS_ACTIVE, &self.names(), now, TIMEOUT)?;
        self.units = self.ask(&LIST_UNITS, &self.patterns(), now, TIMEOUT)?;
        Ok(())
    }

    fn collect(&mut self, _now: Instant) -> Result<Option<Sample>, Error> {
        let states = self.take_states()?;
        match self.take_units() {
            Ok(listed) => self.remember(&listed),
            // The units with a name are told all the same.
            Err(error) if !states.is_empty() => {
                self.forget_states();
                self.part_errors.push(PartError {
                    part: self.patterns().join(" "),
                    error,
                });
            }
            Err(error) => return Err(error),
        }

        let (services, left_out) = self.services(Some(&states));
        self.part_errors.extend(left_out);
        Ok(Some(Sample::Services(services)))
    }

    fn fallback(&self) -> Option<Sample> {
        Some(Sample::Services(self.services(None).0))
    }

    fn part_errors(&mut self) -> Vec<PartError> {
        std::mem::take(&mut self.part_errors)
    }
}

impl Services {
    /// The units with a name, in the entries' order.
    fn names(&self) -> Vec<String> {
        let name = |entry: &Entry| match &entry.unit {
            Unit::Name(name) => Some(name.clone()),
            Unit::Pattern(_) => None,
        };
        self.entries.iter().filter_map(name).collect()
    }

    fn patterns(&self) -> Vec<String> {
        let text = |entry: &Entry| match &entry.unit {
            Unit::Name(_) => None,
            Unit::Pattern(pattern) => Some(pattern.text.clone()),
        };
        self.entries.iter().filter_map(text).collect()
    }

    /// Starts systemctl; `None` if there are no units to ask about.
    fn ask(
        &self,
        question: &[&str],
        units: &[String],
        now: Instant,
        timeout: Duration,
    ) -> Result<Option<Subprocess>, Error> {
        if units.is_empty() {
            return Ok(None);
        }

        let path = std::env::var_os("PATH");
        let units: Vec<&str> = units.iter().map(String::as_str).collect();
        let invocation = Invocation {
            program: &self.systemctl,
            arguments: &[question, &units].concat(),
            path: path.as_deref(),
            mark: None,
            timeout,
            max_bytes: MAX_OUTPUT,
        };
        Subprocess::start(&invocation, now).map(Some)
    }

    /// Asks systemctl once more within the window's time, and waits for the answer.
    fn ask_again(&self, question: &[&str], units: &[String]) -> Result<Output, Error> {
        let now = Instant::now();
        let began = self.opened_at.unwrap_or(now);
        let left = (began + TIMEOUT).saturating_duration_since(now);

        match self.ask(question, units, now, left)? {
            Some(subprocess) => subprocess.wait(),
            None => Err(self.is_silent_about("anything", None)),
        }
    }

    /// Whether each unit with a name is active, in the entries' order.
    ///
    /// systemctl prints a state for each unit and stops at the first unit that systemd
    /// refuses, so that the number of lines says which unit that is. The unit is
    /// inactive, and systemctl is asked for the units behind it. Where the trouble is not
    /// the unit's (a systemd that executes itself anew, a bus that is away), asking again
    /// helps, or does not help for the next unit either.
    fn take_states(&mut self) -> Result<Vec<bool>, Error> {
        let names = self.names();
        let Some(subprocess) = self.states.take() else {
            return Ok(Vec::new());
        };
        let mut output = subprocess.wait()?;
        let mut states: Vec<String> = Vec::new();
        let mut retry = Retry::Possible;

        loop {
            let told: Vec<_> = output.text.lines().map(str::to_owned).collect();
            if states.len() + told.len() > names.len() {
                return Err(self.is_silent_about("each unit's state", output.complaint));
            }
            if !told.is_empty() {
                retry = Retry::Possible;
            }
            states.extend(told);
            let Some(refused) = names.get(states.len()) else {
                break;
            };

            let is_alone = names.len() == 1;
            if self.gives_up(refused, output.complaint, &mut retry, is_alone)? {
                states.push(UNKNOWN.to_owned());
            }
            if states.len() == names.len() {
                break;
            }
            output = self.ask_again(&IS_ACTIVE, &names[states.len()..])?;
        }

        self.ask_about_unknown(&names, &mut states);
        Ok(states.iter().map(|state| is_active(state)).collect())
    }

    /// Whether the unit at which systemctl stopped is given up, and not asked for again.
    fn gives_up(
        &mut self,
        unit: &str,
        complaint: Option<String>,
        retry: &mut Retry,
        is_alone: bool,
    ) -> Result<bool, Error> {
        if is_about(complaint.as_deref(), unit) {
            self.refuse(unit, complaint);
            return Ok(true);
        }
        match retry {
            Retry::Possible => {
                *retry = Retry::Done;
                Ok(false)
            }
            Retry::Done if !is_alone => {
                self.refuse(unit, complaint);
                *retry = Retry::Useless;
                Ok(true)
            }
            Retry::Done | Retry::Useless => {
                self.part_errors.clear();
                Err(self.is_silent_about("each unit's state", complaint))
            }
        }
    }

    /// Asks once more for the units whose state systemctl has called unknown: an old
    /// systemctl says so where the bus does not answer.
    fn ask_about_unknown(&self, names: &[String], states: &mut [String]) {
        let is_refused =
            |name: &str| self.part_errors.iter().any(|error| error.part == name);
        let which: Vec<usize> = (0..names.len())
            .filter(|index| states[*index] == UNKNOWN && !is_refused(&names[*index]))
            .collect();
        if which.is_empty() {
            return;
        }

        let units: Vec<_> = which.iter().map(|index| names[*index].clone()).collect();
        let Ok(output) = self.ask_again(&IS_ACTIVE, &units) else {
            return;
        };
        if output.text.lines().count() == which.len() {
            for (index, state) in which.into_iter().zip(output.text.lines()) {
                states[index] = state.to_owned();
            }
        }
    }

    /// A unit has no state, and it is the unit's own fault.
    fn refuse(&mut self, unit: &str, complaint: Option<String>) {
        let message = format!("{} does not tell its state", self.systemctl.display());
        self.part_errors.push(PartError {
            part: unit.to_owned(),
            error: Error::Detailed {
                message,
                detail: complaint,
            },
        });
    }

    /// The units that match the patterns, and whether each is active.
    fn take_units(&mut self) -> Result<Vec<UnitState>, Error> {
        let Some(subprocess) = self.units.take() else {
            return Ok(Vec::new());
        };
        let first = subprocess.wait()?;
        if let Some(units) = listed_units(&first) {
            return Ok(units);
        }

        let second = self.ask_again(&LIST_UNITS, &self.patterns())?;
        let what = "which units there are";
        listed_units(&second).ok_or_else(|| self.is_silent_about(what, second.complaint))
    }

    fn is_silent_about(&self, what: &str, complaint: Option<String>) -> Error {
        let message = format!("{} did not tell {what}", self.systemctl.display());
        Error::Detailed {
            message,
            detail: complaint,
        }
    }

    /// Takes up systemd's list of the patterns' units.
    fn remember(&mut self, listed: &[UnitState]) {
        let room = MAX_SERVICES.saturating_sub(self.names().len());
        for pattern in self.seen_patterns() {
            pattern.remember(listed);
        }

        // A heartbeat may not have place for all: the units forgotten by systemd go.
        let count: usize = self.seen_patterns().map(|pattern| pattern.seen.len()).sum();
        if count > room {
            for pattern in self.seen_patterns() {
                let is_listed =
                    |unit: &String| listed.iter().any(|(name, _)| name == unit);
                pattern.seen.retain(|(unit, _)| is_listed(unit));
            }
        }

        let unmatched = self
            .seen_patterns()
            .filter(|pattern| pattern.seen.is_empty());
        let unmatched: Vec<_> = unmatched.map(|pattern| pattern.text.clone()).collect();
        self.part_errors
            .extend(unmatched.into_iter().map(|part| PartError {
                part,
                error: Error::Unknown("matches no unit that systemd knows".to_owned()),
            }));
    }

    /// systemd did not tell its list: the units seen so far count as inactive.
    fn forget_states(&mut self) {
        for pattern in self.seen_patterns() {
            pattern.forget_states();
        }
    }

    fn seen_patterns(&mut self) -> impl Iterator<Item = &mut Pattern> {
        self.entries
            .iter_mut()
            .filter_map(|entry| match &mut entry.unit {
                Unit::Name(_) => None,
                Unit::Pattern(pattern) => Some(pattern),
            })
    }

    /// The services of the heartbeat, and the units that have a name too long for a
    /// heartbeat. `states` are the states of the units with a name; without the states,
    /// nothing is active.
    ///
    /// Where a heartbeat has no place for all, the units with a name go first, because
    /// the agent leaves out the services at the end.
    fn services(&self, states: Option<&[bool]>) -> (Vec<Service>, Vec<PartError>) {
        let (mut services, mut left_out) = (Vec::new(), Vec::new());
        let mut of_names = states.unwrap_or_default().iter();

        for Entry { name, unit } in &self.entries {
            let Unit::Pattern(pattern) = unit else {
                let active = of_names.next().copied().unwrap_or(false);
                services.push((false, name.clone(), active));
                continue;
            };
            for (unit, active) in &pattern.seen {
                let name = pattern.entry_name(name, unit);
                if name.chars().count() > MAX_NAME_CHARS {
                    left_out.push(too_long(unit));
                } else {
                    services.push((true, name, *active && states.is_some()));
                }
            }
        }

        if services.len() > MAX_SERVICES {
            services.sort_by_key(|(is_of_pattern, ..)| *is_of_pattern);
        }
        let services = services
            .into_iter()
            .map(|(_, name, active)| Service { name, active })
            .collect();
        (services, left_out)
    }
}

/// Whether asking for a unit once more can help.
#[derive(PartialEq)]
enum Retry {
    Possible,
    /// The unit was asked for twice.
    Done,
    /// The unit before was asked for twice, in vain.
    Useless,
}

/// Whether systemctl's `complaint` is about `unit` and nothing else.
fn is_about(complaint: Option<&str>, unit: &str) -> bool {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    let whole = complete(unit);
    complaint.is_some_and(|words| {
        words.split(|c| !is_of_name(c)).any(|word| {
            // The sentence may end with the name.
            word == whole || word.strip_suffix('.') == Some(&whole)
        })
    })
}

fn too_long(unit: &str) -> PartError {
    PartError {
        part: unit.to_owned(),
        error: Error::Unknown(format!(
            "is left out: its name in the heartbeat would be longer than \
             {MAX_NAME_CHARS} characters"
        )),
    }
}

/// The units in the answer of `systemctl list-units`; `None` if it has not told them.
fn listed_units(output: &Output) -> Option<Vec<UnitState>> {
    // No unit is a possible answer, but not from a systemctl that failed.
    let is_told = output
        .status
        .map_or(!output.text.is_empty(), |status| status.success());
    parse_units(&output.text).filter(|_| is_told)
}

/// The unit's name or pattern with its type, as systemctl completes it.
fn complete(text: &str) -> String {
    let has_type = text
        .rsplit_once('.')
        .is_some_and(|(name, kind)| !name.is_empty() && UNIT_TYPES.contains(&kind));
    text.to_owned() + if has_type { "" } else { SERVICE }
}

impl Unit {
    /// A unit or a pattern in systemd's own alphabet: never a path, and never an option
    /// of systemctl. What systemd refuses is refused here, because systemctl would stop
    /// at it.
    fn parse(text: &str) -> Result<Unit, String> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@*?".contains(c);
        if text.is_empty() || !text.chars().all(is_allowed) || text.starts_with('-') {
            return Err(
                "must be a unit such as \"wg-quick@wg0\" or a pattern such as \
                        \"wg-quick@*\""
                    .to_owned(),
            );
        }

        let whole = complete(text);
        let name = whole.rsplit_once('.').map_or("", |(name, _)| name);
        match name.split_once('@') {
            Some(("", _)) => Err("must have something before the @".to_owned()),
            Some((template, "")) => Err(format!(
                "{text:?} is a template and not a unit: name an instance such as \
                 \"{template}@NAME\", or all of them with \"{template}@*\""
            )),
            _ if whole.len() > MAX_UNIT_BYTES => Err(format!(
                "has {} characters with its type, and systemd takes {MAX_UNIT_BYTES}",
                whole.len()
            )),
            _ => Ok(Unit::new(text)),
        }
    }

    fn new(text: &str) -> Unit {
        if !text.contains(WILDCARDS) {
            return Unit::Name(text.to_owned());
        }

        let text = complete(text);
        Unit::Pattern(Pattern {
            matcher: WildMatch::new(&text),
            text,
            seen: Vec::new(),
        })
    }
}

impl Pattern {
    /// Takes up the units that match. A unit seen before, but not listed any more, is
    /// inactive.
    fn remember(&mut self, listed: &[UnitState]) {
        self.forget_states();
        for state in listed.iter().filter(|(unit, _)| self.matcher.matches(unit)) {
            match self.seen.binary_search_by(|(unit, _)| unit.cmp(&state.0)) {
                Ok(place) => self.seen[place] = state.clone(),
                Err(place) => self.seen.insert(place, state.clone()),
            }
        }
    }

    fn forget_states(&mut self) {
        for (_, active) in &mut self.seen {
            *active = false;
        }
    }

    /// The name in the heartbeat of a unit of the pattern; `name` is the entry's. With
    /// the pattern `wg-quick@*` and the name `wg`, `wg-quick@wg0.service` is `wg:wg0`.
    fn entry_name(&self, name: &str, unit: &str) -> String {
        let fixed = self.text.find(WILDCARDS).unwrap_or_default();
        let short = unit
            .strip_suffix(SERVICE)
            .unwrap_or(unit)
            .get(fixed..)
            .unwrap_or_default();
        if short.is_empty() {
            name.to_owned()
        } else {
            format!("{name}:{short}")
        }
    }
}

/// Whether a service in the state works; a service that reloads does.
fn is_active(state: &str) -> bool {
    matches!(state, "active" | "reloading" | "refreshing")
}

/// The units and whether each is active, by what `systemctl list-units` printed: in each
/// line the name, whether the unit is loaded, the state, and more. A unit does not count
/// if it is listed only because another unit names it. `None` if a line is not of that
/// form, or has a NUL, because the server would refuse the NUL.
fn parse_units(text: &str) -> Option<Vec<UnitState>> {
    let mut units = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let (unit, load, state) = (words.next()?, words.next()?, words.next()?);
        if unit.contains('\0') {
            return None;
        }
        if load != "not-found" || is_active(state) {
            units.push((unit.to_owned(), is_active(state)));
        }
    }
    Some(units)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemd_refuses_is_refused() {
        let name = |bytes: usize| "x".repeat(bytes);
        for text in [
            "ssh",
            "wg-quick@wg0",
            "a@b@c",
            "x.mount",
            ".service",
            "a@.b",
        ] {
            assert!(matches!(Unit::parse(text), Ok(Unit::Name(_))), "{text}");
        }
        for text in ["*", "wg-quick@*", "*@wg0", "?", "wg-quick@?.service"] {
            assert!(matches!(Unit::parse(text), Ok(Unit::Pattern(_))), "{text}");
        }
        for (text, why) in [
            ("", "must be a unit"),
            ("-H", "must be a unit"),
            ("a/b", "must be a unit"),
            ("@wg", "before the @"),
            ("@wg.service", "before the @"),
            ("@*", "before the @"),
            ("wg-quick@", "or all of them with \"wg-quick@*\""),
            ("wg-quick@.service", "is a template"),
            ("*@.service", "is a template"),
            ("a.service@", "is a template"),
            (&name(248), "has 256 characters with its type"),
            (&format!("{}.socket", name(249)), "has 256 characters"),
        ] {
            let told = Unit::parse(text).err().unwrap_or_default();
            assert!(told.contains(why), "{text}: {told}");
        }
        assert!(Unit::parse(&name(247)).is_ok());
        assert!(Unit::parse(&format!("{}.socket", name(248))).is_ok());
    }

    #[test]
    fn a_complaint_is_about_the_unit_that_it_names() {
        let refused =
            "Unit name a@.service is neither a valid invocation ID nor unit name.";
        assert!(is_about(Some(refused), "a@"));
        assert!(is_about(Some("Failed to load b.socket."), "b.socket"));
        assert!(!is_about(Some(refused), "a"));
        assert!(!is_about(
            Some("Failed to connect to bus: a.service-b"),
            "a"
        ));
        assert!(!is_about(None, "a"));
    }

    #[test]
    fn units_are_listed_with_their_states() {
        let text = "wg-quick@a.service loaded    active   exited  WG a\n\
                    wg-quick@b.service loaded    inactive dead    WG b\n\
                    wg-quick@c.service not-found inactive dead    wg-quick@c.service\n\
                    wg-quick@d.service not-found active   exited  its file was removed\n";
        let units = parse_units(text).unwrap();
        let units: Vec<_> = units
            .iter()
            .map(|(unit, active)| (unit.as_str(), *active))
            .collect();
        let expected = [
            ("wg-quick@a.service", true),
            ("wg-quick@b.service", false),
            ("wg-quick@d.service", true),
        ];
        assert_eq!(units, expected);
        assert_eq!(parse_units(""), Some(Vec::new()));
        assert_eq!(parse_units("System has not\nbooted"), None);
        assert_eq!(parse_units("b\0.service loaded active running B\n"), None);
    }

    fn pattern(text: &str) -> Pattern {
        match Unit::new(text) {
            Unit::Name(name) => panic!("{name} is no pattern"),
            Unit::Pattern(pattern) => pattern,
        }
    }

    #[test]
    fn a_pattern_means_services_and_gives_each_a_name() {
        assert!(
            matches!(Unit::new("wg-quick@wg0"), Unit::Name(name) if name == "wg-quick@wg0")
        );
        for (text, meant, unit, name) in [
            (
                "wg-quick@*",
                "wg-quick@*.service",
                "wg-quick@wg0.service",
                "x:wg0",
            ),
            (
                "wg-quick@*.service",
                "wg-quick@*.service",
                "wg-quick@wg0.v2.service",
                "x:wg0.v2",
            ),
            ("openvpn*", "openvpn*.service", "openvpn.service", "x"),
            ("o*@*", "o*@*.service", "ov@a.service", "x:v@a"),
            ("*.socket", "*.socket", "cups.socket", "x:cups.socket"),
        ] {
            let pattern = pattern(text);
            assert_eq!(
                (
                    pattern.text.as_str(),
                    pattern.entry_name("x", unit).as_str()
                ),
                (meant, name),
                "{text}"
            );
            assert!(pattern.matcher.matches(unit), "{text}");
        }
    }

    #[test]
    fn what_has_been_seen_stays_as_inactive_while_there_is_place() {
        let entries = vec![Entry {
            name: "wg".to_owned(),
            unit: Unit::Pattern(pattern("wg-quick@*")),
        }];
        let mut services = Services {
            systemctl: PathBuf::new(),
            entries,
            opened_at: None,
            states: None,
            units: None,
            part_errors: Vec::new(),
        };
        let mut states = |listed: &[&str]| {
            let unit = |instance: &&str| (format!("wg-quick@{instance}.service"), true);
            let mut listed: Vec<_> = listed.iter().map(unit).collect();
            listed.push(("squid.service".to_owned(), true));
            services.remember(&listed);
            let (services, _) = services.services(Some(&[]));
            services
                .into_iter()
                .map(|service| (service.name, service.active))
                .collect::<Vec<_>>()
        };
        let (a, b) = ("wg:a".to_owned(), "wg:b".to_owned());
        assert_eq!(states(&["a", "b"]), [(a.clone(), true), (b.clone(), true)]);
        assert_eq!(states(&["b"]), [(a.clone(), false), (b.clone(), true)]);
        assert_eq!(states(&["a"]), [(a, true), (b, false)]);
        let many: Vec<_> = (0..MAX_SERVICES).map(|n| format!("n{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(
            states(&many)
                .iter()
                .all(|(name, active)| *active && name.starts_with("wg:n"))
        );
    }
}
