//! Ports as lists write them: `80,443`, ` 443 , 8080-8090 `, `443`, `[80, 443]`. Pure.

use super::{Problems, Scope};
use crate::net::{PortRange, PortSet, Protocol};
use serde_json::Value;

/// The most port ranges of one service, which each of its endpoints carries; the longest known has a few.
const MOST_RANGES: usize = 128;

/// A text that is no port, and why.
pub(super) type Unread = (String, String);

/// Reads every port of `value`. What can be read comes first, what cannot second.
pub(super) fn read(value: Option<&Value>, protocol: Protocol) -> (Vec<(Protocol, PortRange)>, Vec<Unread>) {
    let mut ranges = Vec::new();
    let mut unread = Vec::new();
    for item in super::items(value) {
        match item {
            Value::Null => {}
            Value::String(text) => {
                for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
                    match PortRange::parse(part) {
                        Ok(range) => ranges.push((protocol, range)),
                        Err(error) => unread.push((part.to_owned(), error.to_string())),
                    }
                }
            }
            Value::Number(number) => match PortRange::parse(&number.to_string()) {
                Ok(range) => ranges.push((protocol, range)),
                Err(error) => unread.push((number.to_string(), error.to_string())),
            },
            other => {
                let message =
                    format!("ports are numbers, or texts such as `80,443`; this is {}", super::kind_of(other));
                unread.push((super::quoted(other), message));
            }
        }
    }
    (ranges, unread)
}

/// The ports of a service as a set; none where there are too many, which is a problem.
pub(super) fn set(ranges: Vec<(Protocol, PortRange)>, scope: &Scope<'_>, problems: &mut Problems) -> Option<PortSet> {
    let ports = PortSet::new(ranges)?;
    if ports.len() > MOST_RANGES {
        let message = format!("{} port ranges are more than {MOST_RANGES}: none of them is used", ports.len());
        problems.malformed(scope, scope.service.unwrap_or("ports"), &message);
        return None;
    }
    Some(ports)
}
