//! The user commands: they work on the store beside a running server.

use std::io::{self, Read, Write};

use fleetbeat_protocol::Role;

use crate::auth::passwords;
use crate::cli::PasswordFrom;
use crate::store::{Conflict, StoreError, User, UserStore};

/// Longest username, in characters.
const MAX_USERNAME_CHARS: usize = 64;

/// Why a user command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccountError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Password(#[from] passwords::Unusable),
    #[error(
        "a username has 1 to {MAX_USERNAME_CHARS} characters: letters, digits and . _ - @ +"
    )]
    Username,
    #[error("the two passwords differ")]
    Differ,
    #[error("the password cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error("no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

pub(crate) fn add(
    store: &dyn UserStore,
    username: &str,
    role: Role,
    from: PasswordFrom,
) -> Result<(), AccountError> {
    let count = username.chars().count();
    let is_allowed = |c: char| c.is_alphanumeric() || "._-@+".contains(c);
    if !(1..=MAX_USERNAME_CHARS).contains(&count) || !username.chars().all(is_allowed) {
        return Err(AccountError::Username);
    }
    // Before a password is asked for in vain.
    if store.user(username)?.is_some() {
        return Err(StoreError::from(Conflict::UserExists(username.to_owned())).into());
    }
    let hashed_password = passwords::hash(&read_password(from)?)?;
    let token_version = passwords::new_token_version()?;
    Ok(store.add_user(&User {
        username: username.to_owned(),
        role,
        hashed_password,
        token_version,
    })?)
}

pub(crate) fn set_password(
    store: &dyn UserStore,
    username: &str,
    from: PasswordFrom,
) -> Result<(), AccountError> {
    if store.user(username)?.is_none() {
        return Err(StoreError::from(Conflict::NoSuchUser(username.to_owned())).into());
    }
    let hashed_password = passwords::hash(&read_password(from)?)?;
    Ok(store.set_password(
        username,
        &hashed_password,
        &passwords::new_token_version()?,
    )?)
}

pub(crate) fn list(
    store: &dyn UserStore,
    output: &mut dyn Write,
) -> Result<(), AccountError> {
    for user in store.users()? {
        writeln!(output, "{}\t{}", user.username, user.role)?;
    }
    Ok(())
}

/// The password, without the line's end; at a prompt it is asked for twice and not shown.
fn read_password(from: PasswordFrom) -> Result<String, AccountError> {
    match from {
        PasswordFrom::Stdin => {
            let mut text = String::new();
            io::stdin().take(4096).read_to_string(&mut text)?;
            Ok(text.trim_end_matches(['\r', '\n']).to_owned())
        }
        PasswordFrom::Prompt => {
            let password = rpassword::prompt_password("Password: ")?;
            let again = rpassword::prompt_password("Again: ")?;
            if password == again {
                Ok(password)
            } else {
                Err(AccountError::Differ)
            }
        }
    }
}
