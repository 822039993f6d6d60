//! A chunk: one host's day in columns.
//!
//! ```text
//! chunk   = version, CRC-32 of what follows (4 bytes, little endian),
//!           head as a section, one section for each column
//! section = 2 × length, bytes  |  2 × length + 1, deflated bytes (where that is shorter)
//! head    = day, number of rows,
//!           times:      first second of the day, then the differences of differences
//!           arrivals:   runs, the first of live samples
//!           boots:      number, 8 bytes each; runs of (code, length): 0 unknown,
//!                       2i + 1 by boot i, 2i + 2 numbered in boot i
//!           numbers:    of numbered rows, each as the difference to the expected one
//!           series:     number, then kind and name of each
//! ```
//!
//! All numbers are varints (see `bytes`); `column` has the form of a column. The same
//! samples have the same bytes, whatever the order in which they came. Each column is
//! compressed for itself: this takes a ninth less than one stream, and a chart inflates
//! no more than it shows. A chunk that is damaged is told by its checksum, and whatever
//! the bytes are, reading them takes bounded memory.

mod column;
mod encode;
mod envelope;
mod head;
mod merge;
mod row;
mod section;
mod stored;
mod table;

pub use envelope::{ChunkError, VERSION};
pub use merge::Merged;
pub use row::MAX_SAMPLES;
pub use stored::StoredChunk;
pub use table::{Chunk, Slice};
