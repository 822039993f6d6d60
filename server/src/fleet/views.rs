//! The views of one snapshot that are kept: as many as fit into a number of bytes, and
//! those that were asked for last.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use super::query::Query;
use super::view::View;

/// The bytes of the views that are kept.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// What a view costs besides its JSON.
const ENTRY_BYTES: usize = 1024;

/// A view that is made by the first request for it; other requests wait.
pub(super) type Cell = Arc<OnceLock<Arc<View>>>;

/// The views that were made of one snapshot.
#[derive(Default)]
pub(super) struct Views {
    entries: HashMap<Query, Entry>,
    /// The queries by when they were asked for last.
    by_age: BTreeMap<u64, Query>,
    /// Counts the requests.
    requests: u64,
    bytes: usize,
}

/// A view, and its place among the others.
struct Entry {
    cell: Cell,
    asked_last: u64,
    bytes: usize,
}

impl Views {
    /// The view that `query` asks for, made or not.
    pub(super) fn find(&mut self, query: &Query) -> Cell {
        self.requests += 1;
        let asked_last = self.requests;
        self.by_age.insert(asked_last, query.clone());

        if let Some(entry) = self.entries.get_mut(query) {
            self.by_age.remove(&entry.asked_last);
            entry.asked_last = asked_last;
            return entry.cell.clone();
        }

        let cell = Cell::default();
        let bytes = ENTRY_BYTES + query.text_bytes();
        let entry = Entry {
            cell: cell.clone(),
            asked_last,
            bytes,
        };
        self.entries.insert(query.clone(), entry);
        self.bytes += bytes;
        self.forget_until_it_fits();
        cell
    }

    /// The view that `query` asks for was made, with so many bytes.
    pub(super) fn made(&mut self, query: &Query, bytes: usize) {
        if let Some(entry) = self.entries.get_mut(query) {
            entry.bytes += bytes;
            self.bytes += bytes;
            self.forget_until_it_fits();
        }
    }

    /// Forgets the views that were asked for longest ago.
    fn forget_until_it_fits(&mut self) {
        while self.bytes > MAX_BYTES
            && let Some((_, oldest)) = self.by_age.pop_first()
            && let Some(entry) = self.entries.remove(&oldest)
        {
            self.bytes -= entry.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(country: usize) -> Query {
        let text = format!("country=c{country}");
        Query::parse(&text, fleetbeat_protocol::Timestamp::UNIX_EPOCH).unwrap()
    }

    #[test]
    fn views_are_kept_by_bytes_and_the_oldest_goes() {
        let mut views = Views::default();
        let large = MAX_BYTES / 4;
        for n in 0..1000 {
            views.find(&query(n));
            views.made(&query(n), 100);
        }
        assert_eq!(views.entries.len(), 1000, "small ones take little");

        for n in 1000..1003 {
            views.find(&query(n));
            views.made(&query(n), large);
        }
        assert_eq!(views.entries.len(), 1003);
        let kept = views.find(&query(0));
        views.find(&query(1003));
        views.made(&query(1003), large);
        assert!(views.bytes <= MAX_BYTES);
        assert!(
            Arc::ptr_eq(&kept, &views.find(&query(0))),
            "asked for lately"
        );
        assert!(
            !views.entries.contains_key(&query(1)),
            "asked for longest ago"
        );
        assert_eq!(views.entries.len(), views.by_age.len());

        let sum: usize = views.entries.values().map(|entry| entry.bytes).sum();
        assert_eq!(sum, views.bytes);
    }

    #[test]
    fn a_view_beyond_all_bounds_is_not_kept() {
        let mut views = Views::default();
        let cell = views.find(&query(0));
        views.made(&query(0), MAX_BYTES + 1);
        assert_eq!((views.entries.len(), views.bytes), (0, 0));
        assert!(!Arc::ptr_eq(&cell, &views.find(&query(0))));
    }
}
