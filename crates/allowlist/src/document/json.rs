//! Reads and writes `format=json`. Pure.

use super::endpoint::{ListedEndpoint, ServiceFields};
use super::{DocumentError, FormRules, ListForm, ParsedDocument, Problems, Reading, Scope, ports, regions};
use crate::list::{Allowlist, Entry, EntryGeo};
use crate::net::{Direction, Protocol};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Any other document with `services` is tried as this.
pub(super) const RULES: FormRules = FormRules {
    name: "json",
    in_words: "this list in format=json",
    states_expiry: true,
    recognise: |root| root.get("services").is_some_and(Value::is_array),
    read,
};

fn read(root: &Map<String, Value>, reading: &Reading<'_>) -> Result<ParsedDocument, DocumentError> {
    let services = super::items(root.get("services"));
    let mut problems = Problems::default();
    let meta = root.get("meta");
    let version = super::shown(meta.and_then(|meta| meta.get("version")));
    let version = version.map(|version| version.chars().take(super::LONGEST_VERSION).collect());
    let valid_until = match meta.and_then(|meta| meta.get("validUntil")) {
        None | Some(Value::Null) => None,
        Some(value) => {
            let read = value.as_str().and_then(timestamp);
            if read.is_none() {
                let message = "validUntil is no time such as 2026-06-04T12:00:00Z: the list is asked for at intervals";
                problems.malformed(&Scope::whole_list(), &super::quoted(value), message);
            }
            read
        }
    };
    let mut entries = Vec::new();
    let says_required = services.iter().any(|service| !matches!(service.get("required"), None | Some(Value::Null)));
    for (index, service) in services.iter().enumerate() {
        read_service(index, service, reading, says_required, &mut entries, &mut problems);
    }
    let list = problems.into_list(ListForm::Json, services.len(), entries)?;
    Ok(ParsedDocument { allowlist: Allowlist { version, valid_until, ..list }, lifetime: None })
}

/// A time with offset; without one it is read as UTC, and a day as its first moment.
pub(crate) fn timestamp(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let utc = |time: jiff::civil::DateTime| time.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
    // The usual way to say "for ever", hours past what the type holds.
    let for_ever = text.starts_with("9999-12-31").then_some(Timestamp::MAX);
    text.parse().ok().or_else(|| text.parse().ok().and_then(utc)).or(for_ever)
}

fn read_service(
    index: usize,
    service: &Value,
    reading: &Reading<'_>,
    says_required: bool,
    entries: &mut Vec<Entry>,
    problems: &mut Problems,
) {
    let Some(service) = super::service_object(index, service, problems) else { return };
    let name = super::shown(service.get("name"));
    let mut scope = Scope { service: name.as_deref(), direction: None, geo: EntryGeo::All };
    if name.is_none() {
        problems.malformed(&scope, &format!("services[{index}]"), "the service has no name: no filter can name it");
    }
    let directions: &[Direction] = match service.get("direction") {
        None | Some(Value::Null) => &Direction::ALL,
        Some(value) => match value.as_str().map(|text| text.trim().to_ascii_lowercase()).as_deref() {
            Some("outbound") => &[Direction::Outbound],
            Some("inbound") => &[Direction::Inbound],
            Some("all" | "") => &Direction::ALL,
            _ => {
                let message = "the direction is none of inbound, outbound, all: nothing of the service is opened";
                problems.malformed(&scope, &super::quoted(value), message);
                return;
            }
        },
    };
    scope.direction = if let [only] = directions { Some(*only) } else { None };
    let fields =
        [(service.get("tcpPorts"), "tcpPorts", Protocol::Tcp), (service.get("udpPorts"), "udpPorts", Protocol::Udp)];
    let common = ServiceFields {
        service: name.as_deref().unwrap_or(super::UNNAMED).into(),
        directions,
        ports: ports::read(&fields, &scope, problems),
        required: required(service.get("required"), says_required, &scope, problems),
        notes: super::remark(service.get("notes")).map(Arc::from),
    };
    let endpoints = service.get("endpoints");
    if matches!(endpoints, None | Some(Value::Null)) {
        problems.malformed(&scope, &common.service, "the service has no endpoints");
    }
    for (position, endpoint) in super::items(endpoints).iter().enumerate() {
        let Some(endpoint) = endpoint.as_object() else {
            let message = format!("an endpoint is an object; this is {}", super::kind_of(endpoint));
            problems.malformed(&scope, &format!("endpoints[{position}]"), &message);
            continue;
        };
        for geo in regions::read(endpoint.get("geo"), &scope, problems) {
            let scope = Scope { geo, ..scope.clone() };
            let mut listed = ListedEndpoint::default();
            listed.names(super::items(endpoint.get("fqdns")), reading, &common, &scope, problems);
            listed.networks(super::items(endpoint.get("ips")), &common, &scope, problems);
            if problems.is_too_long() {
                return;
            }
            listed.into_entries(&common, &scope.geo, entries);
        }
    }
}

/// Whether a service is required. A service that does not say so is not, if others do; if none does, nothing is known of any.
fn required(value: Option<&Value>, says_required: bool, scope: &Scope<'_>, problems: &mut Problems) -> Option<bool> {
    match value {
        None | Some(Value::Null) => says_required.then_some(false),
        Some(Value::Bool(required)) => Some(*required),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Some(true),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Some(false),
        Some(other) => {
            problems.malformed(scope, &super::quoted(other), "required is neither true nor false: taken as true");
            Some(true)
        }
    }
}

/// Writes a list as `format=json`. Reading it gives the same entries, version and validity again; problems are not written.
#[must_use]
pub fn to_json(allowlist: &Allowlist) -> Value {
    let services: Vec<Value> = allowlist.entries.iter().map(|entry| service_json(entry)).collect();
    let mut meta = Map::new();
    if let Some(version) = &allowlist.version {
        meta.insert("version".to_owned(), json!(version));
    }
    if let Some(valid_until) = allowlist.valid_until {
        meta.insert("validUntil".to_owned(), json!(valid_until.to_string()));
    }
    json!({ "meta": meta, "services": services })
}

fn service_json(entry: &Entry) -> Value {
    let names = entry.names.iter().map(ToString::to_string);
    let fqdns: Vec<String> = names.chain(entry.patterns.iter().map(ToString::to_string)).collect();
    let ips: Vec<String> = entry.networks.iter().map(ToString::to_string).collect();
    let mut service = json!({
        "name": &*entry.service,
        "direction": entry.direction.as_str(),
        "endpoints": [{ "geo": entry.geo.as_str(), "fqdns": fqdns, "ips": ips }],
    });
    if let Some(required) = entry.required {
        service["required"] = json!(required);
    }
    for (field, protocol) in [("tcpPorts", Protocol::Tcp), ("udpPorts", Protocol::Udp)] {
        if let Some(listed) = entry.ports.as_ref().and_then(|ports| ports.listed(protocol)) {
            service[field] = json!(listed);
        }
    }
    if let Some(notes) = &entry.notes {
        service["notes"] = json!(&**notes);
    }
    service
}
