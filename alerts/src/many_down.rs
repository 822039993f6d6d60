//! Groups of which many hosts are down.

use std::collections::BTreeMap;

use fleetbeat_protocol::{Condition, Server, Status, Timestamp};

use crate::alert::{Alert, Counted, Subject};
use crate::book::{Book, subject_key};
use crate::fleet::{Fleet, label_values};
use crate::look::{FleetHost, StoredRule};
use crate::measure::{Reading, Verdict};
use crate::time::before;

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
    let Condition::ManyDown {
        hosts,
        percent,
        within,
        clear_percent,
    } = stored.rule.condition
    else {
        unreachable!("only such a rule is about groups");
    };

    // Who has been down for long is not one of those that went down together.
    let window = within + fleet.look.down_after;
    let end = open.map_or(fleet.look.now, |alert| alert.opened_at);
    let from = before(end, window.as_secs().cast_signed());
    let together = || members.down.iter().filter(|s| fleet.heard(s) >= from);
    let down = together().count();
    let since = together().map(|server| fleet.heard(server)).min();

    #[allow(clippy::cast_precision_loss, reason = "counts of hosts")]
    let share = 100.0 * down as f64 / members.all.max(1) as f64;
    let verdict = if down >= hosts as usize && share >= percent {
        Verdict::Broken
    } else if down == 0 || share < clear_percent {
        Verdict::Kept
    } else {
        Verdict::Between
    };
    Group {
        labels,
        key,
        counted: Counted {
            hosts: down,
            of: members.all,
        },
        since: since.unwrap_or(fleet.look.now),
        reading: Reading {
            object: String::new(),
            verdict,
            value: Some(share.round()),
        },
    }
}
