//! From characters to tokens.

use crate::error::SelectorError;
use crate::operator::Operator;
use crate::text::{is_curly_quote, is_plain, is_unseen, quoted};

/// A part of the text, and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    /// The first character, counted from 1.
    pub(crate) place: usize,
    /// The character behind the last one.
    pub(crate) end: usize,
}

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TokenKind {
    /// Characters without quotes: a keyword, a field, a value.
    Word(String),
    /// What stands between quotes.
    Quoted(String),
    Operator(Operator),
    Open,
    Close,
    Comma,
    End,
}

impl Token {
    /// Whether the token is this keyword.
    pub(crate) fn is(&self, keyword: &str) -> bool {
        matches!(&self.kind, TokenKind::Word(word) if word == keyword)
    }

    /// The token as it is written.
    pub(crate) fn show(&self) -> String {
        match &self.kind {
            TokenKind::Word(word) => word.clone(),
            TokenKind::Quoted(text) => quoted(text),
            TokenKind::Operator(operator) => operator.as_str().to_owned(),
            TokenKind::Open => "(".to_owned(),
            TokenKind::Close => ")".to_owned(),
            TokenKind::Comma => ",".to_owned(),
            TokenKind::End => "the end".to_owned(),
        }
    }
}

/// What people write in place of an operator or a keyword.
const MEANT: [(&str, &str); 9] = [
    ("==", "="),
    ("=~", "~"),
    ("=>", ">="),
    ("=<", "<="),
    ("<>", "!="),
    ("&&", "and"),
    ("||", "or"),
    ("&", "and"),
    ("|", "or"),
];

/// The operators, longest first.
const OPERATORS: [Operator; 8] = [
    Operator::NotEqual,
    Operator::NotLike,
    Operator::LessOrEqual,
    Operator::GreaterOrEqual,
    Operator::Equal,
    Operator::Like,
    Operator::Less,
    Operator::Greater,
];

/// All tokens of the text; the last one is its end.
///
/// # Errors
/// A character that may not stand where it does, or a quote that is not closed.
pub(crate) fn tokens(text: &str) -> Result<Vec<Token>, SelectorError> {
    let mut lexer = Lexer {
        chars: text.chars().collect(),
        at: 0,
    };
    let mut tokens = Vec::new();
    loop {
        let token = lexer.next()?;
        let is_end = token.kind == TokenKind::End;
        tokens.push(token);
        if is_end {
            return Ok(tokens);
        }
    }
}

/// The text, and how much of it has been read.
struct Lexer {
    chars: Vec<char>,
    at: usize,
}

impl Lexer {
    fn next(&mut self) -> Result<Token, SelectorError> {
        while matches!(self.peek(), Some(' ' | '\t' | '\r' | '\n')) {
            self.at += 1;
        }

        let place = self.at + 1;
        let kind = match self.peek() {
            None => TokenKind::End,
            Some('"') => TokenKind::Quoted(self.quoted()?),
            Some(c) if is_plain(c) => TokenKind::Word(self.word()),
            Some(c) => self.sign(c)?,
        };
        let end = self.at + 1;
        Ok(Token { kind, place, end })
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn word(&mut self) -> String {
        let rest = self.chars[self.at..].iter().copied();
        let word: String = rest.take_while(|c| is_plain(*c)).collect();
        self.at += word.chars().count();
        word
    }

    fn quoted(&mut self) -> Result<String, SelectorError> {
        let opening = self.at + 1;
        let mut text = String::new();
        loop {
            self.at += 1;
            match self.peek() {
                None => {
                    let message = "this quote is not closed";
                    return Err(SelectorError::new(opening, message));
                }
                Some('"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some('\\') => {
                    let escaped = self.chars.get(self.at + 1).copied();
                    let Some(c @ ('"' | '\\')) = escaped else {
                        let message = r#"in quotes, \ stands only before " and \"#;
                        return Err(SelectorError::new(self.at + 1, message));
                    };
                    text.push(c);
                    self.at += 1;
                }
                Some(c) => text.push(c),
            }
        }
    }

    /// An operator, a parenthesis or a comma.
    fn sign(&mut self, c: char) -> Result<TokenKind, SelectorError> {
        let single = match c {
            '(' => Some(TokenKind::Open),
            ')' => Some(TokenKind::Close),
            ',' => Some(TokenKind::Comma),
            _ => None,
        };
        if let Some(kind) = single {
            self.at += 1;
            return Ok(kind);
        }

        if let Some((wrong, right)) = MEANT.iter().find(|(wrong, _)| self.has(wrong)) {
            return Err(self.fault(format!("write {right} in place of {wrong}")));
        }
        let mut operators = OPERATORS.iter();
        match operators.find(|operator| self.has(operator.as_str())) {
            Some(operator) => {
                self.at += operator.as_str().len();
                Ok(TokenKind::Operator(*operator))
            }
            None => Err(self.fault(describe(c))),
        }
    }

    /// Whether the rest begins with `text`.
    fn has(&self, text: &str) -> bool {
        let rest = &self.chars[self.at..];
        text.chars()
            .enumerate()
            .all(|(place, c)| rest.get(place) == Some(&c))
    }

    fn fault(&self, message: String) -> SelectorError {
        SelectorError::new(self.at + 1, message)
    }
}

/// What is wrong with a character outside of quotes.
fn describe(c: char) -> String {
    if c == '!' {
        "write not in place of !".to_owned()
    } else if c == '\'' || is_curly_quote(c) {
        format!("write \" in place of {c}")
    } else if is_unseen(c) {
        let code = u32::from(c);
        format!("U+{code:04X} cannot be seen: outside of quotes, write a blank")
    } else {
        format!("{c} has to stand in double quotes")
    }
}
