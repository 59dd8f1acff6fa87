//! Whether a new list may be believed at once. Pure.

use super::allowlist::{Allowlist, EntryGeo};
use crate::net::Direction;
use std::collections::BTreeSet;

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

/// How many things are missing, of how many, where it is more than half.
fn loss(before: &Allowlist, after: &Allowlist) -> Option<(usize, usize)> {
    let (before, after) = (things(before), things(after));
    let lost = before.difference(&after).count();
    (lost * 2 > before.len()).then_some((lost, before.len()))
}

/// One thing that a list opens, apart from its ports.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Thing<'a> {
    Name(&'a str),
    Pattern(&'a str),
    Network(ipnet::IpNet),
}

fn things(list: &Allowlist) -> BTreeSet<(Direction, &EntryGeo, Thing<'_>)> {
    let mut things = BTreeSet::new();
    for entry in &list.entries {
        let names = entry.names.iter().map(|name| Thing::Name(name.as_str()));
        let patterns = entry.patterns.iter().map(|pattern| Thing::Pattern(pattern.as_str()));
        let networks = entry.networks.iter().map(|network| Thing::Network(*network));
        things.extend(names.chain(patterns).chain(networks).map(|thing| (entry.direction, &entry.geo, thing)));
    }
    things
}

#[cfg(test)]
mod tests;
