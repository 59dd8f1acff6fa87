//! Counts the memory of a document while it is read past, before anything is built of it. Pure.
//!
//! A document of 8 KB, compressed, can contain 300,000 objects of one field each. Once built, they take 436 MiB: more than a small
//! program may use. So each document is read twice, and nothing is kept the first time.

use super::DocumentError;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::cell::Cell;
use std::fmt;

/// The most memory that a built document may take, in bytes, as `weigh` counts: 16 MiB. That is enough for any text of the largest
/// accepted document (4 MiB, 6 MiB from UTF-16) and for 100,000 values; the vendor's list has 800.
pub const MOST_MEMORY: usize = 16 << 20;

/// The size of a value in an array, which grows by doubling.
const VALUE: usize = 2 * size_of::<serde_json::Value>();
/// The size of a text besides its bytes: the allocator's own.
const TEXT: usize = 16;
/// The size of an object's fields. `serde_json` keeps them in a B-tree, whose nodes have room for eleven and contain at least five.
const NODE: usize = 11 * (size_of::<String>() + size_of::<serde_json::Value>()) + 16;
const NODE_HOLDS: usize = 5;

/// The field by which `serde_json` marks a text with JSON to be read in its turn. In a document from outside, such a text would
/// escape the budget and the bound on nesting.
const RAW_VALUE: &str = "$serde_json::private::RawValue";

/// Reads past a document in UTF-8, and counts its memory.
///
/// # Errors
/// It takes more than the budget, or is not JSON.
pub(super) fn weigh(text: &[u8]) -> Result<(), DocumentError> {
    let left = Cell::new(Some(MOST_MEMORY));
    let mut reader = serde_json::Deserializer::from_slice(text);
    let read = Meter(&left).deserialize(&mut reader).and_then(|()| reader.end());
    read.map_err(|error| match left.get() {
        None => DocumentError::TooHeavy,
        Some(_) => DocumentError::NotJson(error.to_string()),
    })
}

/// Counts down what is left; `None` once the budget is exceeded.
#[derive(Clone, Copy)]
struct Meter<'a>(&'a Cell<Option<usize>>);

impl Meter<'_> {
    fn spend<E: Error>(self, bytes: usize) -> Result<(), E> {
        let left = self.0.get().and_then(|left| left.checked_sub(bytes));
        self.0.set(left);
        if left.is_some() { Ok(()) } else { Err(E::custom("too much")) }
    }
}

impl<'de> DeserializeSeed<'de> for Meter<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

macro_rules! scalars {
    ($($visit:ident($scalar:ty))*) => {
        $(fn $visit<E: Error>(self, _: $scalar) -> Result<(), E> {
            self.spend(VALUE)
        })*
    };
}

impl<'de> Visitor<'de> for Meter<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.spend(VALUE)
    }

    scalars!(visit_bool(bool) visit_i64(i64) visit_u64(u64) visit_f64(f64));

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.spend(VALUE + TEXT + text.len())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.spend(VALUE)?;
        while items.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        self.spend(VALUE)?;
        let mut count: usize = 0;
        while let Some(name) = fields.next_key::<String>()? {
            if name == RAW_VALUE {
                return Err(A::Error::custom(format!("the field `{RAW_VALUE}` is none of a list")));
            }
            // A field's node has room for its name and value, but not for the name's text.
            self.spend(TEXT + name.len())?;
            if count.is_multiple_of(NODE_HOLDS) {
                self.spend(NODE)?;
            }
            count += 1;
            fields.next_value_seed(self)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> Vec<u8> {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name);
        std::fs::read(path).expect("a fixture")
    }

    fn repeated(piece: &str, bytes: usize) -> Vec<u8> {
        let mut text = "[".to_owned();
        while text.len() + piece.len() < bytes {
            text.push_str(piece);
        }
        text.push_str("0]");
        text.into_bytes()
    }

    #[test]
    fn lists_as_they_are_published_take_a_fiftieth_of_the_budget() {
        for name in ["allowlist.json", "allowlist-japan.json", "static-commercial.json", "static-japan.json"] {
            let left = Cell::new(Some(MOST_MEMORY / 50));
            let text = fixture(name);
            let read = Meter(&left).deserialize(&mut serde_json::Deserializer::from_slice(&text));
            assert!(read.is_ok(), "{name}");
        }
    }

    /// Formerly 4 MiB of small objects, 8,196 bytes of gzip, took 436 MiB and ended the process at each fetch.
    #[test]
    fn small_things_by_the_hundred_thousand_are_too_heavy() {
        let six = "{\"a\":0,\"b\":0,\"c\":0,\"d\":0,\"e\":0,\"f\":0},";
        for piece in ["{\"a\":{\"\":0}},", "{\"\":0},", "[[[]]],", "{},", "0,", "\"\",", six] {
            assert_eq!(weigh(&repeated(piece, 4 << 20)), Err(DocumentError::TooHeavy), "{piece}");
        }
        let long = format!("[\"{}\"]", "x".repeat((4 << 20) - 4));
        assert_eq!(weigh(long.as_bytes()), Ok(()), "one long text is what it is");
    }

    /// `serde_json` reads the text under this field as JSON once more: a document could hide uncounted values there.
    #[test]
    fn json_hidden_in_a_text_is_refused() {
        let hidden = serde_json::json!({ RAW_VALUE: "[{\"a\":0}]" }).to_string();
        let read: serde_json::Value = serde_json::from_str(&hidden).expect("JSON");
        assert!(read.is_array(), "else there is nothing to refuse: {read}");
        assert!(matches!(weigh(hidden.as_bytes()), Err(DocumentError::NotJson(why)) if why.contains(RAW_VALUE)));
        let escaped = hidden.replace("private", "\\u0070rivate");
        assert!(weigh(escaped.as_bytes()).is_err());
    }

    #[test]
    fn no_json_is_reported_as_the_reader_does() {
        for text in ["", "<html>", "{\"services\": [", "{} {}"] {
            let before = serde_json::from_str::<serde_json::Value>(text).expect_err(text).to_string();
            assert_eq!(weigh(text.as_bytes()), Err(DocumentError::NotJson(before)), "{text}");
        }
        assert!(matches!(weigh(&[b'['; 100_000]), Err(DocumentError::NotJson(_))), "deep nesting is no stack overflow");
    }
}
