//! `GET /servers/changes`: what has changed in the fleet since a client has asked last.

use fleetbeat_protocol::FieldError;

use super::list;
use super::state::ApiState;
use crate::auth::Caller;
use crate::fleet::changes::Cursor;
use crate::http::{Failure, Reply, Request};
use crate::parameters;

/// Answers with the changes since the cursor of an earlier answer.
pub(super) fn list(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let since = parse(request.query()).map_err(Failure::invalid)?;
    let changes = api.hosts.of(caller).changes(since)?;

    Ok(list::answer(request, &changes))
}

/// The cursor that is asked for, if any.
fn parse(query: &str) -> Result<Option<Cursor>, Vec<FieldError>> {
    let mut since = None;
    parameters::parse(query, |name, value| {
        match name {
            "since" => since = Some(value.parse()?),
            _ => return Err("is not a parameter: use since".to_owned()),
        }
        Ok(())
    })?;
    Ok(since)
}
