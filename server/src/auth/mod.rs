//! Authentication: the identity behind a request, and the rights of that identity.

mod agent_keys;
mod api_tokens;
mod identities;
mod known_users;
pub(crate) mod login;
mod login_limits;
mod login_queue;
pub(crate) mod logins;
mod networks;
pub(crate) mod passwords;
mod policy;
pub(crate) mod proxy_login;
mod refusals;
mod token_text;
mod tokens;
pub(crate) mod totp;

pub(crate) use self::agent_keys::AgentKeys;
pub(crate) use self::identities::{Agent, Auth, Caller, Denied, Session, Watcher};
pub(crate) use self::networks::{Network, network, show_network};
pub(crate) use self::policy::Right;
pub(crate) use self::refusals::{Refusal, show_source};
pub(crate) use self::token_text::TokenText;
pub(crate) use self::tokens::Via;
