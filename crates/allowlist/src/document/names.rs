//! Names as lists write them: with scheme, port, path, capitals, placeholders, wildcards. Pure.

use super::{Reading, addresses};
use crate::net::{DomainName, NamePattern};
use ipnet::IpNet;
use std::borrow::Cow;

/// The vendor's placeholders for the customer's id, those in brackets first; compared without case. The API's overview has
/// `CUSTOMER_ID`, the static lists `<CUSTOMER_ID>`, the documentation of connectors `[customerid]`.
const PLACEHOLDERS: [&str; 5] = ["<customer_id>", "<customerid>", "[customer_id]", "[customerid]", "customer_id"];

/// One item of a list of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Listed {
    /// An exact name.
    Name(DomainName),
    /// A wildcard.
    Pattern(NamePattern),
    /// Addresses among the names.
    Networks(Vec<IpNet>),
}

/// Reads one item, and its port if it names one.
///
/// # Errors
/// Why the text is no name.
pub(super) fn read(text: &str, reading: &Reading<'_>) -> Result<(Listed, Option<u16>), String> {
    let text = substitute(text.trim(), reading, reading.template_customer)?;
    if let Ok(networks) = addresses::read(&text) {
        return Ok((Listed::Networks(networks), None));
    }
    let (host, port) = host_and_port(&text)?;
    if let Ok(networks) = addresses::read(host) {
        return Ok((Listed::Networks(networks), port));
    }
    // A suffix such as `.example.com` covers its subdomains, like the wildcard.
    let suffixed = if host.starts_with('.') { format!("*{host}") } else { host.to_owned() };
    if !suffixed.contains('*') {
        let name = DomainName::parse(&suffixed).map_err(|error| error.to_string())?;
        // Invisible characters may hide a placeholder until the name is in its one spelling.
        let name = match substitute(name.as_str(), reading, None)? {
            same if same == name.as_str() => name,
            other => DomainName::parse(&other).map_err(|error| error.to_string())?,
        };
        return Ok((Listed::Name(name), port));
    }
    let pattern = NamePattern::parse(&suffixed).map_err(|error| error.to_string())?;
    let pattern = match substitute(pattern.as_str(), reading, None)? {
        same if same == pattern.as_str() => pattern,
        other => NamePattern::parse(&other).map_err(|error| error.to_string())?,
    };
    if pattern.as_str().split('.').all(|label| label.contains('*')) {
        return Err(format!("`{pattern}` would stand for every name there is"));
    }
    Ok((Listed::Pattern(pattern), port))
}

/// Removes scheme, path, query and fragment.
fn host_and_port(text: &str) -> Result<(&str, Option<u16>), String> {
    let rest = match text.split_once("://") {
        Some((scheme, rest)) => {
            let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
            if scheme.is_empty() || !scheme.bytes().all(fits) {
                return Err(format!("`{text}` is not a name"));
            }
            rest
        }
        None => text,
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    match authority.rsplit_once(':') {
        None => Ok((authority, None)),
        // The colons of an IPv6 address in brackets are its own.
        Some((_, after)) if after.ends_with(']') => Ok((authority, None)),
        Some((host, port)) => match port.parse::<u16>() {
            Ok(number) if number > 0 && port.bytes().all(|b| b.is_ascii_digit()) => Ok((host, Some(number))),
            _ => Err(format!("`{port}` in `{text}` is not a port: a whole number from 1 to 65535 is allowed")),
        },
    }
}

/// Puts the customer's id in place of the placeholders and of `template`, a customer of another list.
fn substitute<'a>(text: &'a str, reading: &Reading<'_>, template: Option<&str>) -> Result<Cow<'a, str>, String> {
    // Every name becomes lower case, so nothing is lost here.
    let (mut lower, mut is_substituted) = (text.to_ascii_lowercase(), false);
    let template = template.map(|template| Cow::Owned(template.to_ascii_lowercase()));
    for placeholder in PLACEHOLDERS.into_iter().map(Cow::Borrowed).chain(template) {
        if !lower.contains(&*placeholder) {
            continue;
        }
        let Some(customer) = reading.customer else {
            return Err(format!("`{text}` holds a placeholder for the customer's id, which is not known here"));
        };
        lower = lower.replace(&*placeholder, &customer.to_ascii_lowercase());
        is_substituted = true;
    }
    Ok(if is_substituted { Cow::Owned(lower) } else { Cow::Borrowed(text) })
}
