//! Tokens, and the lines with tokens.

use std::collections::BTreeSet;

use crate::source::text::Text;

/// How many tokens stand on how many lines. Lines of nothing but punctuation, and the
/// tokens there, are left out.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) count: usize,
    pub(crate) lines: usize,
}

impl Tokens {
    /// The tokens and lines of a file.
    pub(crate) fn of(text: &Text<'_>) -> Tokens {
        let words = text.tokens.iter().filter(|token| token.is_word);
        let lines: BTreeSet<usize> = words.map(|token| token.line).collect();
        let tokens = text.tokens.iter();

        Tokens {
            count: tokens.filter(|token| lines.contains(&token.line)).count(),
            lines: lines.len(),
        }
    }

    /// Adds another file's tokens.
    pub(crate) fn add(&mut self, other: &Tokens) {
        self.count += other.count;
        self.lines += other.lines;
    }
}
