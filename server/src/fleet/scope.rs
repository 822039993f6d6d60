//! A user's scope: the hosts that the user sees and changes.
//!
//! A scope says whose a host is, and a host must not choose that. So a scope asks about
//! the host's address, its `server_id`, its flags and the tags of admins, and about
//! nothing that an agent says.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use fleetbeat_protocol::Server;
use fleetbeat_selector::{Field, Host, Selector, Value};

/// The hosts that a user sees and changes who does not see and change all.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct HostScope(Arc<Selector>);

impl HostScope {
    /// The scope that `text` spells.
    ///
    /// # Errors
    /// What is wrong with the text, and where. A field in which hosts have a say is wrong.
    pub(crate) fn parse(text: &str) -> Result<HostScope, String> {
        let selector = Selector::parse_granting(text);
        let selector = selector.map_err(|error| error.to_string())?;
        Ok(HostScope(Arc::new(selector)))
    }

    /// The selector, in its canonical form.
    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether the host is in the scope.
    pub(crate) fn covers(&self, server: &Server) -> bool {
        // No field that grants depends on the time.
        self.0.selects(&Granting(server), 0)
    }

    /// Whether the two records of an address are the same to every scope.
    pub(super) fn are_alike(one: &Server, other: &Server) -> bool {
        one.server_id == other.server_id
            && one.flags == other.flags
            && one.tags == other.tags
    }

    /// A number that no other scope has, but for a chance of one in 2^64.
    pub(super) fn number(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

impl fmt::Display for HostScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A host as scopes see it.
struct Granting<'a>(&'a Server);

impl Host for Granting<'_> {
    fn value(&self, field: &Field) -> Value<'_> {
        let Granting(server) = self;
        match field {
            Field::Ip => Value::Address(server.ip),
            Field::ServerId => Value::text(&server.server_id),
            Field::Enabled => Value::Switch(server.flags.enabled),
            Field::Static => Value::Switch(server.flags.is_static),
            Field::Gaming => Value::Switch(server.flags.gaming),
            Field::Streaming => Value::Switch(server.flags.streaming),
            Field::Paid => Value::Switch(server.flags.paid),
            Field::Tag(key) => {
                let tag = server.tags.get(key);
                tag.map_or(Value::Missing, |value| Value::Text(value))
            }
            // No scope asks. A host of which nobody knows is in none.
            _ => Value::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(change: impl FnOnce(&mut Server)) -> Server {
        let golden = include_str!("../../../protocol/golden/server.json");
        let mut server: Server = serde_json::from_str(golden).unwrap();
        server.ip = "10.0.0.1".parse().unwrap();
        server.tags.clear();
        server.agent_tags.clear();
        change(&mut server);
        server
    }

    fn covers(scope: &str, server: &Server) -> bool {
        HostScope::parse(scope).unwrap().covers(server)
    }

    #[test]
    fn a_host_is_in_a_scope_by_what_admins_say_of_it() {
        let acme = server(|server| {
            server.tags.insert("customer".to_owned(), "acme".to_owned());
            server.flags.paid = true;
        });
        for scope in [
            "all",
            "ip ~ 10.0.0.*",
            "tag.customer = acme",
            "paid and not gaming",
            "enabled and tag.customer",
        ] {
            assert!(covers(scope, &acme), "{scope}");
        }
        for scope in ["not all", "tag.customer = other", "static", "ip = 10.0.0.2"] {
            assert!(!covers(scope, &acme), "{scope}");
        }
    }

    #[test]
    fn an_agent_has_no_say_in_whose_its_host_is() {
        let claims = server(|server| {
            let tags = &mut server.agent_tags;
            tags.insert("customer".to_owned(), "acme".to_owned());
        });
        assert!(!covers("tag.customer = acme", &claims));
        assert!(covers("tag.customer != acme", &claims));
    }

    #[test]
    fn a_scope_is_its_canonical_form() {
        let parse = |text| HostScope::parse(text).unwrap();
        let scope = parse("(paid)and tag.a=b");
        assert_eq!(scope.to_string(), "paid and tag.a = b");
        assert_eq!(scope, parse("paid and tag.a = b"));
        assert_eq!(scope.number(), parse("paid and tag.a = b").number());
        assert_ne!(scope.number(), parse("paid").number());
        let error = HostScope::parse("paid and city = Munich").unwrap_err();
        assert!(error.starts_with("at character 10: city "), "{error}");
    }
}
