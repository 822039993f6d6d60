//! Authentication: the identity behind a request, and the rights of that identity.

mod agent_keys;
mod identities;
mod login_limits;
pub(crate) mod logins;
mod networks;
pub(crate) mod passwords;
mod policy;
mod refusals;
mod tokens;

pub(crate) use self::agent_keys::AgentKeys;
pub(crate) use self::identities::{Agent, Auth, Caller, LoginOutcome, Watcher};
pub(crate) use self::networks::{Network, network, show_network};
pub(crate) use self::policy::Right;
pub(crate) use self::refusals::{Refusal, show_source};
