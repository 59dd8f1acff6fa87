//! In which order policies are written, so that an address that stays allowed is in some policy at every moment, whichever
//! write fails. Pure.
//!
//! Creations are first and deletions last. Among updates, the policy that gains an address is before the one that loses it.
//! Example: address A moves from policy 1 to 2, and B from 2 to 1. Then policy 1 is first written with A and B, then policy 2
//! with A alone, then policy 1 with B alone.

mod sweep;

use super::changes::Change;
use super::desired::{Body, Desired};
use super::key::ObjectKey;
use crate::plan::RememberedRule;
use connectivity_allowlist::net::{Direction, PortSet};
use ipnet::IpNet;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use sweep::Moved;

/// The policies of a resource as they should be.
#[derive(Debug)]
pub struct Moving<'a> {
    /// All policies of the resource, unchanged ones included.
    pub desired: &'a [(ObjectKey, Desired)],
    /// Contested policies, which are not written now.
    pub put_off: &'a BTreeSet<ObjectKey>,
}

impl Moving<'_> {
    /// The policies to read before the writes can be ordered. Usually none: if one policy of a direction changes, nothing
    /// moves to another.
    #[must_use]
    pub fn to_read(&self, writes: &[Change]) -> Vec<ObjectKey> {
        let mut all = Vec::new();
        for direction in Direction::ALL {
            let of_direction = |key: &&ObjectKey| key.direction() == Some(direction);
            let put_off: Vec<&ObjectKey> = self.put_off.iter().filter(of_direction).collect();
            let losing = writes.iter().filter_map(|change| match change {
                Change::Update(key, ..) => Some(key),
                // Otherwise it is deleted last, when every other policy has gained its addresses.
                Change::Delete(key, _) if !put_off.is_empty() => Some(key),
                Change::Create(..) | Change::Delete(..) => None,
            });
            let losing: Vec<&ObjectKey> = losing.filter(of_direction).collect();
            if losing.len() + put_off.len() > 1 && !losing.is_empty() {
                all.extend(losing.into_iter().chain(put_off).cloned());
            }
        }
        all
    }

    /// Puts the writes in order. `current` has the bodies of the policies of [`Self::to_read`]; a missing one allows nothing.
    /// A write is left out if it takes away what a contested policy should gain.
    #[must_use]
    pub fn in_order(&self, writes: Vec<Change>, current: &BTreeMap<ObjectKey, Box<RawValue>>) -> Vec<Change> {
        if current.is_empty() {
            return writes;
        }
        let moved = self.moved(&writes, current);
        let order = Order::new(&writes, &moved, self.put_off);
        let steps = order.steps();
        let mut pending: BTreeMap<ObjectKey, Change> = BTreeMap::new();
        let mut ordered = Vec::with_capacity(writes.len() + steps.len());
        let mut last = Vec::new();
        for change in writes {
            let key = change.key().clone();
            match change {
                _ if order.left_out.contains(&key) => {}
                Change::Update(..) if order.moved.contains(&key) => drop(pending.insert(key, change)),
                Change::Create(..) | Change::Update(..) if key.is_policy() => ordered.push(change),
                _ => last.push(change),
            }
        }
        for step in steps {
            let Some(Change::Update(key, desired, was)) = pending.get(&step.key) else { continue };
            let mut desired = desired.clone();
            if step.keeps {
                let Some(body) = widened(&desired.body, &moved, key) else { continue };
                desired.body = body;
            }
            ordered.push(Change::Update(key.clone(), desired, was.clone()));
        }
        ordered.extend(last);
        ordered
    }

    /// What policies lose that others gain.
    fn moved(&self, writes: &[Change], current: &BTreeMap<ObjectKey, Box<RawValue>>) -> Vec<Moved> {
        let created = writes.iter().filter(|change| matches!(change, Change::Create(..))).map(Change::key);
        let created: BTreeSet<&ObjectKey> = created.collect();
        let mut pieces = sweep::Pieces::default();
        for (key, desired) in self.desired {
            let rules = rules(key, &desired.body.json);
            pieces.add(key, &rules, true);
            // A policy that was not read does not change, or is created before anything else is written.
            if !self.put_off.contains(key) && (created.contains(key) || !current.contains_key(key)) {
                pieces.add(key, &rules, false);
            }
        }
        for (key, body) in current {
            pieces.add(key, &rules(key, body), false);
        }
        pieces.moved()
    }
}

/// What the body of a policy allows; nothing for other kinds.
fn rules(key: &ObjectKey, body: &RawValue) -> Vec<RememberedRule> {
    key.kind.policy.map(|policy| (policy.rules)(body)).unwrap_or_default()
}

/// The body of a policy with the rules that it loses and others have not gained yet.
fn widened(body: &Body, moved: &[Moved], loser: &ObjectKey) -> Option<Arc<Body>> {
    let mut by_ports: BTreeMap<(Direction, Vec<_>), (PortSet, Vec<IpNet>)> = BTreeMap::new();
    for moved in moved.iter().filter(|moved| moved.from == *loser) {
        let ports = (moved.direction, moved.ports.iter().collect());
        let (_, networks) = by_ports.entry(ports).or_insert_with(|| (moved.ports.clone(), Vec::new()));
        networks.extend(&moved.networks);
    }
    let kept: Vec<RememberedRule> =
        by_ports.into_iter().map(|((direction, _), (ports, networks))| (direction, ports, networks)).collect();
    (loser.kind.policy?.widened)(&body.json, &kept)
}

/// A write of a policy that something moves from or to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    key: ObjectKey,
    /// Whether the policy keeps for now what others have not gained yet.
    keeps: bool,
}

/// Which policies have to gain before others may lose.
struct Order {
    /// For each policy that loses and is not deleted: those that have to gain first.
    waits_for: BTreeMap<ObjectKey, BTreeSet<ObjectKey>>,
    left_out: BTreeSet<ObjectKey>,
    moved: BTreeSet<ObjectKey>,
}

impl Order {
    fn new(writes: &[Change], moved: &[Moved], put_off: &BTreeSet<ObjectKey>) -> Self {
        let mut waits_for: BTreeMap<ObjectKey, BTreeSet<ObjectKey>> = BTreeMap::new();
        for moved in moved {
            waits_for.entry(moved.from.clone()).or_default().insert(moved.to.clone());
        }
        // A policy that waits for one left out is left out too.
        let mut left_out: BTreeSet<ObjectKey> = put_off.clone();
        loop {
            let waiting = waits_for.iter().filter(|(key, others)| {
                !left_out.contains(*key) && others.iter().any(|other| left_out.contains(other))
            });
            let waiting: Vec<ObjectKey> = waiting.map(|(key, _)| key.clone()).collect();
            if waiting.is_empty() {
                break;
            }
            left_out.extend(waiting);
        }
        let of = |wanted: fn(&Change) -> bool| {
            writes.iter().filter(|change| wanted(change)).map(|change| change.key().clone()).collect::<BTreeSet<_>>()
        };
        let deleted = of(|change| matches!(change, Change::Delete(..)));
        let updated = of(|change| matches!(change, Change::Update(..)));
        let touched = moved.iter().flat_map(|moved| [&moved.from, &moved.to]).cloned().collect::<BTreeSet<_>>();
        let moved = touched.intersection(&updated).filter(|key| !left_out.contains(*key)).cloned().collect();
        // Deletions come last in any case.
        waits_for.retain(|key, _| !left_out.contains(key) && !deleted.contains(key));
        Self { waits_for, left_out, moved }
    }

    /// The order: a policy that waits for none first, by name. If all wait for each other, the one that most wait for is
    /// written with the rules that it loses still in it.
    fn steps(&self) -> Vec<Step> {
        let mut waits_for = self.waits_for.clone();
        let mut open = self.moved.clone();
        let mut steps = Vec::new();
        while !open.is_empty() {
            let is_free = |key: &&ObjectKey| waits_for.get(*key).is_none_or(BTreeSet::is_empty);
            let free: Vec<ObjectKey> = open.iter().filter(is_free).cloned().collect();
            let keeps = free.is_empty();
            let wanted = |key: &ObjectKey| waits_for.values().filter(|others| others.contains(key)).count();
            let most_wanted = || open.iter().max_by_key(|key| (wanted(key), std::cmp::Reverse(*key))).cloned();
            let next = if keeps { most_wanted().into_iter().collect() } else { free };
            for key in next {
                for others in waits_for.values_mut() {
                    others.remove(&key);
                }
                if !keeps {
                    open.remove(&key);
                }
                steps.push(Step { key, keeps });
            }
        }
        steps
    }
}

#[cfg(test)]
mod tests;
