//! Passwords: bcrypt at cost 12.

use crate::secret_rules::{UnusablePassword, check_password};
use crate::store::User;

/// What a new hash costs: a quarter of a second of a core.
const COST: u32 = 12;
/// Each step doubles the time; a hash above this would hold a login slot for seconds.
const MAX_STORED_COST: u32 = 14;
/// A hash of nothing in particular at [`COST`]: what an unknown user's password is
/// compared with, so that the answer takes as long as for a known one.
const NOBODY: &str = "$2b$12$LJ3m4ys3Lk0TSwHvG0kEseWqRrKxWm1gR6vC9HhQmXc1bV8pJ4e5K";

/// The hash to store.
///
/// # Errors
/// The password is too short, too long, or holds a NUL byte.
pub(crate) fn hash(password: &str) -> Result<String, UnusablePassword> {
    check_password(password)?;
    bcrypt::hash(password, COST).map_err(|_| UnusablePassword)
}

/// Whether `password` is that of `user`. It takes the same time whether or not there is a
/// user.
pub(crate) fn verify(user: Option<&User>, password: &str) -> bool {
    let stored = user
        .map(|user| user.hashed_password.as_str())
        .filter(|hash| cost(hash) <= MAX_STORED_COST);
    let matches = bcrypt::verify(password, stored.unwrap_or(NOBODY)).unwrap_or(false);

    matches && stored.is_some() && check_password(password).is_ok()
}

/// The cost in a hash such as `$2b$12$…`; beyond all limits if the hash has none.
fn cost(hash: &str) -> u32 {
    hash.split('$')
        .nth(2)
        .and_then(|cost| cost.parse().ok())
        .unwrap_or(u32::MAX)
}

/// Fourteen random characters that are hard to confuse: 70 bits.
pub(crate) fn random() -> Result<String, getrandom::Error> {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0; 14];
    getrandom::fill(&mut bytes)?;

    let letters = bytes.iter().map(|byte| ALPHABET[usize::from(byte % 32)]);
    Ok(letters.map(char::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleetbeat_protocol::Role;

    fn user(hashed_password: String) -> User {
        User::new("a".into(), Role::Admin, hashed_password).unwrap()
    }

    #[test]
    fn a_password_has_8_to_71_bytes() {
        for (password, usable) in [
            ("a".repeat(7), false),
            ("a".repeat(8), true),
            ("a".repeat(71), true),
            ("a".repeat(72), false),
            ("aaaa\0aaaa".into(), false),
        ] {
            assert_eq!(hash(&password).is_ok(), usable, "{} bytes", password.len());
        }
    }

    #[test]
    fn only_the_users_own_password_matches() {
        let user = user(hash("correct horse").unwrap());
        assert!(verify(Some(&user), "correct horse"));
        assert!(!verify(Some(&user), "correct hors"));
        assert!(!verify(None, "correct horse"));
        // bcrypt would not see the difference behind byte 72.
        let long = "x".repeat(71);
        let user = self::user(hash(&long).unwrap());
        assert!(verify(Some(&user), &long) && !verify(Some(&user), &format!("{long}y")));
    }

    #[test]
    fn a_stored_cost_above_14_is_refused_at_once() {
        let user = user(NOBODY.replace("$12$", "$20$"));
        let started = std::time::Instant::now();
        assert!(!verify(Some(&user), "correct horse"));
        assert!(started.elapsed().as_secs() < 20, "cost 20 takes minutes");
    }

    #[test]
    fn nobody_is_a_hash_of_the_usual_cost() {
        assert!(
            bcrypt::verify("x", NOBODY).is_ok(),
            "else an unknown user would be answered faster"
        );
        assert_eq!(cost(NOBODY), COST);
    }
}
