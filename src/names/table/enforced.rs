//! Which addresses are in force: allowed by the policies of every resource that wants the name, as the API server has confirmed. Pure.

use super::Table;
use crate::names::addresses::{Addresses, NameAddresses};
use crate::names::learned::{Asker, ObservedPattern};
use crate::resource_ref::ResourceRef;
use connectivity_allowlist::net::DomainName;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many writes of a resource are remembered one by one. More than this within [`SETTLED`] are not written.
const REMEMBERED_WRITES: usize = 32;
/// After how long a write counts as settled, so that the ones before it need not be told apart: `--forward-settle` is a second at
/// most.
const SETTLED: Duration = Duration::from_secs(2);

/// The addresses that a resource's policies allow for each of its names, sorted.
pub type InUse = BTreeMap<DomainName, Arc<[IpAddr]>>;

/// What a reconcile has to say about the policies of a resource.
#[derive(Clone, Debug)]
pub enum Enforcement {
    /// No policy of it isolates pods.
    None,
    /// Its policies are as they were, and nothing is on its way.
    AsBefore,
    /// Its first policies are being written.
    Begins,
    /// Somebody else changes its policies: what is in force is not known.
    Contested,
    /// Its policies allow this, decided with the answers known at that time.
    Applied {
        /// When the answers were read.
        decided: Instant,
        /// The answers.
        answers: Arc<Addresses>,
        /// What the policies allow.
        in_use: Arc<InUse>,
    },
}

/// Where an address of a name stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressState {
    /// Every policy that has to allow it does; the last one since then, none if no policy has to.
    InForce(Option<Instant>),
    /// It will be in force soon.
    Pending,
    /// It will not be in force: the guard refuses it, a bound is reached, or nothing is written for now.
    Never,
}

impl AddressState {
    /// Both.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::InForce(one), Self::InForce(other)) => Self::InForce(one.max(other)),
            // Others may still be waited for.
            (Self::Pending, _) | (_, Self::Pending) => Self::Pending,
            (Self::Never, _) | (_, Self::Never) => Self::Never,
        }
    }
}

/// The policies of one resource.
#[derive(Debug, Default)]
struct Policies {
    isolate: bool,
    /// Whether nothing more is on its way.
    rest: bool,
    /// The answers of the last write, and what it allows.
    answers: Arc<Addresses>,
    in_use: Arc<InUse>,
    /// The last writes, the oldest first.
    writes: VecDeque<Write>,
}

/// A write that was confirmed.
#[derive(Debug)]
struct Write {
    /// When its answers were read.
    decided: Instant,
    confirmed: Instant,
    answers: Arc<Addresses>,
}

impl Write {
    /// Whether it was decided with an address that is known without a break since `seen`.
    fn has(&self, name: &DomainName, address: IpAddr, seen: Option<Instant>) -> bool {
        let knows = |known: &Arc<NameAddresses>| known.addresses.binary_search(&address).is_ok();
        seen.is_some_and(|seen| self.decided >= seen) && self.answers.by_name.get(name).is_some_and(knows)
    }
}

/// The policies of all resources.
#[derive(Debug, Default)]
pub(super) struct Enforced {
    resources: HashMap<ResourceRef, Policies>,
    /// When a resource learned each name that its policies have not been decided with since.
    learned: HashMap<ResourceRef, BTreeMap<DomainName, Instant>>,
    /// Names that have no room in the table, by the resource that is left without.
    left_out: HashMap<ResourceRef, BTreeSet<DomainName>>,
    /// Counts up with every change: what was found before then may be wrong.
    revision: u64,
    found: HashMap<DomainName, (u64, BTreeMap<IpAddr, AddressState>)>,
}

impl Enforced {
    /// Something changed on which address_states depend.
    pub(super) const fn touch(&mut self) {
        self.revision += 1;
    }

    /// These names of a resource have no room.
    pub(super) fn left_out<'a>(&mut self, resource: &ResourceRef, names: impl Iterator<Item = &'a DomainName>) {
        let names: BTreeSet<DomainName> = names.cloned().collect();
        match names.is_empty() {
            true => drop(self.left_out.remove(resource)),
            false => drop(self.left_out.insert(resource.clone(), names)),
        }
        self.touch();
    }

    pub(super) fn forget_name(&mut self, name: &DomainName) {
        self.found.remove(name);
    }

    pub(super) fn forget_resource(&mut self, resource: &ResourceRef) {
        self.resources.remove(resource);
        self.learned.remove(resource);
        self.left_out.remove(resource);
        self.touch();
    }

    /// Nothing is known any more.
    pub(super) fn clear(&mut self) {
        self.resources.clear();
        self.touch();
    }
}

impl Policies {
    /// Where an address stands that is known without a break since `seen`.
    fn address_state(&self, name: &DomainName, address: IpAddr, seen: Option<Instant>) -> AddressState {
        if !self.isolate {
            return AddressState::InForce(None);
        }
        if !self.writes.back().is_some_and(|last| last.has(name, address, seen)) {
            return if self.rest { AddressState::Never } else { AddressState::Pending };
        }
        let first = self.writes.iter().find(|write| write.has(name, address, seen));
        // Decided with it and not allowed: its family is not in use, and no pod reaches it in any case.
        let is_used = self.in_use.get(name).is_some_and(|addresses| addresses.binary_search(&address).is_ok());
        AddressState::InForce(first.filter(|_| is_used).map(|write| write.confirmed))
    }
}

impl Table {
    /// What every resource's policies allow is no longer known.
    pub(in crate::names) fn forget_enforced(&mut self) {
        self.enforced.clear();
    }

    /// Whether something is known of the policies of so many resources.
    pub(in crate::names) fn has_heard_of(&self, resources: usize) -> bool {
        self.enforced.resources.len() >= resources
    }

    /// Whether a resource has no room for this name.
    pub(in crate::names) fn is_left_out(&self, name: &DomainName) -> bool {
        self.enforced.left_out.values().any(|names| names.contains(name))
    }

    /// A resource learns names under these patterns, instead of its earlier ones.
    pub(in crate::names) fn observe(&mut self, resource: &ResourceRef, patterns: &Arc<[ObservedPattern]>) {
        self.learned.observe(resource, patterns);
        self.enforced.touch();
    }

    /// A pod asked for a name that has addresses. Returns the resources that learn it now.
    pub(in crate::names) fn learn(
        &mut self,
        name: &DomainName,
        asked_by: Option<&Asker>,
        now: Instant,
    ) -> Vec<ResourceRef> {
        let learning = self.learned.ask(name, asked_by, now);
        for resource in &learning {
            let (names, since) =
                (self.learned.names(resource), self.enforced.learned.entry(resource.clone()).or_default());
            since.insert(name.clone(), now);
            // What made room for it is not learned any more.
            since.retain(|name, _| names.contains(name));
        }
        if !learning.is_empty() {
            self.enforced.touch();
        }
        learning
    }

    /// What a reconcile says about the policies of a resource.
    pub(in crate::names) fn enforce(&mut self, resource: &ResourceRef, enforcement: Enforcement, now: Instant) {
        let policies = self.enforced.resources.entry(resource.clone()).or_default();
        match enforcement {
            Enforcement::None => {
                *policies = Policies::default();
                self.enforced.learned.remove(resource);
            }
            Enforcement::AsBefore => (policies.isolate, policies.rest) = (true, true),
            Enforcement::Begins => *policies = Policies { isolate: true, ..Policies::default() },
            Enforcement::Contested => *policies = Policies { isolate: true, rest: true, ..Policies::default() },
            Enforcement::Applied { decided, answers, in_use } => {
                if let Some(learned) = self.enforced.learned.get_mut(resource) {
                    learned.retain(|_, at| *at >= decided);
                }
                (policies.isolate, policies.rest) = (true, false);
                let is_same = policies.answers == answers && policies.in_use == in_use;
                (policies.answers, policies.in_use) = (Arc::clone(&answers), in_use);
                match policies.writes.back_mut().filter(|_| is_same) {
                    // Nothing new is allowed, so what is known since then is in force since then.
                    Some(last) => last.decided = decided,
                    None => policies.writes.push_back(Write { decided, confirmed: now, answers }),
                }
                let is_settled = |next: &Write| now.saturating_duration_since(next.confirmed) >= SETTLED;
                while policies.writes.len() > REMEMBERED_WRITES || policies.writes.get(1).is_some_and(is_settled) {
                    policies.writes.pop_front();
                }
            }
        }
        self.enforced.touch();
    }

    /// Where each of these addresses of a name stands, for who asked.
    pub(in crate::names) fn address_states(
        &mut self,
        name: &DomainName,
        addresses: &[IpAddr],
        asked_by: Option<&Asker>,
    ) -> Vec<AddressState> {
        let is_lacking = self.is_lacking(name, asked_by);
        let revision = self.enforced.revision;
        let mut found = match self.enforced.found.remove(name) {
            Some((of, found)) if of == revision => found,
            _ => BTreeMap::new(),
        };
        let state = |address: &IpAddr| *found.entry(*address).or_insert_with(|| self.address_state(name, *address));
        let with_lacking = |state: AddressState| if is_lacking { state.and(AddressState::Never) } else { state };
        let address_states = addresses.iter().map(state).map(with_lacking).collect();
        if self.names.contains_key(name) {
            self.enforced.found.insert(name.clone(), (revision, found));
        }
        address_states
    }

    /// Whether a resource that would learn the name did not, since too many were learned just now: it does not allow it.
    fn is_lacking(&self, name: &DomainName, asked_by: Option<&Asker>) -> bool {
        let isolates =
            |resource: &ResourceRef| self.enforced.resources.get(resource).is_none_or(|policies| policies.isolate);
        let lacking = self.learned.lacking(name, asked_by);
        lacking.iter().any(|resource| !self.is_subscriber(resource, name) && isolates(resource))
    }

    /// Whether a resource learned a name since its policies were decided.
    fn is_learned_since(&self, resource: &ResourceRef, name: &DomainName) -> bool {
        self.enforced.learned.get(resource).is_some_and(|learned| learned.contains_key(name))
    }

    fn is_subscriber(&self, resource: &ResourceRef, name: &DomainName) -> bool {
        let group = self.group_of_subscriber.get(resource).and_then(|id| self.groups.get(id));
        group.is_some_and(|group| group.names.contains(name))
    }

    pub(in crate::names) fn address_state(&self, name: &DomainName, address: IpAddr) -> AddressState {
        let entry = self.names.get(name);
        let cached = entry.and_then(|entry| entry.cached.get(address));
        if cached.is_some_and(|cached| cached.refused.is_some()) {
            return AddressState::Never;
        }
        let groups = entry.into_iter().flat_map(|entry| &entry.groups).filter_map(|id| self.groups.get(id));
        let subscribers = groups.flat_map(|group| &group.subscribers);
        let seen = cached.map(|cached| cached.first_seen);
        let mut state = AddressState::InForce(None);
        for resource in subscribers {
            state = state.and(match self.enforced.resources.get(resource) {
                // A write that was decided before it was learned again takes it away.
                Some(policies) if policies.isolate && self.is_learned_since(resource, name) => {
                    if policies.rest {
                        AddressState::Never
                    } else {
                        AddressState::Pending
                    }
                }
                // It is known, and no room is left for the address.
                Some(policies) if policies.isolate && entry.is_some() && cached.is_none() => AddressState::Never,
                Some(policies) => policies.address_state(name, address, seen),
                None => AddressState::Pending,
            });
        }
        for resource in self.learned.opening(name).iter().filter(|resource| !self.is_subscriber(resource, name)) {
            state = state.and(match self.enforced.resources.get(resource) {
                Some(policies) if !policies.isolate => AddressState::InForce(None),
                Some(policies) if policies.rest => AddressState::Never,
                _ => AddressState::Pending,
            });
        }
        let isolates =
            |resource: &ResourceRef| self.enforced.resources.get(resource).is_none_or(|policies| policies.isolate);
        // Who has no room for the name does not allow it.
        let without = self.enforced.left_out.iter().filter(|(_, names)| names.contains(name));
        if without.map(|(resource, _)| resource).any(isolates) {
            state = state.and(AddressState::Never);
        }
        state
    }
}
