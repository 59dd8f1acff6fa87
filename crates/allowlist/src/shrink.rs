//! Whether a new list that lost much may be accepted at once. Pure.

use crate::list::{Allowlist, EntryGeo};
use crate::net::cidr::covers;
use crate::net::{Direction, canonical_set};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};

/// What to do with a new list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// Use it.
    Accept,
    /// It drops more than half of the last one: it is accepted only when the next fetch returns the same.
    HoldBack {
        /// How many names, wildcards and networks of the last list are missing.
        lost: usize,
        /// How many were in the last list.
        of: usize,
    },
    /// It is empty, and the last one was not: never accepted.
    Empty,
}

/// Judges `new` against the list in use, and against one that is held back already.
#[must_use]
pub fn judge(in_use: &Allowlist, held_back: Option<&Allowlist>, new: &Allowlist) -> Acceptance {
    if new.entries.is_empty() && !in_use.entries.is_empty() {
        return Acceptance::Empty;
    }
    match loss(in_use, new) {
        None => Acceptance::Accept,
        Some((lost, of)) => match held_back {
            Some(candidate) if loss(candidate, new).is_none() => Acceptance::Accept,
            _ => Acceptance::HoldBack { lost, of },
        },
    }
}

/// How many items are missing, of how many, if it is more than half. A network that others cover is not missing, only written
/// differently.
fn loss(before: &Allowlist, after: &Allowlist) -> Option<(usize, usize)> {
    let (before, after) = (targets(before), targets(after));
    let mut covered: BTreeMap<Scope<'_>, Vec<IpNet>> = BTreeMap::new();
    for (scope, target) in &after {
        if let Target::Network(network) = target {
            covered.entry(*scope).or_default().push(*network);
        }
    }
    covered.values_mut().for_each(|networks| *networks = canonical_set(std::mem::take(networks)));
    let is_covered = |scope: &Scope<'_>, target: &Target<'_>| match target {
        Target::Network(network) => covered.get(scope).is_some_and(|networks| covers(networks, network)),
        Target::Name(_) => false,
    };
    let lost = before.difference(&after).filter(|(scope, target)| !is_covered(scope, target)).count();
    (lost * 2 > before.len()).then_some((lost, before.len()))
}

/// Direction and region.
type Scope<'a> = (Direction, &'a EntryGeo);

/// One target of a list, apart from its ports.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Target<'a> {
    /// A name or a wildcard.
    Name(&'a str),
    Network(IpNet),
}

fn targets(list: &Allowlist) -> BTreeSet<(Scope<'_>, Target<'_>)> {
    let mut targets = BTreeSet::new();
    for entry in &list.entries {
        let names = entry.names.iter().map(|name| name.as_str());
        let names = names.chain(entry.patterns.iter().map(|pattern| pattern.as_str())).map(Target::Name);
        let networks = entry.networks.iter().copied().map(Target::Network);
        targets.extend(names.chain(networks).map(|target| ((entry.direction, &entry.geo), target)));
    }
    targets
}

#[cfg(test)]
mod tests;
