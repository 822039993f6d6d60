//! The fleet and its countries, as hosts of their own in history.db.

use std::collections::BTreeSet;

use fleetbeat_history::chart::ChartQuery;
use fleetbeat_history::{FileStore, Host, HostSamples, host_chart};

use crate::store::error::StoreError;
use crate::store::history::{GroupHistory, Groups};

/// Keeps samples of groups. history.db keeps them until there are enough to be merged.
pub(super) fn add(store: &FileStore, groups: &[HostSamples]) -> Result<(), StoreError> {
    let kept = store.let_wait(groups);
    kept.map(|_| ()).map_err(|error| StoreError::Refused {
        database: "history.db",
        reason: error.to_string(),
    })
}

/// The charts of the groups, those without points left out.
pub(super) fn charts(
    store: &FileStore,
    groups: Groups,
    query: &ChartQuery,
) -> Vec<GroupHistory> {
    // Before the chunks: what is merged in between is in both, and not in none.
    let waiting = store.waiting();
    let known = match groups {
        Groups::Fleet => Ok(BTreeSet::from([Host::fleet()])),
        Groups::Countries => store.countries(),
    };
    let is_unread = waiting.is_err() || known.is_err();
    let (waiting, mut hosts) = (waiting.unwrap_or_default(), known.unwrap_or_default());
    if groups == Groups::Countries {
        let countries = waiting.keys().filter(|host| host.as_country().is_some());
        hosts.extend(countries.cloned());
    }

    let charts = hosts.into_iter().map(|host| {
        let open = waiting.get(&host).map(Vec::as_slice).unwrap_or_default();
        let mut chart = host_chart(store, &host, open, query);
        chart.is_incomplete |= is_unread;
        GroupHistory { host, chart }
    });
    charts.collect()
}
