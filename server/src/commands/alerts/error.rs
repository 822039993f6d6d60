//! Why a command about alerts has failed.

use std::io;
use std::path::PathBuf;

use crate::store::StoreError;

/// Why a command about alerts has failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AlertsError {
    /// The store has not done it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file cannot be read or written.
    #[error("{}", file.display())]
    File { file: PathBuf, source: io::Error },
    /// The file has mistakes, which are told already.
    #[error("{} has {mistakes}, and nothing was changed", file.display())]
    Mistakes { file: PathBuf, mistakes: String },
    /// Rules in the store have one name, by which a file could not tell them apart.
    #[error("the rules {ids} have one name, {name:?}: give one of them another name")]
    SameName { name: String, ids: String },
    /// A rule in the store cannot be read.
    #[error(
        "the rule {0} in the database cannot be read: DELETE /alert-rules/{0} removes it"
    )]
    Damaged(String),
    /// Somebody else has changed the rules at the same time.
    #[error("somebody else has changed the rules meanwhile: look at them, and try again")]
    Changed,
    /// The channel that was named is not there.
    #[error("{word:?} {reason}")]
    UnknownChannel { word: String, reason: String },
    /// The message was not sent, for the reason behind the error's class.
    #[error("channel {name:?} ({id}): {class}: {reason}")]
    NotSent {
        name: String,
        id: String,
        class: &'static str,
        reason: String,
    },
    /// What sends cannot be made.
    #[error(transparent)]
    Sender(io::Error),
    /// The system gives no random numbers.
    #[error("no random numbers")]
    Random(#[from] getrandom::Error),
    /// Standard output takes nothing.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
}
