//! Who is asking, and what they may do.

mod identities;
pub(crate) mod logins;
pub(crate) mod passwords;
mod tokens;

pub(crate) use identities::{Admin, Agent, AgentKeys, Auth, Reader};
