//! Compresses documents, and decompresses them within a bound. Pure.

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use std::io::{Read, Write};
use std::sync::Arc;

/// Why gzip cannot be decompressed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GzipError {
    /// It is no gzip, or breaks off.
    #[error("the gzip data is broken ({0})")]
    Broken(String),
    /// It contains more than allowed.
    #[error("the gzip data holds more than {0} bytes")]
    TooLarge(usize),
}

/// Compresses a document.
#[must_use]
pub fn compress(document: &[u8]) -> Arc<[u8]> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Writing into memory does not fail. If it did, the result would be unreadable, and ignored later.
    let _ = encoder.write_all(document);
    encoder.finish().unwrap_or_default().into()
}

/// Decompresses gzip.
///
/// # Errors
/// It is broken, or contains more than `most` bytes.
pub fn decompress(compressed: &[u8], most: usize) -> Result<Vec<u8>, GzipError> {
    let mut document = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    let read = GzDecoder::new(compressed).take(limit).read_to_end(&mut document);
    read.map_err(|error| GzipError::Broken(error.to_string()))?;
    if document.len() > most { Err(GzipError::TooLarge(most)) } else { Ok(document) }
}
