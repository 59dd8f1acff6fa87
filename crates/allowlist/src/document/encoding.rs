//! Documents as UTF-8, whatever they were saved in. Pure.
//!
//! The API answers in UTF-8. A saved answer may be in UTF-16: PowerShell 5 writes that with `>`.

use super::DocumentError;
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};
use std::borrow::Cow;

/// The document in UTF-8, without its byte order mark. Without a mark, the zeros among JSON's first bytes, which are ASCII, show its
/// encoding (RFC 4627, section 3). UTF-8 is left for the reader to check.
///
/// # Errors
/// It is in UTF-32, or not in the encoding of its start.
pub(super) fn utf8(bytes: &[u8]) -> Result<Cow<'_, [u8]>, DocumentError> {
    let zeros: Vec<bool> = bytes.iter().take(4).map(|byte| *byte == 0).collect();
    let is_utf32 = matches!(bytes, [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..])
        || matches!(zeros[..], [true, true, true, false] | [false, true, true, true]);
    if is_utf32 {
        return Err(DocumentError::Encoding("it is in UTF-32, which is not read"));
    }
    let unmarked = match zeros[..] {
        [true, false, ..] => Some(UTF_16BE),
        [false, true, ..] => Some(UTF_16LE),
        _ => None,
    };
    let marked = Encoding::for_bom(bytes);
    let Some((encoding, length)) = marked.or(unmarked.map(|encoding| (encoding, 0))) else {
        return Ok(Cow::Borrowed(bytes));
    };
    let text = bytes.get(length..).unwrap_or_default();
    if encoding == UTF_8 {
        return Ok(Cow::Borrowed(text));
    }
    let decoded = encoding.decode_without_bom_handling_and_without_replacement(text);
    let broken = match encoding == UTF_16LE {
        true => "it starts as UTF-16 (little endian), but not all of it is",
        false => "it starts as UTF-16 (big endian), but not all of it is",
    };
    decoded.map(|text| Cow::Owned(text.into_owned().into_bytes())).ok_or(DocumentError::Encoding(broken))
}
