//! History: what hosts have measured, every heartbeat of it, for a year.
//!
//! A [`Sample`] is a heartbeat as history keeps it. [`open_chunk`] collects samples in
//! the host's record, where a heartbeat may add some bytes to what is written anyway.
//! From there they are merged into a [`Chunk`], which has one host's day in columns. The
//! same samples are the same chunk, in whatever order, as often, and in whatever batches
//! they come. A [`HistoryStore`] keeps the chunks; [`FileStore`] does it in an SQLite
//! file of its own. [`chart`] makes charts of them, [`traffic`] the bytes of a day, and
//! [`retention`] deletes what is too old or too much.
//!
//! Missing values are missing, and never 0. Times are whole seconds in UTC.
//!
//! ```
//! use fleetbeat_history::{Arrival, Chunk, Day, Identity, Sample, Series};
//!
//! let mut sample = Sample::new(1_780_000_000, Identity::Unknown, Arrival::Live);
//! sample.set_loads(Some(23.46), None, Some(12.0));
//! sample.set_service("wg", true);
//!
//! let chunk = Chunk::empty(sample.day()).merge([&sample, &sample], 24).chunk;
//! assert_eq!(chunk.len(), 1);
//! assert_eq!(chunk.samples().next().unwrap().get(&Series::Cpu), Some(23.5));
//! assert_eq!(chunk.samples().next().unwrap().get(&Series::Ram), None);
//! ```

mod bytes;
pub mod chart;
mod chunk;
pub mod conformance;
mod day;
mod file_store;
mod kept;
mod number;
pub mod open_chunk;
mod reading;
pub mod retention;
mod runs;
mod sample;
mod series;
mod store;
pub mod traffic;

pub use bytes::Damage;
pub use chunk::{Chunk, ChunkError, MAX_SAMPLES, Merged, Slice, StoredChunk, VERSION};
pub use day::{DAY_SECONDS, Day};
pub use file_store::{FileContents, FileStore, Options, check_file, copy_file};
pub use kept::{MAX_SERIES, USUAL_SERIES};
pub use reading::{
    HostChart, HostTraffic, chart_of, days_of, host_chart, host_days, host_traffic,
    traffic_of,
};
pub use sample::{Arrival, Boot, Identity, Sample, counted_at};
pub use series::Series;
pub use store::{Cut, HistoryError, HistoryStore, Host, HostSamples, Size, Trouble};
