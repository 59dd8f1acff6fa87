//! What a resource's objects tell after a restart, or after a time in which they were kept as they were. Pure.

use super::carry::Carry;
use crate::facts::ClusterFacts;
use crate::names::{self, AnsweredTime};
use crate::objects::observed::{RecoveredObject, RecoveredState};
use crate::plan::keep::Selected;
use crate::plan::{self, Inherited, Selection, Target};
use connectivity_allowlist::net::Direction;
use connectivity_allowlist::net::cidr::{canonical_set, covers};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// What was recovered.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// Addresses that objects attribute to names.
    pub addresses: names::RecoveredAddresses,
    /// Networks that policies allow and nothing explains, and for how long DNS has answered since.
    pub unexplained: Option<(Inherited, AnsweredTime)>,
}

impl Recovered {
    /// How soon something of it ends by itself; `None` while nothing does.
    #[must_use]
    pub fn left(&self, retention: Duration) -> Option<Duration> {
        let unexplained = self.unexplained.as_ref().and_then(|(_, missing)| missing.left(retention));
        [unexplained, self.addresses.left(retention)].into_iter().flatten().min()
    }
}

/// Whether objects have to be read again: the last policy of a direction was kept, and the list has a name that nobody
/// asked for meanwhile.
#[must_use]
pub fn must_recover_again(carry: &Carry, selection: &Selection) -> bool {
    carry.names_while_kept.as_ref().is_some_and(|asked| !selection.names.is_subset(asked))
}

/// Recovers what objects tell: an address that a ConfigMap attributes to a name still wanted, and that a policy of ours
/// allows, counts as seen now, for this resource. What policies allow beyond that stays for one retention where nothing
/// tells whose it was, but for what the spec alone asked for before it was edited.
#[must_use]
pub fn recover(told: &[RecoveredObject], selected: Selected, selection: &Selection, facts: &ClusterFacts) -> Recovered {
    let mut rules = Vec::new();
    let mut attributed: BTreeMap<_, Vec<IpAddr>> = BTreeMap::new();
    let (mut by_users, mut listed_then) = (BTreeSet::new(), BTreeSet::new());
    for told in told {
        match &*told.memory {
            RecoveredState::Rules { rules: of_policy, users, selection: written_for } => {
                rules.extend(of_policy.iter().cloned());
                // The spec was edited since: what only the user asked for is theirs to take out, even where the ConfigMap
                // is lost that would tell which of it is still asked for.
                let is_as_it_was = |direction| *written_for == Some(selected.direction(direction));
                if !of_policy.iter().all(|(direction, ..)| is_as_it_was(*direction)) {
                    by_users.extend(users.iter().copied());
                }
            }
            RecoveredState::Attribution { names, networks } => {
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
    // What belonged to a name or an entry no longer wanted was published, or edited, away: it is not kept.
    let listed = selection.endpoints.iter().filter_map(|endpoint| match &endpoint.target {
        Target::Network(network) => Some(*network),
        Target::Name(_) => None,
    });
    let of_names = attributed.values().flatten().map(|address| IpNet::from(*address));
    // A policy of a direction that has nothing any more was kept, and the ConfigMap with it.
    let is_kept = |direction: Direction| {
        let has_policy = rules.iter().any(|(of, ..)| *of == direction);
        has_policy && !selection.endpoints.iter().any(|endpoint| endpoint.direction == direction)
    };
    let is_map_stale = is_map_older(told) || Direction::ALL.into_iter().any(is_kept);
    let then = of_names.chain(listed_then).filter(|_| !is_map_stale);
    let explained = then.chain(by_users).chain(listed).chain(wanted);
    let unexplained = Inherited::unexplained(&rules, explained, nat64);
    let unexplained = (!unexplained.is_empty()).then(|| (unexplained, AnsweredTime::default()));
    Recovered { addresses, unexplained }
}

/// Whether a policy was written after the ConfigMap: then the ConfigMap does not tell whose the policy's addresses are. So
/// it is where the last policy of one direction is kept, and the ConfigMap with it, while the other direction moves on;
/// and where a process ended between the two writes.
fn is_map_older(told: &[RecoveredObject]) -> bool {
    let newest = |of_policy: bool| {
        let of_kind = told.iter().filter(|told| matches!(*told.memory, RecoveredState::Rules { .. }) == of_policy);
        of_kind.filter_map(|told| told.written_at).max()
    };
    matches!((newest(true), newest(false)), (Some(policy), Some(map)) if policy > map)
}
