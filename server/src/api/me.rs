//! `GET /me`: the user's own account.

use crate::auth::Reader;
use crate::http::{Failure, Reply, Response};

/// The user's name and role.
pub(super) fn show(reader: &Reader) -> Result<Reply, Failure> {
    Ok(Reply::Now(Response::json(200, reader.account())))
}
