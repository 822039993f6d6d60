//! Usernames: what they have to be like, and when two of them are the same.
//!
//! People type their name in capitals, and keyboards and systems write one letter in
//! several ways. So names are compared without case and in Unicode's composed form (NFC),
//! and are kept as they were typed, in that form.

use unicode_normalization::UnicodeNormalization;

/// Longest username, in characters.
pub(crate) const MAX_USERNAME_CHARS: usize = 64;

/// Letters by Unicode's tables that nobody sees, or that only change the letter before.
const UNSEEN: [char; 7] = [
    '\u{345}', '\u{115f}', '\u{1160}', '\u{17b4}', '\u{17b5}', '\u{3164}', '\u{ffa0}',
];

/// A username that may not be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a username has 1 to {MAX_USERNAME_CHARS} characters: letters, digits and . _ - @ +, \
     with a letter or digit among them"
)]
pub(crate) struct UnusableUsername;

/// The form in which a new user's name is kept.
///
/// # Errors
/// Nobody may have this name.
pub(crate) fn check_username(name: &str) -> Result<String, UnusableUsername> {
    let name: String = name.nfc().collect();
    let has_length = (1..=MAX_USERNAME_CHARS).contains(&name.chars().count());
    let is_letter = |c: char| c.is_alphanumeric() && !UNSEEN.contains(&c);
    let is_allowed = |c: char| is_letter(c) || "._-@+".contains(c);

    // A path's `.` and `..` are taken for something else by clients and proxies.
    let is_a_name = name.chars().any(is_letter) && name.chars().all(is_allowed);
    if has_length && is_a_name {
        Ok(name)
    } else {
        Err(UnusableUsername)
    }
}

/// What two spellings of one name have in common. There and back again, because a letter
/// may have several small forms (σ and ς), and a small form several capitals (ß has SS and
/// ẞ).
pub(crate) fn fold_username(name: &str) -> String {
    let composed: String = name.nfc().collect();
    let folded = composed.to_lowercase().to_uppercase().to_lowercase();
    folded.nfc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_in_any_case_and_form() {
        for (one, other) in [
            ("ann", "ANN"),
            ("Ann", "aNN"),
            ("J\u{f6}rg", "jo\u{308}rg"),
            ("J\u{f6}rg", "JO\u{308}RG"),
            ("\u{e5}sa", "\u{212b}SA"),
            ("stra\u{df}e", "STRASSE"),
            ("\u{3c3}\u{3b1}\u{3c2}", "\u{3a3}\u{391}\u{3a3}"),
            ("ann@EXAMPLE.com", "Ann@example.COM"),
        ] {
            assert_eq!(fold_username(one), fold_username(other), "{one} {other}");
        }
        for (one, other) in [("ann", "anna"), ("ann", "\u{e4}nn"), ("a.b", "a-b")] {
            assert_ne!(fold_username(one), fold_username(other), "{one} {other}");
        }
        for name in [
            "Ann",
            "J\u{f6}rg",
            "\u{130}pek",
            "\u{212a}elvin",
            "\u{1e9e}",
        ] {
            let folded = fold_username(name);
            assert_eq!(fold_username(&folded), folded, "{name}");
        }
    }

    #[test]
    fn a_new_name_is_composed_and_has_nothing_that_deceives() {
        assert_eq!(check_username("Jo\u{308}rg"), Ok("J\u{f6}rg".to_owned()));
        for good in ["a", "ann@example.com", "J\u{f6}rg_王.9+-", &"x".repeat(64)] {
            assert_eq!(check_username(good), Ok(good.to_owned()), "{good}");
        }
        for bad in [
            "",
            " ",
            "a b",
            "a/b",
            "a:b",
            "ann\u{200b}",
            "ann\u{202e}",
            "ann\u{1b}",
            "ann\u{3164}",
            "ann\u{ffa0}",
            "ann\u{345}",
            "\u{3164}",
            ".",
            "..",
            "-",
            "a\u{301}\u{327}\u{5}",
            &"x".repeat(65),
        ] {
            assert_eq!(check_username(bad), Err(UnusableUsername), "{bad:?}");
        }
    }
}
