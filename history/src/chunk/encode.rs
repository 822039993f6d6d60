//! A chunk as bytes.

use crate::bytes::{put_length, put_text};
use crate::chunk::section::Sections;
use crate::chunk::table::Chunk;
use crate::chunk::{column, envelope, head};

impl Chunk {
    /// The chunk's bytes, as they are stored.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut sections = Sections::new();
        for bytes in self.sections() {
            sections.put(&bytes);
        }
        envelope::seal(&sections.into_bytes())
    }

    /// The sections before they are compressed: the head, and a column for each series.
    ///
    /// They are the same for the same samples for ever; their compressed form may change
    /// with the library that compresses.
    #[must_use]
    pub fn sections(&self) -> Vec<Vec<u8>> {
        let columns = self.columns.iter().map(|column| column::encode(column));
        [self.head()].into_iter().chain(columns).collect()
    }

    fn head(&self) -> Vec<u8> {
        let mut out = Vec::new();
        head::put_day(&mut out, self.day.number());
        head::put_rows(&mut out, &self.rows);
        put_length(&mut out, self.series.len());
        for series in &self.series {
            let (kind, name) = series.to_parts();
            out.push(kind);
            put_text(&mut out, name);
        }
        out
    }
}
