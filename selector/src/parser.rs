//! From tokens to the tree: how conditions are put together.

use crate::error::SelectorError;
use crate::lexer::{Token, TokenKind, tokens};
use crate::term;
use crate::text::KEYWORDS;
use crate::tree::Expression;

/// The most conditions.
const MAX_TERMS: usize = 64;
/// The most parentheses and `not` around a condition.
const MAX_DEPTH: usize = 16;

/// The tree of the selector that `text` spells.
///
/// # Errors
/// The first fault of the text, with its place.
pub(crate) fn parse(text: &str) -> Result<Expression, SelectorError> {
    let tokens = tokens(text)?;
    let mut parser = Parser {
        tokens: &tokens,
        terms: 0,
        depth: 0,
    };
    if parser.next().kind == TokenKind::End {
        let message = "is empty: write all to select every host";
        return Err(SelectorError::new(1, message));
    }

    let expression = parser.selector()?;
    let rest = parser.next();
    match rest.kind {
        TokenKind::End => Ok(expression),
        TokenKind::Close => Err(fault(rest, "this ) closes nothing")),
        _ => Err(joint_missing(rest)),
    }
}

/// What is still to be read, and what has been counted.
pub(crate) struct Parser<'a> {
    tokens: &'a [Token],
    terms: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    /// The next token; the end again and again.
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

    fn selector(&mut self) -> Result<Expression, SelectorError> {
        let mut parts = vec![self.and()?];
        while self.next().is("or") {
            self.take();
            parts.push(self.and()?);
        }
        Ok(Expression::or(parts))
    }

    fn and(&mut self) -> Result<Expression, SelectorError> {
        let mut parts = vec![self.not()?];
        while self.next().is("and") {
            self.take();
            parts.push(self.not()?);
        }
        Ok(Expression::and(parts))
    }

    fn not(&mut self) -> Result<Expression, SelectorError> {
        let token = self.next();
        if token.is("not") {
            self.take();
            let inner = self.deeper(token, Parser::not)?;
            Ok(Expression::Not(Box::new(inner)))
        } else if token.kind == TokenKind::Open {
            self.take();
            self.deeper(token, |parser| parser.group(token))
        } else {
            self.terms += 1;
            if self.terms > MAX_TERMS {
                let message = format!("at most {MAX_TERMS} conditions are taken");
                return Err(fault(token, message));
            }
            term::parse(self)
        }
    }

    /// What stands behind the parenthesis `open`.
    fn group(&mut self, open: &Token) -> Result<Expression, SelectorError> {
        let inner = self.selector()?;
        let closing = self.take();
        match closing.kind {
            TokenKind::Close => Ok(inner),
            TokenKind::End => Err(fault(open, "this ( is not closed")),
            _ => Err(joint_missing(closing)),
        }
    }

    /// What `parse` reads behind `token`, one deeper.
    fn deeper(
        &mut self,
        token: &Token,
        parse: impl FnOnce(&mut Self) -> Result<Expression, SelectorError>,
    ) -> Result<Expression, SelectorError> {
        if self.depth == MAX_DEPTH {
            let message = format!("at most {MAX_DEPTH} of ( and not may be nested");
            return Err(fault(token, message));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }
}

/// A fault that begins with the token.
pub(crate) fn fault(token: &Token, message: impl Into<String>) -> SelectorError {
    SelectorError::new(token.place, message)
}

/// The token follows a condition, and nothing says how the two belong together.
fn joint_missing(token: &Token) -> SelectorError {
    let shown = token.show();
    let lower = shown.to_ascii_lowercase();
    if shown != lower && KEYWORDS.contains(&lower.as_str()) {
        return fault(token, format!("write {lower} in lower case"));
    }
    fault(token, format!(r#""and" or "or" is missing before {shown}"#))
}
