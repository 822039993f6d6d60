//! Texts: which need quotes, and how two are compared.

use std::fmt;

use wildmatch::WildMatch;

/// Words that have a meaning of their own, and so are no values without quotes.
pub(crate) const KEYWORDS: [&str; 5] = ["and", "or", "not", "in", "all"];

/// A value that is compared as a whole, in whatever case.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Text {
    /// As it was written.
    written: String,
    folded: String,
}

/// A value in which `*` stands for any characters and `?` for one; in whatever case.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Glob {
    written: String,
    matcher: WildMatch,
    /// The longest part without `*` and `?`: a text that does not have it is not covered,
    /// which is found out at a tenth of the price. Empty if it is not of ASCII alone.
    part: String,
}

impl Text {
    pub(crate) fn new(written: String) -> Text {
        let folded = fold(&written).collect();
        Text { written, folded }
    }

    /// The text as it was written.
    pub(crate) fn as_str(&self) -> &str {
        &self.written
    }

    /// Whether `text` is the same but for upper and lower case.
    pub(crate) fn equals(&self, text: &str) -> bool {
        if text.is_ascii() {
            text.eq_ignore_ascii_case(&self.folded)
        } else {
            fold(text).eq(self.folded.chars())
        }
    }
}

/// The text in lower case, each character for itself: the dashboard does the same, and a
/// rule that looks at neighbours would make patterns differ from texts.
fn fold(text: &str) -> impl Iterator<Item = char> + '_ {
    text.chars().flat_map(char::to_lowercase)
}

impl Glob {
    pub(crate) fn new(written: String) -> Glob {
        let matcher = WildMatch::new_case_insensitive(&written);
        let parts = written.split(is_wild).filter(|part| part.is_ascii());
        let part = parts.max_by_key(|part| part.len());
        Glob {
            matcher,
            part: part.unwrap_or_default().to_owned(),
            written,
        }
    }

    /// Whether the pattern covers the whole text.
    pub(crate) fn covers(&self, text: &str) -> bool {
        let part = self.part.as_bytes();
        // In whatever case, letters of ASCII are alike with those of ASCII alone, as long
        // as all of the text is.
        let has_part = || {
            let mut windows = text.as_bytes().windows(part.len());
            windows.any(|window| window.eq_ignore_ascii_case(part))
        };
        (part.is_empty() || !text.is_ascii() || has_part()) && self.matcher.matches(text)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without quotes, `*` and `?` would be refused: they are mistaken for a pattern.
        let is_plain = |c| is_plain(c) && !is_wild(c);
        show(&self.written, is_plain, f)
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(&self.written, is_plain, f)
    }
}

/// Shows a value, with quotes if it needs some.
fn show(
    text: &str,
    is_plain: impl Fn(char) -> bool,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    if !text.is_empty() && text.chars().all(is_plain) && !KEYWORDS.contains(&text) {
        f.write_str(text)
    } else {
        f.write_str(&quoted(text))
    }
}

/// The name that a field holds, with quotes if it needs some.
pub(crate) fn show_name(name: &str) -> String {
    if !name.is_empty() && name.chars().all(|c| is_plain(c) && !is_wild(c)) {
        name.to_owned()
    } else {
        quoted(name)
    }
}

/// The text in quotes.
pub(crate) fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}

/// Whether the character has a meaning in a pattern.
pub(crate) fn is_wild(c: char) -> bool {
    matches!(c, '*' | '?')
}

/// Whether the character may stand outside of quotes, in names and values. Fixed lists and
/// not Unicode's properties, because those change with each version of each language.
pub(crate) fn is_plain(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_alphanumeric() || "._-:/@+%*?".contains(c)
    } else {
        !is_unseen(c) && !is_curly_quote(c)
    }
}

/// Whether nobody sees the character: controls, and blanks that are not the usual ones.
pub(crate) fn is_unseen(c: char) -> bool {
    c.is_ascii_control()
        || matches!(c,
            '\u{80}'..='\u{A0}'
            | '\u{AD}'
            | '\u{1680}'
            | '\u{180E}'
            | '\u{2000}'..='\u{200F}'
            | '\u{2028}'..='\u{202F}'
            | '\u{205F}'..='\u{206F}'
            | '\u{3000}'
            | '\u{FEFF}')
}

/// Whether a word processor makes the character of `"` or `'`.
pub(crate) fn is_curly_quote(c: char) -> bool {
    matches!(c, '\u{2018}'..='\u{201F}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The part that is looked for first changes nothing.
        #[test]
        fn a_pattern_covers_what_its_matcher_matches(
            written in "[abAB*?ßKẞ\u{212a}]{0,6}",
            text in "[abkABK*?ßẞ\u{212a}]{0,8}",
        ) {
            let glob = Glob::new(written);
            prop_assert_eq!(glob.covers(&text), glob.matcher.matches(&text));
        }
    }
}
