//! The spool's file: records one after the other, the oldest first.
//!
//! Nothing in the file points into it, so nothing can point wrong: the reader finds
//! records by their magic and believes those whose CRC is right, whatever is between
//! them. Each change leaves every record whole wherever the process is killed:
//! - a record is added at the end, and half a record is none;
//! - it is done by one byte, and when all are done the file is emptied;
//! - space is got back by moving records to the file's beginning, each into a gap that is
//!   at least as long as it. A kill may leave a record at both places: numbers grow along
//!   the file, and what does not is such a remnant.
//!
//! This needs no second file and no free space, so it goes on while the disk is full. On
//! a power cut, what was not synced may be gone, as may be the marks of what is done; no
//! moved record is, for places are synced before they are used again.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use super::record::{self, DONE, HEADER_BYTES, Header, STATE_AT};

/// How much is read at once where a record has to be searched for.
const SEARCH_BYTES: usize = 4096;
/// What a full file gives up at once, as a part of what it holds: moving the rest for
/// each record would wear flash memory out.
const ROOM_PART: u64 = 8;

/// How large the file gets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Longest file.
    pub(super) max_bytes: u64,
    /// Records are not moved for less than this.
    pub(super) min_gap: u64,
}

/// The open file, which no other process has.
pub(super) struct SpoolFile {
    file: Arc<File>,
    limits: Limits,
    /// No record before this waits.
    head: u64,
    /// Where the last waiting record ends.
    end: u64,
    waiting: usize,
    waiting_bytes: u64,
    /// No waiting record is longer, with its header.
    longest: u64,
    /// The last record, as far as it is known.
    newest: Option<(u64, u64)>,
    next_number: u64,
    skipped_bytes: u64,
    dropped: u64,
}

/// The oldest records, as one body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// A JSON array.
    pub(crate) body: Vec<u8>,
    /// How many records.
    pub(crate) count: usize,
    /// The last one's number.
    pub(crate) through: u64,
}

/// A record as found in the file.
struct Record {
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
    /// `WouldBlock` if another process has it; or it cannot be read or written.
    pub(super) fn open(path: &Path, limits: Limits) -> io::Result<SpoolFile> {
        let is_new = !path.exists();
        let mut options = File::options();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        file.try_lock()?;
        if let (true, Some(folder)) = (is_new, path.parent()) {
            // So that a power cut leaves the file in its folder. Not every file system
            // can.
            let _ = File::open(folder).and_then(|folder| folder.sync_all());
        }
        let mut spool = SpoolFile::empty(Arc::new(file), limits);
        spool.scan()?;
        Ok(spool)
    }

    fn empty(file: Arc<File>, limits: Limits) -> SpoolFile {
        let (newest, next_number) = (None, 1);
        let (head, end, waiting, waiting_bytes, longest, skipped_bytes, dropped) =
            Default::default();
        SpoolFile {
            file,
            limits,
            head,
            end,
            waiting,
            waiting_bytes,
            longest,
            newest,
            next_number,
            skipped_bytes,
            dropped,
        }
    }

    /// How many records wait.
    pub(super) fn len(&self) -> usize {
        self.waiting
    }

    /// Bytes that were no records when the file was opened.
    pub(super) fn skipped_bytes(&self) -> u64 {
        self.skipped_bytes
    }

    /// How many records had to go for newer ones.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// For syncing it elsewhere: a disk may take its time.
    pub(super) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Adds a record and gives its number. The oldest ones go when there would be more
    /// than `most`, or where there is no space.
    pub(super) fn append(&mut self, body: &[u8], most: usize) -> io::Result<u64> {
        while self.waiting >= most.max(1) {
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

    /// The record with that number need not be sent any more.
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

    /// As [`SpoolFile::remove`], for the records up to that number.
    pub(super) fn remove_through(&mut self, number: u64) -> io::Result<()> {
        while let Some(record) = self.next_waiting(self.head)? {
            if record.header.number > number {
                break;
            }
            self.finish_first(&record)?;
        }
        self.compact_if_worthwhile()
    }

    /// The oldest records as an array: at most `most`, and at most `max_bytes` of them
    /// unless the first one alone is longer. `None` if there are none.
    pub(super) fn batch(
        &mut self,
        most: usize,
        max_bytes: usize,
    ) -> io::Result<Option<Batch>> {
        let mut batch = Batch {
            body: vec![b'['],
            count: 0,
            through: 0,
        };
        let mut at = self.head;
        while batch.count < most
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
            batch.through = record.header.number;
            at = record.end();
        }
        if batch.count == 0 {
            // Whatever waited is damaged by now.
            self.clear()?;
            return Ok(None);
        }
        batch.body.push(b']');
        Ok(Some(batch))
    }

    /// Learns from the file what waits.
    fn scan(&mut self) -> io::Result<()> {
        let dropped = self.dropped;
        *self = SpoolFile {
            dropped,
            ..SpoolFile::empty(Arc::clone(&self.file), self.limits)
        };
        let length = self.file.metadata()?.len();
        // What is behind the longest file of ours is none of ours.
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

    /// The first record at `from` or behind it.
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
            // A magic may lie across the end of what was read; a header is longer.
            at += (count - HEADER_BYTES + 1) as u64;
        }
        Ok(None)
    }

    /// Writes a record at the end; one that does not fit leaves nothing behind.
    fn write(&self, record: &[u8]) -> io::Result<()> {
        let undo = |_: &io::Error| drop(self.file.set_len(self.end));
        self.file.write_all_at(record, self.end).inspect_err(undo)
    }

    fn mark_done(&self, at: u64) -> io::Result<()> {
        self.file.write_all_at(&[DONE], at + STATE_AT)
    }

    /// Marks a record as done. It counts as done also where that cannot be written: the
    /// same heartbeats shall not be sent for ever.
    fn finish(&mut self, record: &Record) -> io::Result<()> {
        self.count_out(record.bytes());
        if self.waiting == 0 {
            self.clear()
        } else {
            self.mark_done(record.at)
        }
    }

    /// As [`SpoolFile::finish`], for the first record that waits.
    fn finish_first(&mut self, record: &Record) -> io::Result<()> {
        self.head = record.end();
        self.finish(record)
    }

    fn drop_first(&mut self) -> io::Result<()> {
        match self.next_waiting(self.head)? {
            Some(first) => {
                self.dropped += 1;
                self.finish_first(&first)
            }
            None => self.clear(),
        }
    }

    /// Frees `bytes` at least.
    fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        let room = bytes.max(self.longest).max(self.waiting_bytes / ROOM_PART);
        while self.waiting > 0 && self.head < room {
            self.drop_first()?;
        }
        self.compact()
    }

    /// Moves records when more than half of the file is free: each byte is then moved
    /// once at most for each that was added.
    fn compact_if_worthwhile(&mut self) -> io::Result<()> {
        let free = self.end.saturating_sub(self.waiting_bytes);
        let is_worthwhile = free >= self.waiting_bytes.max(self.limits.min_gap)
            && self.head >= self.longest;
        if is_worthwhile {
            self.compact()
        } else {
            Ok(())
        }
    }

    /// Moves what waits to the file's beginning, where the gap has to be as long as the
    /// longest record.
    fn compact(&mut self) -> io::Result<()> {
        if self.waiting == 0 {
            return Ok(());
        }
        let moved = self.move_records();
        if moved.is_err() {
            // Some records are at their new place, some at the old one.
            self.scan()?;
        }
        moved
    }

    fn move_records(&mut self) -> io::Result<()> {
        let (mut from, mut to, mut count, mut newest) = (self.head, 0, 0, None);
        // What lies from here on may be the only copy of a record that the disk has.
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
        (
            self.head,
            self.waiting,
            self.waiting_bytes,
            self.longest,
            self.newest,
        ) = (0, 0, 0, 0, None);
        self.cut(0)
    }

    fn cut(&mut self, end: u64) -> io::Result<()> {
        self.end = end;
        self.file.set_len(end)
    }

    fn count_in(&mut self, bytes: u64) {
        self.waiting += 1;
        self.waiting_bytes += bytes;
        self.longest = self.longest.max(bytes);
    }

    fn count_out(&mut self, bytes: u64) {
        self.waiting = self.waiting.saturating_sub(1);
        self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes);
    }
}

/// Whether there is no space for the file.
fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
