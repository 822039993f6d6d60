//! A file's text as a row of tokens with comments between.

use std::ops::Range;

use proc_macro2::{Span, TokenStream, TokenTree};

use crate::source::file::SourceFile;

/// The parts of a file's text, without test code.
#[derive(Debug, Default, PartialEq)]
pub struct Text<'a> {
    /// The code.
    pub tokens: Vec<Token>,
    /// The lines of the comments, doc comments included.
    pub comments: Vec<&'a str>,
}

/// One token of the code.
#[derive(Debug, PartialEq, Eq)]
pub struct Token {
    /// The line on which the token begins, counted from 1.
    pub line: usize,
    /// The token's place in the file's text, in bytes.
    pub place: Range<usize>,
    /// Whether the token is a name or a literal, and not punctuation.
    pub is_word: bool,
}

/// Splits a file's text.
pub fn split(file: &SourceFile) -> Text<'_> {
    let stream: TokenStream = file
        .text
        .parse()
        .expect("the file was parsed when it was read");
    let mut tokens = Vec::new();
    add_tokens(stream, &mut tokens);

    let mut text = Text::default();
    let mut end = 0;
    for token in tokens {
        // A doc comment gives several tokens at one place.
        if token.place.start < end {
            continue;
        }
        add_comment(file, end..token.place.start, &mut text);
        end = token.place.end;

        let written = &file.text[token.place.clone()];
        if written.starts_with("//") || written.starts_with("/*") {
            add_comment(file, token.place, &mut text);
        } else if !file.is_test_line[token.line - 1] {
            text.tokens.push(token);
        }
    }
    add_comment(file, end..file.text.len(), &mut text);
    text
}

fn add_tokens(stream: TokenStream, tokens: &mut Vec<Token>) {
    let token = |span: Span, is_word| Token {
        line: span.start().line,
        place: span.byte_range(),
        is_word,
    };
    for tree in stream {
        match tree {
            TokenTree::Group(group) => {
                tokens.push(token(group.span_open(), false));
                add_tokens(group.stream(), tokens);
                tokens.push(token(group.span_close(), false));
            }
            TokenTree::Punct(punct) => tokens.push(token(punct.span(), false)),
            TokenTree::Ident(name) => tokens.push(token(name.span(), true)),
            TokenTree::Literal(literal) => tokens.push(token(literal.span(), true)),
        }
    }
}

/// Adds the lines of the comments in a part of the text that holds no token.
fn add_comment<'a>(file: &'a SourceFile, place: Range<usize>, text: &mut Text<'a>) {
    let before = file.text[..place.start].matches('\n').count();
    for (line, written) in (before..).zip(file.text[place].split('\n')) {
        let is_test = file.is_test_line.get(line).copied().unwrap_or(false);
        if !is_test && !written.trim().is_empty() {
            text.comments.push(written.trim());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn tokens_and_comments_are_told_apart_and_tests_left_out() {
        let text = "//! Head.\n\nlet_it!(\"// a string\"); // end\n/* a\nb */\n/// Doc.\nfn f() {}\n#[cfg(test)]\nmod tests {\n    // not this\n    fn g() {}\n}\n";
        let (file, _) = SourceFile::parse(Path::new("x.rs"), text.to_owned()).unwrap();

        let text = split(&file);
        assert_eq!(
            text.comments,
            ["//! Head.", "// end", "/* a", "b */", "/// Doc."]
        );
        let words = |line| {
            let tokens = text.tokens.iter().filter(|token| token.line == line);
            tokens.map(|token| token.is_word).collect::<Vec<_>>()
        };
        assert_eq!(words(3), [true, false, false, true, false, false]);
        assert_eq!(words(7), [true, true, false, false, false, false]);
        assert_eq!(text.tokens.len(), 12);
    }
}
