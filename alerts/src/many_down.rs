//! Groups of which many hosts are down.

use std::collections::BTreeMap;
use std::time::Duration;

use fleetbeat_protocol::{Condition, Server, Status, Timestamp};

use crate::alert::{Alert, Counted, Subject};
use crate::book::{Book, subject_key};
use crate::fleet::{Fleet, label_values};
use crate::look::{FleetHost, StoredRule};
use crate::measure::{Reading, Verdict};
use crate::time::{after, before};

/// What a rule says of a group.
pub(crate) struct Group {
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) key: String,
    pub(crate) counted: Counted,
    /// When the first of its hosts that are down was heard last.
    pub(crate) since: Timestamp,
    pub(crate) reading: Reading,
}

/// The hosts of a group.
struct Members<'a> {
    all: usize,
    down: Vec<&'a Server>,
}

/// When the hosts were heard last that go down together with a group: a host that is
/// heard longer has gone down for itself.
pub(crate) struct Together {
    from: Timestamp,
    until: Timestamp,
}

impl Together {
    /// Those of a group that begins to be down at this time.
    pub(crate) fn with(
        condition: &Condition,
        begin: Timestamp,
        down_after: Duration,
    ) -> Together {
        let within = within(condition);
        Together {
            from: before(begin, (within + down_after).as_secs().cast_signed()),
            until: after(begin, within),
        }
    }

    /// Whether a host is one of them that was heard last at this time.
    pub(crate) fn has(&self, heard: Timestamp) -> bool {
        self.from <= heard && heard <= self.until
    }
}

/// What the rule says of each group that has a host that is down, or an open alert.
pub(crate) fn read<H: FleetHost>(
    fleet: &Fleet<'_, H>,
    book: &Book,
    stored: &StoredRule,
) -> Vec<Group> {
    let open = book.open_of_rule(&stored.id);
    if open.is_empty() && fleet.down().next().is_none() {
        return Vec::new();
    }
    let mut groups = count(fleet, stored);
    for alert in open.iter().filter_map(|id| book.get(id)) {
        if let Subject::Group(labels) = &alert.subject {
            groups.entry(labels.clone()).or_insert(Members {
                all: 0,
                down: Vec::new(),
            });
        }
    }

    let judged = groups.into_iter().filter_map(|(labels, members)| {
        let key = subject_key(&Subject::Group(labels.clone()));
        let open = book.find(&stored.id, &key, "");
        (open.is_some() || !members.down.is_empty())
            .then(|| judge(fleet, stored, open, labels, key, &members))
    });
    judged.collect()
}

fn count<'a, H: FleetHost>(
    fleet: &Fleet<'a, H>,
    stored: &StoredRule,
) -> BTreeMap<Vec<(String, String)>, Members<'a>> {
    let mut groups = BTreeMap::new();
    for host in fleet.look.hosts {
        if !fleet.means(&stored.rule.select, host) {
            continue;
        }
        let server = host.server();
        let labels = label_values(server, &stored.rule.group_by);
        let members = groups.entry(labels).or_insert(Members {
            all: 0,
            down: Vec::new(),
        });
        members.all += 1;
        if server.status == Status::Down {
            members.down.push(server);
        }
    }
    groups
}

fn judge<H: FleetHost>(
    fleet: &Fleet<'_, H>,
    stored: &StoredRule,
    open: Option<&Alert>,
    labels: Vec<(String, String)>,
    key: String,
    members: &Members<'_>,
) -> Group {
    let begin = open.map_or(fleet.look.now, |alert| alert.opened_at);
    let span = Together::with(&stored.rule.condition, begin, fleet.look.down_after);
    let together = || members.down.iter().filter(|s| span.has(fleet.heard(s)));
    let counted = Counted {
        hosts: together().count(),
        of: members.all,
    };
    let since = together().map(|server| fleet.heard(server)).min();

    let share = share(counted);
    Group {
        labels,
        key,
        counted,
        since: since.unwrap_or(fleet.look.now),
        reading: Reading {
            object: String::new(),
            verdict: verdict(&stored.rule.condition, counted.hosts, share),
            value: Some(share.round()),
        },
    }
}

fn within(condition: &Condition) -> Duration {
    match condition {
        Condition::ManyDown { within, .. } => *within,
        _ => Duration::ZERO,
    }
}

/// The share of the group that is down, in percent.
#[allow(clippy::cast_precision_loss, reason = "counts of hosts")]
fn share(counted: Counted) -> f64 {
    100.0 * counted.hosts as f64 / counted.of.max(1) as f64
}

fn verdict(condition: &Condition, down: usize, share: f64) -> Verdict {
    match condition {
        Condition::ManyDown { hosts, percent, .. }
            if down >= *hosts as usize && share >= *percent =>
        {
            Verdict::Broken
        }
        Condition::ManyDown { clear_percent, .. }
            if down > 0 && share >= *clear_percent =>
        {
            Verdict::Between
        }
        _ => Verdict::Kept,
    }
}
