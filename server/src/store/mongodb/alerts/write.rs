//! How the holder of the lease writes alerts with their events.

use mongodb::bson::{Bson, Document, doc};

use super::super::document::carry;
use super::super::error::MongoDbError;
use super::super::pending::{self, Host};
use super::alert::{alert_to_document, hosts};
use super::holder::Holder;
use crate::store::alert_store::{AlertRow, AlertSlice};
use crate::store::error::StoreError;

impl Holder<'_> {
    /// Writes alerts with their events. What is remembered comes last: until then the same
    /// can be found out again.
    pub(in crate::store::mongodb) fn write(
        self,
        slice: &AlertSlice<'_>,
    ) -> Result<(), StoreError> {
        let events = self.events(slice)?;
        let updates = slice.alerts.iter().enumerate().map(|(place, alert)| {
            let of_alert = events.iter().filter(|(of, _)| *of == place);
            let of_alert = of_alert.map(|(_, event)| event.clone());
            self.update(alert, of_alert.collect())
        });
        let updates: Vec<Document> = updates.collect();
        if !updates.is_empty() {
            self.update_alerts(updates)?;
        }
        self.check()?;

        self.deliver(slice, &events)?;
        if !slice.dropped.is_empty() {
            let alerts = self.mongodb.alerts();
            let epoch = doc! {"$lte": self.epoch};
            let dropped = doc! {"_id": {"$in": slice.dropped.to_vec()}, "epoch": epoch};
            self.mongodb
                .run(async { alerts.delete_many(dropped).await })?;
        }
        match slice.state {
            Some(state) => self.set_state(doc! {"body": state}),
            None => Ok(()),
        }
    }

    /// The slice's events as documents, each with the place of its alert.
    fn events(
        self,
        slice: &AlertSlice<'_>,
    ) -> Result<Vec<(usize, Document)>, MongoDbError> {
        let server_id = |place: usize| slice.alerts.get(place)?.server_id.as_ref();
        let told = slice
            .events
            .iter()
            .filter_map(|(place, _)| server_id(*place));
        let hosts = hosts(self.mongodb, &told.collect::<Vec<_>>())?;
        let document = |(place, event): &(usize, _)| {
            let host = server_id(*place).map(|server_id| {
                let known = hosts.get(server_id);
                let (ip, hostname) =
                    known.map_or(("", ""), |(ip, hostname)| (ip, hostname));
                Host {
                    server_id,
                    ip: ip.to_owned(),
                    hostname,
                }
            });
            (*place, pending::new_document(event, host.as_ref()))
        };
        Ok(slice.events.iter().map(document).collect())
    }

    /// The update that makes or replaces an alert, which carries these events.
    fn update(self, alert: &AlertRow, events: Vec<Document>) -> Document {
        let mut fields = alert_to_document(alert);
        fields.insert("epoch", self.epoch);
        fields.insert("written", self.service_time);
        let mut update = doc! {"$set": fields};
        carry(&mut update, events);
        doc! {
            "q": {"_id": &alert.id, "epoch": {"$lte": self.epoch}},
            "u": update,
            "upsert": true,
        }
    }

    fn update_alerts(self, updates: Vec<Document>) -> Result<(), StoreError> {
        let updated = self.mongodb.update_others("alerts", updates)?;
        let Some(refused) = updated.refused.into_iter().next() else {
            return Ok(());
        };
        // An alert of a later holder does not match, and cannot be inserted.
        self.check()?;
        Err(MongoDbError::refused(refused.reason).into())
    }

    /// Delivers the events that these alerts carry.
    fn deliver(
        self,
        slice: &AlertSlice<'_>,
        events: &[(usize, Document)],
    ) -> Result<(), MongoDbError> {
        if events.is_empty() {
            return Ok(());
        }
        let alert = |place: usize| Some(slice.alerts.get(place)?.id.as_str());
        let carriers: Vec<&str> = events
            .iter()
            .filter_map(|(place, _)| alert(*place))
            .collect();
        let events: Vec<Document> =
            events.iter().map(|(_, event)| event.clone()).collect();
        let ids = events.iter().filter_map(|event| event.get("_id").cloned());
        let ids: Vec<Bson> = ids.collect();

        pending::insert_new(self.mongodb, &self.mongodb.events(), &events)?;
        let alerts = self.mongodb.alerts();
        let carriers = doc! {"_id": {"$in": carriers}};
        let clear = doc! {"$pull": {"pending": {"_id": {"$in": ids}}}};
        self.mongodb
            .run(async { alerts.update_many(carriers, clear).await })?;
        Ok(())
    }
}
