//! Domain names and patterns over them, in one spelling each. Pure.

use std::fmt;
use std::sync::Arc;

/// The longest domain name in text form without its trailing dot (RFC 1035, section 2.3.4).
const LONGEST_NAME: usize = 253;
/// The longest text that is read as a name, in bytes: each character takes four at most.
const LONGEST_SPELLING: usize = 4 * LONGEST_NAME;
/// The longest label of a domain name (RFC 1035, section 2.3.4).
const LONGEST_LABEL: usize = 63;

/// An absolute domain name for DNS: lower case, ASCII (IDN as A-labels), no trailing dot, at least two labels. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainName(Arc<str>);

/// A name with at least one `*`. Each `*` matches one or more characters, dots included: `*.example.com` matches any depth below
/// `example.com`, but not `example.com` itself. That is the widest meaning among proxies and engines, since a pattern only
/// explains names, and opens nothing by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamePattern(Arc<str>);

/// Why a text is not a name or a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Only white space and a trailing dot.
    #[error("the name is empty")]
    Empty,
    /// The whole is longer than DNS allows.
    #[error("`{0}` is longer than the 253 characters DNS allows")]
    TooLong(String),
    /// A label is empty, too long, or starts or ends with a hyphen.
    #[error("`{0}` has a label DNS does not allow: 1 to 63 letters, digits, hyphens inside, underscores")]
    Label(String),
    /// A wildcard where an exact name is needed.
    #[error("`{0}` is a wildcard, which DNS cannot enumerate")]
    Wildcard(String),
    /// No wildcard where a pattern is needed.
    #[error("`{0}` holds no `*`")]
    NotAPattern(String),
    /// An IP address where a name is needed.
    #[error("`{0}` is an address, not a name")]
    Address(String),
    /// One label only: DNS would try search domains, which are never used.
    #[error("`{0}` has a single label: an absolute name is needed")]
    SingleLabel(String),
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= LONGEST_LABEL
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}

/// Lower case, A-labels, no trailing dot. Underscores and `*` are allowed, since real lists have both.
fn spelled(text: &str) -> Result<String, NameError> {
    let text = text.trim();
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    // A text that is too long for any name is not converted.
    if text.len() > LONGEST_SPELLING {
        return Err(NameError::TooLong(text.to_owned()));
    }
    let ascii = if text.is_ascii() {
        text.to_ascii_lowercase()
    } else {
        idna::domain_to_ascii(text).map_err(|_| NameError::Label(text.to_owned()))?
    };
    if ascii.len() > LONGEST_NAME { Err(NameError::TooLong(ascii)) } else { Ok(ascii) }
}

impl DomainName {
    /// Reads a name; capitals, IDN and one trailing dot are normalised.
    ///
    /// # Errors
    /// Why the text is no absolute name for DNS.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let name = spelled(text)?;
        if name.contains('*') {
            return Err(NameError::Wildcard(name));
        }
        if name.parse::<std::net::IpAddr>().is_ok() {
            return Err(NameError::Address(name));
        }
        if !name.split('.').all(is_label) {
            return Err(NameError::Label(name));
        }
        if !name.contains('.') {
            return Err(NameError::SingleLabel(name));
        }
        // To every resolver, a last label of digits only is an address of some old form.
        if name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit())) {
            return Err(NameError::Address(name));
        }
        Ok(Self(name.into()))
    }

    /// The name without trailing dot.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for DomainName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for DomainName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl NamePattern {
    /// Reads a pattern; normalised like names.
    ///
    /// # Errors
    /// Why the text is no pattern: it has no `*`, or a label that DNS does not allow.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let pattern = spelled(text)?;
        if !pattern.contains('*') {
            return Err(NameError::NotAPattern(pattern));
        }
        if !pattern.split('.').all(|label| is_label(&label.replace('*', "x"))) {
            return Err(NameError::Label(pattern));
        }
        Ok(Self(pattern.into()))
    }

    /// The pattern's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the pattern matches `name`.
    #[must_use]
    pub fn matches(&self, name: &DomainName) -> bool {
        self.matcher()(name)
    }

    /// Whether the pattern matches `name` label by label: each `*` stands for one or more characters of one label, as in
    /// certificates. `*.example.com` so matches `a.example.com`, and not `a.b.example.com`.
    #[must_use]
    pub fn matches_labels(&self, name: &DomainName) -> bool {
        let (labels, given) = (self.0.split('.'), name.as_str().split('.'));
        let is_label =
            |(label, given): (&str, &str)| wildmatch::WildMatch::new(&label.replace('*', "?*")).matches(given);
        labels.clone().count() == given.clone().count() && labels.zip(given).all(is_label)
    }

    /// The zone that has every name which the pattern matches: what follows its last label with a `*`. None where that is a single
    /// label: nobody's zone is `com`.
    #[must_use]
    pub fn zone(&self) -> Option<DomainName> {
        let (_, after) = self.0.rsplit_once('*')?;
        DomainName::parse(after.split_once('.')?.1).ok()
    }

    /// What [`NamePattern::matches`] says, for many names.
    pub fn matcher(&self) -> impl Fn(&DomainName) -> bool {
        // To the library, `*` may be empty; one more character makes it one or more.
        let matcher = wildmatch::WildMatch::new(&self.0.replace('*', "?*"));
        move |name| matcher.matches(name.as_str())
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DomainName {
        DomainName::parse(text).expect("a name")
    }

    #[test]
    fn one_spelling_for_each_name() {
        assert_eq!(name(" Accounts.CitrixCloud.JP. ").as_str(), "accounts.citrixcloud.jp");
        assert_eq!(name("bücher.example").as_str(), "xn--bcher-kva.example");
        assert_eq!(name("_sip.example.com").as_str(), "_sip.example.com");
    }

    #[test]
    fn no_name_is_refused_with_its_reason() {
        let refused = |text: &str| DomainName::parse(text).expect_err(text);
        assert_eq!(refused("."), NameError::Empty);
        assert_eq!(refused("*.example.com"), NameError::Wildcard("*.example.com".into()));
        assert_eq!(refused("localhost"), NameError::SingleLabel("localhost".into()));
        assert_eq!(refused("10.0.0.1"), NameError::Address("10.0.0.1".into()));
        assert_eq!(refused("10.1.257"), NameError::Address("10.1.257".into()));
        assert_eq!(refused("a..example.com"), NameError::Label("a..example.com".into()));
        assert_eq!(refused("-a.example.com"), NameError::Label("-a.example.com".into()));
        assert_eq!(refused("exa mple.com"), NameError::Label("exa mple.com".into()));
        assert!(matches!(refused(&format!("{}.com", "a".repeat(64))), NameError::Label(_)));
        assert!(matches!(refused(&"a.".repeat(140)), NameError::TooLong(_)));
        assert!(matches!(refused(&"ü".repeat(600)), NameError::TooLong(_)), "before it is spelled in ASCII");
    }

    #[test]
    fn a_star_is_one_or_more_characters() {
        let pattern = NamePattern::parse("*.CitrixWorkspacesApi.jp").expect("a pattern");
        assert!(pattern.matches(&name("agenthub-jp.citrixworkspacesapi.jp")));
        assert!(pattern.matches(&name("a.b.citrixworkspacesapi.jp")));
        assert!(!pattern.matches(&name("citrixworkspacesapi.jp")));
        assert!(!pattern.matches(&name("evilcitrixworkspacesapi.jp")));
        let double = NamePattern::parse("*.*.nssvc.jp").expect("a pattern");
        assert!(double.matches(&name("aws-jp-e.g.nssvc.jp")));
        assert!(!double.matches(&name("g.nssvc.jp")));
        assert_eq!(NamePattern::parse("example.com"), Err(NameError::NotAPattern("example.com".into())));
        assert!(NamePattern::parse("*..example.com").is_err());
    }
    #[test]
    fn label_by_label_a_star_is_within_one_label() {
        let matches =
            |pattern: &str, text: &str| NamePattern::parse(pattern).expect("a pattern").matches_labels(&name(text));
        assert!(matches("*.example.com", "a.example.com") && !matches("*.example.com", "a.b.example.com"));
        assert!(!matches("*.example.com", "example.com") && !matches("*.example.com", "a.example.org"));
        assert!(matches("*.*.nssvc.jp", "aws-jp-e.g.nssvc.jp") && !matches("*.*.nssvc.jp", "g.nssvc.jp"));
        assert!(
            matches("citrix*.example.com", "citrix1.example.com")
                && !matches("citrix*.example.com", "citrix.example.com")
        );
    }

    #[test]
    fn a_zone_is_what_follows_the_last_star() {
        let zone = |pattern: &str| NamePattern::parse(pattern).expect("a pattern").zone().map(|zone| zone.to_string());
        assert_eq!(zone("*.blob.core.windows.net").as_deref(), Some("blob.core.windows.net"));
        assert_eq!(zone("*.*.nssvc.jp").as_deref(), Some("nssvc.jp"));
        assert_eq!(zone("a.*.b.example.com").as_deref(), Some("b.example.com"));
        assert_eq!(zone("citrix*.example.com").as_deref(), Some("example.com"));
        assert_eq!(zone("*.com"), None);
    }
}
