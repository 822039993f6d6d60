//! The memory of responses that peers have not taken.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use super::budget::{Budget, Permit};
use super::outgoing::Outgoing;

/// What is counted: each response's own bytes, and once what several share.
#[derive(Debug)]
pub(super) struct Unread {
    budget: Budget,
    /// The permits of shared bytes by the address of the bytes, which nobody else has
    /// while somebody holds them.
    shared: HashMap<usize, Weak<Permit>>,
}

/// Counts what one response keeps in memory, until dropped.
#[derive(Debug)]
pub(super) struct Held {
    _own: Option<Permit>,
    _shared: Option<Arc<Permit>>,
}

impl Unread {
    /// At most so many bytes.
    pub(super) fn new(bytes: usize) -> Unread {
        Unread {
            budget: Budget::new(bytes),
            shared: HashMap::new(),
        }
    }

    /// Counts a response; `None` if that is too much.
    pub(super) fn hold(&mut self, outgoing: &Outgoing) -> Option<Held> {
        let shared = match outgoing.shared() {
            Some(bytes) => Some(self.share(bytes)?),
            None => None,
        };
        Some(Held {
            _own: Some(self.permit(outgoing.unshared_bytes())?),
            _shared: shared,
        })
    }

    /// For a response that must be sent though it is too much alone.
    pub(super) fn hold_beyond_limit(&self) -> Held {
        Held {
            _own: None,
            _shared: None,
        }
    }

    fn share(&mut self, bytes: &Arc<Vec<u8>>) -> Option<Arc<Permit>> {
        let address = Arc::as_ptr(bytes).addr();
        if let Some(permit) = self.shared.get(&address).and_then(Weak::upgrade) {
            return Some(permit);
        }

        let permit = Arc::new(self.permit(bytes.len())?);
        self.shared.retain(|_, permit| permit.strong_count() > 0);
        self.shared.insert(address, Arc::downgrade(&permit));
        Some(permit)
    }

    fn permit(&self, bytes: usize) -> Option<Permit> {
        let mut permit = self.budget.permit();
        permit.grow_to(bytes).then_some(permit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::guard::outgoing::Body;

    /// Longer than what is copied behind the head.
    const LONG: usize = 20_000;

    #[test]
    fn what_is_shared_counts_once_and_for_as_long_as_somebody_holds_it() {
        let mut unread = Unread::new(2 * LONG + 100);
        let share = |bytes: &Arc<Vec<u8>>| {
            Outgoing::new(vec![0; 10], Some(Body::Shared(bytes.clone())))
        };
        let (first, second) = (Arc::new(vec![1; LONG]), Arc::new(vec![2; LONG]));

        let held: Vec<_> = (0..3)
            .map(|_| unread.hold(&share(&first)).unwrap())
            .collect();
        let other = unread.hold(&share(&second)).unwrap();
        assert!(unread.hold(&share(&Arc::new(vec![3; LONG]))).is_none());
        let own = Outgoing::new(Vec::new(), Some(Body::Owned(vec![4; LONG])));
        assert!(unread.hold(&own).is_none());

        drop((held, first));
        let own = unread.hold(&own).unwrap();
        drop((other, own));
        assert!(unread.permit(2 * LONG + 100).is_some(), "all is given back");
    }
}
