//! Sections: bytes with their length, deflated where that is shorter.

use std::cell::RefCell;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::bytes::{Damage, Reader, put_length};

/// Largest section that is read, in bytes: memory for what may be hostile. The head of
/// the largest chunk has half of that.
const MAX_SECTION: usize = 1 << 20;
const IS_DEFLATED: usize = 1;
/// Shorter sections, such as the runs of a service, are not worth the attempt.
const WORTH_DEFLATING: usize = 24;

/// Writes sections one after the other.
pub(crate) struct Sections {
    compress: Compress,
    out: Vec<u8>,
}

impl Sections {
    pub(crate) fn new() -> Sections {
        Sections {
            compress: Compress::new(Compression::best(), false),
            out: Vec::new(),
        }
    }

    /// Appends a section.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        let deflated = self.deflate(bytes);
        let (bytes, flag) = match &deflated {
            Some(deflated) => (&deflated[..], IS_DEFLATED),
            None => (bytes, 0),
        };
        put_length(&mut self.out, 2 * bytes.len() + flag);
        self.out.extend_from_slice(bytes);
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    /// The bytes in their deflated form, if that is shorter.
    fn deflate(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        if bytes.len() < WORTH_DEFLATING {
            return None;
        }
        let mut deflated = Vec::with_capacity(bytes.len());
        self.compress.reset();
        let status =
            self.compress
                .compress_vec(bytes, &mut deflated, FlushCompress::Finish);
        let is_whole = matches!(status, Ok(Status::StreamEnd));
        (is_whole && deflated.len() < bytes.len()).then_some(deflated)
    }
}

/// A section as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    bytes: Vec<u8>,
    is_deflated: bool,
}

impl Section {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Section, Damage> {
        let length = reader.length(2 * MAX_SECTION + IS_DEFLATED)?;
        Ok(Section {
            bytes: reader.bytes(length / 2)?.to_vec(),
            is_deflated: length & IS_DEFLATED != 0,
        })
    }

    /// What was put in.
    pub(crate) fn inflate(&self) -> Result<Vec<u8>, Damage> {
        if !self.is_deflated {
            return Ok(self.bytes.clone());
        }
        INFLATER.with_borrow_mut(|inflater| inflate(inflater, &self.bytes))
    }
}

thread_local! {
    /// Making one takes longer than inflating a column with it.
    static INFLATER: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

fn inflate(inflater: &mut Decompress, deflated: &[u8]) -> Result<Vec<u8>, Damage> {
    inflater.reset(false);
    let mut inflated = Vec::with_capacity(deflated.len() * 3 + 64);
    loop {
        let read = usize::try_from(inflater.total_in()).unwrap_or(usize::MAX);
        let rest = deflated.get(read..).unwrap_or_default();
        let status =
            inflater.decompress_vec(rest, &mut inflated, FlushDecompress::Finish);
        match status {
            Ok(Status::StreamEnd) if inflated.len() <= MAX_SECTION => {
                return Ok(inflated);
            }
            Ok(Status::Ok | Status::BufError)
                if inflated.len() == inflated.capacity() =>
            {
                inflated.reserve(inflated.len());
            }
            Ok(Status::StreamEnd) => {}
            Ok(_) | Err(_) => return Err(Damage("a section cannot be inflated")),
        }
        if inflated.len() > MAX_SECTION {
            return Err(Damage("a section is too large"));
        }
    }
}
