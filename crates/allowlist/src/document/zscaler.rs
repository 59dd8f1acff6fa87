//! Reads `format=zscaler`: services whose direction, region, protocol and family only their ids state. Pure.
//!
//! Without a customer in the request, the API writes `*` in place of the customer's id. Its overview and its documentation show one
//! name with a placeholder, `CUSTOMER_ID.xendesktop.net`: so `*.xendesktop.net` can only be the customer's own name. Any other
//! wildcard may be in the list for every customer, and stays one.

use super::endpoint::{ListedEndpoint, ServiceFields};
use super::{DocumentError, FormRules, ListForm, ParsedDocument, Problems, Reading, Scope, names, ports, regions};
use crate::list::{Entry, EntryGeo};
use crate::net::{Direction, Protocol};
use serde_json::{Map, Value};
use std::time::Duration;

/// The zone in which each customer has one name, its id.
const CUSTOMERS_ZONE: &str = "xendesktop.net";

pub(super) const RULES: FormRules =
    FormRules { name: "zscaler", in_words: "format=zscaler", states_expiry: false, recognise, read };

fn recognise(root: &Map<String, Value>) -> bool {
    let Some(Value::Array(services)) = root.get("services") else { return false };
    let has = |name: &str| services.iter().any(|service| service.get(name).is_some());
    root.contains_key("usage") || root.contains_key("ipv6_services") || has("domains") || has("cidrs")
}

fn read(root: &Map<String, Value>, reading: &Reading<'_>) -> Result<ParsedDocument, DocumentError> {
    let services = super::items(root.get("services"));
    let mut problems = Problems::default();
    let lifetime = lifetime(root, &mut problems);
    let ipv6 = super::items(root.get("ipv6_services"));
    let mut entries = Vec::new();
    let stand_in = stand_in(services, reading);
    for (index, service) in services.iter().chain(ipv6).enumerate() {
        read_service(index, service, reading, stand_in, &mut entries, &mut problems);
    }
    let allowlist = problems.into_list(ListForm::Zscaler, services.len() + ipv6.len(), entries)?;
    Ok(ParsedDocument { allowlist, lifetime })
}

/// The customer's id to replace `*`: if it is known, and the document does not name it, as the answer to a request with it does.
fn stand_in<'a>(services: &[Value], reading: &Reading<'a>) -> Option<&'a str> {
    let customer = reading.customer?;
    let own = format!("{}.{CUSTOMERS_ZONE}", customer.to_ascii_lowercase());
    let names_it = |item: &Value| match item.as_str().map(|text| names::read(text, reading)) {
        Some(Ok((names::Listed::Name(name), _))) => name.as_str() == own,
        _ => false,
    };
    let domains = services.iter().flat_map(|service| super::items(service.get("domains")));
    (!domains.into_iter().any(names_it)).then_some(customer)
}

/// A domain with the customer's id in place of `*`, if it can only be the customer's own name.
fn own_name(item: &Value, customer: Option<&str>, reading: &Reading<'_>) -> Value {
    let read = item.as_str().map(|text| names::read(text, reading));
    if let (Some(customer), Some(Ok((names::Listed::Pattern(pattern), port)))) = (customer, read)
        && let Some((label, zone)) = pattern.as_str().split_once('.')
        && (zone, label.matches('*').count()) == (CUSTOMERS_ZONE, 1)
    {
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        return Value::String(format!("{}.{zone}{port}", label.replace('*', customer)));
    }
    item.clone()
}

/// `usage.update_interval`, in hours.
fn lifetime(root: &Map<String, Value>, problems: &mut Problems) -> Option<Duration> {
    let value = root.get("usage").and_then(|usage| usage.get("update_interval"))?;
    let hours = value.as_u64().or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()));
    if hours.is_none() {
        let message = "usage.update_interval is no number of hours: the list is asked for at intervals";
        problems.malformed(&Scope::whole_list(), &super::quoted(value), message);
    }
    hours.map(|hours| Duration::from_secs(hours.saturating_mul(3600)))
}

fn read_service(
    index: usize,
    service: &Value,
    reading: &Reading<'_>,
    stand_in: Option<&str>,
    entries: &mut Vec<Entry>,
    problems: &mut Problems,
) {
    let Some(service) = super::service_object(index, service, problems) else { return };
    let id = super::shown(service.get("id")).unwrap_or_default();
    let label = super::shown(service.get("name")).unwrap_or_default();
    // The name keeps the vendor's capitals and separates regions that contain a hyphen; the id is the same with hyphens.
    let parsed = ParsedId::from_words(&label).or_else(|| ParsedId::from_id(&id));
    let whole = if label.is_empty() { id } else { label };
    let (name, directions, geos) = match (parsed, reading.scope) {
        (Some(parsed), _) => (parsed.service, parsed.directions, parsed.geos),
        (None, Some((geo, directions))) => {
            let name = if whole.is_empty() { super::UNNAMED.to_owned() } else { whole.clone() };
            (name, directions.each(), vec![regions::geo(geo.as_str())])
        }
        (None, None) => {
            let message = "its id names no direction and region: nothing of it is opened";
            let subject = if whole.is_empty() { format!("services[{index}]") } else { whole };
            problems.malformed(&Scope::whole_list(), &subject, message);
            return;
        }
    };
    let direction = if let [only] = directions { Some(*only) } else { None };
    let geo = if let [only] = geos.as_slice() { only.clone() } else { EntryGeo::All };
    let scope = Scope { service: Some(&name), direction, geo };
    let protocols: &[Protocol] = match super::text(service.get("protocol")).map(|text| text.to_ascii_lowercase()) {
        Some(tcp) if tcp == "tcp" => &[Protocol::Tcp],
        Some(udp) if udp == "udp" => &[Protocol::Udp],
        other => {
            let message = "the protocol is neither tcp nor udp: nothing of it is opened";
            problems.malformed(&scope, &other.unwrap_or_default(), message);
            return;
        }
    };
    let fields: Vec<_> = protocols.iter().map(|protocol| (service.get("ports"), "ports", *protocol)).collect();
    let ports = ports::read(&fields, &scope, problems);
    let common = ServiceFields { service: name.as_str().into(), directions, ports, required: None, notes: None };
    let domains = super::items(service.get("domains"));
    let domains: Vec<Value> = domains.iter().map(|item| own_name(item, stand_in, reading)).collect();
    for geo in regions::bounded(geos, &scope, problems) {
        let scope = Scope { geo, ..scope.clone() };
        let mut listed = ListedEndpoint::default();
        listed.names(&domains, reading, &common, &scope, problems);
        listed.networks(super::items(service.get("cidrs")), &common, &scope, problems);
        listed.into_entries(&common, &scope.geo, entries);
    }
}

/// The parts of an id or a name.
struct ParsedId {
    service: String,
    directions: &'static [Direction],
    /// One at least.
    geos: Vec<EntryGeo>,
}

impl ParsedId {
    /// `DaaS outbound us tcp ipv4`: the service's own words first.
    fn from_words(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [service @ .., direction, geo, protocol, family] = words.as_slice() else { return None };
        if !are_protocol_and_family(protocol, family) {
            return None;
        }
        Self::new(&service.join(" "), directions(direction)?, geo)
    }

    /// `daas-outbound-ap-s-tcp-ipv4`, with a number at its end if two would be the same.
    fn from_id(id: &str) -> Option<Self> {
        let words: Vec<&str> = id.split('-').collect();
        let words = match words.as_slice() {
            [rest @ .., number] if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => rest,
            all => all,
        };
        let [rest @ .., protocol, family] = words else { return None };
        if !are_protocol_and_family(protocol, family) {
            return None;
        }
        // From the end: a service may be named after a direction, a region is not. `all` is a direction only before a region.
        let at = (1..rest.len().saturating_sub(1)).rev().find(|at| directions(rest[*at]).is_some())?;
        Self::new(&rest[..at].join("-"), directions(rest[at])?, &rest[at + 1..].join("-"))
    }

    fn new(service: &str, directions: &'static [Direction], geos: &str) -> Option<Self> {
        let geos = regions::listed(geos);
        let service = service.trim();
        (!service.is_empty() && !geos.is_empty()).then(|| Self { service: service.to_owned(), directions, geos })
    }
}

fn are_protocol_and_family(protocol: &str, family: &str) -> bool {
    let is = |word: &str, known: [&str; 2]| known.iter().any(|known| known.eq_ignore_ascii_case(word));
    is(protocol, ["tcp", "udp"]) && is(family, ["ipv4", "ipv6"])
}

fn directions(word: &str) -> Option<&'static [Direction]> {
    match word.to_ascii_lowercase().as_str() {
        "outbound" => Some(&[Direction::Outbound]),
        "inbound" => Some(&[Direction::Inbound]),
        "all" => Some(&Direction::ALL),
        _ => None,
    }
}
