//! A view: a list as it goes over the wire.

use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read, Write};
use std::sync::Arc;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::Serialize;

/// A list as it goes over the wire.
pub(crate) struct View {
    /// A weak entity tag: the same list has the same tag, on every instance and in every
    /// encoding.
    pub(crate) etag: String,
    /// The JSON, compressed.
    pub(crate) gzip: Arc<Vec<u8>>,
    /// Whether the database is away, so that the list is as old as the last contact.
    pub(crate) stale: bool,
}

impl View {
    /// The list of plain values; `stale` if the database is away.
    pub(crate) fn new(list: &impl Serialize, stale: bool) -> View {
        let mut output = HashedGzip {
            hasher: DefaultHasher::new(),
            gzip: GzEncoder::new(Vec::new(), Compression::fast()),
        };
        serde_json::to_writer(io::BufWriter::new(&mut output), list)
            .expect("lists are plain JSON, memory takes all");

        let mut gzip = output.gzip.finish().expect("memory takes all");
        gzip.shrink_to_fit();
        View {
            etag: format!("W/\"{:016x}\"", output.hasher.finish()),
            gzip: Arc::new(gzip),
            stale,
        }
    }

    /// The JSON itself.
    pub(crate) fn json(&self) -> Vec<u8> {
        let mut json = Vec::new();
        GzDecoder::new(self.gzip.as_slice())
            .read_to_end(&mut json)
            .expect("we compressed it ourselves");
        json
    }
}

/// Compresses and hashes all bytes that are written.
struct HashedGzip {
    hasher: DefaultHasher,
    gzip: GzEncoder<Vec<u8>>,
}

impl Write for HashedGzip {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.gzip.write(bytes)?;
        self.hasher.write(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
