//! Chunks in an SQLite file of their own.
//!
//! ```text
//! hosts (host_no, host)        each host's number, which is never used again
//! growing (id, chunk)          id = day << 32 | host_no; the latest days
//! chunks (id, chunk)           all days before
//! traffic (id, sums)           id = host_no << 32 | day; what follows from the day's chunk
//! waiting (at, host, sample)   of hosts with one sample at a time, for an hour
//! ```
//!
//! Chunks that grow leave the pages of their table half empty. So they have a table of
//! their own, and a merge moves some of those whose day is over to the end of the other
//! one, in the order of their ids: there the pages are full, the rows of a day stand
//! together, and a day is deleted from the front. What comes later than that is merged in
//! its place.
//!
//! The traffic of a host's days stands together, so that a cycle of every host is read
//! without a look at chunks. It is written with its chunk and goes with it. A file of the
//! first version has none for the days that were merged before.
//!
//! The file is in WAL mode with `synchronous=NORMAL`: a kill loses nothing, and a power
//! cut at most the last merges, whose samples are still in the records of the hosts if
//! the caller clears those later. Pages have 4096 bytes, so that what a usual day's chunk
//! leaves of its pages is used by the chunks beside it.
//!
//! Opening never fails: each call opens the file if it is not open, makes it if it is
//! missing, and moves it aside if it is damaged.

mod access;
mod chunks;
mod connection;
mod copy;
mod error;
mod files;
mod hosts;
mod store;
mod traffic;
mod troubles;
mod waiting;

pub use copy::{FileContents, check_file, copy_file};
pub use store::{FileStore, Options};
