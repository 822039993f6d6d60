//! `alerts`: rules as a file, and a channel that is tried. They work on the store beside a
//! running server, which goes by the change at its next look.

mod error;
mod export;
mod file;
mod import;
mod names;
mod trial;

pub(crate) use self::error::AlertsError;
pub(super) use self::export::export;
pub(super) use self::import::import;
pub(super) use self::trial::test_channel;
