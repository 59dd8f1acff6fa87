//! Tells a server which answer is known already. Pure.

/// The longest validator that is kept, in bytes.
const LONGEST: usize = 256;

/// The validators of an answer (RFC 9110, section 8.8), word for word. Either may be missing; a server compares `ETag` if it knows
/// it, and `Last-Modified` otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    /// The `ETag`, sent back as `If-None-Match`.
    pub etag: Option<String>,
    /// The `Last-Modified`, sent back as `If-Modified-Since`.
    pub last_modified: Option<String>,
}

impl Validators {
    /// These headers of an answer, without those that are too long.
    #[must_use]
    pub fn new(etag: Option<String>, last_modified: Option<String>) -> Self {
        let kept = |value: Option<String>| value.filter(|value| (1..=LONGEST).contains(&value.len()));
        Self { etag: kept(etag), last_modified: kept(last_modified) }
    }

    /// Whether there is none, so that a request has no condition.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_or_long_value_is_no_validator() {
        let long = "x".repeat(LONGEST + 1);
        assert!(Validators::new(Some(long), Some(String::new())).is_empty());
        let kept = Validators::new(Some("W/\"7\"".into()), None);
        assert_eq!((kept.etag.as_deref(), kept.is_empty()), (Some("W/\"7\""), false));
    }
}
