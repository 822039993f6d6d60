//! What callers do, for events and the log.

use fleetbeat_daemon::clock;

use crate::auth::Caller;
use crate::http::Request;
use crate::store::{Act, Who};

/// What the caller does with this request.
pub(super) fn act_of(caller: &Caller, request: &Request) -> Act {
    Act {
        who: Who::User(caller.account().username.clone()),
        address: request.peer().ip(),
        at: clock::now(),
    }
}
