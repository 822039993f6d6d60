//! Authentication: the identity behind a request, and the rights of that identity.

mod agent_keys;
mod agents;
pub(crate) mod codes;
mod identities;
mod login_limits;
pub(crate) mod logins;
mod networks;
mod own_keys;
pub(crate) mod passwords;
mod policy;
mod refusals;
mod tokens;

pub(crate) use self::agent_keys::AgentKeys;
pub(crate) use self::agents::{Agent, AgentAuth, KeysTaken};
pub(crate) use self::identities::{Auth, Caller, LoginOutcome, Watcher};
pub(crate) use self::networks::{Network, network, show_network};
pub(crate) use self::own_keys::OwnKeys;
pub(crate) use self::policy::Right;
pub(crate) use self::refusals::{Refusal, show_source};
