//! Spans: the events of about an hour, with how many there are of each class. Old events
//! are found by their span.
//!
//! Age counts in service time, as for hosts: a clock that jumps ahead deletes nothing.

use super::event::{Class, EventKind};
use super::event_store::Retention;
use super::server::as_millis;

/// The service time after which another span begins, in milliseconds.
pub(super) const SPAN_MS: i64 = 60 * 60 * 1000;

/// A number for each of [`Class::ALL`].
pub(super) type Counts = [i64; Class::ALL.len()];

/// A span as it is kept: the events from `first` up to the next span.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    /// The number of its first event.
    pub(super) first: i64,
    /// The service time when it began.
    pub(super) at: i64,
    pub(super) counts: Counts,
}

/// A span in which the events of a class are to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    /// The number of its first event.
    pub(super) first: i64,
    /// The first number behind it.
    pub(super) end: i64,
    pub(super) class: Class,
}

/// What is to be deleted at the service time `now`, of each class the oldest first.
/// `spans` are in order; the newest is not over, and nothing of it is deleted.
pub(super) fn find_due(spans: &[Begun], now: i64, retention: &Retention) -> Vec<Due> {
    let mut due = Vec::new();
    for (index, class) in Class::ALL.into_iter().enumerate() {
        let keep = as_millis(retention.keep_of(class));
        let max_rows = retention.max_rows_of(class);
        let max_rows = max_rows.and_then(|max_rows| i64::try_from(max_rows).ok());
        let mut rows: i64 = spans.iter().map(|span| span.counts[index]).sum();

        for pair in spans.windows(2) {
            let [span, next] = [pair[0], pair[1]];
            let is_old = now.saturating_sub(next.at) >= keep;
            let is_too_much = max_rows.is_some_and(|max_rows| rows > max_rows);
            if !is_old && !is_too_much {
                break;
            }
            if span.counts[index] > 0 {
                rows -= span.counts[index];
                due.push(Due {
                    first: span.first,
                    end: next.first,
                    class,
                });
            }
        }
    }
    due
}

/// The name of a class where spans are kept.
pub(super) fn name(class: Class) -> &'static str {
    match class {
        Class::Life => "life",
        Class::Host => "host",
        Class::Audit => "audit",
        Class::Login => "login",
        Class::Refusal => "refusal",
    }
}

/// The kinds of a class.
pub(super) fn kinds(class: Class) -> impl Iterator<Item = EventKind> {
    let all = EventKind::ALL.iter().copied();
    all.filter(move |kind| kind.class() == class)
}
