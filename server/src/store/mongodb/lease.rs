//! Who sweeps: one instance of several, by a lease in MongoDB that ends by itself when
//! its holder dies.

use std::time::Duration;

use fleetbeat_protocol::Timestamp;
use mongodb::bson::doc;

use super::connection::{Link, is_duplicate_key};
use super::document::date;
use crate::store::StoreError;

pub(super) struct Lease {
    /// This process, and no other.
    holder: String,
    /// Long enough that its holder renews it with every sweep.
    life: Duration,
}

impl Lease {
    pub(super) fn new(sweep_interval: Duration) -> Lease {
        let holder = format!(
            "{:016x}",
            getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()))
        );
        Lease {
            holder,
            life: sweep_interval * 2 + Duration::from_secs(5),
        }
    }

    /// Takes or renews the lease; false while another instance has it.
    pub(super) fn acquire(&self, link: &Link) -> Result<bool, MongoDbError> {
        let now = Timestamp::now();
        let free_or_ours = doc! {"_id": "sweep", "$or": [{"until": {"$lt": date(now)}}, {"holder": &self.holder}]};
        let take = doc! {"$set": {"holder": &self.holder, "until": date(now.saturating_add(self.life).unwrap_or(now))}};
        let leases = link.leases();
        // Somebody else's lease does not match, and cannot be inserted a second time.
        match link.run(async { leases.update_one(free_or_ours, take).upsert(true).await })
        {
            Ok(_) => Ok(true),
            Err(error) if error.is_duplicate_key() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives it back, so that another instance need not wait for its end.
    pub(super) fn release(&self, link: &Link) {
        let leases = link.leases();
        if let Err(error) = link.run(async {
            leases
                .delete_one(doc! {"_id": "sweep", "holder": &self.holder})
                .await
        }) {
            log::warn!("the sweep's lease stays until it ends: {error}");
        }
    }
}
