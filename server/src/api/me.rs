//! `/me`: the user's own account.

use fleetbeat_daemon::clock;
use fleetbeat_protocol::{
    PasswordChange, SecondFactor, TotpConfirmation, TotpRequest, TotpSetup,
};

use super::accounts::{Accounts, MAX_BODY_BYTES, Wrong, attempt_of, no_random};
use super::body;
use super::state::ApiState;
use crate::auth::login::find_first_step;
use crate::auth::logins::WrongPart;
use crate::auth::{Caller, Refusal, totp};
use crate::http::{Failure, Reply, Request, Response};
use crate::store::{Act, User, UserChange, new_version};

/// `GET /me`: the user's name and role.
pub(super) fn show(
    _: &ApiState,
    caller: &Caller,
    _: &mut Request,
) -> Result<Reply, Failure> {
    Ok(Reply::Now(Response::json(200, caller.account())))
}

/// `POST /me/password`: another password, which ends the user's logins. Answers with a
/// token, so that the user stays logged in where the password was changed.
pub(super) fn set_password(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let body = body::read(request, MAX_BODY_BYTES)?;
    let change =
        PasswordChange::from_json(&body::parse(&body)?).map_err(Failure::invalid)?;
    let accounts = Accounts::of(api);
    let attempt = attempt_of(caller, request.peer().ip());
    accounts.check(&attempt)?;

    let act = caller.act(attempt.source, clock::now());
    let (of_slot, session) = (attempt.clone(), caller.session());
    Ok(accounts.in_slot(&attempt, move |accounts| {
        accounts.auth.recheck(&session)?;
        let PasswordChange {
            current_password,
            new_password,
        } = change;
        // The second factor was asked for at the login.
        match accounts.prove(&of_slot, &current_password, None)? {
            Ok(_) | Err(Wrong::NoCode) => {}
            Err(Wrong::Password | Wrong::Code) => {
                return Err(Failure::forbidden("the current password is wrong"));
            }
        }
        let user = accounts.auth.recheck(&session)?;
        let about = Some(user.username.as_str());
        let source = of_slot.source;
        let hash = accounts.hash("new_password", &new_password, about, source)?;
        let change = UserChange::own_password(hash, &user).map_err(no_random)?;
        let user = changed(accounts, &user, &change, &act)?;
        log::info!("user {:?} has changed the password", user.username);
        Ok(Response::json(200, &accounts.token(&user, None)))
    }))
}

/// `POST /me/logout-all`: ends all logins of the user, this one included.
pub(super) fn log_out_everywhere(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let token_version = new_version().map_err(no_random)?;
    let change = UserChange::LoggedOut { token_version };
    let act = caller.act(request.peer().ip(), clock::now());
    let username = &caller.account().username;
    api.auth.change_user(username, &change, &act)?;
    Ok(Reply::Now(Response::no_content()))
}

/// `POST /me/totp`: a secret for a second factor, which counts once its first code is
/// there. Asks for the password, and for a code of the second factor until now.
pub(super) fn begin_totp(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let body = body::read(request, MAX_BODY_BYTES)?;
    let asked = TotpRequest::from_json(&body::parse(&body)?).map_err(Failure::invalid)?;
    let accounts = Accounts::of(api);
    let attempt = attempt_of(caller, request.peer().ip());
    accounts.check(&attempt)?;

    let act = caller.act(attempt.source, clock::now());
    let (of_slot, session) = (attempt.clone(), caller.session());
    Ok(accounts.in_slot(&attempt, move |accounts| {
        accounts.auth.recheck(&session)?;
        let code = asked.code.as_deref();
        match accounts.prove(&of_slot, &asked.password, code)? {
            Ok(_) => {}
            Err(Wrong::NoCode) => return Err(Failure::code_needed_again()),
            Err(Wrong::Password | Wrong::Code) => {
                let detail = "the password, or the code of the second factor until now, \
                              is wrong";
                return Err(Failure::forbidden(detail));
            }
        }
        let user = accounts.auth.recheck(&session)?;
        let secret = totp::new_secret().map_err(no_random)?;
        let setup = TotpSetup {
            uri: totp::otpauth_uri(&secret, &user.username),
            secret: secret.clone(),
        };
        changed(accounts, &user, &UserChange::TotpBegun { secret }, &act)?;
        Ok(Response::json(200, &setup))
    }))
}

/// `POST /me/totp/confirm`: the first code of the new secret. From now on each login needs
/// a code, and the logins until now have ended.
pub(super) fn confirm_totp(
    api: &ApiState,
    caller: &Caller,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let body = body::read(request, MAX_BODY_BYTES)?;
    let typed =
        TotpConfirmation::from_json(&body::parse(&body)?).map_err(Failure::invalid)?;
    let accounts = Accounts::of(api);
    let attempt = attempt_of(caller, request.peer().ip());
    accounts.check(&attempt)?;

    let act = caller.act(attempt.source, clock::now());
    let (of_slot, session) = (attempt.clone(), caller.session());
    Ok(accounts.in_slot(&attempt, move |accounts| {
        accounts.check(&of_slot)?;
        let user = accounts.auth.recheck(&session)?;
        let Some(secret) = user.totp.pending.clone() else {
            let detail = "there is no second factor to be confirmed: POST /me/totp first";
            return Err(Failure::conflict(detail));
        };
        let Some(step) = find_first_step(&secret, &typed.code, act.at) else {
            let refusal = Refusal::WrongCode;
            accounts.failed(WrongPart::Code, &of_slot, refusal, Some(&user));
            let detail = "the code is wrong: is the clock of the app right?";
            return Err(Failure::forbidden(detail));
        };
        enable(accounts, &user, secret, step, &act)
    }))
}

/// Lets the secret count from now on.
fn enable(
    accounts: &Accounts,
    user: &User,
    secret: String,
    step: i64,
    act: &Act,
) -> Result<Response, Failure> {
    let codes = totp::new_recovery_codes().map_err(no_random)?;
    let (recovery_codes, hashes) = codes.into_iter().unzip();
    let change = UserChange::TotpEnabled {
        secret,
        step,
        recovery_codes: hashes,
        token_version: new_version().map_err(no_random)?,
    };
    let user = changed(accounts, user, &change, act)?;
    log::info!("user {:?} has a second factor", user.username);
    let answer = SecondFactor {
        recovery_codes,
        token: accounts.token(&user, None),
    };
    Ok(Response::json(200, &answer))
}

/// Changes the user.
fn changed(
    accounts: &Accounts,
    user: &User,
    change: &UserChange,
    act: &Act,
) -> Result<User, Failure> {
    let changed = accounts.auth.change_user(&user.username, change, act)?;
    changed.ok_or_else(|| {
        Failure::conflict("the account was changed meanwhile: begin again")
    })
}
