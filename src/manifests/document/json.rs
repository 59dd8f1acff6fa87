//! Reads values of JSON as they are written. `serde_json`'s own reader takes the text under one field for JSON to be read in its
//! turn, and kubectl knows no such field. Pure.

use super::yaml::plain_number;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// Reads a text with one value. Its numbers are as kubectl passes them on.
///
/// # Errors
/// It is not JSON, or nests too deep.
pub(crate) fn read(text: &str) -> serde_json::Result<Value> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Plain.deserialize(&mut reader)?;
    reader.end().map(|()| value)
}

/// Any value, and nothing more.
struct Plain;

impl<'de> DeserializeSeed<'de> for Plain {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

macro_rules! into_value {
    ($($visit:ident($plain:ty))*) => {
        $(fn $visit<E>(self, value: $plain) -> Result<Value, E> {
            Ok(value.into())
        })*
    };
}

impl<'de> Visitor<'de> for Plain {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    into_value!(visit_bool(bool) visit_i64(i64) visit_str(&str) visit_string(String));

    #[expect(clippy::cast_precision_loss, reason = "kubectl rounds as well")]
    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(i64::try_from(number).map_or_else(|_| plain_number(number as f64), Value::from))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(plain_number(number))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut read = Vec::new();
        while let Some(item) = items.next_element_seed(Plain)? {
            read.push(item);
        }
        Ok(read.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut read = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            read.insert(name, fields.next_value_seed(Plain)?);
        }
        Ok(read.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_text_is_a_text_whatever_its_field_is_called() {
        let text = r#"{"a": {"$serde_json::private::RawValue": "[1]"}, "b": [null, true, "x", -1, 443.0, 18446744073709551615]}"#;
        let hidden = serde_json::from_str::<Value>(text).expect("JSON");
        assert_eq!(hidden["a"], json!([1]), "else there is nothing to guard against");
        let expected = json!({
            "a": { "$serde_json::private::RawValue": "[1]" },
            "b": [null, true, "x", -1, 443, 18_446_744_073_709_551_615.0],
        });
        assert_eq!(read(text).expect("JSON"), expected);
        assert!(read(&"[".repeat(100_000)).is_err(), "deep nesting is no stack overflow");
        assert!(read("1 2").is_err());
    }
}
