//! `GET /me`: the user's own account.

use super::state::ApiState;
use crate::auth::Caller;
use crate::http::{Failure, Reply, Request, Response};

/// The user's name and role.
pub(super) fn show(
    _: &ApiState,
    caller: &Caller,
    _: &mut Request,
) -> Result<Reply, Failure> {
    Ok(Reply::Now(Response::json(200, caller.account())))
}
