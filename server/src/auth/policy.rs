//! The policy: who may do what.

use std::fmt;

use fleetbeat_protocol::{Account, Role};

use crate::http::Failure;

/// What a caller must be to use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Right {
    /// The least role of a user.
    role: Role,
    /// Whether a program of the server's own machine may, too, without a token.
    admits_local_peers: bool,
}

/// Who wants to use a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asker {
    /// A user with a valid token.
    User(Account),
    /// A program of the server's own machine, without a token.
    LocalPeer,
    /// Somebody without a token.
    Stranger,
}

impl Right {
    /// Users of this role, and of every role above it.
    pub(crate) const fn of(role: Role) -> Right {
        Right {
            role,
            admits_local_peers: false,
        }
    }

    /// The same right for programs of the server's own machine, too.
    pub(crate) const fn or_local_peer(self) -> Right {
        Right {
            admits_local_peers: true,
            ..self
        }
    }

    /// Whether programs of the server's own machine have the right without a token.
    #[cfg(test)]
    pub(crate) fn admits_local_peers(self) -> bool {
        self.admits_local_peers
    }
}

impl fmt::Display for Right {
    /// As the OpenAPI document names it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.role.fmt(f)
    }
}

/// The one place that decides whether somebody may use a route.
///
/// # Errors
/// 401 for who has no token and needs one; 403, which says whose right it is.
pub(super) fn decide(right: Right, asker: &Asker) -> Result<(), Failure> {
    let role = match asker {
        Asker::User(account) if account.role >= right.role => return Ok(()),
        Asker::User(account) => account.role,
        Asker::LocalPeer if right.admits_local_peers => return Ok(()),
        Asker::LocalPeer | Asker::Stranger => {
            let detail = "a bearer token is needed: log in by POST /token";
            return Err(Failure::no_valid_token(detail));
        }
    };
    let detail = match right.role {
        Role::Superadmin => format!("a {role} user may not do this, a superadmin may"),
        _ => format!("a {role} user may not do this, an {} may", right.role),
    };
    Err(Failure::forbidden(detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_is_a_role_and_whether_local_programs_have_it() {
        let user = |role| {
            Asker::User(Account {
                username: "ann".to_owned(),
                role,
            })
        };
        let askers = [
            Asker::Stranger,
            Asker::LocalPeer,
            user(Role::Readonly),
            user(Role::Admin),
            user(Role::Superadmin),
        ];
        let statuses = |right| {
            let status = |asker| match decide(right, asker) {
                Ok(()) => 200,
                Err(failure) => failure.status(),
            };
            askers.iter().map(status).collect::<Vec<_>>()
        };

        let (reading, setting) = (Right::of(Role::Readonly), Right::of(Role::Admin));
        assert_eq!(statuses(reading), [401, 401, 200, 200, 200]);
        assert_eq!(statuses(reading.or_local_peer()), [401, 200, 200, 200, 200]);
        assert_eq!(statuses(setting), [401, 401, 403, 200, 200]);
        assert_eq!(statuses(setting.or_local_peer()), [401, 200, 403, 200, 200]);
    }
}
