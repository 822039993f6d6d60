//! The API tokens in the store: what programs may do in the name of a user.

use fleetbeat_protocol::{Scope, ShownApiToken, Timestamp};
use ipnet::IpNet;

use super::error::StoreError;
use super::event::{Act, EventKind, NewEvent, facts};

/// The API tokens. That one is made or revoked is told by an event, with who did it.
pub(crate) trait ApiTokenStore: Send + Sync {
    /// Every token, the oldest first. They are few: a user may have a hundred.
    ///
    /// # Errors
    /// The database cannot be read.
    fn api_tokens(&self) -> Result<Vec<ApiToken>, StoreError>;

    /// Adds a token.
    ///
    /// # Errors
    /// The database cannot be written.
    fn add_api_token(&self, token: &ApiToken, act: &Act) -> Result<(), StoreError>;

    /// Revokes a token.
    ///
    /// # Errors
    /// The token is not known, or the database cannot be written.
    fn remove_api_token(&self, id: &str, act: &Act) -> Result<(), StoreError>;

    /// Notes the day of a token's last use.
    ///
    /// # Errors
    /// The database cannot be written.
    fn note_api_token_use(&self, id: &str, day: Timestamp) -> Result<(), StoreError>;
}

/// An API token with what must not leave the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiToken {
    /// The part of the token that may be seen; unique.
    pub(crate) id: String,
    /// The id of the user who has made it.
    pub(crate) user_id: String,
    /// That user's name.
    pub(crate) username: String,
    /// What it is for, in the user's words.
    pub(crate) name: String,
    /// SHA-256 of the secret part, in hexadecimal digits.
    pub(crate) hash: String,
    /// What it may do.
    pub(crate) scopes: Vec<Scope>,
    /// From where it may be used; empty for everywhere.
    pub(crate) networks: Vec<IpNet>,
    /// When it was made.
    pub(crate) created_at: Timestamp,
    /// When it ends.
    pub(crate) expires_at: Timestamp,
    /// The midnight before its last use.
    pub(crate) last_used_on: Option<Timestamp>,
}

impl ApiToken {
    /// A token of this id, made by `owner` at the beginning of 1970 for a day.
    #[cfg(test)]
    pub(crate) fn example(id: &str, owner: &str, scopes: &[Scope]) -> ApiToken {
        let created_at = Timestamp::UNIX_EPOCH;
        ApiToken {
            id: id.to_owned(),
            user_id: format!("id of {owner}"),
            username: owner.to_owned(),
            name: "an example".to_owned(),
            hash: format!("hash of {id}"),
            scopes: scopes.to_vec(),
            networks: Vec::new(),
            created_at,
            expires_at: created_at + jiff::SignedDuration::from_hours(24),
            last_used_on: None,
        }
    }

    /// What users see of it.
    pub(crate) fn show(&self) -> ShownApiToken {
        ShownApiToken {
            id: self.id.clone(),
            name: self.name.clone(),
            username: self.username.clone(),
            scopes: self.scopes.clone(),
            networks: self.networks.iter().map(ToString::to_string).collect(),
            created_at: self.created_at,
            expires_at: self.expires_at,
            last_used_on: self.last_used_on,
        }
    }

    /// The event that it was made.
    pub(super) fn created(&self, act: &Act) -> NewEvent {
        let scopes: Vec<&str> = self.scopes.iter().map(|scope| scope.as_str()).collect();
        let members = [
            ("id", self.id.as_str().into()),
            ("name", self.name.as_str().into()),
            ("scopes", scopes.into()),
            ("expires_at", self.expires_at.to_string().into()),
        ];
        let event = act.event(EventKind::TokenCreated, facts(members));
        event.about(&self.username)
    }

    /// The event that it was revoked.
    pub(super) fn revoked(&self, act: &Act) -> NewEvent {
        let members = [
            ("id", self.id.as_str().into()),
            ("name", self.name.as_str().into()),
        ];
        let event = act.event(EventKind::TokenRevoked, facts(members));
        event.about(&self.username)
    }
}
