//! The meaning of YAML scalars to kubectl: go.yaml.in/yaml/v2, `resolve.go`, line by line. Pure.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

/// The meaning of a scalar.
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
    /// A number with a fraction or an exponent; perhaps infinite, or NaN.
    Float(f64),
    /// Text.
    Text(String),
}

/// The start of every tag of YAML's own.
const NAMESPACE: &str = "tag:yaml.org,2002:";

/// The meaning of a scalar that is plain, or has a tag (empty for none). An unknown tag makes everything a text.
///
/// # Errors
/// The tag does not allow the text.
pub fn resolve(tag: &str, text: &str) -> Result<Scalar, String> {
    let name = if tag.is_empty() { "" } else { tag.strip_prefix(NAMESPACE).unwrap_or("str") };
    let allowed = match (name, by_look(text)) {
        ("binary", _) => return binary(text),
        ("timestamp", found) => matches!(found, Scalar::Text(_)).then_some(found).filter(|_| is_timestamp(text)),
        ("", found)
        | ("null", found @ Scalar::Null)
        | ("bool", found @ Scalar::Bool(_))
        | ("int", found @ (Scalar::Int(_) | Scalar::Large(_)))
        | ("float", found @ Scalar::Float(_)) => Some(found),
        #[expect(clippy::cast_precision_loss, reason = "kubectl rounds as well")]
        ("float", Scalar::Int(number)) => Some(Scalar::Float(number as f64)),
        ("null" | "bool" | "int" | "float", _) => None,
        _ => Some(Scalar::Text(text.to_owned())),
    };
    allowed.ok_or_else(|| format!("`{text}` is no !!{name}"))
}

/// The meaning of a plain scalar.
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
            // With a sign after the prefix: `0b-1`.
            let digits = text.strip_prefix("0b")?;
            signed(digits, Some(2)).map(Scalar::Int).or_else(|| unsigned(digits, Some(2)).map(Scalar::Large))
        })
}

/// Go's `strconv.ParseInt` with 64 bits; without a radix, the prefix gives it.
fn signed(text: &str, radix: Option<u32>) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let amount = unsigned(digits, radix)?;
    if negative { 0i64.checked_sub_unsigned(amount) } else { i64::try_from(amount).ok() }
}

/// Go's `strconv.ParseUint` with 64 bits.
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
    // Rust's own accepts a sign, too.
    let plain = digits.bytes().all(|byte| byte.is_ascii_alphanumeric());
    u64::from_str_radix(digits, radix).ok().filter(|_| plain)
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?` within 64 bits: an exponent that is too large makes it a text, one that is
/// too small a zero.
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

/// Go's rule for underscores in a number that starts with a dot.
fn underscores_are_between_digits(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    (0..bytes.len())
        .filter(|at| bytes[*at] == b'_')
        .all(|at| is_digit(at.checked_sub(1)) && is_digit(at.checked_add(1)))
}

/// The text in base64; each byte outside UTF-8 becomes a replacement character, as in Go's JSON.
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

/// Whether a text is one of the times in `resolve.go`: `2006-1-2`, `2006-1-2 15:4:5.9` and, with a zone,
/// `2006-1-2T15:4:5.9Z07:00`.
fn is_timestamp(text: &str) -> bool {
    read_timestamp(text).is_some()
}

fn read_timestamp(mut rest: &str) -> Option<()> {
    let year = digits(&mut rest, 4, 4)?;
    expect(&mut rest, '-')?;
    let month = digits(&mut rest, 1, 2)?;
    expect(&mut rest, '-')?;
    let day = digits(&mut rest, 1, 2)?;
    jiff::civil::Date::new(year.try_into().ok()?, month.try_into().ok()?, day.try_into().ok()?).ok()?;
    let has_zone = match rest.chars().next() {
        None => return Some(()),
        Some('T' | 't') => true,
        Some(' ') => false,
        Some(_) => return None,
    };
    rest = &rest[1..];
    let hour = digits(&mut rest, 1, 2)?;
    expect(&mut rest, ':')?;
    let minute = digits(&mut rest, 1, 2)?;
    expect(&mut rest, ':')?;
    let second = digits(&mut rest, 1, 2)?;
    let is_digit = |digit: char| digit.is_ascii_digit();
    if let Some(fraction) = rest.strip_prefix(['.', ',']).filter(|rest| rest.starts_with(is_digit)) {
        rest = fraction.trim_start_matches(is_digit);
    }
    if hour >= 24 || minute >= 60 || second >= 60 {
        return None;
    }
    if !has_zone || rest == "Z" {
        return (has_zone || rest.is_empty()).then_some(());
    }
    rest = rest.strip_prefix(['+', '-'])?;
    let hours = digits(&mut rest, 2, 2)?;
    expect(&mut rest, ':')?;
    let minutes = digits(&mut rest, 2, 2)?;
    (hours <= 24 && minutes <= 60 && rest.is_empty()).then_some(())
}

/// Removes digits from the start of a text, as many as there are within these bounds.
fn digits(text: &mut &str, least: usize, most: usize) -> Option<u32> {
    let count = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    if count < least {
        return None;
    }
    let (number, rest) = text.split_at(count);
    *text = rest;
    number.parse().ok()
}

/// Removes a character from the start of a text.
fn expect(text: &mut &str, character: char) -> Option<()> {
    *text = text.strip_prefix(character)?;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plain scalars in kubectl 1.36.3: each line was observed, and the differential test in `tests/cli_cluster` observes thousands.
    #[test]
    fn plain_scalars_mean_what_they_mean_to_kubectl() {
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
    fn tags_decide_what_is_allowed() {
        let tagged = |name: &str, text: &str| resolve(&format!("{NAMESPACE}{name}"), text);
        assert_eq!(tagged("str", "123"), Ok(Scalar::Text("123".into())));
        assert_eq!(tagged("float", "1"), Ok(Scalar::Float(1.0)));
        assert_eq!(tagged("int", "0x10"), Ok(Scalar::Int(16)));
        assert_eq!(tagged("null", ""), Ok(Scalar::Null));
        assert_eq!(tagged("set", "1"), Ok(Scalar::Text("1".into())), "unknown to kubectl");
        assert_eq!(resolve("!local", "1"), Ok(Scalar::Text("1".into())));
        assert_eq!(tagged("int", "1.5"), Err("`1.5` is no !!int".into()));
        assert_eq!(tagged("bool", "1"), Err("`1` is no !!bool".into()));
        assert_eq!(tagged("binary", "aGVs\nbG8="), Ok(Scalar::Text("hello".into())));
        assert_eq!(tagged("binary", "/4A="), Ok(Scalar::Text("\u{fffd}\u{fffd}".into())));
        assert!(tagged("binary", "a").is_err());
        for time in ["2026-1-2", "2026-01-02T03:04:05Z", "2026-01-02t3:4:5.678+01:00", "2026-01-02 03:04:05,5"] {
            assert_eq!(tagged("timestamp", time), Ok(Scalar::Text(time.into())), "{time}");
        }
        for none in "2026-02-30|2026-01-02T03:04:05|2026-01-02 24:00:00|1|soon|2026-01-02T03:04:05+1:00".split('|') {
            assert!(tagged("timestamp", none).is_err(), "{none}");
        }
    }
}
