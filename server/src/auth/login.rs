//! What a login is checked by: the password, and the code of a second factor.
//!
//! All of this is slow or writes to the store, so it runs in the slots of
//! [`super::logins`].

use fleetbeat_protocol::Timestamp;

use super::identities::Auth;
use super::passwords;
use super::totp::{self, FoundStep, TypedCode};
use crate::store::{Act, StoreError, User, UserChange};

/// What became of a password.
#[derive(Debug)]
pub(crate) enum PasswordOutcome {
    /// The password is this user's.
    Right(User),
    /// The password is not this user's.
    Wrong(User),
    /// There is no such user.
    Unknown,
}

/// What became of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CodeOutcome {
    /// The code is the app's, and counts no second time.
    App,
    /// It is a recovery code, and counts no second time.
    Recovery,
    /// It is a code that has been used.
    Used,
    /// It is none of the user's codes.
    Wrong,
}

impl Auth {
    /// Whose password it is. Takes a quarter of a second, whether or not there is a user.
    ///
    /// # Errors
    /// The store does not answer.
    pub(crate) fn check_password(
        &self,
        username: &str,
        password: &str,
    ) -> Result<PasswordOutcome, StoreError> {
        let user = self.store.user(username)?;
        let matches = passwords::verify(user.as_ref(), password);
        Ok(match user {
            None => PasswordOutcome::Unknown,
            Some(user) if matches => PasswordOutcome::Right(user),
            Some(user) => PasswordOutcome::Wrong(user),
        })
    }

    /// Takes a code of the user's second factor.
    ///
    /// # Errors
    /// The store cannot be written.
    pub(crate) fn take_code(
        &self,
        user: &User,
        code: &str,
        act: &Act,
    ) -> Result<CodeOutcome, StoreError> {
        let Some(secret) = &user.totp.secret else {
            return Ok(CodeOutcome::Wrong);
        };
        let (change, outcome) = match TypedCode::parse(code) {
            Some(TypedCode::Recovery(hash)) => {
                (UserChange::RecoveryCodeUsed { hash }, CodeOutcome::Recovery)
            }
            Some(TypedCode::Step(typed)) => {
                match totp::find_step(secret, typed, user.totp.last_step, act.at) {
                    FoundStep::Unused(step) => {
                        (UserChange::TotpStepUsed { step }, CodeOutcome::App)
                    }
                    FoundStep::Used => return Ok(CodeOutcome::Used),
                    FoundStep::Wrong => return Ok(CodeOutcome::Wrong),
                }
            }
            None => return Ok(CodeOutcome::Wrong),
        };

        // On another instance, somebody may have been faster with the same code.
        let changed = self.change_user(&user.username, &change, act)?;
        Ok(match (changed, outcome) {
            (Some(_), outcome) => outcome,
            (None, CodeOutcome::App) => CodeOutcome::Used,
            (None, _) => CodeOutcome::Wrong,
        })
    }
}

/// The step whose code was typed, of a secret that waits for its first code.
pub(crate) fn find_first_step(secret: &str, code: &str, now: Timestamp) -> Option<i64> {
    let Some(TypedCode::Step(typed)) = TypedCode::parse(code) else {
        return None;
    };
    match totp::find_step(secret, typed, i64::MIN, now) {
        FoundStep::Unused(step) => Some(step),
        FoundStep::Used | FoundStep::Wrong => None,
    }
}
