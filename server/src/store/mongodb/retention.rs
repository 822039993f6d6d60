//! How old events are deleted in MongoDB: span by span and class by class, some at a
//! time.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use mongodb::bson::{Document, doc};

use super::connection::Connection;
use super::error::MongoDbError;
use super::{sweep, watch};
use crate::store::event::{Class, EventKind};
use crate::store::event_spans::{self, Begun, Counts, Due, find_due};
use crate::store::event_store::Retention;

/// The longest that events are deleted at once; the next time goes on.
const MAX_MAINTENANCE: Duration = Duration::from_secs(30);
/// Events that are looked at in one step.
const STEP: i64 = 500;

/// Deletes what is old or too much. Gives how many events.
pub(super) fn forget(
    mongodb: &Connection,
    retention: &Retention,
) -> Result<usize, MongoDbError> {
    let deadline = Instant::now() + MAX_MAINTENANCE;
    let now = sweep::service_time(mongodb)?;
    let due = find_due(&read_spans(mongodb)?, now, retention);
    if due.is_empty() {
        return Ok(0);
    }

    let kept = watch::newest_of_hosts(mongodb)?;
    let mut deleted = 0;
    for due in due {
        let (gone, left) = delete(mongodb, &due, &kept, deadline)?;
        deleted += gone;
        if Instant::now() > deadline {
            break;
        }
        recount(mongodb, &due, left)?;
    }
    Ok(deleted)
}

/// The spans, the oldest first.
fn read_spans(mongodb: &Connection) -> Result<Vec<Begun>, MongoDbError> {
    let spans = mongodb.event_spans();
    let all = spans.find(doc! {}).sort(doc! {"_id": 1});
    mongodb.collect(all, |span| {
        let number = |name: &str| span.get_i64(name).unwrap_or_default();
        let counts: Counts = Class::ALL.map(|class| number(event_spans::name(class)));
        Some(Begun {
            first: span.get_i64("_id").ok()?,
            at: number("began"),
            counts,
        })
    })
}

/// Deletes the events of a class in a span, but for those in `kept`. Gives how many, and
/// how many are left.
fn delete(
    mongodb: &Connection,
    due: &Due,
    kept: &BTreeSet<String>,
    deadline: Instant,
) -> Result<(usize, i64), MongoDbError> {
    let events = mongodb.events();
    let kinds: Vec<&str> = event_spans::kinds(due.class)
        .map(EventKind::as_str)
        .collect();
    let (mut deleted, mut left, mut next) = (0, 0, due.first);
    while Instant::now() < deadline {
        let started = Instant::now();
        let some = doc! {
            "n": {"$gte": next, "$lt": due.end},
            "kind": {"$in": kinds.clone()},
        };
        let some = events.find(some).projection(doc! {"n": 1});
        let some = some.sort(doc! {"n": 1}).limit(STEP);
        let some = mongodb.collect(some, |event| {
            Some((
                event.get_str("_id").ok()?.to_owned(),
                event.get_i64("n").ok()?,
            ))
        })?;
        let Some((_, last)) = some.last() else {
            break;
        };
        next = last + 1;

        let (stay, go): (Vec<String>, Vec<String>) = some
            .into_iter()
            .map(|(id, _)| id)
            .partition(|id| kept.contains(id));
        left += i64::try_from(stay.len()).unwrap_or_default();
        let go = doc! {"_id": {"$in": go}};
        let gone = mongodb.run(async { events.delete_many(go).await })?;
        deleted += usize::try_from(gone.deleted_count).unwrap_or_default();
        thread::sleep(started.elapsed());
    }
    Ok((deleted, left))
}

/// Notes how many events of a class are left in the span, and removes the span if it is
/// empty.
fn recount(mongodb: &Connection, due: &Due, left: i64) -> Result<(), MongoDbError> {
    let spans = mongodb.event_spans();
    let span = doc! {"_id": due.first};
    let recount = doc! {"$set": {event_spans::name(due.class): left}};
    mongodb.run(async { spans.update_one(span, recount).await })?;

    let mut empty = Document::new();
    for class in Class::ALL {
        empty.insert(event_spans::name(class), doc! {"$not": {"$gt": 0}});
    }
    empty.insert("_id", due.first);
    mongodb.run(async { spans.delete_one(empty).await })?;
    Ok(())
}
