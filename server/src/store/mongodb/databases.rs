//! The two databases together: MongoDB with the truth, and Redis, if configured, with
//! copies for readers.

use mongodb::IndexModel;
use mongodb::bson::{Document, doc};
use mongodb::options::IndexOptions;

use super::connection::Connection;
use super::error::MongoDbError;
use super::redis::RedisCopies;
use super::{alerts, history};

/// MongoDB and Redis. All threads of the store share them.
pub(super) struct Databases {
    /// MongoDB.
    pub(super) mongodb: Connection,
    /// Redis; `None` if nobody reads there.
    pub(super) redis: Option<RedisCopies>,
}

impl Databases {
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
            index(doc! {"changed_at": 1}),
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
        alerts::make_indexes(mongodb)?;
        history::make_indexes(mongodb)
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
