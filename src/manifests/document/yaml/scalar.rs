//! What a YAML scalar stands for, as kubectl reads it: go.yaml.in/yaml/v2, `resolve.go`, written down as it is. Pure.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

/// What a scalar stands for.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number above the largest [`Scalar::Int`].
    Large(u64),
    /// A number with a fraction or an exponent; perhaps infinite, or none.
    Float(f64),
    /// Text.
    Text(String),
}

/// What every tag of YAML's own starts with.
const NAMESPACE: &str = "tag:yaml.org,2002:";

/// What a scalar stands for that is plain, or has a tag, which is empty where there is none.
///
/// # Errors
/// Where the tag does not allow the text.
pub fn resolve(tag: &str, text: &str) -> Result<Scalar, String> {
    let Some(kind) = kind_of(tag) else { return Ok(Scalar::Text(text.to_owned())) };
    let allowed = match (kind, by_look(text)) {
        (Kind::Text, _) => Some(Scalar::Text(text.to_owned())),
        (Kind::Binary, _) => return binary(text),
        (Kind::Timestamp, found) => matches!(found, Scalar::Text(_)).then_some(found).filter(|_| is_timestamp(text)),
        (Kind::Any, found)
        | (Kind::Null, found @ Scalar::Null)
        | (Kind::Bool, found @ Scalar::Bool(_))
        | (Kind::Int, found @ (Scalar::Int(_) | Scalar::Large(_)))
        | (Kind::Float, found @ Scalar::Float(_)) => Some(found),
        #[expect(clippy::cast_precision_loss, reason = "kubectl rounds as well")]
        (Kind::Float, Scalar::Int(number)) => Some(Scalar::Float(number as f64)),
        _ => None,
    };
    let name = tag.strip_prefix(NAMESPACE).unwrap_or(tag);
    allowed.ok_or_else(|| format!("`{text}` is no !!{name}"))
}

/// What tags ask for that have a say.
#[derive(Clone, Copy)]
enum Kind {
    Any,
    Text,
    Bool,
    Int,
    Float,
    Null,
    Timestamp,
    Binary,
}

/// What a tag asks for; `None` where it makes everything a text.
fn kind_of(tag: &str) -> Option<Kind> {
    if tag.is_empty() {
        return Some(Kind::Any);
    }
    match tag.strip_prefix(NAMESPACE)? {
        "str" => Some(Kind::Text),
        "bool" => Some(Kind::Bool),
        "int" => Some(Kind::Int),
        "float" => Some(Kind::Float),
        "null" => Some(Kind::Null),
        "timestamp" => Some(Kind::Timestamp),
        "binary" => Some(Kind::Binary),
        _ => None,
    }
}

/// What a plain scalar stands for.
fn by_look(text: &str) -> Scalar {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Scalar::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Scalar::Bool(false);
        }
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        ".nan" | ".NaN" | ".NAN" => return Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Scalar::Float(f64::NEG_INFINITY),
        _ => {}
    }
    let number = match text.as_bytes().first() {
        Some(b'.') if underscores_are_between_digits(text) => float(&text.replace('_', "")),
        Some(b'0'..=b'9' | b'+' | b'-') => number(&text.replace('_', "")),
        _ => None,
    };
    number.unwrap_or_else(|| Scalar::Text(text.to_owned()))
}

/// A number without underscores.
fn number(text: &str) -> Option<Scalar> {
    signed(text, None)
        .map(Scalar::Int)
        .or_else(|| unsigned(text, None).map(Scalar::Large))
        .or_else(|| float(text))
        .or_else(|| {
            // Where a sign stands behind the prefix: `0b-1`.
            let digits = text.strip_prefix("0b")?;
            signed(digits, Some(2)).map(Scalar::Int).or_else(|| unsigned(digits, Some(2)).map(Scalar::Large))
        })
}

/// What Go's `strconv.ParseInt` makes of a text, with 64 bits; without a radix, its prefix says it.
fn signed(text: &str, radix: Option<u32>) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let amount = unsigned(digits, radix)?;
    if negative { 0i64.checked_sub_unsigned(amount) } else { i64::try_from(amount).ok() }
}

/// What Go's `strconv.ParseUint` makes of a text, with 64 bits.
fn unsigned(text: &str, radix: Option<u32>) -> Option<u64> {
    let (radix, digits) = match (radix, text.as_bytes()) {
        (_, []) => return None,
        (Some(radix), _) => (radix, text),
        (None, [b'0', b'b' | b'B', _, ..]) => (2, &text[2..]),
        (None, [b'0', b'o' | b'O', _, ..]) => (8, &text[2..]),
        (None, [b'0', b'x' | b'X', _, ..]) => (16, &text[2..]),
        (None, [b'0']) => return Some(0),
        (None, [b'0', ..]) => (8, &text[1..]),
        (None, _) => (10, text),
    };
    // Rust's own takes a sign, too.
    let plain = digits.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if plain { u64::from_str_radix(digits, radix).ok() } else { None }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`, where it is within what 64 bits can say: an exponent that is too
/// large makes it a text, one that is too small a zero.
fn float(text: &str) -> Option<Scalar> {
    let number = text.strip_prefix(['+', '-']).unwrap_or(text);
    let are_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (number, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fits = are_digits(whole)
        && are_digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent.is_none_or(|exponent| !exponent.is_empty() && are_digits(exponent));
    if !fits {
        return None;
    }
    text.parse().ok().filter(|number: &f64| number.is_finite()).map(Scalar::Float)
}

/// What Go asks of underscores in a number that starts with a dot.
fn underscores_are_between_digits(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    (0..bytes.len())
        .filter(|at| bytes[*at] == b'_')
        .all(|at| is_digit(at.checked_sub(1)) && is_digit(at.checked_add(1)))
}

/// The text that base64 stands for; what of it is no UTF-8 is a replacement character for each byte, as Go has it in JSON.
fn binary(text: &str) -> Result<Scalar, String> {
    let lax = GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));
    let bytes = lax
        .decode(text.replace(['\r', '\n'], ""))
        .map_err(|error| format!("!!binary holds what is no base64 ({error})"))?;
    let mut decoded = String::new();
    for chunk in bytes.utf8_chunks() {
        decoded.push_str(chunk.valid());
        decoded.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    Ok(Scalar::Text(decoded))
}

/// Whether a text is one of the times that `resolve.go` knows: `2006-1-2`, `2006-1-2 15:4:5.9` and, with a zone,
/// `2006-1-2T15:4:5.9Z07:00`.
fn is_timestamp(text: &str) -> bool {
    let mut rest = text;
    let date = (|| {
        let year = digits(&mut rest, 4, 4)?;
        expect(&mut rest, '-')?;
        let month = digits(&mut rest, 1, 2)?;
        expect(&mut rest, '-')?;
        let day = digits(&mut rest, 1, 2)?;
        jiff::civil::Date::new(year.try_into().ok()?, month.try_into().ok()?, day.try_into().ok()?).ok()
    })();
    if date.is_none() {
        return false;
    }
    let has_zone = match rest.chars().next() {
        None => return true,
        Some('T' | 't') => true,
        Some(' ') => false,
        Some(_) => return false,
    };
    rest = &rest[1..];
    let time = (|| {
        let hour = digits(&mut rest, 1, 2)?;
        expect(&mut rest, ':')?;
        let minute = digits(&mut rest, 1, 2)?;
        expect(&mut rest, ':')?;
        let second = digits(&mut rest, 1, 2)?;
        let fraction =
            rest.strip_prefix(['.', ',']).filter(|rest| rest.starts_with(|digit: char| digit.is_ascii_digit()));
        if let Some(fraction) = fraction {
            rest = fraction.trim_start_matches(|digit: char| digit.is_ascii_digit());
        }
        (hour < 24 && minute < 60 && second < 60).then_some(())
    })();
    if time.is_none() {
        return false;
    }
    if !has_zone || rest == "Z" {
        return has_zone || rest.is_empty();
    }
    let Some(mut offset) = rest.strip_prefix(['+', '-']) else { return false };
    let offset_is_one = (|| {
        let hours = digits(&mut offset, 2, 2)?;
        expect(&mut offset, ':')?;
        let minutes = digits(&mut offset, 2, 2)?;
        (hours <= 24 && minutes <= 60).then_some(())
    })();
    offset_is_one.is_some() && offset.is_empty()
}

/// Takes so many digits off a text, as many as there are.
fn digits(text: &mut &str, least: usize, most: usize) -> Option<u32> {
    let count = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    if count < least {
        return None;
    }
    let (number, rest) = text.split_at(count);
    *text = rest;
    number.parse().ok()
}

/// Takes a character off a text.
fn expect(text: &mut &str, character: char) -> Option<()> {
    *text = text.strip_prefix(character)?;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What plain scalars are to kubectl 1.36.3: each line was seen there, as the differential test in
    /// `tests/cli_cluster` sees it again for thousands.
    #[test]
    fn plain_scalars_are_what_kubectl_takes_them_for() {
        let text = |text: &str| Scalar::Text(text.to_owned());
        let table = [
            ("1234e567", text("1234e567")),
            ("123456e78901", text("123456e78901")),
            ("1234e5", Scalar::Float(1234e5)),
            ("1e-999", Scalar::Float(0.0)),
            ("443.0", Scalar::Float(443.0)),
            ("1.", Scalar::Float(1.0)),
            (".5", Scalar::Float(0.5)),
            (".5_0", Scalar::Float(0.5)),
            ("._5", text("._5")),
            (".", text(".")),
            ("0443", Scalar::Int(0o443)),
            ("08", Scalar::Float(8.0)),
            ("0o17", Scalar::Int(15)),
            ("0x1F", Scalar::Int(31)),
            ("-0b11", Scalar::Int(-3)),
            ("0b-1", Scalar::Int(-1)),
            ("0b2", text("0b2")),
            ("0b", text("0b")),
            ("1_000", Scalar::Int(1000)),
            ("_1", text("_1")),
            ("+_1", Scalar::Int(1)),
            ("-", text("-")),
            ("+-1", text("+-1")),
            ("18446744073709551615", Scalar::Large(u64::MAX)),
            ("-9223372036854775808", Scalar::Int(i64::MIN)),
            ("18446744073709551616", Scalar::Float(18_446_744_073_709_551_616.0)),
            ("yes", Scalar::Bool(true)),
            ("N", Scalar::Bool(false)),
            ("yEs", text("yEs")),
            ("~", Scalar::Null),
            ("", Scalar::Null),
            ("nULL", text("nULL")),
            ("=", text("=")),
            ("<<", text("<<")),
            ("1:30", text("1:30")),
            ("2026-01-02", text("2026-01-02")),
            ("-.INF", Scalar::Float(f64::NEG_INFINITY)),
            ("inf", text("inf")),
            ("0x1p-2", text("0x1p-2")),
        ];
        for (given, expected) in table {
            assert_eq!(resolve("", given), Ok(expected), "{given}");
        }
        assert!(matches!(resolve("", ".nan"), Ok(Scalar::Float(number)) if number.is_nan()));
    }

    #[test]
    fn tags_have_their_say() {
        let tagged = |name: &str, text: &str| resolve(&format!("{NAMESPACE}{name}"), text);
        assert_eq!(tagged("str", "123"), Ok(Scalar::Text("123".into())));
        assert_eq!(tagged("float", "1"), Ok(Scalar::Float(1.0)));
        assert_eq!(tagged("int", "0x10"), Ok(Scalar::Int(16)));
        assert_eq!(tagged("null", ""), Ok(Scalar::Null));
        assert_eq!(tagged("set", "1"), Ok(Scalar::Text("1".into())), "what kubectl does not know is text");
        assert_eq!(resolve("!local", "1"), Ok(Scalar::Text("1".into())));
        assert_eq!(tagged("int", "1.5"), Err("`1.5` is no !!int".into()));
        assert_eq!(tagged("bool", "1"), Err("`1` is no !!bool".into()));
        assert_eq!(tagged("binary", "aGVs\nbG8="), Ok(Scalar::Text("hello".into())));
        assert_eq!(tagged("binary", "/4A="), Ok(Scalar::Text("\u{fffd}\u{fffd}".into())));
        assert!(tagged("binary", "a").is_err());
        for time in ["2026-1-2", "2026-01-02T03:04:05Z", "2026-01-02t3:4:5.678+01:00", "2026-01-02 03:04:05,5"] {
            assert_eq!(tagged("timestamp", time), Ok(Scalar::Text(time.into())), "{time}");
        }
        for none in
            ["2026-02-30", "2026-01-02T03:04:05", "2026-01-02 24:00:00", "1", "soon", "2026-01-02T03:04:05+1:00"]
        {
            assert!(tagged("timestamp", none).is_err(), "{none}");
        }
    }
}
