//! Completions for bash, zsh and fish.
//!
//! The model: the words that were typed so far, without options and their values, are a
//! whole command or the beginning of one. That point of the command line decides what the
//! shell offers next ([`points`]). Besides, some options go with every command, and some
//! options take a value. All three shells offer the same; a template beside this
//! file holds the code of each shell.

mod bash;
mod fish;
mod points;
mod template;
mod zsh;

pub(crate) use bash::bash;
pub(crate) use fish::fish;
pub(crate) use zsh::zsh;
