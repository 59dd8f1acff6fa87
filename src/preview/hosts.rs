//! `--hosts`: saved answers of DNS, a line `NAME ADDRESS...` for each name. Pure.

use connectivity_allowlist::net::DomainName;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Saved answers by name.
pub type Hosts = BTreeMap<DomainName, BTreeSet<IpAddr>>;

/// Reads saved answers. `#` starts a comment; lines of one name add up; a name alone has no addresses.
///
/// # Errors
/// The line, its text, and what is allowed.
pub fn parse(text: &str) -> Result<Hosts, String> {
    let mut hosts = Hosts::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(name) = words.next() else { continue };
        let at = |error: String| format!("{}: {error}", number + 1);
        let parsed = DomainName::parse(name).map_err(|error| at(format!("{error}; a line is NAME ADDRESS...")))?;
        let addresses = hosts.entry(parsed).or_default();
        for word in words {
            let address = word.parse().map_err(|_| at(format!("`{word}` is no address: IPv4 or IPv6 is allowed")))?;
            addresses.insert(address);
        }
    }
    Ok(hosts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_names_and_addresses() {
        let hosts =
            parse("# saved\nA.example.com 13.64.0.2 13.64.0.1\n\nb.example.com\na.example.com. 2603::1 # more\n");
        let hosts = hosts.expect("hosts");
        let of = |name: &str| {
            hosts[&DomainName::parse(name).expect("a name")].iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(of("a.example.com"), ["13.64.0.1", "13.64.0.2", "2603::1"]);
        assert!(of("b.example.com").is_empty());
    }

    #[test]
    fn errors_have_the_line_and_what_is_allowed() {
        assert_eq!(parse("a.example.com 1.2.3\n"), Err("1: `1.2.3` is no address: IPv4 or IPv6 is allowed".to_owned()));
        let swapped = parse("\n13.64.0.1 a.example.com\n").expect_err("the wrong way round");
        assert_eq!(swapped, "2: `13.64.0.1` is an address, not a name; a line is NAME ADDRESS...");
    }
}
