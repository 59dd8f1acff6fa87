//! In which order policies are written, so that what stays allowed is in some policy of its resource all the while,
//! whichever write fails. Pure.
//!
//! Creations come first and deletions last. Among updates, the one that gains an address comes before the one that loses
//! it. Where two objects gain what the other loses, one of them is first written with both: what it is to hold, and what
//! the others have not gained yet.

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

/// What the policies of a resource are and shall be.
#[derive(Debug)]
pub struct Moving<'a> {
    /// What the resource's policies shall be, those that stay as they are among them.
    pub desired: &'a [(ObjectKey, Desired)],
    /// Policies that differ and are not to be written now, since somebody keeps changing them.
    pub put_off: &'a BTreeSet<ObjectKey>,
}

impl Moving<'_> {
    /// Which policies have to be read before the writes can be ordered. None, mostly: where one policy of a direction
    /// changes, nothing moves to another that is there already.
    #[must_use]
    pub fn to_read(&self, writes: &[Change]) -> Vec<ObjectKey> {
        let mut all = Vec::new();
        for direction in Direction::ALL {
            let of_direction = |key: &&ObjectKey| key.direction() == Some(direction);
            let put_off: Vec<&ObjectKey> = self.put_off.iter().filter(of_direction).collect();
            let losing = writes.iter().filter_map(|change| match change {
                Change::Update(key, ..) => Some(key),
                // Otherwise it goes last, when everything else has gained what it was to gain.
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

    /// Puts the writes in order. `held` is what the policies of [`Self::to_read`] say now; one that is not there holds
    /// nothing. A write that would take away what a policy that is put off was to gain is left out.
    #[must_use]
    pub fn in_order(&self, writes: Vec<Change>, held: &BTreeMap<ObjectKey, Box<RawValue>>) -> Vec<Change> {
        if held.is_empty() {
            return writes;
        }
        let moved = self.moved(&writes, held);
        let mut order = Order::new(&writes, &moved, self.put_off);
        let turns = order.turns();
        let mut pending: BTreeMap<ObjectKey, Change> = BTreeMap::new();
        let mut ordered = Vec::with_capacity(writes.len() + turns.len());
        let mut last = Vec::new();
        for change in writes {
            let key = change.key().clone();
            match change {
                _ if order.is_left_out(&key) => {}
                Change::Update(..) if order.is_moved(&key) => drop(pending.insert(key, change)),
                Change::Create(..) | Change::Update(..) if key.is_policy() => ordered.push(change),
                _ => last.push(change),
            }
        }
        for turn in turns {
            let Some(Change::Update(key, desired, was)) = pending.get(&turn.key) else { continue };
            let desired = match turn.keeps {
                false => desired.clone(),
                true => match widened(&desired.body, &moved, key) {
                    Some(body) => Desired { body, ..desired.clone() },
                    None => continue,
                },
            };
            ordered.push(Change::Update(key.clone(), desired, was.clone()));
        }
        ordered.extend(last);
        ordered
    }

    /// What policies lose that others gain.
    fn moved(&self, writes: &[Change], held: &BTreeMap<ObjectKey, Box<RawValue>>) -> Vec<Moved> {
        let created: BTreeSet<&ObjectKey> = writes
            .iter()
            .filter(|change| matches!(change, Change::Create(..)) && !self.put_off.contains(change.key()))
            .map(Change::key)
            .collect();
        let mut pieces = sweep::Pieces::default();
        for (key, desired) in self.desired {
            let rules = rules(key, desired.body.json());
            // What is not read stays as it is, or is created before anything else is written.
            let stays = !self.put_off.contains(key) && (created.contains(key) || !held.contains_key(key));
            pieces.desired(key, &rules);
            if stays {
                pieces.held(key, &rules);
            }
        }
        for (key, body) in held {
            pieces.held(key, &rules(key, body));
        }
        pieces.moved()
    }
}

/// What the body of a policy allows; nothing where it is none.
fn rules(key: &ObjectKey, body: &RawValue) -> Vec<RememberedRule> {
    key.kind.policy.map(|policy| (policy.rules)(body)).unwrap_or_default()
}

/// What a policy shall say, and beside it what it holds that others have not gained.
fn widened(body: &Body, moved: &[Moved], loser: &ObjectKey) -> Option<Arc<Body>> {
    let mut by_ports: BTreeMap<(Direction, Vec<_>), (PortSet, Vec<IpNet>)> = BTreeMap::new();
    for moved in moved.iter().filter(|moved| moved.from == *loser) {
        let ports = (moved.direction, moved.ports.iter().collect());
        let (_, networks) = by_ports.entry(ports).or_insert_with(|| (moved.ports.clone(), Vec::new()));
        networks.extend(&moved.networks);
    }
    let kept: Vec<RememberedRule> =
        by_ports.into_iter().map(|((direction, _), (ports, networks))| (direction, ports, networks)).collect();
    (loser.kind.policy?.widened)(body.json(), &kept)
}

/// A write of a policy that something moves from or to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Turn {
    key: ObjectKey,
    /// Whether the policy keeps for now what others have not gained yet.
    keeps: bool,
}

/// Who has to gain before who may lose.
struct Order {
    /// For each policy that loses: those that have to gain first.
    waits_for: BTreeMap<ObjectKey, BTreeSet<ObjectKey>>,
    left_out: BTreeSet<ObjectKey>,
    moved: BTreeSet<ObjectKey>,
    deleted: BTreeSet<ObjectKey>,
}

impl Order {
    fn new(writes: &[Change], moved: &[Moved], put_off: &BTreeSet<ObjectKey>) -> Self {
        let mut waits_for: BTreeMap<ObjectKey, BTreeSet<ObjectKey>> = BTreeMap::new();
        for moved in moved {
            waits_for.entry(moved.from.clone()).or_default().insert(moved.to.clone());
        }
        // Who waits for one that is put off is left out, and so is who waits for that one.
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
        waits_for.retain(|key, _| !left_out.contains(key));
        Self { waits_for, left_out, moved, deleted }
    }

    fn is_left_out(&self, key: &ObjectKey) -> bool {
        self.left_out.contains(key)
    }

    fn is_moved(&self, key: &ObjectKey) -> bool {
        self.moved.contains(key)
    }

    /// The order: who waits for nobody, by name; where all wait for each other, the one that most wait for is written
    /// with what it is to lose still in it.
    fn turns(&mut self) -> Vec<Turn> {
        let mut waits_for = self.waits_for.clone();
        // Deletions come last in any case.
        waits_for.retain(|key, _| !self.deleted.contains(key));
        let mut open = self.moved.clone();
        let mut turns = Vec::new();
        while !open.is_empty() {
            let is_free = |key: &&ObjectKey| waits_for.get(*key).is_none_or(BTreeSet::is_empty);
            let free: Vec<ObjectKey> = open.iter().filter(is_free).cloned().collect();
            let (keeps, now) = match free.is_empty() {
                false => (false, free),
                true => {
                    let wanted = |key: &ObjectKey| waits_for.values().filter(|others| others.contains(key)).count();
                    let most = open.iter().max_by_key(|key| (wanted(key), std::cmp::Reverse(*key))).cloned();
                    (true, most.into_iter().collect())
                }
            };
            for key in now {
                for others in waits_for.values_mut() {
                    others.remove(&key);
                }
                if !keeps {
                    open.remove(&key);
                }
                turns.push(Turn { key, keeps });
            }
        }
        turns
    }
}

#[cfg(test)]
mod tests;
