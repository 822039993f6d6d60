//! What a client is told when the store does not do it.

use crate::http::Failure;
use crate::store::{Conflict, StoreError};

/// A conflict is the client's matter. With everything else only an operator or time can
/// help, so the client learns no more than that, and the cause goes to the log.
impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        match error {
            StoreError::Conflict(
                conflict @ (Conflict::NoSuchUser(_) | Conflict::NoSuchToken(_)),
            ) => Failure::not_found(conflict.to_string()),
            StoreError::Conflict(conflict @ Conflict::LeavesScope) => {
                Failure::forbidden(conflict.to_string())
            }
            StoreError::Conflict(conflict) => Failure::conflict(conflict.to_string()),
            error => Failure::storage_away().because(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Unavailable;

    #[test]
    fn a_conflict_is_the_clients_matter_and_all_else_is_ours() {
        let name = || "ann".to_owned();
        for (error, status) in [
            (StoreError::from(Conflict::UserExists(name())), 409),
            (Conflict::LastSuperadmin(name()).into(), 409),
            (Conflict::LeavesScope.into(), 403),
            (Conflict::NoSuchUser(name()).into(), 404),
            (Conflict::NoSuchToken(name()).into(), 404),
            (Unavailable::Away.into(), 500),
        ] {
            let told = format!("{:?}", Failure::from(error));
            assert!(told.contains(&format!("status: {status}")), "{told}");
        }
    }
}
