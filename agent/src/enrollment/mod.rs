//! A key of the host's own: how the host gets it, and how it is replaced.
//!
//! The agent makes the key and keeps it in its state folder, where the agent itself may
//! replace it. The server gets to know the key's SHA-256 alone. The key is on the disk
//! before the server hears of it, so an answer that is lost costs nothing: the same call
//! again has the same end.

mod call;
mod command;
mod key_file;
mod rotation;
mod settings_files;

pub(crate) use command::{CodeFrom, Order, run};
pub(crate) use rotation::{KeyInUse, Rotation, replace_key};
