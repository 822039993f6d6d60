//! `services`: whether systemd calls each unit active.
//!
//! A unit may be a pattern (`wg-quick@*`), which stands for the units that systemd knows
//! by such names. It forgets one that is stopped and that nothing refers to, as an
//! instance that is not enabled: what has been seen since the agent's start is remembered
//! here, and inactive then.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fleetbeat_protocol::{MAX_NAME_CHARS, MAX_SERVICES, Service};
use fleetbeat_settings::Table;
use wildmatch::WildMatch;

use crate::subprocess::Call;
use crate::{Collector, Error, Roots, Sample};

/// How long systemctl may take, from the beginning of the window: the first heartbeat has
/// three seconds.
const DEADLINE: Duration = Duration::from_secs(2);
/// Most that it may print, in bytes: enough for a thousand units.
const MAX_OUTPUT: usize = 256 * 1024;
/// Longest name of a unit that systemd takes, in bytes.
const MAX_UNIT_BYTES: usize = 255;

/// systemd's types of units; a pattern that ends in none of them means services.
const SERVICE: &str = ".service";
const WILDCARDS: [char; 2] = ['*', '?'];
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
        .tables("units", read_entry)?
        .into_iter()
        .collect::<Option<Vec<Entry>>>()?;
    if entries.is_empty() || entries.len() > MAX_SERVICES {
        options.problem(
            "units",
            format!(
                "must have 1 to {MAX_SERVICES} elements, not {}",
                entries.len()
            ),
        );
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

fn read_entry(table: &mut Table<'_>) -> Option<Entry> {
    table.require("name");
    table.require("unit");
    let name = table.parsed("name", |name| {
        let fits =
            (1..=MAX_NAME_CHARS).contains(&name.chars().count()) && !name.contains('\0');
        fits.then(|| name.to_owned())
            .ok_or_else(|| format!("must have 1 to {MAX_NAME_CHARS} characters"))
    });
    let unit = table.parsed("unit", |unit| {
        // systemd's own alphabet: no path, and nothing that systemctl would take for an
        // option.
        let is_unit = (1..=MAX_UNIT_BYTES).contains(&unit.len())
            && unit.chars().all(|c| c.is_ascii_alphanumeric() || ":-_.\\@*?".contains(c))
            && !unit.starts_with('-');
        is_unit.then(|| Unit::new(unit)).ok_or_else(|| {
            "must be a unit such as \"wg-quick@wg0\" or a pattern such as \"wg-quick@*\"".to_owned()
        })
    });
    Some(Entry {
        name: name?,
        unit: unit?,
    })
}

struct Services {
    systemctl: PathBuf,
    entries: Vec<Entry>,
    /// Asks for the states of the units that have a name.
    states: Option<Call>,
    /// Asks which units there are of those that match a pattern, and for their states.
    units: Option<Call>,
}

struct Entry {
    /// What the heartbeat calls it; of a pattern, how the names of its units begin.
    name: String,
    unit: Unit,
}

/// What systemd calls it.
enum Unit {
    Name(String),
    Pattern(Pattern),
}

struct Pattern {
    text: String,
    matcher: WildMatch,
    /// Each unit that has been seen, and whether it is active.
    seen: BTreeMap<String, bool>,
}

impl Collector for Services {
    /// Asks; the answer is read at the end of the window.
    fn open(&mut self, now: Instant) -> Result<(), Error> {
        (self.states, self.units) = (None, None);
        let (mut names, mut patterns) = (Vec::new(), Vec::new());
        for entry in &self.entries {
            match &entry.unit {
                Unit::Name(name) => names.push(name.as_str()),
                Unit::Pattern(pattern) => patterns.push(pattern.text.as_str()),
            }
        }
        let list = [
            "list-units",
            "--all",
            "--full",
            "--plain",
            "--no-legend",
            "--no-pager",
            "--",
        ];
        self.states = self.ask(&["is-active", "--"], &names, now)?;
        self.units = self.ask(&list, &patterns, now)?;
        Ok(())
    }

    fn collect(&mut self, _now: Instant) -> Result<Option<Sample>, Error> {
        let is_missing = |what| {
            Error::Unknown(format!("{} did not tell {what}", self.systemctl.display()))
        };
        let count = self
            .entries
            .iter()
            .filter(|entry| matches!(entry.unit, Unit::Name(_)))
            .count();
        let mut states = Vec::new();
        if let Some(call) = self.states.take() {
            // The exit code only repeats that some unit is not active.
            states = parse_states(&call.answer()?.text, count)
                .ok_or_else(|| is_missing("each unit's state"))?;
        }
        let mut listed = BTreeMap::new();
        if let Some(call) = self.units.take() {
            let answer = call.answer()?;
            // No unit is a possible answer, but not where it failed.
            let is_told = answer
                .status
                .map_or(!answer.text.is_empty(), |status| status.success());
            let units = parse_units(&answer.text).filter(|_| is_told);
            listed = units.ok_or_else(|| is_missing("which units there are"))?;
        }
        self.remember(&listed);
        Ok(Some(self.sample(Some(&states))))
    }

    fn fallback(&self) -> Option<Sample> {
        Some(self.sample(None))
    }
}

impl Services {
    /// `None` if there is nothing to ask for.
    fn ask(
        &self,
        words: &[&str],
        units: &[&str],
        now: Instant,
    ) -> Result<Option<Call>, Error> {
        if units.is_empty() {
            return Ok(None);
        }
        let words = [words, units].concat();
        let path = std::env::var_os("PATH");
        Call::start(
            &self.systemctl,
            &words,
            path.as_deref(),
            (now, DEADLINE),
            MAX_OUTPUT,
        )
        .map(Some)
    }

    /// Takes up what systemd knows of the patterns' units.
    fn remember(&mut self, listed: &BTreeMap<String, bool>) {
        let patterns =
            self.entries
                .iter_mut()
                .filter_map(|entry| match &mut entry.unit {
                    Unit::Name(_) => None,
                    Unit::Pattern(pattern) => Some(pattern),
                });
        let mut patterns: Vec<_> = patterns.collect();
        patterns
            .iter_mut()
            .for_each(|pattern| pattern.remember(listed));
        // Where there is no place for all, what systemd has forgotten gives way.
        if patterns
            .iter()
            .map(|pattern| pattern.seen.len())
            .sum::<usize>()
            > MAX_SERVICES
        {
            patterns.iter_mut().for_each(|pattern| {
                pattern.seen.retain(|unit, _| listed.contains_key(unit))
            });
        }
    }

    /// `states` are those of the units that have a name; without them, nothing is active.
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
                    }))
                }
            }
        }
        Sample::Services(services)
    }
}

impl Unit {
    fn new(text: &str) -> Unit {
        if !text.contains(WILDCARDS) {
            return Unit::Name(text.to_owned());
        }
        let kind = text.rsplit_once('.').map(|(_, kind)| kind);
        let is_whole = kind.is_some_and(|kind| UNIT_TYPES.contains(&kind));
        let text = text.to_owned() + if is_whole { "" } else { SERVICE };
        Unit::Pattern(Pattern {
            matcher: WildMatch::new(&text),
            text,
            seen: BTreeMap::new(),
        })
    }
}

impl Pattern {
    fn remember(&mut self, listed: &BTreeMap<String, bool>) {
        self.seen.values_mut().for_each(|active| *active = false);
        let matching = listed.iter().filter(|(unit, _)| self.matcher.matches(unit));
        self.seen
            .extend(matching.map(|(unit, active)| (unit.clone(), *active)));
    }

    /// What the heartbeat calls that unit: of `wg-quick@wg0`, the pattern's name and
    /// `:wg0`.
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

fn is_active(state: &str) -> bool {
    matches!(state, "active" | "reloading" | "refreshing")
}

/// What `systemctl is-active` printed for each of `count` units.
fn parse_states(text: &str, count: usize) -> Option<Vec<bool>> {
    let states: Vec<bool> = text.lines().map(is_active).collect();
    (states.len() == count).then_some(states)
}

/// What `systemctl list-units` printed: name, whether it is loaded, state, and more.
/// Units that are only spoken of by others are none.
fn parse_units(text: &str) -> Option<BTreeMap<String, bool>> {
    let mut units = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let (unit, load, state) = (words.next()?, words.next()?, words.next()?);
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
