//! Ports as lists write them: `80,443`, ` 443 , 8080-8090 `, `443`, `[80, 443]`. Pure.

use super::{Problems, Scope};
use crate::net::{PortRange, PortSet, Protocol};
use serde_json::Value;

/// The most port ranges of one service, which each of its endpoints carries; the longest known has a few.
const MOST_RANGES: usize = 128;

/// Reads the ports of a service from these fields: value, name and protocol. None without ports, or with too many. Everything
/// unreadable is reported.
pub(super) fn read(
    fields: &[(Option<&Value>, &str, Protocol)],
    scope: &Scope<'_>,
    problems: &mut Problems,
) -> Option<PortSet> {
    let mut ranges = Vec::new();
    for (value, field, protocol) in fields {
        for item in super::items(*value) {
            let text = match item {
                Value::Null => continue,
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                other => {
                    let kind = super::kind_of(other);
                    let message = format!("{field}: ports are numbers, or texts such as `80,443`; this is {kind}");
                    problems.malformed(scope, &super::quoted(other), &message);
                    continue;
                }
            };
            for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
                match PortRange::parse(part) {
                    Ok(range) => ranges.push((*protocol, range)),
                    Err(error) => problems.malformed(scope, part, &format!("{field}: {error}")),
                }
            }
        }
    }
    let ports = PortSet::new(ranges)?;
    if ports.len() > MOST_RANGES {
        let message = format!("{} port ranges are more than {MOST_RANGES}: none of them is used", ports.len());
        problems.malformed(scope, scope.service.unwrap_or("ports"), &message);
        return None;
    }
    Some(ports)
}
