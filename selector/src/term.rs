//! From tokens to one condition.

use std::net::IpAddr;

use crate::error::SelectorError;
use crate::field::{Field, Fields, list, meant};
use crate::lexer::{Token, TokenKind};
use crate::literal::{Literal, check_list, check_operator};
use crate::operator::Operator;
use crate::stream::{Stream, fault};
use crate::text::{KEYWORDS, is_wild, quoted};
use crate::tree::{Expression, Sense, Test};

/// The most characters of a tag's key.
const MAX_KEY_CHARS: usize = 63;

/// The condition that comes next.
///
/// # Errors
/// No condition comes next, or it has a fault.
pub(crate) fn parse(
    stream: &mut Stream<'_>,
    fields: Fields,
) -> Result<Expression, SelectorError> {
    let token = stream.next();
    match &token.kind {
        TokenKind::Word(word) if word == "all" => {
            stream.take();
            Ok(Expression::All)
        }
        TokenKind::Word(word) if !KEYWORDS.contains(&word.as_str()) => {
            stream.take();
            let field = field(stream, token, word)?;
            fields
                .check(&field)
                .map_err(|message| fault(token, message))?;
            let test = test(stream, &field)?;
            Ok(Expression::Term(field, test))
        }
        TokenKind::Quoted(_) => {
            let message = "a text stands behind a field and an operator";
            Err(fault(token, message))
        }
        TokenKind::End => Err(fault(token, "a condition is missing at the end")),
        _ => {
            let message = format!("a condition is missing before {}", token.show());
            Err(fault(token, message))
        }
    }
}

/// The field that `word` names, together with a name in quotes that follows at once.
fn field(
    stream: &mut Stream<'_>,
    token: &Token,
    word: &str,
) -> Result<Field, SelectorError> {
    if let Some(field) = Field::find(word) {
        return Ok(field);
    }
    let Some((make, rest)) = Field::find_named(word) else {
        return Err(fault(token, describe_unknown(word)));
    };

    let next = stream.next();
    let name = match &next.kind {
        TokenKind::Quoted(name) if rest.is_empty() && next.place == token.end => {
            stream.take();
            name.as_str()
        }
        _ => rest,
    };
    if name.is_empty() {
        return Err(fault(token, format!("a name is missing behind {word}")));
    }
    if rest.contains(is_wild) {
        let message =
            format!("a name is not a pattern: write {} in quotes", quoted(rest));
        return Err(fault(token, message));
    }

    let field = make(name.to_owned());
    if matches!(field, Field::Tag(_)) && !is_key(name) {
        let message = format!(
            "a tag's key has a-z, 0-9 and . _ / - behind the first letter or digit, and at \
             most {MAX_KEY_CHARS} characters"
        );
        return Err(fault(token, message));
    }
    Ok(field)
}

/// What the field is asked for.
fn test(stream: &mut Stream<'_>, field: &Field) -> Result<Test, SelectorError> {
    let token = stream.next();
    if let TokenKind::Operator(operator) = token.kind {
        stream.take();
        check_operator(field, operator).map_err(|message| fault(token, message))?;
        let literal = value(stream, field, operator, operator.as_str())?;
        return Ok(Test::Compare(operator, literal));
    }

    let sense = if token.is("in") {
        Sense::Is
    } else if token.is("not") && stream.second().is("in") {
        stream.take();
        Sense::IsNot
    } else {
        return Ok(Test::Alone);
    };
    let token = stream.take();
    check_list(field).map_err(|message| fault(token, message))?;
    Ok(Test::In(sense, values(stream, field)?))
}

/// The values behind `in`.
fn values(stream: &mut Stream<'_>, field: &Field) -> Result<Vec<Literal>, SelectorError> {
    let open = stream.take();
    if open.kind != TokenKind::Open {
        return Err(fault(open, "( is missing behind in"));
    }

    let mut values = Vec::new();
    loop {
        let before = if values.is_empty() { "(" } else { "," };
        values.push(value_behind(stream, field, before)?);
        let token = stream.take();
        match token.kind {
            TokenKind::Comma => {}
            TokenKind::Close => return Ok(values),
            TokenKind::End => return Err(fault(open, "this ( is not closed")),
            _ => {
                let message = format!(r#""," or ")" is missing before {}"#, token.show());
                return Err(fault(token, message));
            }
        }
    }
}

fn value_behind(
    stream: &mut Stream<'_>,
    field: &Field,
    before: &str,
) -> Result<Literal, SelectorError> {
    value(stream, field, Operator::Equal, before)
}

/// The value behind `before`, which is compared by `operator`.
fn value(
    stream: &mut Stream<'_>,
    field: &Field,
    operator: Operator,
    before: &str,
) -> Result<Literal, SelectorError> {
    let token = stream.take();
    let text = match &token.kind {
        TokenKind::Quoted(text) => text,
        TokenKind::Word(word) if KEYWORDS.contains(&word.as_str()) => {
            let message = format!("as a value, {word} has to stand in double quotes");
            return Err(fault(token, message));
        }
        TokenKind::Word(word) => {
            if operator.is_equality() && word.contains(is_wild) {
                let message = format!(
                    "whole texts are compared here: write ~ for a pattern, or {}",
                    quoted(word)
                );
                return Err(fault(token, message));
            }
            word
        }
        _ => return Err(fault(token, format!("a value is missing behind {before}"))),
    };
    Literal::parse(field, operator, text).map_err(|message| fault(token, message))
}

/// What to write in place of a word that is not a field.
fn describe_unknown(word: &str) -> String {
    let lower = word.to_ascii_lowercase();
    if KEYWORDS.contains(&lower.as_str()) {
        return format!("write {lower} in lower case");
    }

    let told = format!("{} is not a field", quoted(word));
    if word.contains(is_wild) {
        return format!("{told}: for the name of a host, write hostname ~ {word}");
    }
    if let Ok(ip) = word.parse::<IpAddr>() {
        return format!("{told}: for an address, write ip = {}", ip.to_canonical());
    }
    match (meant(word), is_key(&lower)) {
        (Some(meant), true) => {
            format!("{told}: did you mean {meant}? For a tag, write tag.{lower}")
        }
        (Some(meant), false) => format!("{told}: did you mean {meant}?"),
        (None, true) => format!("{told}: for a tag, write tag.{lower}"),
        (None, false) => format!("{told}; fields are {}", list()),
    }
}

/// Whether a tag may have this key.
fn is_key(text: &str) -> bool {
    let is_alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() <= MAX_KEY_CHARS
        && text.starts_with(is_alphanumeric)
        && text
            .chars()
            .all(|c| is_alphanumeric(c) || "._/-".contains(c))
}
