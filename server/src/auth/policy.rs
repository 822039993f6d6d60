//! The policy: who may do what.

use std::fmt;

use fleetbeat_protocol::{Account, Role};

use crate::http::Failure;

/// What a caller must be to use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Right {
    /// The least role of a user.
    role: Role,
}

impl Right {
    /// Users of this role, and of every role above it.
    pub(crate) const fn of(role: Role) -> Right {
        Right { role }
    }
}

impl fmt::Display for Right {
    /// As the OpenAPI document names it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.role.fmt(f)
    }
}

/// The one place that decides whether this user may use a route.
///
/// # Errors
/// 403, which says whose right it is.
pub(super) fn decide(right: Right, user: &Account) -> Result<(), Failure> {
    let role = user.role;
    if role >= right.role {
        return Ok(());
    }
    let detail = match right.role {
        Role::Superadmin => format!("a {role} user may not do this, a superadmin may"),
        _ => format!("a {role} user may not do this, an {} may", right.role),
    };
    Err(Failure::forbidden(detail))
}
