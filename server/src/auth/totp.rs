//! The second factor: codes by time (RFC 6238), as authenticator apps make them, and
//! recovery codes for who has lost the app.
//!
//! A code is six digits, made from a secret and the number of the present half minute,
//! the step. The step before and the step after count as well, because clocks differ. A
//! caller that takes a code notes its step, and asks for later ones from then on: each
//! step counts once.

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use fleetbeat_protocol::Timestamp;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// How long a step is, in seconds.
const STEP_SECS: i64 = 30;
/// How many steps a clock may be off.
const DRIFT_STEPS: i64 = 1;
/// The digits of a code.
const DIGITS: usize = 6;
/// Ten to the power of [`DIGITS`].
const CODES: u32 = 1_000_000;
/// Bytes of a secret: as long as what HMAC-SHA-1 makes, as RFC 4226 recommends.
const SECRET_BYTES: usize = 20;
/// How many recovery codes a user gets.
pub(crate) const RECOVERY_CODES: usize = 10;
/// Bytes of a recovery code: 80 bits, so that a plain hash is enough to keep it by.
const RECOVERY_BYTES: usize = 10;
/// Characters of a recovery code, without what stands between them.
const RECOVERY_CHARS: usize = 16;
/// Who issues the codes, as the app shows it.
const ISSUER: &str = "Fleetbeat";

/// What a user has typed in place of a code.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TypedCode {
    /// Six digits of the app.
    Step(u32),
    /// A recovery code, as its hash.
    Recovery(String),
}

/// What became of a code that was typed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FoundStep {
    /// It is that of this step, which has not been used.
    Unused(i64),
    /// It is that of a step that was used, or is before one that was.
    Used,
    /// It is no code of this time.
    Wrong,
}

impl TypedCode {
    /// Reads a code. Blanks and hyphens between the characters do not matter.
    pub(super) fn parse(text: &str) -> Option<TypedCode> {
        let is_meant = |c: &char| !matches!(c, ' ' | '-');
        let text: String = text.chars().filter(is_meant).collect();

        if text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().ok().map(TypedCode::Step);
        }
        let bytes = BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes());
        let is_whole = text.len() == RECOVERY_CHARS;
        let bytes = bytes.ok().filter(|_| is_whole)?;
        Some(TypedCode::Recovery(hash_recovery_code(&bytes)))
    }
}

/// A new secret, in base32.
///
/// # Errors
/// The system gives no random numbers.
pub(crate) fn new_secret() -> Result<String, getrandom::Error> {
    let mut secret = [0; SECRET_BYTES];
    getrandom::fill(&mut secret)?;
    Ok(BASE32_NOPAD.encode(&secret))
}

/// What an app reads from a QR code.
pub(crate) fn otpauth_uri(secret: &str, username: &str) -> String {
    let username = utf8_percent_encode(username, NON_ALPHANUMERIC);
    format!(
        "otpauth://totp/{ISSUER}:{username}?secret={secret}&issuer={ISSUER}\
         &algorithm=SHA1&digits={DIGITS}&period={STEP_SECS}"
    )
}

/// New recovery codes, each with the hash to keep it by.
///
/// # Errors
/// The system gives no random numbers.
pub(crate) fn new_recovery_codes() -> Result<Vec<(String, String)>, getrandom::Error> {
    let new_code = |_| {
        let mut bytes = [0; RECOVERY_BYTES];
        getrandom::fill(&mut bytes)?;
        let code = BASE32_NOPAD.encode(&bytes).to_ascii_lowercase();
        let parts: Vec<&str> = [0, 4, 8, 12].map(|at| &code[at..at + 4]).into();
        Ok((parts.join("-"), hash_recovery_code(&bytes)))
    };
    (0..RECOVERY_CODES).map(new_code).collect()
}

fn hash_recovery_code(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

/// The step whose code this is, where `last_used` is the last step that was used.
pub(super) fn find_step(
    secret: &str,
    typed: u32,
    last_used: i64,
    now: Timestamp,
) -> FoundStep {
    let Ok(secret) = BASE32_NOPAD.decode(secret.as_bytes()) else {
        return FoundStep::Wrong;
    };
    let present = now.as_second().div_euclid(STEP_SECS);
    let typed = typed.to_be_bytes();

    let mut found = FoundStep::Wrong;
    // All steps are looked at, so that the time tells nothing.
    for step in present - DRIFT_STEPS..=present + DRIFT_STEPS {
        let is_equal = bool::from(code(&secret, step).to_be_bytes().ct_eq(&typed));
        match (is_equal, step > last_used) {
            (true, true) => found = FoundStep::Unused(step),
            (true, false) if found == FoundStep::Wrong => found = FoundStep::Used,
            _ => {}
        }
    }
    found
}

/// The code of a step.
fn code(secret: &[u8], step: i64) -> u32 {
    let mac = Hmac::<Sha1>::new_from_slice(secret);
    let mac = mac.expect("HMAC takes keys of any length");
    let hash = mac.chain_update(step.to_be_bytes()).finalize().into_bytes();

    let offset = usize::from(hash[hash.len() - 1] & 0xf);
    let mut word = [0; 4];
    word.copy_from_slice(&hash[offset..offset + 4]);
    (u32::from_be_bytes(word) & 0x7fff_ffff) % CODES
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B: the secret is "12345678901234567890".
    const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_second(secs).unwrap()
    }

    #[test]
    fn codes_are_those_of_rfc_6238() {
        // The last six of the eight digits there.
        for (secs, typed) in [
            (59, 287_082),
            (1_111_111_109, 81_804),
            (1_111_111_111, 50_471),
            (1_234_567_890, 5_924),
            (2_000_000_000, 279_037),
            (20_000_000_000, 353_130),
        ] {
            let found = find_step(SECRET, typed, 0, at(secs));
            assert_eq!(found, FoundStep::Unused(secs / 30), "{secs}");
        }
    }

    #[test]
    fn a_step_counts_once_and_no_earlier_one_after_it() {
        let code_at = |secs: i64| code(b"12345678901234567890", secs / 30);
        let now = at(3000);
        for (secs, last_used, expected) in [
            (2970, 0, FoundStep::Unused(99)),
            (3000, 0, FoundStep::Unused(100)),
            (3030, 0, FoundStep::Unused(101)),
            (2940, 0, FoundStep::Wrong),
            (3060, 0, FoundStep::Wrong),
            (3000, 100, FoundStep::Used),
            (2970, 100, FoundStep::Used),
            (3030, 100, FoundStep::Unused(101)),
        ] {
            let found = find_step(SECRET, code_at(secs), last_used, now);
            assert_eq!(found, expected, "{secs} {last_used}");
        }
        assert_eq!(find_step("not base32!", 0, 0, now), FoundStep::Wrong);
    }

    #[test]
    fn codes_are_read_as_people_type_them() {
        assert_eq!(TypedCode::parse(" 081-804 "), Some(TypedCode::Step(81_804)));
        let codes = new_recovery_codes().unwrap();
        assert_eq!(codes.len(), RECOVERY_CODES);
        for (code, hash) in &codes {
            let recovery = Some(TypedCode::Recovery(hash.clone()));
            assert_eq!(TypedCode::parse(code), recovery);
            let typed = code.replace('-', " ").to_uppercase();
            assert_eq!(TypedCode::parse(&typed), recovery);
            assert_eq!(TypedCode::parse(&code[1..]), None);
        }
        for bad in ["", "12345", "1234567", "12345x", "\u{661}\u{662}\u{663}"] {
            assert_eq!(TypedCode::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_uri_holds_what_an_app_needs() {
        assert_eq!(
            otpauth_uri(SECRET, "jörg@example.com"),
            "otpauth://totp/Fleetbeat:j%C3%B6rg%40example%2Ecom?secret=\
             GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Fleetbeat&algorithm=SHA1&digits=6\
             &period=30"
        );
        assert_eq!(new_secret().unwrap().len(), SECRET.len());
    }
}
