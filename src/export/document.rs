//! `endpoints.json`: every endpoint with its ports and addresses, one a line.

use crate::plan::{EndpointRecord, Plan, Target, WildcardUse};
use connectivity_allowlist::EntryGeo;
use connectivity_allowlist::net::{NamePattern, Protocol, cidr};
use serde::Serialize;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The version of the document's schema. It changes only if a reader of the old one would misread it.
pub const SCHEMA: &str = "citrix-allowlist.io/endpoints/v1";

/// One endpoint, under the names that the vendor's API uses.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    direction: &'static str,
    service: &'a str,
    geo: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cidr: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wildcard: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcp_ports: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    udp_ports: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    addresses: Option<&'a [IpAddr]>,
    required: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_use: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    honoured: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stands_in_for: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    learned: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notes: Option<&'a str>,
}

/// What is left out to save space: each step leaves out what the one before does, and more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Shortened {
    Nothing,
    /// Remarks.
    Notes,
    /// Addresses of a name after its first endpoint: nothing is lost yet.
    RepeatedAddresses,
    /// All addresses.
    Addresses,
    /// Endpoints at the end.
    Endpoints,
}

impl Shortened {
    fn marks(self) -> Vec<&'static str> {
        let all = [
            (Self::Notes, "notes"),
            (Self::RepeatedAddresses, "repeatedAddresses"),
            (Self::Addresses, "addresses"),
            (Self::Endpoints, "endpoints"),
        ];
        all.into_iter().filter(|(step, _)| *step <= self).map(|(_, mark)| mark).collect()
    }
}

/// Bytes that `text` takes within a JSON string.
fn escaped_bytes(text: &str) -> usize {
    text.len() + text.bytes().filter(|byte| matches!(byte, b'"' | b'\\' | b'\n')).count()
}

/// The whole document and its JSON-escaped size, where that is at most `bytes`.
pub(super) fn whole(plan: &Plan, bytes: usize) -> Option<(String, usize)> {
    let lines = fitting(plan, Shortened::Nothing, bytes);
    let text = (lines.len() == count(plan)).then(|| document(&lines, Shortened::Nothing, 0))?;
    let taken = escaped_bytes(&text);
    (taken <= bytes).then_some((text, taken))
}

/// The document in at most `bytes`, JSON-escaped, shortened as far as necessary.
pub(super) fn shortened(plan: &Plan, bytes: usize) -> String {
    let (all, room) = (count(plan), bytes.saturating_sub(512));
    let steps = [Shortened::Notes, Shortened::RepeatedAddresses, Shortened::Addresses];
    let fits = |step: &Shortened| Some((fitting(plan, *step, room), *step)).filter(|(lines, _)| lines.len() == all);
    let found = steps.iter().find_map(fits);
    let (lines, step) = found.unwrap_or_else(|| (fitting(plan, Shortened::Endpoints, room), Shortened::Endpoints));
    document(&lines, step, all - lines.len())
}

fn count(plan: &Plan) -> usize {
    plan.records.len() + plan.wildcard_uses.len()
}

/// The first lines, as many as fit. The others are not made: otherwise each step of shortening a very long document would
/// cost as much as all of it.
fn fitting(plan: &Plan, step: Shortened, room: usize) -> Vec<String> {
    let mut taken = 0;
    let fits = |line: &String| {
        taken += escaped_bytes(line) + 3;
        taken <= room
    };
    lines(plan, step).take_while(fits).collect()
}

fn document(lines: &[String], step: Shortened, omitted: usize) -> String {
    let shortened = match step {
        Shortened::Nothing => String::new(),
        _ => {
            let marks: Vec<String> = step.marks().iter().map(|mark| format!("\"{mark}\"")).collect();
            format!("\"shortened\":[{}],\"omitted\":{omitted},\n", marks.join(","))
        }
    };
    let open = if lines.is_empty() { "" } else { "\n" };
    format!("{{\"schema\":\"{SCHEMA}\",\n{shortened}\"endpoints\":[{open}{}{open}]}}\n", lines.join(",\n"))
}

fn lines(plan: &Plan, step: Shortened) -> impl Iterator<Item = String> {
    let mut seen = BTreeSet::new();
    let endpoints = plan.records.iter().map(move |record| {
        let mut line = endpoint(record);
        let repeated = line.name.is_some_and(|name| !seen.insert((record.endpoint.direction, name)));
        if step >= Shortened::Addresses || (step >= Shortened::RepeatedAddresses && repeated) {
            line.addresses = None;
        }
        line
    });
    let wildcards = plan.wildcard_uses.iter().map(wildcard);
    endpoints.chain(wildcards).map(move |mut line| {
        if step >= Shortened::Notes {
            line.notes = None;
        }
        // Serialising strings, numbers and lists of them into memory cannot fail.
        serde_json::to_string(&line).unwrap_or_default()
    })
}

fn geo(geo: &EntryGeo) -> &str {
    match geo {
        EntryGeo::All => "all",
        EntryGeo::Region(region) => region,
    }
}

fn endpoint(record: &EndpointRecord) -> Line<'_> {
    let endpoint = &record.endpoint;
    let (name, cidr) = match &endpoint.target {
        Target::Name(name) => (Some(name.as_str()), None),
        Target::Network(network) => (None, Some(cidr::text(network))),
    };
    Line {
        direction: endpoint.direction.as_str(),
        service: &endpoint.service,
        geo: geo(&endpoint.geo),
        name,
        cidr,
        tcp_ports: endpoint.ports.listed(Protocol::Tcp),
        udp_ports: endpoint.ports.listed(Protocol::Udp),
        addresses: name.is_some().then_some(&*record.addresses),
        required: endpoint.required,
        in_use: (!record.in_use).then_some(false),
        stands_in_for: endpoint.stands_in_for.as_ref().map(NamePattern::as_str),
        learned: endpoint.learned.then_some(true),
        notes: endpoint.notes.as_deref(),
        ..Line::default()
    }
}

fn wildcard(wildcard: &WildcardUse) -> Line<'_> {
    Line {
        direction: wildcard.direction.as_str(),
        service: &wildcard.service,
        geo: geo(&wildcard.geo),
        wildcard: Some(wildcard.pattern.as_str()),
        tcp_ports: wildcard.ports.listed(Protocol::Tcp),
        udp_ports: wildcard.ports.listed(Protocol::Udp),
        required: wildcard.required,
        honoured: Some(wildcard.honoured),
        notes: wildcard.notes.as_deref(),
        ..Line::default()
    }
}
