//! The channels against peers that answer as a test has written down.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod failures;
mod golden;
mod hostile;
mod mail;
mod sample;
mod settings;
mod telegram;
