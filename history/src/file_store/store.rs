//! The store over the file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rusqlite::Transaction;

use crate::chunk::{Chunk, ChunkError, StoredChunk};
use crate::day::Day;
use crate::file_store::access::{Access, Found};
use crate::file_store::error::FileError;
use crate::file_store::hosts::HostNo;
use crate::file_store::{chunks, files, hosts, traffic, waiting};
use crate::kept::USUAL_SERIES;
use crate::sample::Sample;
use crate::store::{Cut, HistoryError, HistoryStore, Host, HostSamples, Size, Trouble};
use crate::traffic::DayTraffic;

/// What an operator sets.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The file never has more bytes; the log beside it has at most some MB.
    pub max_bytes: u64,
    /// Series of a host and day that are kept, beside the counters of interfaces that are
    /// behind the first ones.
    pub max_series: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            max_bytes: u64::MAX,
            max_series: USUAL_SERIES,
        }
    }
}

/// Chunks in an SQLite file.
#[derive(Debug)]
pub struct FileStore {
    file: Access,
    max_series: usize,
}

impl FileStore {
    /// A store in the file `path`. The file is opened when it is needed first.
    #[must_use]
    pub fn new(path: &Path, options: Options) -> FileStore {
        FileStore {
            file: Access::new(path.to_path_buf(), options.max_bytes),
            max_series: options.max_series,
        }
    }

    /// Keeps samples as [`HistoryStore::merge`] does, but lets them wait until there is an
    /// hour of them: for hosts that have one sample at a time. The traffic of samples that
    /// wait is not known.
    ///
    /// # Errors
    /// Nothing of the batch was kept.
    pub fn let_wait(&self, batch: &[HostSamples]) -> Result<Cut, HistoryError> {
        self.file.write(|transaction| {
            waiting::put(transaction, batch)?;
            if !waiting::is_long(transaction)? {
                return Ok(Cut::default());
            }
            let all = waiting::find(transaction)?.into_iter();
            let all = all.map(|(host, samples)| HostSamples { host, samples });
            let cut = self.merge_all(transaction, &all.collect::<Vec<_>>())?;
            waiting::clear(transaction)?;
            Ok(cut)
        })
    }

    /// The samples that wait, by host, in the order of time.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn waiting(&self) -> Result<BTreeMap<Host, Vec<Sample>>, HistoryError> {
        let waiting = self.file.query(|reader| Ok(waiting::find(reader)?))?;
        Ok(waiting.value().unwrap_or_default())
    }

    /// The countries that have chunks.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn countries(&self) -> Result<BTreeSet<Host>, HistoryError> {
        let countries = self.file.query(|reader| Ok(hosts::countries(reader)?))?;
        Ok(countries.value().unwrap_or_default().into_iter().collect())
    }

    /// Merges the samples, and gives what is left out.
    fn merge_all(
        &self,
        transaction: &Transaction<'_>,
        batch: &[HostSamples],
    ) -> Result<Cut, FileError> {
        let mut cut = Cut::default();
        let mut merged = 0;
        for HostSamples { host, samples } in batch {
            if samples.is_empty() {
                continue;
            }
            let number = hosts::find_or_add(transaction, host)?;
            for (day, samples) in by_day(samples) {
                self.merge_day(transaction, (host, number), day, &samples, &mut cut)?;
                merged += 1;
            }
        }
        // Each host is merged several times a day, so this keeps up.
        chunks::settle(transaction, merged)?;
        Ok(cut)
    }

    /// Merges the samples of a host and day, and adds to `cut` what is left out.
    fn merge_day(
        &self,
        transaction: &Transaction<'_>,
        host: (&Host, HostNo),
        day: Day,
        samples: &[&Sample],
        cut: &mut Cut,
    ) -> Result<(), FileError> {
        let bytes = chunks::find(transaction, day, host.1)?;
        let stored = match bytes.as_deref().map(|bytes| read_chunk(bytes, day)) {
            None => Chunk::empty(day),
            Some(Ok(stored)) => stored,
            Some(Err(ChunkError::Version(_))) => {
                cut.samples_of_later_versions += samples.len();
                return Ok(());
            }
            Some(Err(error)) => {
                self.tell_of_chunk(host.0, day, error);
                Chunk::empty(day)
            }
        };

        let merged = stored.merge(samples.iter().copied(), self.max_series);
        cut.series += merged.cut_series;
        cut.samples += merged.cut_samples;
        if merged.chunk != stored || bytes.is_none() {
            chunks::put(transaction, day, host.1, &merged.chunk.encode())?;
            traffic::put(transaction, host.1, day, &DayTraffic::of(&merged.chunk))?;
        }
        Ok(())
    }

    fn tell_of_chunk(&self, host: &Host, day: Day, error: ChunkError) {
        let host = host.to_string();
        self.file.troubles.add(Trouble::Chunk { host, day, error });
    }
}

impl HistoryStore for FileStore {
    fn merge(&self, batch: &[HostSamples]) -> Result<Cut, HistoryError> {
        self.file
            .write(|transaction| self.merge_all(transaction, batch))
    }

    fn read(
        &self,
        host: &Host,
        first: Day,
        last: Day,
        each: &mut dyn FnMut(StoredChunk),
    ) -> Result<usize, HistoryError> {
        let mut unread = 0;
        let found = self.file.query(|reader| {
            let Some(number) = hosts::find(reader, host)? else {
                return Ok(());
            };
            let mut day = chunks::oldest_day(reader)?.map(|oldest| oldest.max(first));
            let last =
                chunks::newest_day(reader)?.map_or(first, |newest| newest.min(last));
            while let Some(current) = day.filter(|day| *day <= last) {
                if let Some(bytes) = chunks::find(reader, current, number)? {
                    match open_chunk(&bytes, current) {
                        Ok(chunk) => each(chunk),
                        Err(error) => {
                            unread += 1;
                            self.tell_of_chunk(host, current, error);
                        }
                    }
                }
                day = (current < last).then(|| current.next());
            }
            Ok(())
        })?;
        if matches!(found, Found::SetAside) {
            unread += 1;
        }
        Ok(unread)
    }

    fn traffic(
        &self,
        host: &Host,
        first: Day,
        last: Day,
        each: &mut dyn FnMut(Day, DayTraffic),
    ) -> Result<usize, HistoryError> {
        let mut unread = 0;
        let found = self.file.query(|reader| {
            if let Some(number) = hosts::find(reader, host)? {
                unread += traffic::read(reader, number, (first, last), each)?;
            }
            Ok(())
        })?;
        Ok(unread + usize::from(matches!(found, Found::SetAside)))
    }

    fn oldest_day(&self) -> Result<Option<Day>, HistoryError> {
        let oldest = self.file.query(|reader| Ok(chunks::oldest_day(reader)?))?;
        Ok(oldest.value().flatten())
    }

    fn delete_day(&self, day: Day, at_most: usize) -> Result<bool, HistoryError> {
        self.file.write(|transaction| {
            let deleted = chunks::delete_day(transaction, day, at_most)?;
            Ok(deleted > 0 && deleted >= at_most)
        })
    }

    fn delete_host(&self, host: &Host) -> Result<(), HistoryError> {
        self.file.write(|transaction| {
            let Some(number) = hosts::find(transaction, host)? else {
                return Ok(());
            };
            let mut day = chunks::oldest_day(transaction)?;
            while let Some(current) = day {
                chunks::delete(transaction, current, number)?;
                day = chunks::day_after(transaction, current)?;
            }
            traffic::delete_all(transaction, number)?;
            Ok(hosts::remove(transaction, number)?)
        })
    }

    fn size(&self) -> Result<Size, HistoryError> {
        let used = self.file.query(|reader| {
            let pragma = |name| reader.pragma_query_value(None, name, |row| row.get(0));
            let pages: i64 = pragma("page_count")?;
            let free: i64 = pragma("freelist_count")?;
            let page_bytes: i64 = pragma("page_size")?;
            Ok((pages - free).unsigned_abs() * page_bytes.unsigned_abs())
        })?;
        Ok(Size {
            used: used.value().unwrap_or(0),
            on_disk: files::bytes_on_disk(&self.file.path),
        })
    }

    fn take_troubles(&self) -> Vec<Trouble> {
        self.file.troubles.take()
    }
}

/// The samples of each day.
fn by_day(samples: &[Sample]) -> BTreeMap<Day, Vec<&Sample>> {
    let mut days: BTreeMap<Day, Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        days.entry(sample.day()).or_default().push(sample);
    }
    days
}

fn read_chunk(bytes: &[u8], day: Day) -> Result<Chunk, ChunkError> {
    open_chunk(bytes, day)?.decode()
}

/// The chunk that stands in the row of a day.
fn open_chunk(bytes: &[u8], day: Day) -> Result<StoredChunk, ChunkError> {
    let chunk = StoredChunk::open(bytes)?;
    if chunk.day() == day {
        Ok(chunk)
    } else {
        Err(ChunkError::of_another_day())
    }
}
