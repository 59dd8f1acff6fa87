//! The state recovered from a resource's objects, after a restart or after its last policy was kept. Pure.

use super::carry::Carry;
use crate::facts::ClusterFacts;
use crate::names::{self, AnsweredTime};
use crate::objects::observed::{RecoveredObject, RecoveredState};
use crate::plan::keep::Selected;
use crate::plan::{self, Inherited, Selection, Target};
use connectivity_allowlist::net::cidr::{canonical_set, covers};
use connectivity_allowlist::net::{Direction, DomainName};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// The recovered state.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// Addresses that objects attribute to names.
    pub addresses: names::RecoveredAddresses,
    /// Networks that policies allow and nothing explains, and for how long DNS has answered since.
    pub unexplained: Option<(Inherited, AnsweredTime)>,
}

impl Recovered {
    /// How soon part of it expires; `None` while nothing does.
    #[must_use]
    pub fn left(&self, retention: Duration) -> Option<Duration> {
        let unexplained = self.unexplained.as_ref().and_then(|(_, missing)| missing.left(retention));
        unexplained.into_iter().chain(self.addresses.left(retention)).min()
    }
}

/// Whether objects have to be read again: the last policy of a direction was kept, and the list has a name that was not
/// queried meanwhile.
#[must_use]
pub fn must_recover_again(carry: &Carry, selection: &Selection) -> bool {
    carry.names_while_kept.as_ref().is_some_and(|asked| !selection.names.is_subset(asked))
}

/// The names that a resource's objects say it had learned.
#[must_use]
pub fn learned(objects: &[RecoveredObject]) -> BTreeSet<DomainName> {
    let of_object = |object: &RecoveredObject| match &*object.memory {
        RecoveredState::Attribution { learned, .. } => learned.clone(),
        RecoveredState::Rules { .. } => BTreeSet::new(),
    };
    objects.iter().flat_map(of_object).collect()
}

/// Recovers state from objects. An address counts as answered now if the ConfigMap attributes it to a selected name and a
/// policy of ours allows it. Other networks that policies allow stay for one retention if nothing explains them, except those
/// that only the spec named before it was edited.
#[must_use]
pub fn recover(
    objects: &[RecoveredObject],
    selected: Selected,
    selection: &Selection,
    facts: &ClusterFacts,
) -> Recovered {
    let mut rules = Vec::new();
    let mut attributed: BTreeMap<_, Vec<IpAddr>> = BTreeMap::new();
    let (mut by_users, mut listed_then) = (BTreeSet::new(), BTreeSet::new());
    for object in objects {
        match &*object.memory {
            RecoveredState::Rules { rules: of_policy, users, selection: written_for } => {
                rules.extend(of_policy.iter().cloned());
                // The spec was edited since: the user may remove what only the spec named, even if the ConfigMap is lost that
                // would show which of it the spec still names.
                let is_as_it_was = |direction| *written_for == Some(selected.direction(direction));
                if !of_policy.iter().all(|(direction, ..)| is_as_it_was(*direction)) {
                    by_users.extend(users.iter().copied());
                }
            }
            RecoveredState::Attribution { names, networks, .. } => {
                attributed.extend(names.clone());
                listed_then.extend(networks.iter().copied());
            }
        }
    }
    let nat64 = facts.nat64_prefix.and_then(plan::Nat64::new);
    let applied = canonical_set(rules.iter().flat_map(|(_, _, networks)| networks.iter().copied()));
    let allowed = |address: &IpAddr| {
        let translated = match (address, nat64) {
            (IpAddr::V4(address), Some(nat64)) => Some(IpNet::V6(nat64.embed((*address).into()))),
            _ => None,
        };
        let forms = [Some(IpNet::from(*address)), translated];
        forms.iter().flatten().any(|form| covers(&applied, form))
    };
    let known: Vec<_> = selection
        .names
        .iter()
        .filter_map(|name| Some((name.clone(), attributed.get(name)?.iter().copied().filter(allowed).collect())))
        .filter(|(_, addresses): &(_, Vec<IpAddr>)| !addresses.is_empty())
        .collect();
    let wanted: Vec<IpNet> = known.iter().flat_map(|(_, addresses)| addresses).copied().map(IpNet::from).collect();
    let addresses = names::RecoveredAddresses::new(known);
    // Addresses of a name or entry that is no longer selected are not kept: the vendor or the user removed it.
    let listed = selection.endpoints.iter().filter_map(|endpoint| match &endpoint.target {
        Target::Network(network) => Some(*network),
        Target::Name(_) => None,
    });
    let of_names = attributed.values().flatten().map(|address| IpNet::from(*address));
    // The policy of a direction that has nothing any more was kept, and the ConfigMap with it.
    let is_kept = |direction: Direction| {
        let has_policy = rules.iter().any(|(of, ..)| *of == direction);
        has_policy && !selection.has(direction)
    };
    let is_map_stale = is_map_older(objects) || Direction::ALL.into_iter().any(is_kept);
    let then = of_names.chain(listed_then).filter(|_| !is_map_stale);
    let explained = then.chain(by_users).chain(listed).chain(wanted);
    let unexplained = Inherited::unexplained(&rules, explained, nat64);
    let unexplained = (!unexplained.is_empty()).then(|| (unexplained, AnsweredTime::default()));
    Recovered { addresses, unexplained }
}

/// Whether a policy was written after the ConfigMap: then the ConfigMap does not attribute the policy's addresses. This
/// happens if the last policy of one direction is kept, with the ConfigMap, while the other direction changes. It also happens
/// if a process ends between the two writes.
fn is_map_older(objects: &[RecoveredObject]) -> bool {
    let newest = |of_policy: bool| {
        let is_policy = |object: &RecoveredObject| matches!(*object.memory, RecoveredState::Rules { .. });
        let of_kind = objects.iter().filter(|object| is_policy(object) == of_policy);
        of_kind.filter_map(|object| object.written_at).max()
    };
    matches!((newest(true), newest(false)), (Some(policy), Some(map)) if policy > map)
}
