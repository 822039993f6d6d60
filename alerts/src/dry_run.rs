//! What a rule would say of the fleet now.

use fleetbeat_protocol::{Condition, Rule, Status};

use crate::alert::Subject;
use crate::book::Book;
use crate::fleet::{Fleet, Memory, subject};
use crate::look::{FleetHost, Look, StoredRule};
use crate::many_down;
use crate::measure::{Gauge, Reading, Verdict};

/// What a rule would say of the fleet now, if its `for` were over.
#[derive(Debug, Clone, PartialEq)]
pub struct DryRun {
    /// How many hosts the rule means.
    pub hosts: usize,
    /// What would fire.
    pub found: Vec<Found>,
}

/// What would fire.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Whom it would be about.
    pub subject: Subject,
    /// What of it: a service, a metric, or a load; else empty.
    pub object: String,
    /// The value.
    pub value: Option<f64>,
}

/// Looks at the fleet with one rule. A rule about events finds nothing: no event is kept
/// for it.
pub fn dry_run<H: FleetHost>(rule: &Rule, look: &Look<'_, H>) -> DryRun {
    let mut memory = Memory::default();
    memory.prepare([rule.select.as_str()].into_iter());
    let fleet = Fleet::new(look, &mut memory);
    let gauge = Gauge::new(&rule.condition);

    let meant = look
        .hosts
        .iter()
        .filter(|host| fleet.means(&rule.select, host));
    let meant: Vec<&H> = meant.collect();
    let mut found = Vec::new();
    for host in &meant {
        found.extend(find(&fleet, &gauge, *host));
    }
    if matches!(rule.condition, Condition::ManyDown { .. }) {
        found.extend(find_groups(&fleet, rule));
    }
    DryRun {
        hosts: meant.len(),
        found,
    }
}

fn find<H: FleetHost>(fleet: &Fleet<'_, H>, gauge: &Gauge, host: &H) -> Vec<Found> {
    let server = host.server();
    let mut readings = Vec::new();
    if server.status == Status::Active {
        gauge.read(host, &mut readings);
    }
    let silent_since = fleet.silent_since(server);
    readings.extend(gauge.silence(server, silent_since, fleet.look.now));

    let broken = readings.into_iter().filter(is_broken);
    broken
        .map(|reading| Found {
            subject: subject(server),
            object: reading.object,
            value: reading.value,
        })
        .collect()
}

fn find_groups<H: FleetHost>(fleet: &Fleet<'_, H>, rule: &Rule) -> Vec<Found> {
    let stored = StoredRule {
        id: String::new(),
        version: 0,
        rule: rule.clone(),
    };
    let groups = many_down::read(fleet, &Book::default(), &stored).into_iter();
    let broken = groups.filter(|group| is_broken(&group.reading));
    broken
        .map(|group| Found {
            subject: Subject::Group(group.labels),
            object: String::new(),
            value: group.reading.value,
        })
        .collect()
}

fn is_broken(reading: &Reading) -> bool {
    reading.verdict == Verdict::Broken
}
