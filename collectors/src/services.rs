//! `services`: whether systemd calls each unit active.
//!
//! A unit may be a pattern (`wg-quick@*`), short for all units of such names known to
//! systemd. systemd forgets a stopped unit unless another unit refers to the stopped one;
//! an instance that is not enabled, for example, is forgotten. But a stopped tunnel must
//! not vanish from the dashboard. So the collector remembers each unit it has seen since
//! the agent's start, and calls forgotten units inactive.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fleetbeat_protocol::{MAX_NAME_CHARS, MAX_SERVICES, Service};
use fleetbeat_settings::Table;
use wildmatch::WildMatch;

use crate::collector::{Collector, Roots, Sample};
use crate::error::Error;
use crate::subprocess::{Invocation, Subprocess};

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
    let mut names = BTreeSet::new();
    for entry in &entries {
        if !names.insert(&entry.name) {
            options.problem("units", format!("has the name {:?} twice", entry.name));
        }
    }

    Some(Box::new(Services {
        systemctl: roots.systemctl.clone(),
        entries,
        states: None,
        units: None,
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
    /// Tells the states of the units with a name; `None` between two windows, and if
    /// there are no such units.
    states: Option<Subprocess>,
    /// Lists the units that match a pattern, with the states; `None` likewise.
    units: Option<Subprocess>,
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

/// A pattern and the matching units so far.
struct Pattern {
    text: String,
    matcher: WildMatch,
    /// Each unit seen so far, and whether the unit is active.
    seen: BTreeMap<String, bool>,
}

impl Collector for Services {
    fn open(&mut self, now: Instant) -> Result<(), Error> {
        // A window that was never closed may have left a systemctl: end it first.
        (self.states, self.units) = (None, None);

        let (mut names, mut patterns) = (Vec::new(), Vec::new());
        for entry in &self.entries {
            match &entry.unit {
                Unit::Name(name) => names.push(name.as_str()),
                Unit::Pattern(pattern) => patterns.push(pattern.text.as_str()),
            }
        }

        self.states = self.ask(&IS_ACTIVE, &names, now)?;
        self.units = self.ask(&LIST_UNITS, &patterns, now)?;
        Ok(())
    }

    fn collect(&mut self, _now: Instant) -> Result<Option<Sample>, Error> {
        let states = self.take_states()?;
        let listed = self.take_units()?;
        self.remember(&listed);
        Ok(Some(self.sample(Some(&states))))
    }

    fn fallback(&self) -> Option<Sample> {
        Some(self.sample(None))
    }
}

impl Services {
    /// Starts systemctl; `None` if there are no units to ask about.
    fn ask(
        &self,
        question: &[&str],
        units: &[&str],
        now: Instant,
    ) -> Result<Option<Subprocess>, Error> {
        if units.is_empty() {
            return Ok(None);
        }

        let path = std::env::var_os("PATH");
        let invocation = Invocation {
            program: &self.systemctl,
            arguments: &[question, units].concat(),
            path: path.as_deref(),
            timeout: TIMEOUT,
            max_bytes: MAX_OUTPUT,
        };
        Subprocess::start(&invocation, now).map(Some)
    }

    /// Whether each unit with a name is active, in the entries' order.
    fn take_states(&mut self) -> Result<Vec<bool>, Error> {
        let Some(subprocess) = self.states.take() else {
            return Ok(Vec::new());
        };
        let has_name = |entry: &&Entry| matches!(entry.unit, Unit::Name(_));
        let count = self.entries.iter().filter(has_name).count();

        // The exit code says only that some unit is not active, as the states do.
        parse_states(&subprocess.wait()?.text, count)
            .ok_or_else(|| self.is_silent_about("each unit's state"))
    }

    /// The units that match the patterns, and whether each is active.
    fn take_units(&mut self) -> Result<BTreeMap<String, bool>, Error> {
        let Some(subprocess) = self.units.take() else {
            return Ok(BTreeMap::new());
        };
        let output = subprocess.wait()?;

        // No unit is a possible answer, but not from a systemctl that failed.
        let is_told = output
            .status
            .map_or(!output.text.is_empty(), |status| status.success());
        parse_units(&output.text)
            .filter(|_| is_told)
            .ok_or_else(|| self.is_silent_about("which units there are"))
    }

    fn is_silent_about(&self, what: &str) -> Error {
        Error::Unknown(format!("{} did not tell {what}", self.systemctl.display()))
    }

    /// Takes up systemd's list of the patterns' units.
    fn remember(&mut self, listed: &BTreeMap<String, bool>) {
        let entries = self.entries.iter_mut();
        let mut patterns: Vec<&mut Pattern> = entries
            .filter_map(|entry| match &mut entry.unit {
                Unit::Name(_) => None,
                Unit::Pattern(pattern) => Some(pattern),
            })
            .collect();

        for pattern in &mut patterns {
            pattern.remember(listed);
        }

        // A heartbeat may not have place for all: the units forgotten by systemd go.
        let count: usize = patterns.iter().map(|pattern| pattern.seen.len()).sum();
        if count > MAX_SERVICES {
            for pattern in patterns {
                pattern.seen.retain(|unit, _| listed.contains_key(unit));
            }
        }
    }

    /// The services of the heartbeat. `states` are the states of the units with a name;
    /// without the states, nothing is active.
    fn sample(&self, states: Option<&[bool]>) -> Sample {
        let mut services = Vec::new();
        let mut of_names = states.unwrap_or_default().iter();

        for Entry { name, unit } in &self.entries {
            match unit {
                Unit::Name(_) => {
                    let active = of_names.next().copied().unwrap_or(false);
                    services.push(Service {
                        name: name.clone(),
                        active,
                    });
                }
                Unit::Pattern(pattern) => {
                    services.extend(pattern.seen.iter().map(|(unit, active)| Service {
                        name: pattern.entry_name(name, unit),
                        active: *active && states.is_some(),
                    }));
                }
            }
        }

        Sample::Services(services)
    }
}

impl Unit {
    /// A unit or a pattern in systemd's own alphabet: never a path, and never an option
    /// of systemctl.
    fn parse(text: &str) -> Result<Unit, String> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@*?".contains(c);
        let is_unit = (1..=MAX_UNIT_BYTES).contains(&text.len())
            && text.chars().all(is_allowed)
            && !text.starts_with('-');
        is_unit.then(|| Unit::new(text)).ok_or_else(|| {
            "must be a unit such as \"wg-quick@wg0\" or a pattern such as \"wg-quick@*\""
                .to_owned()
        })
    }

    fn new(text: &str) -> Unit {
        if !text.contains(WILDCARDS) {
            return Unit::Name(text.to_owned());
        }

        let kind = text.rsplit_once('.').map(|(_, kind)| kind);
        let has_type = kind.is_some_and(|kind| UNIT_TYPES.contains(&kind));
        let text = text.to_owned() + if has_type { "" } else { SERVICE };
        Unit::Pattern(Pattern {
            matcher: WildMatch::new(&text),
            text,
            seen: BTreeMap::new(),
        })
    }
}

impl Pattern {
    /// Takes up the units that match. A unit seen before, but not listed any more, is
    /// inactive.
    fn remember(&mut self, listed: &BTreeMap<String, bool>) {
        self.seen.values_mut().for_each(|active| *active = false);
        let matching = listed.iter().filter(|(unit, _)| self.matcher.matches(unit));
        self.seen
            .extend(matching.map(|(unit, active)| (unit.clone(), *active)));
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

/// Whether each of `count` units is active, by what `systemctl is-active` printed: a
/// state in each line. `None` if there are not as many lines.
fn parse_states(text: &str, count: usize) -> Option<Vec<bool>> {
    let states: Vec<bool> = text.lines().map(is_active).collect();
    (states.len() == count).then_some(states)
}

/// The units and whether each is active, by what `systemctl list-units` printed: in each
/// line the name, whether the unit is loaded, the state, and more. A unit does not count
/// if it is listed only because another unit names it. `None` if a line is not of that
/// form, or has a NUL, because the server would refuse the NUL.
fn parse_units(text: &str) -> Option<BTreeMap<String, bool>> {
    let mut units = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let (unit, load, state) = (words.next()?, words.next()?, words.next()?);
        if unit.contains('\0') {
            return None;
        }
        if load != "not-found" || is_active(state) {
            units.insert(unit.to_owned(), is_active(state));
        }
    }
    Some(units)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unit_needs_its_line() {
        let text =
            "active\ninactive\nfailed\nunknown\nactivating\nreloading\nrefreshing\n";
        assert_eq!(
            parse_states(text, 7),
            Some(vec![true, false, false, false, false, true, true])
        );
        assert_eq!(parse_states(text, 6), None);
        assert_eq!(parse_states(text, 8), None);
        assert_eq!(parse_states("", 1), None);
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
        assert_eq!(parse_units(""), Some(BTreeMap::new()));
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
            states: None,
            units: None,
        };
        let mut states = |listed: &[&str]| {
            let unit = |instance: &&str| (format!("wg-quick@{instance}.service"), true);
            let mut listed: BTreeMap<_, _> = listed.iter().map(unit).collect();
            listed.insert("squid.service".to_owned(), true);
            services.remember(&listed);
            let Sample::Services(services) = services.sample(Some(&[])) else {
                panic!("no services")
            };
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
