//! From tokens to the tree: how conditions are put together.

use crate::error::SelectorError;
use crate::field::Fields;
use crate::lexer::{Token, TokenKind, tokens};
use crate::stream::{Stream, fault};
use crate::term;
use crate::text::KEYWORDS;
use crate::tree::Expression;

/// The most conditions.
const MAX_TERMS: usize = 64;
/// The most parentheses and `not` around a condition.
const MAX_DEPTH: usize = 16;

/// The tree of the selector that `text` spells, which asks about these fields alone.
///
/// # Errors
/// The first fault of the text, with its place.
pub(crate) fn parse(text: &str, fields: Fields) -> Result<Expression, SelectorError> {
    let tokens = tokens(text)?;
    let mut parser = Parser {
        stream: Stream::new(&tokens),
        fields,
        terms: 0,
        depth: 0,
    };
    if parser.stream.next().kind == TokenKind::End {
        let message = "is empty: write all to select every host";
        return Err(SelectorError::new(1, message));
    }

    let expression = parser.selector()?;
    let rest = parser.stream.next();
    match rest.kind {
        TokenKind::End => Ok(expression),
        TokenKind::Close => Err(fault(rest, "this ) closes nothing")),
        _ => Err(joint_missing(rest)),
    }
}

/// What is still to be read, and what has been counted.
struct Parser<'a> {
    stream: Stream<'a>,
    fields: Fields,
    terms: usize,
    depth: usize,
}

impl Parser<'_> {
    fn selector(&mut self) -> Result<Expression, SelectorError> {
        let mut parts = vec![self.and()?];
        while self.stream.next().is("or") {
            self.stream.take();
            parts.push(self.and()?);
        }
        Ok(Expression::or(parts))
    }

    fn and(&mut self) -> Result<Expression, SelectorError> {
        let mut parts = vec![self.not()?];
        while self.stream.next().is("and") {
            self.stream.take();
            parts.push(self.not()?);
        }
        Ok(Expression::and(parts))
    }

    fn not(&mut self) -> Result<Expression, SelectorError> {
        let token = self.stream.next();
        if token.is("not") {
            self.stream.take();
            let inner = self.deeper(token, Parser::not)?;
            Ok(Expression::Not(Box::new(inner)))
        } else if token.kind == TokenKind::Open {
            self.stream.take();
            self.deeper(token, |parser| parser.group(token))
        } else {
            self.terms += 1;
            if self.terms > MAX_TERMS {
                let message = format!("at most {MAX_TERMS} conditions are taken");
                return Err(fault(token, message));
            }
            term::parse(&mut self.stream, self.fields)
        }
    }

    /// What stands behind the parenthesis `open`.
    fn group(&mut self, open: &Token) -> Result<Expression, SelectorError> {
        let inner = self.selector()?;
        let closing = self.stream.take();
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

/// The token follows a condition, and nothing says how the two belong together.
fn joint_missing(token: &Token) -> SelectorError {
    let shown = token.show();
    let lower = shown.to_ascii_lowercase();
    if shown != lower && KEYWORDS.contains(&lower.as_str()) {
        return fault(token, format!("write {lower} in lower case"));
    }
    fault(token, format!(r#""and" or "or" is missing before {shown}"#))
}
