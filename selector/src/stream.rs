//! The tokens that are still to be read.

use crate::error::SelectorError;
use crate::lexer::Token;

/// The tokens that are still to be read. At the end, the end comes again and again.
pub(crate) struct Stream<'a> {
    /// Never empty.
    tokens: &'a [Token],
}

impl<'a> Stream<'a> {
    /// All of these, the last of which is the end.
    pub(crate) fn new(tokens: &'a [Token]) -> Stream<'a> {
        Stream { tokens }
    }

    /// The next token.
    pub(crate) fn next(&self) -> &'a Token {
        &self.tokens[0]
    }

    /// The token behind the next one.
    pub(crate) fn second(&self) -> &'a Token {
        self.tokens.get(1).unwrap_or(&self.tokens[0])
    }

    /// Takes the next token.
    pub(crate) fn take(&mut self) -> &'a Token {
        let token = self.next();
        if self.tokens.len() > 1 {
            self.tokens = &self.tokens[1..];
        }
        token
    }
}

/// A fault that begins with the token.
pub(crate) fn fault(token: &Token, message: impl Into<String>) -> SelectorError {
    SelectorError::new(token.place, message)
}
