//! What went wrong and is to be told.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::store::Trouble;

/// Most troubles that wait to be told.
const MOST: usize = 100;

/// Troubles that wait to be told; those over the limit are forgotten.
#[derive(Debug, Default)]
pub(crate) struct Troubles(Mutex<Vec<Trouble>>);

impl Troubles {
    pub(crate) fn add(&self, trouble: Trouble) {
        let mut waiting = lock(&self.0);
        if waiting.len() < MOST {
            waiting.push(trouble);
        }
    }

    pub(crate) fn take(&self) -> Vec<Trouble> {
        std::mem::take(&mut lock(&self.0))
    }
}

/// Locks, whatever a thread with the lock has died of: what is behind our locks is whole
/// between two statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
