//! Users of the dashboard and their tokens.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a user may do. Each role includes the powers of the roles before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees everything, changes nothing.
    Readonly,
    /// Also sets the servers' flags.
    Admin,
    /// Also manages users and removes servers.
    Superadmin,
}

impl Role {
    /// Every role, least powerful first.
    pub const ALL: [Role; 3] = [Role::Readonly, Role::Admin, Role::Superadmin];

    /// The role's name on the wire, in the database and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Readonly => "readonly",
            Role::Admin => "admin",
            Role::Superadmin => "superadmin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Role::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| {
                format!("{text:?} is no role: use readonly, admin or superadmin")
            })
    }
}

/// The answer of `POST /token`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The bearer token: a JWT.
    pub access_token: String,
    /// Always `bearer`.
    pub token_type: String,
}

/// A user as `GET /me` and `GET /users` show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The name to log in with.
    pub username: String,
    /// What the user may do.
    pub role: Role,
    /// Whether a login of the user needs a code besides the password.
    #[serde(default)]
    pub totp: bool,
    /// The user's scope: a selector of the hosts that the user sees and changes; `None`
    /// for every host.
    #[serde(default)]
    pub scope: Option<String>,
}
