//! How the code reads, as numbers that anybody can compare between two revisions. They
//! are no gate: a number shows where to look, and a person judges what is there.
//!
//! All non-test code counts: the files of the libraries and programs of each package,
//! without test code (see [`crate::source::test_code`]).
//!
//! - **Tokens a line.** How packed the text is. A token is what the compiler's tokenizer
//!   gives: a name, a literal, a lifetime, a delimiter, or one character of punctuation
//!   (`::` and `->` are two tokens each). A line counts if at least one name or literal
//!   begins there; the tokens of a line of nothing but punctuation, such as `});`, do not
//!   count either. Comments, doc comments included, are neither tokens nor lines.
//! - **Blank lines.** Of the lines strictly between the braces of a function's body, the
//!   share without any character that shows, in percent. The body of a function within
//!   another one is part of the outer body.
//! - **Function lengths.** The lines from the one with `fn` to the one with the closing
//!   brace. Doc comments and attributes stand above and do not count. Functions within
//!   functions count themselves, too. The n-th percentile is the smallest length that at
//!   least n percent of the functions do not exceed.
//! - **Words of comments.** Of every comment, doc or not, what consists of letters (with
//!   an apostrophe within). What stands between backticks and in fenced blocks is code
//!   and no word.
//! - **Pronouns** per 100 words, by [`PRONOUNS`]: words for which a reader has to
//!   find the noun elsewhere. `that` and `which` are counted apart
//!   ([`JOINING_PRONOUNS`]), because most of them join a clause to a noun or a verb
//!   right before.
//! - **Connectives** per 100 words, by [`CONNECTIVES`]: what says how two facts
//!   belong together.
//! - **Undocumented types.** Of the structs, enums, unions, traits and type aliases,
//!   whoever may see them, the share without a doc comment, in percent.

mod functions;
mod package;
mod prose;
mod table;
mod tokens;

pub use package::{Measures, measure};
pub use prose::{CONNECTIVES, JOINING_PRONOUNS, PRONOUNS};
pub use table::{places, table};
