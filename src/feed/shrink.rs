//! Whether a new list may be believed at once. Pure.

use super::allowlist::{Allowlist, EntryGeo};
use crate::net::cidr::covers;
use crate::net::{Direction, canonical_set};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};

/// What to do with a new list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Use it.
    Believe,
    /// It drops more than half of what the last one held: it is believed only when the next fetch says the same.
    HoldBack {
        /// How many names, wildcards and networks of the last list are missing.
        lost: usize,
        /// How many the last list held.
        of: usize,
    },
    /// It holds nothing where there was something: never believed.
    Empty,
}

/// Judges `new` against the list in use, and against one that is held back already.
#[must_use]
pub fn judge(believed: &Allowlist, held_back: Option<&Allowlist>, new: &Allowlist) -> Verdict {
    if new.entries.is_empty() && !believed.entries.is_empty() {
        return Verdict::Empty;
    }
    match loss(believed, new) {
        None => Verdict::Believe,
        Some((lost, of)) => match held_back {
            Some(candidate) if loss(candidate, new).is_none() => Verdict::Believe,
            _ => Verdict::HoldBack { lost, of },
        },
    }
}

/// How many things are missing, of how many, where it is more than half. A network that others cover is not missing: it is
/// spelled otherwise.
fn loss(before: &Allowlist, after: &Allowlist) -> Option<(usize, usize)> {
    let (before, after) = (things(before), things(after));
    let mut covered: BTreeMap<Scope<'_>, Vec<IpNet>> = BTreeMap::new();
    for (scope, thing) in &after {
        if let Thing::Network(network) = thing {
            covered.entry(*scope).or_default().push(*network);
        }
    }
    covered.values_mut().for_each(|networks| *networks = canonical_set(std::mem::take(networks)));
    let is_covered = |scope: &Scope<'_>, thing: &Thing<'_>| match thing {
        Thing::Network(network) => covered.get(scope).is_some_and(|networks| covers(networks, network)),
        Thing::Name(_) | Thing::Pattern(_) => false,
    };
    let lost = before.difference(&after).filter(|(scope, thing)| !is_covered(scope, thing)).count();
    (lost * 2 > before.len()).then_some((lost, before.len()))
}

/// Which way, and of which region.
type Scope<'a> = (Direction, &'a EntryGeo);

/// One thing that a list opens, apart from its ports.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Thing<'a> {
    Name(&'a str),
    Pattern(&'a str),
    Network(IpNet),
}

fn things(list: &Allowlist) -> BTreeSet<(Scope<'_>, Thing<'_>)> {
    let mut things = BTreeSet::new();
    for entry in &list.entries {
        let names = entry.names.iter().map(|name| Thing::Name(name.as_str()));
        let patterns = entry.patterns.iter().map(|pattern| Thing::Pattern(pattern.as_str()));
        let networks = entry.networks.iter().map(|network| Thing::Network(*network));
        things.extend(names.chain(patterns).chain(networks).map(|thing| ((entry.direction, &entry.geo), thing)));
    }
    things
}

#[cfg(test)]
mod tests;
