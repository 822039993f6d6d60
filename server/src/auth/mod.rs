//! Authentication: the identity behind a request, and the rights of that identity.

mod agent_keys;
mod identities;
pub(crate) mod logins;
pub(crate) mod passwords;
mod tokens;

pub(crate) use self::agent_keys::AgentKeys;
pub(crate) use self::identities::{Admin, Agent, Auth, Reader};
