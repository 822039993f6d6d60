//! What handlers about accounts have in common: they check or hash passwords, which is
//! slow, so they answer from a login slot.

use std::net::IpAddr;
use std::sync::Arc;

use fleetbeat_daemon::clock;
use fleetbeat_protocol::{FieldError, Timestamp, Token};

use super::state::ApiState;
use crate::auth::login::{CodeOutcome, PasswordOutcome};
use crate::auth::logins::{Attempt, Logins, WrongPart};
use crate::auth::{Auth, Caller, Refusal, Via, passwords};
use crate::chronicle::{Chronicle, Refused};
use crate::http::{Failure, Reply, Response};
use crate::store::{Act, EventKind, User};

/// The longest body: names and passwords are shorter.
pub(super) const MAX_BODY_BYTES: usize = 16 * 1024;

/// The parts of the server that work on accounts, to be taken along into a login slot.
#[derive(Clone)]
pub(super) struct Accounts {
    pub(super) auth: Arc<Auth>,
    logins: Logins,
    chronicle: Arc<Chronicle>,
}

/// What is wrong with what a user has proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    /// The password, or the user.
    Password,
    /// A code is needed, too.
    NoCode,
    /// The code.
    Code,
}

impl Accounts {
    /// The parts of the server.
    pub(super) fn of(api: &ApiState) -> Accounts {
        Accounts {
            auth: api.auth.clone(),
            logins: api.logins.clone(),
            chronicle: api.chronicle.clone(),
        }
    }

    /// Answers from a login slot.
    pub(super) fn in_slot(
        &self,
        attempt: &Attempt,
        work: impl FnOnce(&Accounts) -> Result<Response, Failure> + Send + 'static,
    ) -> Reply {
        let (accounts, attempt) = (self.clone(), attempt.clone());
        Reply::Later(Box::new(move |exchange| {
            let logins = accounts.logins.clone();
            logins.queue(&attempt, exchange, move |exchange| {
                exchange.finish(work(&accounts));
            });
        }))
    }

    /// Refuses a login after too many wrong passwords.
    ///
    /// # Errors
    /// 429.
    pub(super) fn check(&self, attempt: &Attempt) -> Result<(), Failure> {
        self.logins.check(attempt).inspect_err(|_| {
            let refusals = self.auth.refusals();
            refusals.note(Refusal::TooManyLogins, attempt.source, "");
        })
    }

    /// The user whose password this is, and whose code this is if the user has a second
    /// factor; with what was proven by, for an event. Runs in a login slot.
    ///
    /// # Errors
    /// 429 after too many wrong ones, 500 if the store does not answer. What is wrong is
    /// in the inner result, and has been counted and told.
    pub(super) fn prove(
        &self,
        attempt: &Attempt,
        password: &str,
        code: Option<&str>,
    ) -> Result<Result<(User, &'static str), Wrong>, Failure> {
        // Again, because the logins before this one may have failed meanwhile.
        self.check(attempt)?;
        let outcome = self.auth.check_password(&attempt.username, password)?;
        let user = match outcome {
            PasswordOutcome::Right(user) => user,
            PasswordOutcome::Wrong(user) => {
                let refusal = Refusal::WrongPassword;
                self.failed(WrongPart::Password, attempt, refusal, Some(&user));
                return Ok(Err(Wrong::Password));
            }
            PasswordOutcome::Unknown => {
                let refusal = Refusal::UnknownUser;
                self.failed(WrongPart::Password, attempt, refusal, None);
                return Ok(Err(Wrong::Password));
            }
        };
        if user.totp.secret.is_none() {
            return Ok(Ok((user, "password")));
        }
        let Some(code) = code else {
            return Ok(Err(Wrong::NoCode));
        };

        self.logins.check_code(attempt)?;
        let act = by_user(&user, attempt.source, clock::now());
        let refusal = match self.auth.take_code(&user, code, &act)? {
            CodeOutcome::App => return Ok(Ok((user, "password and code"))),
            CodeOutcome::Recovery => return Ok(Ok((user, "password and recovery code"))),
            CodeOutcome::Used => Refusal::UsedCode,
            CodeOutcome::Wrong => Refusal::WrongCode,
        };
        self.failed(WrongPart::Code, attempt, refusal, Some(&user));
        Ok(Err(Wrong::Code))
    }

    /// Counts a wrong password or code, and tells it.
    pub(super) fn failed(
        &self,
        part: WrongPart,
        attempt: &Attempt,
        refusal: Refusal,
        user: Option<&User>,
    ) {
        self.logins.failed(part, attempt);
        let user = user.map(|user| user.username.as_str());
        let detail = user.map_or_else(String::new, |name| format!("user {name:?}"));
        self.auth.refusals().note(refusal, attempt.source, &detail);

        let reason = match refusal {
            Refusal::WrongCode => "code",
            Refusal::UsedCode => "used code",
            _ => "password",
        };
        let refused = Refused {
            kind: EventKind::LoginFailed,
            user,
            token: None,
            reason,
            address: attempt.source,
        };
        self.chronicle.refused(refused, clock::now());
    }

    /// A user has logged in by these means: gives the token.
    pub(super) fn logged_in(
        &self,
        user: &User,
        by: &'static str,
        via: Option<Via>,
        source: Option<IpAddr>,
    ) -> Token {
        let attempt = Attempt {
            username: user.username.clone(),
            source,
        };
        self.logins.succeeded(&attempt);
        self.chronicle
            .logged_in(&user.username, by, source, clock::now());
        self.token(user, via)
    }

    /// A new token for the user.
    pub(super) fn token(&self, user: &User, via: Option<Via>) -> Token {
        Token {
            access_token: self.auth.issue(user, via, clock::now()),
            token_type: "bearer".to_owned(),
        }
    }

    /// Tells something that was refused.
    pub(super) fn refused(&self, refused: Refused<'_>) {
        self.chronicle.refused(refused, clock::now());
    }

    /// The hash of a new password in `field`, of a user if there is one.
    ///
    /// # Errors
    /// 422 if nobody may have this password, which is also told.
    pub(super) fn hash(
        &self,
        field: &'static str,
        password: &str,
        about: Option<&str>,
        source: Option<IpAddr>,
    ) -> Result<String, Failure> {
        passwords::hash(password).map_err(|unusable| {
            self.refused(Refused {
                kind: EventKind::UserRefused,
                user: about,
                token: None,
                reason: "password",
                address: source,
            });
            let error = FieldError::new(field, format!("cannot be used: {unusable}"));
            Failure::invalid(vec![error])
        })
    }
}

/// What the caller proves the own password by: it counts as a login.
pub(super) fn attempt_of(caller: &Caller, source: Option<IpAddr>) -> Attempt {
    Attempt {
        username: caller.account().username.clone(),
        source,
    }
}

/// What a user does while logging in.
fn by_user(user: &User, address: Option<IpAddr>, at: Timestamp) -> Act {
    Act {
        who: crate::store::Who::User(user.username.clone()),
        address,
        at,
    }
}

/// 500, because the system gives no random numbers.
pub(super) fn no_random(error: getrandom::Error) -> Failure {
    Failure::internal(format!("no random numbers: {error}"))
}
