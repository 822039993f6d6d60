//! The policy: who may do what.

use fleetbeat_protocol::{Role, Scope};

use super::identities::{Caller, Means};
use crate::http::Failure;

/// What a caller must be to use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Right {
    /// The least role of a user.
    role: Role,
    /// What an API token must be for; `None`: no API token may use the route.
    scope: Option<Scope>,
    /// Whether users may use the route who lack a second factor that their role needs.
    before_totp: bool,
}

impl Right {
    /// Users of this role, and of every role above it, who have logged in.
    pub(crate) const fn of(role: Role) -> Right {
        Right {
            role,
            scope: None,
            before_totp: false,
        }
    }

    /// API tokens of such users, too, if they are for this.
    pub(crate) const fn or_token_for(self, scope: Scope) -> Right {
        Right {
            scope: Some(scope),
            ..self
        }
    }

    /// Users, too, who have not yet set up the second factor that their role needs.
    pub(crate) const fn even_before_totp(self) -> Right {
        Right {
            before_totp: true,
            ..self
        }
    }

    /// Role and scope, as the OpenAPI document names them.
    #[cfg(test)]
    pub(crate) fn names(self) -> Vec<String> {
        let scope = self.scope.map(|scope| scope.to_string());
        [self.role.to_string()].into_iter().chain(scope).collect()
    }
}

/// The one place that decides whether a caller may use a route.
///
/// # Errors
/// 403, which says whose right it is.
pub(super) fn decide(right: Right, caller: &Caller) -> Result<(), Failure> {
    match caller.means() {
        Means::ApiToken(token) => match right.scope {
            Some(scope) if token.scopes.contains(&scope) => {}
            Some(scope) => return Err(Failure::beyond_scope(scope)),
            None => {
                let detail = "no API token may do this: a user has to log in";
                return Err(Failure::forbidden(detail));
            }
        },
        Means::LoginWithoutTotp if !right.before_totp => {
            return Err(Failure::totp_to_be_set_up());
        }
        Means::Login | Means::LoginWithoutTotp => {}
    }

    let role = caller.account().role;
    if role >= right.role {
        return Ok(());
    }
    let detail = match right.role {
        Role::Superadmin => format!("a {role} user may not do this, a superadmin may"),
        _ => format!("a {role} user may not do this, an {} may", right.role),
    };
    Err(Failure::forbidden(detail))
}
