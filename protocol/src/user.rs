//! The bodies by which users are managed, and by which users manage their own account.
//!
//! Only the shape is judged here. What a username and a password have to be like is the
//! server's matter, because nobody else has to know it.

use serde::{Deserialize, Serialize};

use crate::account::{Role, Token};
use crate::field::{self, Errors, Object};
use crate::json::Json;
use crate::limits::{MAX_SELECTOR_CHARS, MAX_TEXT_CHARS};
use crate::problem::FieldError;

/// The body of `POST /users`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUser {
    /// The name to log in with.
    pub username: String,
    /// What the user may do.
    pub role: Role,
    /// The password; left out for a user who logs in through a proxy alone.
    pub password: Option<String>,
    /// A selector of the hosts that the user is to see and change; left out for every
    /// host.
    pub scope: Option<String>,
}

impl NewUser {
    /// The user that `json` describes.
    ///
    /// # Errors
    /// Every field that is missing, unknown or of another type.
    pub fn from_json(json: &Json<'_>) -> Result<NewUser, Vec<FieldError>> {
        let mut errors = Errors::default();
        let Some(object) = Object::new("", json, &mut errors) else {
            return Err(errors.into_vec());
        };
        let known = ["username", "role", "password", "scope"];
        object.refuse_others(&known, &mut errors);

        let username = object.required_text("username", MAX_TEXT_CHARS, &mut errors);
        let role = object.required("role", &mut errors);
        let role = role.and_then(|role| parse_role(role, &mut errors));
        let password = object.optional_text("password", MAX_TEXT_CHARS, &mut errors);
        let scope = object.optional_text("scope", MAX_SELECTOR_CHARS, &mut errors);
        errors.into_result(NewUser {
            username: username.unwrap_or_default(),
            role: role.unwrap_or(Role::Readonly),
            password,
            scope,
        })
    }
}

/// The body of `PATCH /users/{username}`: what is to be changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserPatch {
    /// Another role.
    pub role: Option<Role>,
    /// Another password.
    pub password: Option<String>,
    /// Another scope.
    pub scope: ScopePatch,
}

/// What becomes of a user's scope.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ScopePatch {
    /// It stays.
    #[default]
    Keep,
    /// The user is to see and change every host.
    AllHosts,
    /// The user is to see and change the hosts that this selector means.
    Hosts(String),
}

impl UserPatch {
    /// The patch that `json` holds.
    ///
    /// # Errors
    /// Every field that is unknown or of another type.
    pub fn from_json(json: &Json<'_>) -> Result<UserPatch, Vec<FieldError>> {
        let mut errors = Errors::default();
        let Some(object) = Object::new("", json, &mut errors) else {
            return Err(errors.into_vec());
        };
        object.refuse_others(&["role", "password", "scope"], &mut errors);

        let role = object.optional("role");
        let role = role.and_then(|role| parse_role(role, &mut errors));
        let password = object.optional_text("password", MAX_TEXT_CHARS, &mut errors);
        let scope = match object.get("scope") {
            None => ScopePatch::Keep,
            Some(Json::Null) => ScopePatch::AllHosts,
            Some(json) => {
                let text = field::text("scope", json, MAX_SELECTOR_CHARS, &mut errors);
                text.map_or(ScopePatch::Keep, |text| ScopePatch::Hosts(text.to_owned()))
            }
        };
        errors.into_result(UserPatch {
            role,
            password,
            scope,
        })
    }
}

fn parse_role(json: &Json<'_>, errors: &mut Errors) -> Option<Role> {
    let name = field::text("role", json, MAX_TEXT_CHARS, errors)?;
    let role = name.parse().ok();
    if role.is_none() {
        errors.add("role", "must be readonly, admin or superadmin");
    }
    role
}

/// The body of `POST /me/password`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswordChange {
    /// The password until now.
    pub current_password: String,
    /// The password from now on.
    pub new_password: String,
}

impl PasswordChange {
    /// The change that `json` holds.
    ///
    /// # Errors
    /// Every field that is missing, unknown or of another type.
    pub fn from_json(json: &Json<'_>) -> Result<PasswordChange, Vec<FieldError>> {
        let mut errors = Errors::default();
        let Some(object) = Object::new("", json, &mut errors) else {
            return Err(errors.into_vec());
        };
        object.refuse_others(&["current_password", "new_password"], &mut errors);

        let mut text = |name| object.required_text(name, MAX_TEXT_CHARS, &mut errors);
        let (current, new) = (text("current_password"), text("new_password"));
        errors.into_result(PasswordChange {
            current_password: current.unwrap_or_default(),
            new_password: new.unwrap_or_default(),
        })
    }
}

/// The body of `POST /me/totp`, which asks for a secret for a second factor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TotpRequest {
    /// The user's password.
    pub password: String,
    /// A code of the second factor until now, if the user has one.
    pub code: Option<String>,
}

impl TotpRequest {
    /// The request that `json` holds.
    ///
    /// # Errors
    /// Every field that is missing, unknown or of another type.
    pub fn from_json(json: &Json<'_>) -> Result<TotpRequest, Vec<FieldError>> {
        let mut errors = Errors::default();
        let Some(object) = Object::new("", json, &mut errors) else {
            return Err(errors.into_vec());
        };
        object.refuse_others(&["password", "code"], &mut errors);

        let password = object.required_text("password", MAX_TEXT_CHARS, &mut errors);
        let code = object.optional_text("code", MAX_TEXT_CHARS, &mut errors);
        errors.into_result(TotpRequest {
            password: password.unwrap_or_default(),
            code,
        })
    }
}

/// The body of `POST /me/totp/confirm`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TotpConfirmation {
    /// A code that the new secret has made.
    pub code: String,
}

impl TotpConfirmation {
    /// The confirmation that `json` holds.
    ///
    /// # Errors
    /// Every field that is missing, unknown or of another type.
    pub fn from_json(json: &Json<'_>) -> Result<TotpConfirmation, Vec<FieldError>> {
        let mut errors = Errors::default();
        let Some(object) = Object::new("", json, &mut errors) else {
            return Err(errors.into_vec());
        };
        object.refuse_others(&["code"], &mut errors);

        let code = object.required_text("code", MAX_TEXT_CHARS, &mut errors);
        errors.into_result(TotpConfirmation {
            code: code.unwrap_or_default(),
        })
    }
}

/// The answer of `POST /me/totp`: what an app that makes codes has to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TotpSetup {
    /// The secret, in base32, to type.
    pub secret: String,
    /// The same as an `otpauth` URI, to show as a QR code.
    pub uri: String,
}

/// The answer of `POST /me/totp/confirm`: the second factor counts from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecondFactor {
    /// Each stands in for a code once, for a user whose app is lost. They are shown this
    /// once.
    pub recovery_codes: Vec<String>,
    /// A new token: the tokens until now have ended.
    #[serde(flatten)]
    pub token: Token,
}
