//! Which addresses are in force: allowed by the policies of every resource that wants the name, as the API server has confirmed. Pure.

use super::Table;
use crate::names::addresses::Addresses;
use crate::resource_ref::ResourceRef;
use connectivity_allowlist::net::DomainName;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// How many writes of a resource are remembered one by one; older ones count as settled. More than this within a second are not
/// written.
const REMEMBERED_WRITES: usize = 32;

/// The addresses that a resource's policies allow for each of its names, sorted.
pub type InUse = BTreeMap<DomainName, Arc<[IpAddr]>>;

/// What a reconcile has to say about the policies of a resource.
#[derive(Clone, Debug)]
pub enum Enforcement {
    /// No policy of it isolates pods.
    None,
    /// Its policies are as they were, and nothing is on its way.
    AsBefore,
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
pub enum Standing {
    /// Every policy that has to allow it does; the last one since then, none if no policy has to.
    InForce(Option<Instant>),
    /// It will be in force soon.
    Pending,
    /// It will not be in force: the guard refuses it, a bound is reached, or nothing is written for now.
    Never,
}

impl Standing {
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
    /// When the answers of each write were read, and when it was confirmed; the oldest first.
    writes: VecDeque<(Instant, Instant)>,
}

/// The policies of all resources.
#[derive(Debug, Default)]
pub(super) struct Enforced {
    resources: HashMap<ResourceRef, Policies>,
    /// Names that have no room in the table, by the resource that is left without.
    left_out: HashMap<ResourceRef, BTreeSet<DomainName>>,
    /// Counts up with every change: what was found before then may be wrong.
    revision: u64,
    found: HashMap<DomainName, (u64, BTreeMap<IpAddr, Standing>)>,
}

impl Enforced {
    /// Something changed on which standings depend.
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
    fn standing(&self, name: &DomainName, address: IpAddr, seen: Option<Instant>) -> Standing {
        if !self.isolate {
            return Standing::InForce(None);
        }
        let has = |addresses: &[IpAddr]| addresses.binary_search(&address).is_ok();
        let is_decided = self.answers.by_name.get(name).is_some_and(|known| has(&known.addresses))
            && self.writes.back().is_some_and(|(decided, _)| seen.is_some_and(|seen| *decided >= seen));
        if !is_decided {
            return if self.rest { Standing::Never } else { Standing::Pending };
        }
        let confirmed = self.writes.iter().find(|(decided, _)| seen.is_some_and(|seen| *decided >= seen));
        // Decided with it and not allowed: its family is not in use, and no pod reaches it in any case.
        let is_used = self.in_use.get(name).is_some_and(|addresses| has(addresses));
        Standing::InForce(confirmed.filter(|_| is_used).map(|(_, confirmed)| *confirmed))
    }
}

impl Table {
    /// What every resource's policies allow is no longer known.
    pub(in crate::names) fn forget_enforced(&mut self) {
        self.enforced.clear();
    }

    /// What a reconcile says about the policies of a resource.
    pub(in crate::names) fn enforce(&mut self, resource: &ResourceRef, enforcement: Enforcement, now: Instant) {
        let policies = self.enforced.resources.entry(resource.clone()).or_default();
        match enforcement {
            Enforcement::None => *policies = Policies::default(),
            Enforcement::AsBefore => (policies.isolate, policies.rest) = (true, true),
            Enforcement::Contested => *policies = Policies { isolate: true, rest: true, ..Policies::default() },
            Enforcement::Applied { decided, answers, in_use } => {
                (policies.isolate, policies.rest) = (true, false);
                (policies.answers, policies.in_use) = (answers, in_use);
                policies.writes.push_back((decided, now));
                if policies.writes.len() > REMEMBERED_WRITES {
                    policies.writes.pop_front();
                }
            }
        }
        self.enforced.touch();
    }

    /// Where each of these addresses of a name stands.
    pub(in crate::names) fn standings(&mut self, name: &DomainName, addresses: &[IpAddr]) -> Vec<Standing> {
        let revision = self.enforced.revision;
        let mut found = match self.enforced.found.remove(name) {
            Some((of, found)) if of == revision => found,
            _ => BTreeMap::new(),
        };
        let standing = |address: &IpAddr| *found.entry(*address).or_insert_with(|| self.standing(name, *address));
        let standings = addresses.iter().map(standing).collect();
        if self.names.contains_key(name) {
            self.enforced.found.insert(name.clone(), (revision, found));
        }
        standings
    }

    fn standing(&self, name: &DomainName, address: IpAddr) -> Standing {
        let entry = self.names.get(name);
        let cached = entry.and_then(|entry| entry.cached.get(address));
        if cached.is_some_and(|cached| cached.refused.is_some()) {
            return Standing::Never;
        }
        let groups = entry.into_iter().flat_map(|entry| &entry.groups).filter_map(|id| self.groups.get(id));
        let subscribers = groups.flat_map(|group| &group.subscribers);
        let seen = cached.map(|cached| cached.first_seen);
        let mut standing = Standing::InForce(None);
        for resource in subscribers {
            standing = standing.and(match self.enforced.resources.get(resource) {
                // It is known, and no room is left for the address.
                Some(policies) if policies.isolate && entry.is_some() && cached.is_none() => Standing::Never,
                Some(policies) => policies.standing(name, address, seen),
                None => Standing::Pending,
            });
        }
        let is_subscriber = |resource: &ResourceRef| {
            let group = self.group_of_subscriber.get(resource).and_then(|id| self.groups.get(id));
            group.is_some_and(|group| group.names.contains(name))
        };
        for resource in self.learned.opening(name).iter().filter(|resource| !is_subscriber(resource)) {
            let isolates = self.enforced.resources.get(resource).is_none_or(|policies| policies.isolate);
            let has_no_room = self.enforced.left_out.get(resource).is_some_and(|names| names.contains(name));
            standing = standing.and(match (isolates, has_no_room) {
                (false, _) => Standing::InForce(None),
                (true, true) => Standing::Never,
                (true, false) => Standing::Pending,
            });
        }
        standing
    }
}
