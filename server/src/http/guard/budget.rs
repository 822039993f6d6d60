//! Bytes that many connections share a limit for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many bytes, of which each holder of a [`Permit`] has some.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    left: Arc<AtomicUsize>,
}

/// Some bytes of a [`Budget`], until they are dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    budget: Budget,
    bytes: usize,
}

impl Budget {
    /// A budget of so many bytes.
    pub(crate) fn new(bytes: usize) -> Budget {
        Budget {
            left: Arc::new(AtomicUsize::new(bytes)),
        }
    }

    /// A permit for no bytes yet.
    pub(crate) fn permit(&self) -> Permit {
        Permit {
            budget: self.clone(),
            bytes: 0,
        }
    }
}

impl Permit {
    /// Makes this a permit for `bytes` in all. False, and nothing changes, if the budget
    /// has not as many left.
    #[must_use]
    pub(crate) fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let take = |left: usize| left.checked_sub(more);
        let is_taken = self
            .budget
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok();
        if is_taken {
            self.bytes += more;
        }
        is_taken
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let budget = Budget::new(10);
        let (mut first, mut second) = (budget.permit(), budget.permit());
        assert!(
            first.grow_to(6) && first.grow_to(4),
            "six is enough for four"
        );
        assert!(!second.grow_to(5) && second.grow_to(4));
        drop(first);
        assert!(second.grow_to(10) && !second.grow_to(11));
    }
}
