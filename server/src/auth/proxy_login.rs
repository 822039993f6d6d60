//! A login by a proxy that says who is logged in.
//!
//! The header is read here and nowhere else, at one route that answers a bearer token. So
//! no request carries an identity by itself: a page of another site can make a browser
//! send a request through the proxy, and gets nothing by it.

use fleetbeat_protocol::Role;

use crate::auth_settings::ProxySettings;
use crate::http::Request;

/// Who is logged in, as the proxy says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Claimed {
    /// The user's name.
    pub(crate) username: String,
    /// The role that the user's groups give; `None` where the user's own role counts.
    pub(crate) role: Option<Role>,
}

/// Why the proxy's word is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotClaimed {
    /// The request does not come from a proxy that is believed.
    Untrusted,
    /// The request comes from a page of another site, or from no page at all.
    ForeignOrigin,
    /// The proxy names no user.
    Nobody,
    /// The proxy names several users.
    Several,
    /// None of the user's groups gives a role.
    NoRole,
}

/// Who is logged in.
///
/// # Errors
/// Why nobody is.
pub(crate) fn find_claim(
    request: &Request,
    settings: &ProxySettings,
) -> Result<Claimed, NotClaimed> {
    let connected = request.peer().connected();
    if !settings.trusted.iter().any(|peer| peer.is(connected)) {
        return Err(NotClaimed::Untrusted);
    }
    if !is_of_own_page(request) {
        return Err(NotClaimed::ForeignOrigin);
    }

    let mut names = request.headers_named(&settings.header);
    let name = names.next().map(str::trim).filter(|name| !name.is_empty());
    let username = name.ok_or(NotClaimed::Nobody)?;
    if names.next().is_some() {
        return Err(NotClaimed::Several);
    }
    let username = username.to_owned();
    let Some(groups_header) = &settings.groups_header else {
        return Ok(Claimed {
            username,
            role: None,
        });
    };

    let groups = request.headers_named(groups_header);
    let role = find_role(groups, &settings.map).ok_or(NotClaimed::NoRole)?;
    Ok(Claimed {
        username,
        role: Some(role),
    })
}

/// The highest role that one of the groups gives.
fn find_role<'a>(
    groups: impl Iterator<Item = &'a str>,
    map: &[(String, Role)],
) -> Option<Role> {
    let groups = groups
        .flat_map(|list| list.split([',', '|']))
        .map(str::trim);
    let roles = groups.flat_map(|group| {
        let given = map.iter().filter(move |(name, _)| name == group);
        given.map(|(_, role)| *role)
    });
    roles.max()
}

/// Whether the request comes from a page of this very site: browsers say so, and let no
/// page say otherwise.
fn is_of_own_page(request: &Request) -> bool {
    let (Some(origin), Some(host)) = (request.header("Origin"), request.header("Host"))
    else {
        return false;
    };
    let authority = origin
        .strip_prefix("https://")
        .or_else(|| origin.strip_prefix("http://"));
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_role_of_all_groups_counts() {
        let map = [
            ("fleet-admins".to_owned(), Role::Admin),
            ("fleet-readers".to_owned(), Role::Readonly),
            ("root".to_owned(), Role::Superadmin),
        ];
        for (groups, role) in [
            (&["fleet-readers"][..], Some(Role::Readonly)),
            (&["x, fleet-readers ,fleet-admins"], Some(Role::Admin)),
            (&["x|root|fleet-readers"], Some(Role::Superadmin)),
            (&["fleet-readers", "root"], Some(Role::Superadmin)),
            (&["Root", "fleet-admins2", "roo t"], None),
            (&[""], None),
            (&[], None),
        ] {
            assert_eq!(find_role(groups.iter().copied(), &map), role, "{groups:?}");
        }
    }
}
