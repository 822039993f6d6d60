//! The queues before the login slots: who waits where, and who is next.
//!
//! There are three queues, and each has turns, so none waits until another is empty:
//!
//! - users in networks where they have been before, each with a few places, so that no
//!   user takes all of them,
//! - strangers whose network has got nothing wrong lately, one of each network,
//! - all other strangers, a few of each network.
//!
//! So whoever tries passwords waits in the last queue from the second try on, and nobody
//! who comes from elsewhere waits behind that.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};

use fleetbeat_daemon::lock::lock;

/// Logins that may wait in each queue.
const MAX_WAITING: usize = 16;
/// Logins that may wait of one user in known networks, or of one network of strangers.
const MAX_OF_ONE: usize = 4;
/// Whose turn it is, again and again. A queue that is empty gives its turn away.
const TURNS: [Rank; 5] = [
    Rank::Known,
    Rank::Fresh,
    Rank::Known,
    Rank::Fresh,
    Rank::Suspect,
];

/// Which queue a login waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rank {
    /// The user has been in this network before.
    Known,
    /// A stranger, whose network has got nothing wrong lately.
    Fresh,
    /// Another stranger.
    Suspect,
}

/// The queues. `O` tells whose logins are counted together.
pub(super) struct LoginQueue<O, T> {
    waiting: Mutex<Waiting<O, T>>,
    changed: Condvar,
}

/// The logins that wait, each with whose it is.
struct Waiting<O, T> {
    queues: [VecDeque<(O, T)>; 3],
    /// The place in [`TURNS`].
    turn: usize,
    is_closed: bool,
}

impl<O: PartialEq, T> LoginQueue<O, T> {
    /// Nobody waits.
    pub(super) fn new() -> LoginQueue<O, T> {
        LoginQueue {
            waiting: Mutex::new(Waiting {
                queues: [const { VecDeque::new() }; 3],
                turn: 0,
                is_closed: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// Puts a login into its queue, or gives it back if there is no place for it, or all
    /// queues are closed.
    pub(super) fn push(&self, rank: Rank, owner: O, login: T) -> Option<T> {
        let mut waiting = lock(&self.waiting);
        let of_owner = |queue: &VecDeque<(O, T)>| {
            queue.iter().filter(|(other, _)| *other == owner).count()
        };
        // A second one of the same network is not the first try any more.
        let rank = match rank {
            Rank::Fresh if of_owner(&waiting.queues[rank as usize]) > 0 => Rank::Suspect,
            rank => rank,
        };
        let queue = &waiting.queues[rank as usize];
        let is_full = queue.len() >= MAX_WAITING || of_owner(queue) >= MAX_OF_ONE;
        if waiting.is_closed || is_full {
            return Some(login);
        }

        waiting.queues[rank as usize].push_back((owner, login));
        drop(waiting);
        self.changed.notify_one();
        None
    }

    /// Lets nobody wait any more.
    pub(super) fn close(&self) {
        lock(&self.waiting).is_closed = true;
        self.changed.notify_all();
    }

    /// The next login, and whether the queues are closed; waits for one, and is `None`
    /// when the queues are closed and empty.
    pub(super) fn next(&self) -> Option<(T, bool)> {
        let is_idle = |waiting: &mut Waiting<O, T>| {
            waiting.queues.iter().all(VecDeque::is_empty) && !waiting.is_closed
        };
        let mut waiting = self
            .changed
            .wait_while(lock(&self.waiting), is_idle)
            .unwrap_or_else(PoisonError::into_inner);
        let is_closed = waiting.is_closed;
        waiting.take().map(|login| (login, is_closed))
    }
}

impl<O, T> Waiting<O, T> {
    fn take(&mut self) -> Option<T> {
        for _ in TURNS {
            let rank = TURNS[self.turn];
            self.turn = (self.turn + 1) % TURNS.len();
            if let Some((_, login)) = self.queues[rank as usize].pop_front() {
                return Some(login);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes out until nothing is left.
    fn drain(queue: &LoginQueue<u32, String>) -> Vec<String> {
        queue.close();
        std::iter::from_fn(|| queue.next())
            .map(|(login, _)| login)
            .collect()
    }

    fn push(queue: &LoginQueue<u32, String>, rank: Rank, owner: u32, name: &str) -> bool {
        queue.push(rank, owner, name.to_owned()).is_none()
    }

    #[test]
    fn each_queue_has_its_turns() {
        let queue = LoginQueue::new();
        for n in 0..4 {
            assert!(push(&queue, Rank::Suspect, n, &format!("suspect {n}")));
            assert!(push(&queue, Rank::Known, n, &format!("known {n}")));
            assert!(push(&queue, Rank::Fresh, n, &format!("fresh {n}")));
        }
        let expected = [
            "known 0",
            "fresh 0",
            "known 1",
            "fresh 1",
            "suspect 0",
            "known 2",
            "fresh 2",
            "known 3",
            "fresh 3",
            "suspect 1",
            "suspect 2",
            "suspect 3",
        ];
        assert_eq!(drain(&queue), expected);
    }

    #[test]
    fn nobody_takes_the_places_of_others() {
        let queue = LoginQueue::new();
        let count = |rank, owner| {
            let taken = (0..100).filter(|_| push(&queue, rank, owner, "x"));
            taken.count()
        };
        assert_eq!(count(Rank::Known, 1), MAX_OF_ONE, "one user");
        assert_eq!(count(Rank::Known, 2), MAX_OF_ONE, "another one");
        assert_eq!(count(Rank::Fresh, 3), 1 + MAX_OF_ONE, "one network");
        assert_eq!(count(Rank::Suspect, 4), MAX_OF_ONE, "another one");

        let others = (5..100).filter(|owner| push(&queue, Rank::Suspect, *owner, "x"));
        assert_eq!(others.count(), MAX_WAITING - 2 * MAX_OF_ONE, "it is full");
        assert!(push(&queue, Rank::Fresh, 100, "x"), "but not for the first");
        assert!(push(&queue, Rank::Known, 101, "x"));
    }

    #[test]
    fn a_closed_queue_takes_nobody() {
        let queue = LoginQueue::new();
        assert!(push(&queue, Rank::Known, 1, "before"));
        queue.close();
        assert!(!push(&queue, Rank::Known, 1, "after"));
        assert_eq!(queue.next(), Some(("before".to_owned(), true)));
        assert_eq!(queue.next(), None);
    }
}
