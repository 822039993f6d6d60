//! `prune`: the operator's word that many hosts may be deleted at once.

use crate::config::SweepSettings;
use crate::store::{ServerStore, StoreError};

/// Lets the running server delete all hosts that are due now, and says what it will do.
pub(super) fn allow(
    store: &(impl ServerStore + ?Sized),
    settings: &SweepSettings,
) -> Result<(), StoreError> {
    let hosts = store.prune(settings.delete_after)?;
    let (due, all) = (hosts.due, hosts.all);
    if due == 0 {
        println!("none of the {all} hosts has been down for sweep.delete_after");
    } else {
        println!(
            "{due} of {all} hosts have been down for sweep.delete_after: the server \
             deletes them with its next sweep, but for those that come back before, and \
             keeps their flags for their return"
        );
    }
    Ok(())
}
