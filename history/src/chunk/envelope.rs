//! The outermost bytes of a chunk: version and checksum.

use flate2::Crc;

use crate::bytes::{Damage, Reader};

/// The version of the format, a chunk's first byte.
pub const VERSION: u8 = 1;

/// Why a chunk cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// Another program has written the chunk.
    #[error("the chunk has version {0}, and this program knows {VERSION}")]
    Version(u8),
    /// The bytes are not what was written.
    #[error("the chunk is damaged: {0}")]
    Damaged(#[from] Damage),
}

impl ChunkError {
    /// The chunk stands in the place of another one.
    pub(crate) fn of_another_day() -> ChunkError {
        Damage("the chunk is of another day").into()
    }
}

/// The chunk with these sections.
pub(crate) fn seal(sections: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(sections.len() + 5);
    out.push(VERSION);
    out.extend_from_slice(&checksum(sections));
    out.extend_from_slice(sections);
    out
}

/// The sections of a chunk.
pub(crate) fn open(chunk: &[u8]) -> Result<&[u8], ChunkError> {
    let mut reader = Reader::new(chunk);
    let version = reader.byte()?;
    if version != VERSION {
        return Err(ChunkError::Version(version));
    }
    let sum: [u8; 4] = reader.array()?;
    let sections = reader.bytes(reader.left())?;
    if checksum(sections) != sum {
        return Err(Damage("the checksum differs").into());
    }
    Ok(sections)
}

fn checksum(bytes: &[u8]) -> [u8; 4] {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum().to_le_bytes()
}
