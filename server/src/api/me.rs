//! `GET /me`: the user's own account.

use super::Answer;
use crate::auth::Reader;
use crate::http::{Reply, Response};

pub(super) fn show(reader: &Reader) -> Answer {
    Ok(Reply::Now(Response::json(200, reader.account())))
}
