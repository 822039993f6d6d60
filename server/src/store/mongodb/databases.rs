//! The two databases together: MongoDB with the truth, and Redis, if configured, with
//! copies for readers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Mutex;

use fleetbeat_daemon::lock::lock;
use mongodb::IndexModel;
use mongodb::bson::{Document, doc};
use mongodb::options::IndexOptions;

use super::connection::Connection;
use super::document::VersionedServer;
use super::error::MongoDbError;
use super::history;
use super::redis::RedisCopies;

/// Records asked for by address at once.
pub(super) const MAX_ASKED: usize = 500;

/// MongoDB and Redis. All threads of the store share them.
pub(super) struct Databases {
    /// MongoDB.
    pub(super) mongodb: Connection,
    /// Redis; `None` sends all reads to MongoDB.
    pub(super) redis: Option<RedisCopies>,
    /// Records that this instance has changed, as MongoDB holds them now, until the
    /// instance's copy of the fleet has them. At most one for each host.
    read_back: Mutex<BTreeMap<IpAddr, VersionedServer>>,
}

impl Databases {
    /// The two databases.
    pub(super) fn new(mongodb: Connection, redis: Option<RedisCopies>) -> Databases {
        Databases {
            mongodb,
            redis,
            read_back: Mutex::default(),
        }
    }

    /// Keeps records that this instance has changed for its copy of the fleet.
    pub(super) fn keep_read_back(&self, records: &[VersionedServer]) {
        let mut read_back = lock(&self.read_back);
        for record in records {
            let ip = record.server.ip;
            let is_newer = |kept: &VersionedServer| kept.version < record.version;
            if read_back.get(&ip).is_none_or(is_newer) {
                read_back.insert(ip, record.clone());
            }
        }
    }

    /// Takes the records that were kept.
    pub(super) fn take_read_back(&self) -> BTreeMap<IpAddr, VersionedServer> {
        std::mem::take(&mut *lock(&self.read_back))
    }

    /// Makes the indexes in MongoDB. Several instances may do so at once.
    pub(super) fn make_indexes(&self) -> Result<(), MongoDbError> {
        // A record without the field, which another program has left there, must not keep
        // this program from starting.
        let if_there = IndexOptions::builder().unique(true).sparse(true).build();
        let always = IndexOptions::builder().unique(true).build();
        let servers = [
            unique_index(doc! {"ip": 1}, &if_there),
            unique_index(doc! {"server_id": 1}, &if_there),
            unique_index(doc! {"agent_id": 1}, &if_there),
            index(doc! {"clone_of": 1}),
            index(doc! {"last_heartbeat": 1}),
            index(doc! {"status": 1}),
        ];
        let users = [
            unique_index(doc! {"username": 1}, &if_there),
            unique_index(doc! {"name_key": 1}, &if_there),
        ];
        let former = [
            unique_index(doc! {"ip": 1, "collected_at": 1}, &always),
            index(doc! {"collected_at": 1}),
            index(doc! {"stored_at": 1}),
        ];

        let events = [
            index(doc! {"n": 1}),
            index(doc! {"kind": 1, "n": 1}),
            index(doc! {"host": 1, "n": 1}),
            index_of_some("user"),
            index_of_some("actor"),
        ];

        let of_key = doc! {"code": 1, "agent_id": 1, "hash": 1};
        let code_use = unique_index(of_key, &always);

        let mongodb = &self.mongodb;
        mongodb.run(async {
            mongodb
                .agent_keys()
                .create_index(index(doc! {"rev": 1}))
                .await?;
            mongodb.code_uses().create_index(code_use).await
        })?;
        mongodb.run(async { mongodb.events().create_indexes(events).await })?;
        mongodb.run(async {
            mongodb.servers().create_indexes(servers).await?;
            mongodb.users().create_indexes(users).await?;
            mongodb.history().create_indexes(former).await
        })?;
        history::make_indexes(mongodb)
    }

    /// The records of these hosts in MongoDB; `None` for a host without a record.
    pub(super) fn read_servers(
        &self,
        ips: &[IpAddr],
    ) -> Result<BTreeMap<IpAddr, Option<VersionedServer>>, MongoDbError> {
        let mut records: BTreeMap<IpAddr, Option<VersionedServer>> =
            ips.iter().map(|ip| (*ip, None)).collect();
        for chunk in ips.chunks(MAX_ASKED) {
            let asked: Vec<String> = chunk.iter().map(ToString::to_string).collect();
            let servers = self.mongodb.servers();
            let found = servers.find(doc! {"ip": {"$in": asked}});
            for record in self
                .mongodb
                .collect(found, VersionedServer::from_document)?
            {
                records.insert(record.server.ip, Some(record));
            }
        }
        Ok(records)
    }
}

fn index(keys: Document) -> IndexModel {
    IndexModel::builder().keys(keys).build()
}

/// An index of the events that have the field.
fn index_of_some(field: &str) -> IndexModel {
    let some = doc! {field: {"$exists": true}};
    let options = IndexOptions::builder().partial_filter_expression(some);
    IndexModel::builder()
        .keys(doc! {field: 1, "n": 1})
        .options(options.build())
        .build()
}

fn unique_index(keys: Document, options: &IndexOptions) -> IndexModel {
    IndexModel::builder()
        .keys(keys)
        .options(options.clone())
        .build()
}
