//! What keys and passwords have to be like.
//!
//! The configuration applies these rules before anything starts, so that all mistakes are
//! told together; the code that uses a key or a password applies them again.

use fleetbeat_protocol::owner_of_key;

/// Shortest `SECRET_KEY` in bytes: the length of an HS256 signature.
const MIN_SECRET_KEY_BYTES: usize = 32;
/// Shortest key of agents that nobody finds by trying, in characters.
const MIN_AGENT_KEY_CHARS: usize = 16;
/// Agents' keys that may be valid at once.
const MAX_AGENT_KEYS: usize = 2;
/// Shortest password, in bytes.
const MIN_PASSWORD_BYTES: usize = 8;
/// Longest password, in bytes: bcrypt ignores everything behind the 72nd byte.
const MAX_PASSWORD_BYTES: usize = 71;

/// A password that may not be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a password has {MIN_PASSWORD_BYTES} to {MAX_PASSWORD_BYTES} bytes and no NUL; \
     this one does not"
)]
pub(crate) struct UnusablePassword;

/// Whether `key` may sign tokens: a short key could be found by trying.
///
/// # Errors
/// What the key must be.
pub(crate) fn check_secret_key(key: &str) -> Result<(), String> {
    if key.len() < MIN_SECRET_KEY_BYTES {
        return Err(format!("must have at least {MIN_SECRET_KEY_BYTES} bytes"));
    }
    Ok(())
}

/// The keys in `AGENT_API_KEY`: one, or two with a comma between.
///
/// # Errors
/// What the text must be: there are more than two keys, one of them is empty, or one has
/// characters that an HTTP header could not carry.
pub(crate) fn parse_agent_keys(text: &str) -> Result<Vec<&str>, String> {
    let keys: Vec<&str> = text.split(',').map(str::trim).collect();

    if keys.len() > MAX_AGENT_KEYS || keys.iter().any(|key| key.is_empty()) {
        let rule =
            "must be one key, or two with a comma between while one replaces the other";
        return Err(rule.to_owned());
    }

    let is_sendable = |key: &&str| key.bytes().all(|byte| byte.is_ascii_graphic());
    if !keys.iter().all(is_sendable) {
        let rule = "must be visible ASCII characters: they travel in an HTTP header";
        return Err(rule.to_owned());
    }

    // A host's own key: the server would look for its host, and not for this text.
    if keys.iter().any(|key| owner_of_key(key).is_some()) {
        return Err("must not have the form of a host's own key, fbk_…".to_owned());
    }

    Ok(keys)
}

/// What to tell the operator about a key that can be found by trying; `None` if no key is
/// so short. A short key is taken nevertheless: agents that send it already must not be
/// refused after an upgrade.
pub(crate) fn find_short_agent_key(text: &str) -> Option<String> {
    let keys = parse_agent_keys(text).ok()?;
    keys.iter()
        .any(|key| key.len() < MIN_AGENT_KEY_CHARS)
        .then(|| {
            format!(
                "is shorter than {MIN_AGENT_KEY_CHARS} characters and could be found by \
             trying: make a longer one with `openssl rand -hex 16`, and let the server \
             accept both, NEW,OLD, until all agents have the new one"
            )
        })
}

/// Whether a user may have this password.
///
/// # Errors
/// The password is too short, too long, or holds a NUL byte.
pub(crate) fn check_password(password: &str) -> Result<(), UnusablePassword> {
    let has_length = (MIN_PASSWORD_BYTES..=MAX_PASSWORD_BYTES).contains(&password.len());
    if has_length && !password.contains('\0') {
        Ok(())
    } else {
        Err(UnusablePassword)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_agent_key_is_told_of() {
        let sixteen = "0123456789abcdef";
        for (keys, is_short) in [
            (sixteen, false),
            (&*format!("{sixteen},{sixteen}"), false),
            ("0123456789abcde", true),
            (&*format!("{sixteen}, old"), true),
        ] {
            assert_eq!(find_short_agent_key(keys).is_some(), is_short, "{keys}");
        }
    }

    #[test]
    fn one_agent_key_or_two_of_visible_characters_are_allowed() {
        assert_eq!(parse_agent_keys("a"), Ok(vec!["a"]));
        assert_eq!(parse_agent_keys("old, new"), Ok(vec!["old", "new"]));
        for bad in ["", ",", "a,", "a,b,c", "schlüssel", "a b"] {
            assert!(parse_agent_keys(bad).is_err(), "{bad:?}");
        }
    }
}
