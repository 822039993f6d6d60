//! The policy: who may do what.

use fleetbeat_protocol::{Role, Scope};

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
    /// Whether a program of the server's own machine may, too, without a token.
    admits_local_peers: bool,
    /// Whether the route works on the whole fleet, so that no user may use it who has a
    /// scope.
    over_all_hosts: bool,
}

/// Which hosts somebody sees and changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Every host.
    AllHosts,
    /// Those of the user's scope.
    Scope,
}

/// Who wants to use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker<'a> {
    /// A user of this role, who has logged in.
    User(Role),
    /// A user who has logged in without the second factor that the role needs.
    UserWithoutTotp(Role),
    /// A program with an API token for these scopes, of a user of this role.
    Program(Role, &'a [Scope]),
    /// A program of the server's own machine, without a token.
    LocalPeer,
    /// Somebody without a token.
    Stranger,
}

impl Right {
    /// Users of this role, and of every role above it, who have logged in.
    pub(crate) const fn of(role: Role) -> Right {
        Right {
            role,
            scope: None,
            before_totp: false,
            admits_local_peers: false,
            over_all_hosts: false,
        }
    }

    /// No user who has a scope, because the route works on the whole fleet.
    pub(crate) const fn over_all_hosts(self) -> Right {
        Right {
            over_all_hosts: true,
            ..self
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

    /// Whether a user who has a scope lacks the right.
    #[cfg(test)]
    pub(crate) fn is_over_all_hosts(self) -> bool {
        self.over_all_hosts
    }

    /// Role and scope, as the OpenAPI document names them.
    #[cfg(test)]
    pub(crate) fn names(self) -> Vec<String> {
        let scope = self.scope.map(|scope| scope.to_string());
        [self.role.to_string()].into_iter().chain(scope).collect()
    }
}

/// The one place that decides whether somebody may use a route.
///
/// # Errors
/// 401 for who has no token and needs one; 403, which says whose right it is.
pub(super) fn decide(
    right: Right,
    asker: Asker<'_>,
    reach: Reach,
) -> Result<(), Failure> {
    let role = match asker {
        Asker::LocalPeer if right.admits_local_peers => return Ok(()),
        Asker::LocalPeer | Asker::Stranger => {
            let detail = "a bearer token is needed: log in by POST /token";
            return Err(Failure::no_valid_token(detail));
        }
        Asker::UserWithoutTotp(_) if !right.before_totp => {
            return Err(Failure::totp_to_be_set_up());
        }
        Asker::Program(role, scopes) => match right.scope {
            Some(scope) if scopes.contains(&scope) => role,
            Some(scope) => return Err(Failure::beyond_scope(scope)),
            None => {
                let detail = "no API token may do this: a user has to log in";
                return Err(Failure::forbidden(detail));
            }
        },
        Asker::User(role) | Asker::UserWithoutTotp(role) => role,
    };
    if role >= right.role {
        return check_reach(right, reach);
    }
    let detail = match right.role {
        Role::Superadmin => format!("a {role} user may not do this, a superadmin may"),
        _ => format!("a {role} user may not do this, an {} may", right.role),
    };
    Err(Failure::forbidden(detail))
}

/// Whether the hosts that somebody sees are enough for the route.
///
/// # Errors
/// 403.
fn check_reach(right: Right, reach: Reach) -> Result<(), Failure> {
    if right.over_all_hosts && reach == Reach::Scope {
        let detail = "this is about the whole fleet, and this user has a scope: a user \
                      without a scope may do this";
        return Err(Failure::forbidden(detail));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How it is decided: 200, or the refusal's status.
    fn status(right: Right, asker: Asker<'_>) -> u16 {
        status_within(right, asker, Reach::AllHosts)
    }

    fn status_within(right: Right, asker: Asker<'_>, reach: Reach) -> u16 {
        match decide(right, asker, reach) {
            Ok(()) => 200,
            Err(failure) => failure.status(),
        }
    }

    #[test]
    fn what_is_about_the_whole_fleet_is_not_for_users_with_a_scope() {
        let right = Right::of(Role::Readonly).or_token_for(Scope::MetricsRead);
        let scopes = &[Scope::MetricsRead][..];
        for asker in [
            Asker::User(Role::Superadmin),
            Asker::Program(Role::Superadmin, scopes),
        ] {
            let of_all = right.over_all_hosts();
            assert_eq!(status_within(right, asker, Reach::Scope), 200);
            assert_eq!(status_within(of_all, asker, Reach::Scope), 403);
            assert_eq!(status_within(of_all, asker, Reach::AllHosts), 200);
        }
    }

    #[test]
    fn a_right_is_a_role_and_whether_local_programs_have_it() {
        let askers = [
            Asker::Stranger,
            Asker::LocalPeer,
            Asker::User(Role::Readonly),
            Asker::User(Role::Admin),
            Asker::User(Role::Superadmin),
        ];
        let statuses = |right| askers.map(|asker| status(right, asker));

        let (reading, setting) = (Right::of(Role::Readonly), Right::of(Role::Admin));
        assert_eq!(statuses(reading), [401, 401, 200, 200, 200]);
        assert_eq!(statuses(reading.or_local_peer()), [401, 200, 200, 200, 200]);
        assert_eq!(statuses(setting), [401, 401, 403, 200, 200]);
        assert_eq!(statuses(setting.or_local_peer()), [401, 200, 403, 200, 200]);
    }

    #[test]
    fn an_api_token_needs_the_scope_and_its_makers_role() {
        let (writes, reads) = (&[Scope::FlagsWrite][..], &[Scope::ServersRead][..]);
        let right = Right::of(Role::Admin).or_token_for(Scope::FlagsWrite);
        assert_eq!(status(right, Asker::Program(Role::Admin, writes)), 200);
        assert_eq!(status(right, Asker::Program(Role::Admin, reads)), 403);
        assert_eq!(status(right, Asker::Program(Role::Readonly, writes)), 403);

        let for_users_alone = Right::of(Role::Admin);
        let program = Asker::Program(Role::Superadmin, &Scope::ALL);
        assert_eq!(status(for_users_alone, program), 403);
    }

    #[test]
    fn a_second_factor_that_is_missing_closes_all_but_the_own_account() {
        let asker = Asker::UserWithoutTotp(Role::Superadmin);
        let right = Right::of(Role::Readonly);
        assert_eq!(status(right, asker), 403);
        assert_eq!(status(right.even_before_totp(), asker), 200);
    }
}
