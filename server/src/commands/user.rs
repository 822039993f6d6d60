//! The user commands: they work on the store beside a running server.

use std::fs::File;
use std::io::{self, Read, Write};

use fleetbeat_protocol::Role;

use super::{audit, show};
use crate::auth::passwords;
use crate::cli::PasswordFrom;
use crate::fleet::scope::HostScope;
use crate::secret_rules::UnusablePassword;
use crate::store::{
    Conflict, ScopeChange, StoreError, User, UserChange, UserStore, new_version,
};
use crate::usernames::{UnusableUsername, check_username};

/// Standard input is read up to here: more cannot be a password.
const MAX_INPUT_BYTES: u64 = 4096;

/// The terminal of the process, if the process has one.
const TERMINAL: &str = "/dev/tty";

/// Why a user command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UserError {
    /// The store has not done it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The password may not be used.
    #[error(transparent)]
    Password(#[from] UnusablePassword),
    /// The username may not be used.
    #[error(transparent)]
    Username(#[from] UnusableUsername),
    /// The password was typed in two ways.
    #[error("the two passwords differ")]
    Differ,
    /// There is no terminal.
    #[error(
        "there is no terminal to ask for the password at: give the password with \
         --password-stdin"
    )]
    NoTerminal,
    /// Neither terminal nor standard input gives a password.
    #[error("the password cannot be read")]
    Input(#[source] io::Error),
    /// Standard output takes nothing.
    #[error("the users cannot be printed")]
    Output(#[source] io::Error),
    /// The system gives no random numbers.
    #[error("no random numbers")]
    Random(#[from] getrandom::Error),
}

/// Adds a user with a password from `source`.
pub(super) fn add(
    store: &dyn UserStore,
    username: &str,
    role: Role,
    source: PasswordFrom,
) -> Result<(), UserError> {
    let username = check_username(username)?;
    // Before a password is asked for in vain.
    if let Some(other) = store.user(&username)? {
        return Err(conflict(Conflict::UserExists(other.username)));
    }

    let hash = passwords::hash(&read_password(source)?)?;
    let user = User::new(username, role, hash)?;
    store.add_user(&user, &audit::act())?;
    let username = user.username;

    audit::tell(&format!("added user {username:?} with the role {role}"));
    Ok(())
}

/// Gives a user another password, which ends the user's tokens.
pub(super) fn set_password(
    store: &dyn UserStore,
    username: &str,
    source: PasswordFrom,
) -> Result<(), UserError> {
    if store.user(username)?.is_none() {
        return Err(conflict(Conflict::NoSuchUser(username.to_owned())));
    }

    let hash = passwords::hash(&read_password(source)?)?;
    let change = UserChange::password(hash)?;
    store.change_user(username, &change, &audit::act())?;

    audit::tell(&format!("changed the password of user {username:?}"));
    Ok(())
}

/// Removes a user, who is out within two seconds.
pub(super) fn remove(store: &dyn UserStore, username: &str) -> Result<(), UserError> {
    store.remove_user(username, &audit::act())?;
    audit::tell(&format!("removed user {username:?}"));
    Ok(())
}

/// Takes a user's second factor away, for a user who has lost it, and ends the user's
/// logins. From then on the password is enough.
pub(super) fn reset_totp(store: &dyn UserStore, username: &str) -> Result<(), UserError> {
    let token_version = new_version()?;
    let change = UserChange::TotpReset { token_version };
    store.change_user(username, &change, &audit::act())?;

    audit::tell(&format!("reset the second factor of user {username:?}"));
    Ok(())
}

/// Lets a user see and change these hosts alone, or every host, which ends the user's
/// logins.
pub(super) fn set_scope(
    store: &dyn UserStore,
    username: &str,
    scope: Option<HostScope>,
) -> Result<(), UserError> {
    let (change, told) = match scope {
        None => (ScopeChange::AllHosts, "every host".to_owned()),
        Some(scope) => (
            ScopeChange::Hosts(scope.clone()),
            format!("the hosts that the selector {scope} means"),
        ),
    };
    let change = UserChange::scope(change)?;
    store.change_user(username, &change, &audit::act())?;

    audit::tell(&format!("user {username:?} sees and changes {told}"));
    Ok(())
}

/// Prints each user's name and role, and the scope of those who have one.
pub(super) fn list(
    store: &dyn UserStore,
    output: &mut dyn Write,
) -> Result<(), UserError> {
    for user in store.users()? {
        // Another program may have stored any name.
        let name = show::text(&user.username);
        let scope = user
            .scope
            .map(|scope| format!("\t{}", show::text(scope.as_str())));
        let scope = scope.unwrap_or_default();
        writeln!(output, "{name}\t{}{scope}", user.role).map_err(UserError::Output)?;
    }
    Ok(())
}

/// The password, without the line's end; at a prompt the user types it twice and does not
/// see it.
fn read_password(source: PasswordFrom) -> Result<String, UserError> {
    match source {
        PasswordFrom::Stdin => {
            let mut text = String::new();
            let mut input = io::stdin().take(MAX_INPUT_BYTES);
            input.read_to_string(&mut text).map_err(UserError::Input)?;
            Ok(text.trim_end_matches(['\r', '\n']).to_owned())
        }
        PasswordFrom::Prompt => {
            let ask = |prompt| rpassword::prompt_password(prompt).map_err(explain_prompt);
            let password = ask("Password: ")?;
            let again = ask("Again: ")?;

            if password == again {
                Ok(password)
            } else {
                Err(UserError::Differ)
            }
        }
    }
}

/// The terminal is a file that cannot be opened where the process has none.
fn explain_prompt(error: io::Error) -> UserError {
    let is_there = File::open(TERMINAL).is_ok();
    if is_there {
        UserError::Input(error)
    } else {
        UserError::NoTerminal
    }
}

fn conflict(conflict: Conflict) -> UserError {
    StoreError::from(conflict).into()
}
