//! Reads one endpoint of a service into entries: common to every form. Pure.

use super::{Problems, Reading, Scope, addresses, names};
use crate::list::{Entry, EntryGeo};
use crate::net::{Direction, DomainName, NamePattern, PortRange, PortSet, Protocol};
use ipnet::IpNet;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The common part of every entry of one service.
#[derive(Clone)]
pub(super) struct ServiceFields<'a> {
    pub(super) service: Arc<str>,
    pub(super) directions: &'a [Direction],
    pub(super) ports: Option<PortSet>,
    pub(super) required: Option<bool>,
    pub(super) notes: Option<Arc<str>>,
}

/// The names and networks of one endpoint, by their port if they have one.
#[derive(Default)]
pub(super) struct ListedEndpoint {
    by_port: BTreeMap<Option<u16>, Targets>,
}

/// In order and each once, so that a shuffled list is the same list. Networks are not merged: two that pass the guard may join to
/// one that does not.
#[derive(Default)]
struct Targets {
    names: BTreeSet<DomainName>,
    patterns: BTreeSet<NamePattern>,
    networks: BTreeSet<IpNet>,
}

impl ListedEndpoint {
    pub(super) fn names(
        &mut self,
        items: &[Value],
        reading: &Reading<'_>,
        common: &ServiceFields<'_>,
        scope: &Scope<'_>,
        problems: &mut Problems,
    ) {
        for item in items {
            problems.count(common.directions.len());
            if problems.is_too_long() {
                return;
            }
            let Some(text) = item.as_str() else {
                let message = format!("a name is a text; this is {}", super::kind_of(item));
                problems.malformed(scope, &super::quoted(item), &message);
                continue;
            };
            let (listed, port) = match names::read(text, reading) {
                Ok(read) => read,
                Err(message) => {
                    problems.malformed(scope, text, &message);
                    continue;
                }
            };
            // A port that the service does not list contradicts it: neither is opened for the name.
            if let (Some(port), Some(ports)) = (port, &common.ports)
                && only(ports, port).is_none()
            {
                let message = format!("`{text}` names port {port}, which its service does not list: not opened");
                problems.malformed(scope, text, &message);
                continue;
            }
            let targets = self.by_port.entry(port).or_default();
            match listed {
                names::Listed::Name(name) => drop(targets.names.insert(name)),
                names::Listed::Pattern(pattern) => drop(targets.patterns.insert(pattern)),
                names::Listed::Networks(networks) => targets.networks.extend(networks),
            }
        }
    }

    pub(super) fn networks(
        &mut self,
        items: &[Value],
        common: &ServiceFields<'_>,
        scope: &Scope<'_>,
        problems: &mut Problems,
    ) {
        for item in items {
            problems.count(common.directions.len());
            if problems.is_too_long() {
                return;
            }
            let read = match item.as_str() {
                Some(text) => addresses::read(text),
                None => Err(format!("an address is a text; this is {}", super::kind_of(item))),
            };
            match read {
                Ok(networks) => {
                    // A range becomes several networks.
                    problems.count(networks.len().saturating_sub(1).saturating_mul(common.directions.len()));
                    self.by_port.entry(None).or_default().networks.extend(networks);
                }
                Err(message) => problems.malformed(scope, &super::quoted(item), &message),
            }
        }
    }

    pub(super) fn into_entries(self, common: &ServiceFields<'_>, geo: &EntryGeo, entries: &mut Vec<Entry>) {
        for (port, targets) in self.by_port {
            if targets.names.is_empty() && targets.patterns.is_empty() && targets.networks.is_empty() {
                continue;
            }
            let ports = match (port, &common.ports) {
                (Some(port), Some(ports)) => only(ports, port),
                (_, ports) => ports.clone(),
            };
            for direction in common.directions {
                entries.push(Entry {
                    service: common.service.clone(),
                    direction: *direction,
                    geo: geo.clone(),
                    names: targets.names.iter().cloned().collect(),
                    patterns: targets.patterns.iter().cloned().collect(),
                    networks: targets.networks.iter().copied().collect(),
                    ports: ports.clone(),
                    required: common.required,
                    notes: common.notes.clone(),
                });
            }
        }
    }
}

/// The one port of a set, in each protocol that has it.
fn only(ports: &PortSet, port: u16) -> Option<PortSet> {
    let single = PortRange::single(port)?;
    let protocols = [Protocol::Tcp, Protocol::Udp].into_iter().filter(|protocol| ports.contains(*protocol, port));
    PortSet::new(protocols.map(|protocol| (protocol, single)))
}
