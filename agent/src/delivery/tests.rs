//! The delivery as a failing server, a restart and a full spool meet it.

use super::*;
use std::path::Path;
use tempfile::TempDir;

const SECOND: Duration = Duration::from_secs(1);
const ACCEPTED: Outcome = Outcome::Accepted { rotate: false };
const INTERVAL: Duration = Duration::from_secs(120);

fn failed(retry_after: Option<Duration>) -> Outcome {
    Outcome::Failed {
        reason: "down".to_owned(),
        retry_after,
    }
}

fn refused() -> Outcome {
    Outcome::Refused {
        reason: "bad".to_owned(),
    }
}

/// A delivery whose spool is in that folder, or which has none.
fn delivery(folder: Option<&TempDir>) -> Delivery {
    let folder = folder.map_or(Path::new("/nowhere"), TempDir::path);
    Delivery::new(INTERVAL, Spool::open(folder).unwrap())
}

fn with_spool() -> (TempDir, Delivery) {
    let folder = tempfile::tempdir().unwrap();
    let delivery = delivery(Some(&folder));
    (folder, delivery)
}

fn offer(delivery: &mut Delivery, n: usize, now: Instant) {
    delivery.offer(n.to_string().into_bytes(), now);
}

/// Begins the next call when it is due; what is sent then.
fn call(delivery: &mut Delivery) -> (Instant, String) {
    let at = delivery.due().unwrap();
    (
        at,
        String::from_utf8(delivery.begin(at).unwrap().body).unwrap(),
    )
}

/// Fails until all tries are over; when each began, in seconds from the first, if each
/// fails after `took`.
fn fail(delivery: &mut Delivery, took: Duration, chance: f64) -> Vec<f64> {
    let start = delivery.due().unwrap();
    let mut tries = Vec::new();
    while delivery.due().is_some() {
        let (at, _) = call(delivery);
        tries.push((at - start).as_secs_f64());
        delivery.settle(failed(None), at + took, chance);
    }
    tries
}

/// Has `count` heartbeats fail, from 0 on; then the next one is accepted.
fn outage(delivery: &mut Delivery, count: usize, start: Instant, chance: f64) -> Instant {
    for n in 0..count {
        offer(delivery, n, start);
        fail(delivery, Duration::ZERO, 0.0);
    }
    offer(delivery, count, start);
    let (at, body) = call(delivery);
    assert_eq!(body, count.to_string(), "the newest goes first");
    delivery.settle(ACCEPTED, at, chance);
    at
}

#[test]
fn three_retries_fall_into_the_interval() {
    let tries = |interval, took, chance| {
        let mut delivery = delivery(None);
        delivery.reconfigure(interval, Destination::Same);
        offer(&mut delivery, 1, Instant::now());
        fail(&mut delivery, took, chance)
    };
    let none = Duration::ZERO;
    assert_eq!(tries(120 * SECOND, none, 0.0), [0.0, 5.0, 20.0, 65.0]);
    assert_eq!(tries(120 * SECOND, none, 0.5), [0.0, 5.75, 23.0, 74.75]);
    assert_eq!(tries(3600 * SECOND, none, 0.0), [0.0, 5.0, 20.0, 65.0]);
    assert_eq!(tries(12 * SECOND, none, 0.0), [0.0, 0.5, 2.0, 6.5]);
    // Each call without an answer, and the longest delays.
    assert_eq!(
        tries(120 * SECOND, 15 * SECOND, 1.0),
        [0.0, 15.0, 34.5, 93.0]
    );
}

#[test]
fn a_heartbeat_made_during_a_call_waits_for_its_end() {
    let now = Instant::now();
    for (outcome, dropped, spooled) in
        [(ACCEPTED, 0, 2), (failed(None), 0, 3), (refused(), 1, 2)]
    {
        for has_spool in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let mut delivery = delivery(has_spool.then_some(&folder));
            offer(&mut delivery, 1, now);
            call(&mut delivery);
            offer(&mut delivery, 2, now + SECOND);
            offer(&mut delivery, 3, now + 2 * SECOND);
            assert_eq!(delivery.due(), None);
            let outcome = match &outcome {
                Outcome::Accepted { .. } => ACCEPTED,
                Outcome::Refused { .. } => refused(),
                _ => failed(None),
            };
            delivery.settle(outcome, now + 9 * SECOND, 0.0);
            assert!(delivery.due().unwrap() <= now + 9 * SECOND);
            assert_eq!(call(&mut delivery).1, "3");
            // Without a spool, what gave way is lost.
            let expected = if has_spool {
                (dropped, spooled)
            } else {
                (spooled as u64 - 1 + dropped, 0)
            };
            assert_eq!(
                (delivery.log.dropped_count(), delivery.spool.len()),
                expected
            );
        }
    }
}

#[test]
fn the_spool_follows_the_newest_heartbeat_after_a_part_of_the_interval() {
    for (chance, pause) in [(0.0, 1.0), (0.25, 30.0), (0.999, 119.88)] {
        let (_folder, mut delivery) = with_spool();
        let accepted_at = outage(&mut delivery, 3, Instant::now(), chance);
        let (at, batch) = call(&mut delivery);
        assert_eq!((at - accepted_at).as_secs_f64(), pause);
        assert_eq!(batch, "[0,1,2]");
        delivery.settle(ACCEPTED, at, 0.0);
        assert_eq!(
            (
                delivery.due(),
                delivery.spool.len(),
                delivery.log.dropped_count()
            ),
            (None, 0, 0)
        );
    }
}

#[test]
fn batches_are_bounded_and_at_least_a_second_apart() {
    let (_folder, mut delivery) = with_spool();
    let mut last = outage(&mut delivery, 250, Instant::now(), 0.0);
    let mut counts = Vec::new();
    while delivery.due().is_some() {
        let (at, batch) = call(&mut delivery);
        assert!(at - last >= SECOND);
        last = at;
        counts.push(batch.split(',').count());
        delivery.settle(ACCEPTED, at, 0.0);
    }
    assert_eq!(counts, [100, 100, 50]);
}

#[test]
fn a_new_heartbeat_goes_before_the_spool_and_is_not_in_a_batch() {
    let (_folder, mut delivery) = with_spool();
    let now = outage(&mut delivery, 2, Instant::now(), 0.5);
    offer(&mut delivery, 7, now + SECOND);
    assert_eq!(call(&mut delivery).1, "7");
    offer(&mut delivery, 8, now + 2 * SECOND);
    delivery.settle(ACCEPTED, now + 2 * SECOND, 0.5);
    assert_eq!(call(&mut delivery).1, "8");
    delivery.settle(ACCEPTED, now + 3 * SECOND, 0.9);
    assert_eq!(call(&mut delivery), (now + 60 * SECOND, "[0,1]".to_owned()));
    offer(&mut delivery, 9, now + 61 * SECOND);
    delivery.settle(ACCEPTED, now + 61 * SECOND, 0.0);
    assert_eq!(call(&mut delivery).1, "9");
    delivery.settle(ACCEPTED, now + 61 * SECOND, 0.0);
    assert_eq!((delivery.due(), delivery.spool.len()), (None, 0));
}

#[test]
fn a_server_that_fails_again_gets_the_newest_heartbeat_first_again() {
    for outcome in [
        failed(None),
        Outcome::Unauthorized {
            reason: "key".to_owned(),
        },
    ] {
        let (_folder, mut delivery) = with_spool();
        let now = outage(&mut delivery, 4, Instant::now(), 0.0);
        assert_eq!(call(&mut delivery).1, "[0,1,2,3]");
        delivery.settle(outcome, now + SECOND, 0.0);
        assert_eq!((delivery.due(), delivery.spool.len()), (None, 4));
        offer(&mut delivery, 9, now + INTERVAL);
        assert_eq!(call(&mut delivery).1, "9");
        delivery.settle(ACCEPTED, now + INTERVAL, 0.0);
        assert!(call(&mut delivery).1.starts_with("[0,1"));
    }
}

#[test]
fn a_batch_that_fails_is_followed_by_shorter_ones() {
    let (_folder, mut delivery) = with_spool();
    outage(&mut delivery, 100, Instant::now(), 0.0);
    let mut counts = Vec::new();
    for outcome in [failed(None), failed(None), ACCEPTED, ACCEPTED] {
        let (at, batch) = call(&mut delivery);
        counts.push(batch.split(',').count());
        delivery.settle(outcome, at, 0.0);
        offer(&mut delivery, 500, at);
        call(&mut delivery);
        delivery.settle(ACCEPTED, at, 0.0);
    }
    assert_eq!(counts, [100, 50, 25, 50]);
}

#[test]
fn a_refused_batch_is_halved_until_what_is_bad_is_alone() {
    let (_folder, mut delivery) = with_spool();
    outage(&mut delivery, 8, Instant::now(), 0.0);
    let mut accepted = Vec::new();
    while delivery.due().is_some() {
        let (at, batch) = call(&mut delivery);
        let batch: Vec<u32> = serde_json::from_str(&batch).unwrap();
        if batch.contains(&5) {
            delivery.settle(refused(), at, 0.0);
        } else {
            accepted.extend(batch);
            delivery.settle(ACCEPTED, at, 0.0);
        }
    }
    assert_eq!(
        (accepted, delivery.log.dropped_count()),
        (vec![0, 1, 2, 3, 4, 6, 7], 1)
    );
}

#[test]
fn what_a_batchs_answer_rejects_is_dropped_and_counted() {
    let (_folder, mut delivery) = with_spool();
    let now = outage(&mut delivery, 5, Instant::now(), 0.0);
    call(&mut delivery);
    delivery.settle(
        Outcome::PartlyAccepted {
            rejected: 2,
            reason: "bad".to_owned(),
        },
        now,
        0.0,
    );
    assert_eq!(
        (
            delivery.log.dropped_count(),
            delivery.spool.len(),
            delivery.due()
        ),
        (2, 0, None)
    );
}

#[test]
fn a_restart_goes_on_with_what_is_in_the_spool() {
    let (folder, mut delivery) = with_spool();
    let now = Instant::now();
    offer(&mut delivery, 0, now);
    call(&mut delivery);
    offer(&mut delivery, 1, now);
    drop(delivery);
    let mut delivery = self::delivery(Some(&folder));
    assert_eq!(delivery.due(), None, "nothing goes before the newest");
    offer(&mut delivery, 2, now);
    assert_eq!(call(&mut delivery).1, "2");
    delivery.settle(ACCEPTED, now, 0.0);
    assert_eq!(call(&mut delivery).1, "[0,1]");
}

#[test]
fn the_spool_keeps_a_days_heartbeats() {
    let (_folder, mut delivery) = with_spool();
    let now = Instant::now();
    for n in 0..1000 {
        offer(&mut delivery, n, now);
    }
    assert_eq!(delivery.spool.len(), 720);
}

#[test]
fn only_the_first_try_asks_for_a_sync() {
    let (_folder, mut delivery) = with_spool();
    let now = Instant::now();
    offer(&mut delivery, 1, now);
    assert!(delivery.begin(now).unwrap().unsynced.is_some());
    delivery.settle(failed(None), now, 0.0);
    assert!(delivery.begin(now + 5 * SECOND).unwrap().unsynced.is_none());
}

#[test]
fn retry_after_is_obeyed_by_the_next_heartbeat_and_the_spool_too() {
    let now = Instant::now();
    let (_folder, mut delivery) = with_spool();
    offer(&mut delivery, 1, now);
    call(&mut delivery);
    delivery.settle(failed(Some(200 * SECOND)), now, 0.0);
    assert_eq!(delivery.due(), Some(now + 200 * SECOND));
    offer(&mut delivery, 2, now + 120 * SECOND);
    assert_eq!(call(&mut delivery), (now + 200 * SECOND, "2".to_owned()));
    delivery.settle(ACCEPTED, now + 200 * SECOND, 0.0);
    assert_eq!(call(&mut delivery), (now + 201 * SECOND, "[1]".to_owned()));
    delivery.settle(failed(Some(100 * SECOND)), now + 201 * SECOND, 0.0);
    offer(&mut delivery, 3, now + 240 * SECOND);
    assert_eq!(call(&mut delivery), (now + 301 * SECOND, "3".to_owned()));
    delivery.settle(ACCEPTED, now + 301 * SECOND, 0.0);
    assert_eq!(call(&mut delivery), (now + 302 * SECOND, "[1]".to_owned()));
    delivery.settle(failed(Some(100 * SECOND)), now + 302 * SECOND, 0.0);
    delivery.reconfigure(INTERVAL, Destination::Other);
    offer(&mut delivery, 4, now + 310 * SECOND);
    assert_eq!(
        call(&mut delivery),
        (now + 310 * SECOND, "4".to_owned()),
        "another server did not say so"
    );
}

#[test]
fn retry_after_has_a_limit_and_never_shortens_a_delay() {
    let now = Instant::now();
    for (asked, waited) in [(0, 5), (3, 5), (30, 30), (u64::MAX, 600)] {
        let mut delivery = delivery(None);
        offer(&mut delivery, 1, now);
        call(&mut delivery);
        delivery.settle(failed(Some(Duration::from_secs(asked))), now, 0.0);
        assert_eq!(delivery.due(), Some(now + waited * SECOND), "{asked}");
    }
}

#[test]
fn a_refused_heartbeat_is_dropped_at_once_and_a_wrong_key_is_tried_on() {
    let now = Instant::now();
    let (_folder, mut delivery) = with_spool();
    offer(&mut delivery, 1, now);
    call(&mut delivery);
    delivery.settle(refused(), now, 0.0);
    assert_eq!(
        (
            delivery.due(),
            delivery.log.dropped_count(),
            delivery.spool.len()
        ),
        (None, 1, 0)
    );
    offer(&mut delivery, 2, now);
    call(&mut delivery);
    delivery.settle(
        Outcome::Unauthorized {
            reason: "key".to_owned(),
        },
        now,
        0.0,
    );
    assert_eq!(delivery.due(), Some(now + 5 * SECOND));
}
