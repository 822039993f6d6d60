//! Tests kill an instance at each of its writes.

use std::sync::Mutex;

use fleetbeat_daemon::lock::lock;

use super::error::Unavailable;

/// Lets so many writes through, and nothing behind them.
#[derive(Debug, Default)]
pub(super) struct Fuse(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// `None` lets everything through.
    left: Option<usize>,
    last: Last,
    used: usize,
}

/// What becomes of the last write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Last {
    /// The kill comes before it.
    #[default]
    Undone,
    /// The kill comes after it, and nobody is told that it was done.
    Done,
}

/// What is to be done with a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Burn {
    Through,
    /// Do it, and fail.
    Done,
    /// Fail.
    Dead,
}

impl Fuse {
    /// Kills at the write behind `writes` others.
    pub(super) fn set(&self, writes: usize, last: Last) {
        let mut state = lock(&self.0);
        state.left = Some(writes);
        state.last = last;
    }

    /// The writes so far.
    pub(super) fn used(&self) -> usize {
        lock(&self.0).used
    }

    pub(super) fn burn(&self) -> Burn {
        let mut state = lock(&self.0);
        state.used += 1;
        match state.left {
            None => Burn::Through,
            Some(0) if state.last == Last::Done => {
                state.last = Last::Undone;
                Burn::Done
            }
            Some(0) => Burn::Dead,
            Some(left) => {
                state.left = Some(left - 1);
                Burn::Through
            }
        }
    }
}

/// What a caller is told whose write was killed.
pub(super) fn killed() -> Unavailable {
    Unavailable::Away
}
