//! What the forwarder asks of the table, and what reconciles tell it for that.

use super::table::{AddressState, Enforcement, HeardAnswer, Table};
use super::{Asker, Names, ObservedPattern, ProbeOutcome, ZoneState};
use crate::resource_ref::ResourceRef;
use connectivity_allowlist::net::DomainName;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::sync::watch;

/// What the table has to do with a name that a pod asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// It is in no zone that is served.
    NotServed,
    /// The upstream leads back here.
    Looping,
    /// It is not known yet what resources want, or whether there are any.
    Unknown,
    /// No resource wants it.
    Unwanted,
    /// Some resource wants it, or learns names like it.
    Wanted,
}

impl Names {
    /// Names of the served zones are asked at `upstreams` from now on: `zones`, or the zones in use where that is empty.
    pub fn forward_to(&self, upstreams: Vec<SocketAddr>, zones: &[DomainName]) {
        let servers = self.change(|table, now| {
            table.zones.set_fixed(zones);
            table.forward_to(upstreams, now);
            table.all_servers()
        });
        self.0.resolver.retain(&servers);
    }

    /// The names that a resource has learned.
    #[must_use]
    pub fn learned(&self, resource: &ResourceRef) -> Arc<BTreeSet<DomainName>> {
        self.table().learned.names(resource)
    }

    /// Names that an earlier process had learned for a resource.
    pub fn restore_learned(&self, resource: &ResourceRef, names: &BTreeSet<DomainName>) {
        self.change(|table, now| table.learned.restore(resource, names, now));
    }

    /// A resource learns names under these patterns, and uses these zones, instead of its earlier ones.
    pub fn observe(
        &self,
        resource: &ResourceRef,
        patterns: &Arc<[ObservedPattern]>,
        zones: &Arc<BTreeSet<DomainName>>,
    ) {
        let mut table = self.table();
        table.observe(resource, patterns);
        table.zones.set(resource, zones, self.0.clock.instant());
    }

    /// Nothing is decided for a resource: it uses no zone besides those that it used before.
    pub fn observe_nothing(&self, resource: &ResourceRef) {
        self.table().zones.set_none(resource);
    }

    /// What a reconcile says about the policies of a resource.
    pub fn enforce(&self, resource: &ResourceRef, enforcement: Enforcement) {
        self.table().enforce(resource, enforcement, self.0.clock.instant());
        self.0.enforced.send_modify(|count| *count += 1);
    }

    /// What every resource's policies allow is no longer known.
    pub fn forget_enforced(&self) {
        self.table().forget_enforced();
    }

    /// Changes when policies may allow more than before.
    #[must_use]
    pub fn enforcements(&self) -> watch::Receiver<u64> {
        self.0.enforced.subscribe()
    }

    /// Whether a name is in a served zone, and whether some resource wants it or learns names like it. While the zones of some of the
    /// `resources` are not known yet, or there are none, every name may be in one; without `resources` this replica does not lead.
    #[must_use]
    pub fn interest(&self, name: &DomainName, resources: Option<usize>) -> Interest {
        let now = self.0.clock.instant();
        let mut table = self.table();
        let interest = table.interest(name, resources);
        if interest != Interest::NotServed {
            table.learned.asked_for(name, now);
        }
        interest
    }

    /// The servers that pods are given.
    #[must_use]
    pub fn servers(&self) -> Arc<[SocketAddr]> {
        Arc::clone(&self.table().servers)
    }

    /// The zones in use that are to be probed now.
    #[must_use]
    pub fn zones_due(&self) -> Vec<DomainName> {
        self.table().zones.due(self.0.clock.instant())
    }

    /// The question of a probe is on its way.
    pub fn probe_sent(&self, label: &str) {
        self.table().zones.probes.sent(label);
    }

    /// The question of a probe arrived at the forwarder of this process. Returns whether its zone is served: otherwise names in it are
    /// refused, and it does not count.
    pub fn probe_arrived(&self, label: &str, zone: &DomainName, resources: Option<usize>) -> bool {
        let mut table = self.table();
        let is_served = table.interest(zone, resources) != Interest::NotServed;
        if is_served {
            table.zones.probes.arrived(label);
        }
        is_served
    }

    /// The question of a probe is answered, or given up; returns whether it arrived here.
    #[must_use]
    pub fn probe_ended(&self, label: &str) -> bool {
        self.table().zones.probes.ended(label)
    }

    /// A probe of a zone ended. The resources that use the zone are woken where that is news.
    pub fn zone_probed(&self, zone: &DomainName, outcome: ProbeOutcome) {
        let mut table = self.table();
        if table.zones.probes.note(zone, outcome, self.0.clock.instant()) {
            table.zones.users(zone).for_each(|resource| self.0.waker.wake(resource));
        }
    }

    /// Whether the cluster's DNS forwards each of these zones here, and which the flag leaves out.
    #[must_use]
    pub fn zone_states(&self, zones: &BTreeSet<DomainName>) -> BTreeMap<DomainName, ZoneState> {
        self.table().zones.states(zones)
    }

    /// A pod asked for a name and these are its addresses. Resources that learn the name, or have to apply an address, are woken at
    /// once. Returns how many resources learn it now: of those that select the pod, where it is known.
    pub fn hear(&self, name: &DomainName, answers: &[HeardAnswer], asked_by: Option<&Asker>) -> usize {
        let (mut woken, mut refused) = (BTreeSet::new(), Vec::new());
        let (learning, forgotten) = {
            let mut table = self.table();
            let now = self.0.clock.instant();
            let learning = table.learn(name, asked_by, now);
            for answer in answers {
                let (judged, applying) = table.hear(name, answer, now);
                refused.extend(judged);
                woken.extend(applying);
            }
            (learning, table.learned.take_forgotten())
        };
        self.0.earlier.notify_one();
        let learned = learning.len();
        woken.extend(learning);
        for resource in &woken {
            self.0.waker.wake(resource);
        }
        for address in &refused {
            self.0.observer.refused(name, address);
        }
        for (cause, names) in forgotten {
            self.0.observer.forgotten(cause, names);
        }
        learned
    }

    /// Where each of these addresses of a name stands, for the pod that asked, where it is known.
    #[must_use]
    pub fn address_states(
        &self,
        name: &DomainName,
        addresses: &[IpAddr],
        asked_by: Option<&Asker>,
    ) -> Vec<AddressState> {
        self.table().address_states(name, addresses, asked_by)
    }

    /// Whether some resource observes a name and has not learned it: then it matters who asks.
    #[must_use]
    pub fn is_new(&self, name: &DomainName) -> bool {
        self.table().learned.is_new(name)
    }
}

impl Table {
    fn interest(&self, name: &DomainName, resources: Option<usize>) -> Interest {
        let zones = &self.zones;
        // Every resource has to have spoken since this replica leads: the policies of the others are not known.
        let are_known = resources
            .is_some_and(|resources| resources > 0 && zones.resources() >= resources && self.has_heard_of(resources));
        let is_wanted = || self.names.contains_key(name) || self.learned.is_observed(name) || self.is_left_out(name);
        if zones.are_fixed() && !zones.serve(name) {
            // Every replica keeps to the zones of the flag, whatever resources want.
            Interest::NotServed
        } else if zones.is_looping(name) {
            Interest::Looping
        } else if are_known && is_wanted() {
            Interest::Wanted
        } else if are_known && !zones.serve(name) {
            Interest::NotServed
        } else if are_known {
            Interest::Unwanted
        } else {
            Interest::Unknown
        }
    }
}
