//! Durations as users write them: `1h`, `90m`, `1h30m`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// A duration as whole hours, minutes and seconds, largest first, each at most once: `1h`, `90m`, `1h30m`, `45s`.
///
/// Not JSON Schema's `format: duration`, which the API server reads so widely that `1 day` and `-5m` pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period(Duration);

impl Period {
    /// What the schema and CEL hold periods to.
    pub const PATTERN: &'static str = "^([0-9]+h)?([0-9]+m)?([0-9]+s)?$";

    /// A period of whole seconds; anything below a second is cut off.
    #[must_use]
    pub const fn new(duration: Duration) -> Self {
        Self(Duration::from_secs(duration.as_secs()))
    }

    /// The same as a [`Duration`].
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl TryFrom<String> for Period {
    type Error = String;

    /// A number too large for the type counts as the largest there is: bounds elsewhere then refuse it.
    fn try_from(text: String) -> Result<Self, String> {
        let refused = || format!("`{text}` is not a duration: hours, minutes and seconds are allowed, as in `1h30m`");
        let mut seconds = 0u64;
        let mut rest = text.as_str();
        for (unit, factor) in [('h', 3600u64), ('m', 60), ('s', 1)] {
            if let Some((digits, after)) = rest.split_once(unit) {
                if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(refused());
                }
                let number = digits.parse::<u64>().unwrap_or(u64::MAX);
                seconds = seconds.saturating_add(number.saturating_mul(factor));
                rest = after;
            }
        }
        if text.is_empty() || !rest.is_empty() { Err(refused()) } else { Ok(Self(Duration::from_secs(seconds))) }
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.to_string()
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        if seconds == 0 {
            return f.write_str("0s");
        }
        for (amount, unit) in [(seconds / 3600, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')] {
            if amount > 0 {
                write!(f, "{amount}{unit}")?;
            }
        }
        Ok(())
    }
}

impl JsonSchema for Period {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Period".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": Self::PATTERN, "minLength": 2, "maxLength": 16 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<u64, String> {
        Period::try_from(text.to_owned()).map(|period| period.duration().as_secs())
    }

    #[test]
    fn periods_read_and_print() {
        assert_eq!(read("1h30m"), Ok(5400));
        assert_eq!(read("90m"), Ok(5400));
        assert_eq!(read("45s"), Ok(45));
        assert_eq!(Period::new(Duration::from_secs(5405)).to_string(), "1h30m5s");
        assert_eq!(Period::new(Duration::ZERO).to_string(), "0s");
        assert!(read("99999999999999h").is_ok(), "too large is the largest, never a crash");
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in ["", "h", "1", "1d", "-5m", "1m1h", "1 day", "1.5h", "1h "] {
            assert!(read(bad).is_err_and(|message| message.contains("1h30m")), "{bad}");
        }
    }
}
