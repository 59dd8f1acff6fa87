//! Maps published ports to the pods' own: NetworkPolicy sees the packet's port behind the load balancer.

use crate::crd::{InboundPort, Problem, ProblemKind};
use connectivity_allowlist::net::{PortRange, PortSet, Protocol};
use std::collections::BTreeMap;

/// The spec's `inboundPorts`, with a note of which were used.
pub(super) struct InboundPorts {
    /// Listed port to the pod's port, and whether any inbound entry lists it.
    by_listed: BTreeMap<u16, (u16, bool)>,
}

impl InboundPorts {
    pub(super) fn new(mapped: &[InboundPort]) -> Self {
        Self { by_listed: mapped.iter().map(|port| (port.listed, (port.pod, false))).collect() }
    }

    /// The pods' ports for the `listed` ones. A mapped port within a range is removed from it, and the pod's port added.
    pub(super) fn map(&mut self, listed: &PortSet) -> PortSet {
        let mut seen: Vec<(Protocol, PortRange)> = Vec::new();
        for (protocol, range) in listed.iter() {
            let mut from = range.first();
            for (port, (pod, used)) in self.by_listed.range_mut(range.first()..=range.last()) {
                *used = true;
                seen.extend(PortRange::single(*pod).map(|pod| (protocol, pod)));
                if let Some(before) = port.checked_sub(1) {
                    seen.extend(PortRange::new(from, before).map(|rest| (protocol, rest)));
                }
                // After the highest port nothing is left: the range after the loop is reversed, and empty.
                from = port.checked_add(1).unwrap_or(0);
            }
            seen.extend(PortRange::new(from, range.last()).map(|rest| (protocol, rest)));
        }
        PortSet::new(seen).unwrap_or_else(|| listed.clone())
    }

    /// Mappings of ports that no inbound entry lists.
    pub(super) fn unmatched(&self) -> Vec<Problem> {
        let message = "inboundPorts maps a port that no inbound entry of the list names: it changes nothing";
        let problem = |listed: &u16| Problem::new(ProblemKind::NoMatch, listed.to_string(), None, message);
        self.by_listed.iter().filter(|(_, (_, used))| !used).map(|(listed, _)| problem(listed)).collect()
    }
}
