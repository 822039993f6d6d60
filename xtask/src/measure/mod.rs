//! How the code reads, as numbers that anybody can compare between two revisions.
//!
//! No number is a gate: a number shows where to look, and a person judges the code there.
//!
//! All non-test code counts: the files of the libraries and programs of each package,
//! without test code (see [`crate::source::test_code`]).
//!
//! - **Tokens a line.** How packed the text is. A token is a name, a literal, a
//!   delimiter, or one character of punctuation: `::` and `->` are two tokens each, and a
//!   lifetime is an apostrophe and a name. A line counts if a name or literal begins
//!   there. A line of nothing but punctuation, for example `});`, does not count, and
//!   neither do the tokens on such a line. Comments, doc comments included, are neither
//!   tokens nor lines.
//! - **Blank lines.** Of the lines strictly between the braces of a function's body, the
//!   share without any visible character, in percent. The body of a function within a
//!   function is part of the outer body.
//! - **Function lengths.** The lines from `fn` to the closing brace, both included. Doc
//!   comments and attributes stand above and do not count. A function within a function
//!   counts for itself, too. The n-th percentile is the smallest length that at
//!   least n percent of the functions do not exceed.
//! - **Words of comments.** Each row of letters in a comment, doc comment or not; `it's`
//!   counts as the word before the apostrophe. Text between backticks and in fenced blocks
//!   is code and does not count.
//! - **Pronouns** per 100 words, by [`PRONOUNS`]: words for which a reader has to
//!   find the noun elsewhere. `that` and `which` are counted apart
//!   ([`JOINING_PRONOUNS`]), because in most sentences the noun or verb stands right
//!   before.
//! - **Connectives** per 100 words, by [`CONNECTIVES`]: words that say how two
//!   facts belong together.
//! - **Undocumented types.** Of the structs, enums, unions, traits and type aliases,
//!   public or private, the share without a doc comment, in percent.

mod functions;
mod package;
mod prose;
mod table;
mod tokens;

pub use package::{Measures, measure};
pub use prose::{CONNECTIVES, JOINING_PRONOUNS, PRONOUNS};
pub use table::{places, table};
