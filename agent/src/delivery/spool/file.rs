//! The spool's file: records one after the other, the oldest first.
//!
//! No record holds the position of another record, so no position can be wrong. The
//! reader finds records by their magic and believes a record if the CRC is right.
//! Anything may lie between two records. Wherever the process is killed, every record
//! stays whole:
//! - A record is added at the end. Half a record does not count as a record.
//! - A record is marked as done by changing one byte. When all records are done, the file
//!   is emptied.
//! - Space is got back by moving records to the beginning of the file, each into a gap at
//!   least as long as the record. A kill may leave a record at both places. Because
//!   numbers grow along the file, a record is a remnant if its number is not larger than
//!   the number of the record before.
//!
//! All of this needs neither a second file nor free space, so the spool works on while
//! the disk is full. A power cut may take records without a sync, and marks of done
//! records. Moved records survive, because the copies are synced before the old places
//! are written to.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use super::record::{self, DONE, HEADER_BYTES, Header, STATE_AT};
use crate::state_folder;

/// How much is read at once while searching for the next record.
const SEARCH_BYTES: usize = 4096;
/// A full file drops an eighth of its records at once. To drop a single record for each
/// new record would move all others each time, and wear flash memory out.
const ROOM_PART: u64 = 8;

/// How large the file gets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Longest file.
    pub(super) max_bytes: u64,
    /// Records are not moved to get back less space.
    pub(super) min_gap_bytes: u64,
}

/// The open file, locked against other processes, and the facts about its records.
pub(super) struct SpoolFile {
    file: Arc<File>,
    limits: Limits,
    /// The position before which no record waits.
    head: u64,
    /// The position at which the last waiting record ends.
    end: u64,
    waiting: usize,
    waiting_bytes: u64,
    /// At least the length of the longest waiting record, header included.
    longest_bytes: u64,
    /// Number and position of the last record; `None` if unknown.
    newest: Option<(u64, u64)>,
    next_number: u64,
    skipped_bytes: u64,
    dropped: u64,
}

/// The spool's file as something to sync, and nothing else: the owner of the spool goes
/// on reading and writing meanwhile.
pub(crate) struct Unsynced(Arc<File>);

impl Unsynced {
    /// Waits until the disk has all records added before. A disk may take its time.
    ///
    /// # Errors
    /// The disk may lack some of the records.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// The oldest records, as the body of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// A JSON array.
    pub(crate) body: Vec<u8>,
    /// How many records the body holds.
    pub(crate) count: usize,
    /// The number of the last record in the body.
    pub(crate) last_number: u64,
}

/// An undamaged record as found in the file.
struct Record {
    /// The position in the file.
    at: u64,
    header: Header,
    body: Vec<u8>,
}

impl Record {
    fn bytes(&self) -> u64 {
        (HEADER_BYTES + self.body.len()) as u64
    }

    fn end(&self) -> u64 {
        self.at + self.bytes()
    }
}

impl SpoolFile {
    /// Opens or creates the file at `path`.
    ///
    /// # Errors
    /// `WouldBlock` if another process has the file; another kind if the file cannot be
    /// read or written.
    pub(super) fn open(path: &Path, limits: Limits) -> io::Result<SpoolFile> {
        let file = state_folder::open_or_create(path)?;
        file.try_lock()?;

        let mut spool = SpoolFile::empty(Arc::new(file), limits);
        spool.scan()?;
        Ok(spool)
    }

    fn empty(file: Arc<File>, limits: Limits) -> SpoolFile {
        SpoolFile {
            file,
            limits,
            head: 0,
            end: 0,
            waiting: 0,
            waiting_bytes: 0,
            longest_bytes: 0,
            newest: None,
            next_number: 1,
            skipped_bytes: 0,
            dropped: 0,
        }
    }

    /// How many records wait.
    pub(super) fn len(&self) -> usize {
        self.waiting
    }

    /// Whether somebody has removed the file: what is written to it is lost at the end.
    pub(super) fn is_removed(&self) -> bool {
        self.file.metadata().is_ok_and(|file| file.nlink() == 0)
    }

    /// Goes on with the numbers of `other`, a file that was removed: a record of it may be
    /// under way to the server still.
    pub(super) fn follow(&mut self, other: &SpoolFile) {
        self.next_number = self.next_number.max(other.next_number);
    }

    /// Bytes outside of records when the file was opened.
    pub(super) fn skipped_bytes(&self) -> u64 {
        self.skipped_bytes
    }

    /// How many records were dropped to make room for newer ones.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// A handle for another thread to sync the records so far.
    pub(super) fn unsynced(&self) -> Unsynced {
        Unsynced(Arc::clone(&self.file))
    }

    /// Adds a record and gives its number. The oldest records are dropped when more than
    /// `max_count` would wait, or when there is no space.
    pub(super) fn append(&mut self, body: &[u8], max_count: usize) -> io::Result<u64> {
        while self.waiting >= max_count.max(1) {
            self.drop_first()?;
        }
        self.compact_if_worthwhile()?;

        let number = self.next_number;
        let record = record::encode(number, body).ok_or(io::ErrorKind::InvalidInput)?;
        let bytes = record.len() as u64;
        if self.end + bytes > self.limits.max_bytes {
            self.make_room(bytes)?;
        }
        match self.write(&record) {
            Err(error) if is_full(&error) && self.waiting > 0 => {
                self.make_room(bytes)?;
                self.write(&record)?;
            }
            written => written?,
        }

        self.newest = Some((number, self.end));
        self.end += bytes;
        self.next_number = number.saturating_add(1);
        self.count_in(bytes);
        Ok(number)
    }

    /// Marks the record as done: the server does not need it any more.
    pub(super) fn remove(&mut self, number: u64) -> io::Result<()> {
        if let Some((_, at)) = self.newest.take_if(|(newest, _)| *newest == number) {
            self.count_out(self.end - at);
            return if self.waiting == 0 {
                self.clear()
            } else {
                self.cut(at)
            };
        }

        let (mut at, mut is_first) = (self.head, true);
        while let Some(record) = self.next_waiting(at)? {
            if record.header.number == number {
                return if is_first {
                    self.finish_first(&record)
                } else {
                    self.finish(&record)
                };
            }
            (at, is_first) = (record.end(), false);
        }
        Ok(())
    }

    /// As [`SpoolFile::remove`], for all records up to `number`.
    pub(super) fn remove_through(&mut self, number: u64) -> io::Result<()> {
        while let Some(record) = self.next_waiting(self.head)? {
            if record.header.number > number {
                break;
            }
            self.finish_first(&record)?;
        }
        self.compact_if_worthwhile()
    }

    /// The oldest records as a JSON array: at most `max_count` of them, and at most
    /// `max_bytes` unless the first record alone is longer. `None` if no record waits.
    pub(super) fn batch(
        &mut self,
        max_count: usize,
        max_bytes: usize,
    ) -> io::Result<Option<Batch>> {
        let mut batch = Batch {
            body: vec![b'['],
            count: 0,
            last_number: 0,
        };
        let mut at = self.head;
        while batch.count < max_count
            && let Some(record) = self.next_waiting(at)?
        {
            if batch.count > 0 {
                if batch.body.len() + record.body.len() + 2 > max_bytes {
                    break;
                }
                batch.body.push(b',');
            }
            batch.body.extend_from_slice(&record.body);
            batch.count += 1;
            batch.last_number = record.header.number;
            at = record.end();
        }

        if batch.count == 0 {
            // All waiting records are damaged by now.
            self.clear()?;
            return Ok(None);
        }
        batch.body.push(b']');
        Ok(Some(batch))
    }

    /// Reads the file to find the waiting records.
    fn scan(&mut self) -> io::Result<()> {
        let dropped = self.dropped;
        *self = SpoolFile {
            dropped,
            ..SpoolFile::empty(Arc::clone(&self.file), self.limits)
        };

        let length = self.file.metadata()?.len();
        // The spool never makes a longer file, so the rest is another program's.
        self.end = length.min(self.limits.max_bytes);

        let (mut at, mut last, mut cut_at) = (0, 0, 0);
        while let Some(record) = self.next(at)? {
            self.skipped_bytes += record.at - at;
            at = record.end();
            if record.header.number <= last {
                self.mark_done(record.at)?;
                continue;
            }
            last = record.header.number;
            if !record.header.is_done {
                if self.waiting == 0 {
                    self.head = record.at;
                }
                self.newest = Some((last, record.at));
                self.count_in(record.bytes());
                cut_at = at;
            }
        }

        self.skipped_bytes += length - at;
        self.next_number = last.saturating_add(1);
        if cut_at < length {
            self.cut(cut_at)
        } else {
            Ok(())
        }
    }

    /// The first record at position `from` or behind.
    fn next(&self, from: u64) -> io::Result<Option<Record>> {
        let mut at = Some(from);
        while let Some(candidate) = at {
            if let Some(record) = self.read(candidate)? {
                return Ok(Some(record));
            }
            at = self.find_magic(candidate + 1)?;
        }
        Ok(None)
    }

    /// As [`SpoolFile::next`], without done records.
    fn next_waiting(&self, from: u64) -> io::Result<Option<Record>> {
        let mut at = from;
        while let Some(record) = self.next(at)? {
            if !record.header.is_done {
                return Ok(Some(record));
            }
            at = record.end();
        }
        Ok(None)
    }

    /// The record at `at`, if an undamaged one begins there.
    fn read(&self, at: u64) -> io::Result<Option<Record>> {
        let body_at = at + HEADER_BYTES as u64;
        if body_at > self.end {
            return Ok(None);
        }
        let mut header = [0; HEADER_BYTES];
        self.file.read_exact_at(&mut header, at)?;
        let Some(header) = Header::parse(&header) else {
            return Ok(None);
        };

        if body_at + header.body_bytes as u64 > self.end {
            return Ok(None);
        }
        let mut body = vec![0; header.body_bytes];
        self.file.read_exact_at(&mut body, body_at)?;
        Ok(header.is_of(&body).then_some(Record { at, header, body }))
    }

    /// The first possible beginning of a record, from position `from` on.
    fn find_magic(&self, from: u64) -> io::Result<Option<u64>> {
        let mut at = from;
        while at + (HEADER_BYTES as u64) <= self.end {
            let mut bytes = [0; SEARCH_BYTES];
            let count = usize::try_from(self.end - at)
                .map_or(SEARCH_BYTES, |rest| rest.min(SEARCH_BYTES));
            self.file.read_exact_at(&mut bytes[..count], at)?;
            if let Some(found) = record::find_magic(&bytes[..count]) {
                return Ok(Some(at + found as u64));
            }
            // A magic may lie across the end of the bytes so far. Going back by the
            // length of a header, more than a magic's, finds such a magic.
            at += (count - HEADER_BYTES + 1) as u64;
        }
        Ok(None)
    }

    /// Writes a record at the end. If the record does not fit, nothing of it stays.
    fn write(&self, record: &[u8]) -> io::Result<()> {
        let undo = |_: &io::Error| drop(self.file.set_len(self.end));
        self.file.write_all_at(record, self.end).inspect_err(undo)
    }

    fn mark_done(&self, at: u64) -> io::Result<()> {
        self.file.write_all_at(&[DONE], at + STATE_AT)
    }

    /// Marks a record as done. The record counts as done even if the mark cannot be
    /// written: otherwise the same heartbeats would be sent for ever.
    fn finish(&mut self, record: &Record) -> io::Result<()> {
        self.count_out(record.bytes());
        if self.waiting == 0 {
            self.clear()
        } else {
            self.mark_done(record.at)
        }
    }

    /// As [`SpoolFile::finish`], for the first waiting record.
    fn finish_first(&mut self, record: &Record) -> io::Result<()> {
        self.head = record.end();
        self.finish(record)
    }

    /// Gives up the oldest record.
    fn drop_first(&mut self) -> io::Result<()> {
        match self.next_waiting(self.head)? {
            Some(first) => {
                self.dropped += 1;
                self.finish_first(&first)
            }
            None => self.clear(),
        }
    }

    /// Drops the oldest records to get back `bytes` at least.
    fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        let room = bytes
            .max(self.longest_bytes)
            .max(self.waiting_bytes / ROOM_PART);
        while self.waiting > 0 && self.head < room {
            self.drop_first()?;
        }
        self.compact()
    }

    /// Moves records when more than half of the file is free: on average, each byte that
    /// was added is then moved once at most.
    fn compact_if_worthwhile(&mut self) -> io::Result<()> {
        let free = self.end.saturating_sub(self.waiting_bytes);
        let is_worthwhile = free >= self.waiting_bytes.max(self.limits.min_gap_bytes)
            && self.head >= self.longest_bytes;
        if is_worthwhile {
            self.compact()
        } else {
            Ok(())
        }
    }

    /// Moves the waiting records to the beginning of the file, where the gap has to be as
    /// long as the longest record.
    fn compact(&mut self) -> io::Result<()> {
        if self.waiting == 0 {
            return Ok(());
        }
        let moved = self.move_records();
        if moved.is_err() {
            // Some records are at the new place already, others still at the old place.
            self.scan()?;
        }
        moved
    }

    fn move_records(&mut self) -> io::Result<()> {
        let (mut from, mut to, mut count, mut newest) = (self.head, 0, 0, None);
        // From here on, the file may hold a record's only copy on the disk.
        let mut unsynced_from = self.head;
        while let Some(record) = self.next_waiting(from)? {
            if to + record.bytes() > unsynced_from {
                self.file.sync_data()?;
                unsynced_from = record.at;
            }
            debug_assert!(
                to + record.bytes() <= record.at,
                "a record would be moved over itself"
            );
            let bytes = record::encode(record.header.number, &record.body)
                .ok_or(io::ErrorKind::InvalidData)?;
            self.file.write_all_at(&bytes, to)?;

            newest = Some((record.header.number, to));
            to += record.bytes();
            from = record.end();
            count += 1;
        }

        self.file.sync_data()?;
        (self.head, self.waiting, self.waiting_bytes, self.newest) =
            (0, count, to, newest);
        self.cut(to)
    }

    /// Nothing waits any more.
    fn clear(&mut self) -> io::Result<()> {
        self.head = 0;
        self.waiting = 0;
        self.waiting_bytes = 0;
        self.longest_bytes = 0;
        self.newest = None;
        self.cut(0)
    }

    /// Shortens the file to `end`, the end of the last waiting record.
    fn cut(&mut self, end: u64) -> io::Result<()> {
        self.end = end;
        self.file.set_len(end)
    }

    fn count_in(&mut self, bytes: u64) {
        self.waiting += 1;
        self.waiting_bytes += bytes;
        self.longest_bytes = self.longest_bytes.max(bytes);
    }

    fn count_out(&mut self, bytes: u64) {
        self.waiting = self.waiting.saturating_sub(1);
        self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes);
    }
}

/// Whether the disk, the user's quota or the file system has no space for the file.
fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
