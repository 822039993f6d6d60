//! Why a round of the care of history ends before everything is done.

use fleetbeat_history::HistoryError;

use crate::store::error::StoreError;

/// Why a round ends early.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The fleet's database cannot be read or written.
    Store(StoreError),
    /// history.db cannot be read or written.
    History(HistoryError),
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Stopped {
        Stopped::Store(error)
    }
}

impl From<HistoryError> for Stopped {
    fn from(error: HistoryError) -> Stopped {
        Stopped::History(error)
    }
}
