//! What a resource's objects remember: of the time before this process led, and of the time in which they were kept as
//! they were.

use super::Context;
use super::state::State;
use super::subject::Subject;
use crate::cluster::apply::WriteError;
use crate::cluster::owned;
use crate::facts::ClusterFacts;
use crate::names::{AnsweredTime, Memory};
use crate::net::Direction;
use crate::net::cidr::{canonical_set, covers};
use crate::plan::keep::Selected;
use crate::plan::{self, Inherited, Selection, Target};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// Takes over, once, what the resource's objects remember from before this process led: addresses that a ConfigMap
/// attributes to a name still wanted, and that a policy of ours allows, count as seen now, for this resource. What
/// policies allow beyond that stays for one retention where nothing tells whose it was, but for what the spec alone asked
/// for before it was edited.
pub(super) fn remember(
    subject: &Subject<'_>,
    context: &Context,
    state: &mut State,
    selection: &Selection,
    facts: &ClusterFacts,
) {
    if std::mem::replace(&mut state.remembered, true) {
        return;
    }
    let Some(memories) = context.owned.take_memory(subject.who(), &subject.identity.uid) else { return };
    take_over(&memories, Selected::by(&subject.resource.spec), state, selection, facts);
}

/// Takes over again what the resource's objects remember where the last policy of a direction was kept, and the list has
/// something for it again: nobody has asked for its names meanwhile, and nothing else knows their addresses.
///
/// # Errors
/// Where the objects cannot be read: nothing is decided without them.
pub(super) async fn recall(
    subject: &Subject<'_>,
    context: &Context,
    state: &mut State,
    selection: &Selection,
    facts: &ClusterFacts,
) -> Result<(), WriteError> {
    let is_selected =
        |direction: &Direction| selection.endpoints.iter().any(|endpoint| endpoint.direction == *direction);
    let mut back = false;
    for (direction, recalled) in &mut state.kept {
        let selected = is_selected(direction);
        back |= selected && !*recalled;
        *recalled &= selected;
    }
    if back {
        let memories = context.writer.memories(&subject.identity).await?;
        take_over(&memories, Selected::by(&subject.resource.spec), state, selection, facts);
        state.kept.iter_mut().for_each(|(direction, recalled)| *recalled = is_selected(direction));
    }
    Ok(())
}

fn take_over(
    memories: &[Arc<owned::Memory>],
    selected: Selected,
    state: &mut State,
    selection: &Selection,
    facts: &ClusterFacts,
) {
    let nat64 = facts.nat64_prefix.and_then(plan::Nat64::new);
    let (memory, inherited) = recalled(memories, selected, selection, nat64);
    state.memory = memory;
    if !inherited.is_empty() {
        state.inherited = Some((inherited, AnsweredTime::default()));
    }
}

/// What objects remember of the names that are still wanted, and what their policies allow beyond that. Neither holds an
/// address that the policies do not allow: a ConfigMap may say whose an address is, and never add one. Pure.
#[must_use]
pub fn recalled(
    memories: &[Arc<owned::Memory>],
    selected: Selected,
    selection: &Selection,
    nat64: Option<plan::Nat64>,
) -> (Memory, Inherited) {
    let mut rules = Vec::new();
    let mut attributed: BTreeMap<_, Vec<IpAddr>> = BTreeMap::new();
    let mut given = BTreeSet::new();
    for memory in memories {
        match &**memory {
            owned::Memory::Rules { rules: of_policy, users, selection: written_for } => {
                rules.extend(of_policy.iter().cloned());
                // The spec was edited since: what only the user asked for is theirs to take out, even where the ConfigMap
                // is lost that would tell which of it is still asked for.
                let is_as_it_was = |direction| *written_for == Some(selected.direction(direction));
                if !of_policy.iter().all(|(direction, ..)| is_as_it_was(*direction)) {
                    given.extend(users.iter().copied());
                }
            }
            owned::Memory::Attribution { names, networks } => {
                attributed.extend(names.clone());
                given.extend(networks.iter().copied());
            }
        }
    }
    let applied = canonical_set(rules.iter().flat_map(|(_, _, networks)| networks.iter().copied()));
    let allowed = |address: &IpAddr| {
        let translated = match (address, nat64) {
            (IpAddr::V4(address), Some(nat64)) => Some(IpNet::V6(nat64.embed((*address).into()))),
            _ => None,
        };
        let forms = [Some(IpNet::from(*address)), translated];
        forms.iter().flatten().any(|form| covers(&applied, form))
    };
    let memory = Memory::new(selection.names.iter().filter_map(|name| {
        let known: Vec<_> = attributed.get(name)?.iter().copied().filter(allowed).collect();
        (!known.is_empty()).then(|| (name.clone(), known))
    }));
    // What belonged to a name or an entry no longer wanted was published, or edited, away: it is not inherited.
    let listed = selection.endpoints.iter().filter_map(|endpoint| match &endpoint.target {
        Target::Network(network) => Some(*network),
        Target::Name(_) => None,
    });
    let addresses = attributed.values().flatten().map(|address| IpNet::from(*address));
    let explained = addresses.chain(given).chain(listed);
    (memory, Inherited::unexplained(&rules, explained, nat64))
}
