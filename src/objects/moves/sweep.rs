//! What moves from which policy to which: address by address and port by port. Pure.

use crate::objects::key::ObjectKey;
use crate::plan::RememberedRule;
use connectivity_allowlist::net::{Direction, PortSet, cidr};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};

/// Addresses that one policy loses and another gains, and that no third policy allows throughout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    pub from: ObjectKey,
    pub to: ObjectKey,
    pub direction: Direction,
    pub networks: Vec<IpNet>,
    pub ports: PortSet,
}

/// Addresses that can be compared: those of one direction and one family.
type Space = (Direction, bool);

/// A network of one rule of one policy.
struct Piece {
    first: u128,
    last: u128,
    policy: usize,
    is_desired: bool,
    ports: usize,
}

/// The networks of policies, current and desired.
#[derive(Default)]
pub struct Pieces {
    policies: BTreeMap<ObjectKey, usize>,
    ports: Vec<PortSet>,
    by_space: BTreeMap<Space, Vec<Piece>>,
}

/// The ports that a policy opens to an address.
#[derive(Default)]
struct Sides {
    current: Option<PortSet>,
    desired: Option<PortSet>,
}

impl Pieces {
    /// Adds the rules of a policy, current or desired.
    pub fn add(&mut self, policy: &ObjectKey, rules: &[RememberedRule], is_desired: bool) {
        let next = self.policies.len();
        let policy = *self.policies.entry(policy.clone()).or_insert(next);
        for (direction, ports, networks) in rules {
            let number = self.ports.len();
            self.ports.push(ports.clone());
            for network in networks {
                let (is_v6, first, last) = cidr::span(network);
                let piece = Piece { first, last, policy, is_desired, ports: number };
                self.by_space.entry((*direction, is_v6)).or_default().push(piece);
            }
        }
    }

    /// What moves, in the order of the addresses.
    pub fn moved(mut self) -> Vec<Moved> {
        let mut names: Vec<ObjectKey> = self.policies.keys().cloned().collect();
        names.sort_unstable_by_key(|name| self.policies[name]);
        let mut moved = Vec::new();
        for (space, pieces) in std::mem::take(&mut self.by_space) {
            self.moved_in(space, pieces, &names, &mut moved);
        }
        moved
    }

    /// Walks over the addresses of a space. Between two bounds, each policy treats all addresses alike.
    fn moved_in(&self, space: Space, mut pieces: Vec<Piece>, names: &[ObjectKey], moved: &mut Vec<Moved>) {
        let bounds: BTreeSet<u128> =
            pieces.iter().flat_map(|piece| [Some(piece.first), piece.last.checked_add(1)]).flatten().collect();
        pieces.sort_unstable_by_key(|piece| piece.first);
        let mut pieces = pieces.into_iter().peekable();
        let mut around: Vec<Piece> = Vec::new();
        let mut bounds = bounds.into_iter().peekable();
        while let Some(first) = bounds.next() {
            around.retain(|piece| piece.last >= first);
            while let Some(piece) = pieces.next_if(|piece| piece.first == first) {
                around.push(piece);
            }
            let last = bounds.peek().map_or(u128::MAX, |next| next - 1);
            // Nearly everywhere nothing moves, and nothing has to be computed.
            if around.iter().all(|piece| piece.is_desired) || around.iter().all(|piece| !piece.is_desired) {
                continue;
            }
            for (from, to, ports) in handed_over(&self.sides(&around)) {
                let networks = cidr::between(space.1, first, last);
                let (from, to) = (names[from].clone(), names[to].clone());
                moved.push(Moved { from, to, direction: space.0, networks, ports });
            }
        }
    }

    fn sides(&self, around: &[Piece]) -> BTreeMap<usize, Sides> {
        let mut sides: BTreeMap<usize, Sides> = BTreeMap::new();
        for piece in around {
            let of = sides.entry(piece.policy).or_default();
            let side = if piece.is_desired { &mut of.desired } else { &mut of.current };
            let ports = &self.ports[piece.ports];
            *side = Some(side.as_ref().map_or_else(|| ports.clone(), |known| known.union(ports)));
        }
        sides
    }
}

/// The ports of an address that move: from which policy, and to which. What one policy keeps open does not move.
fn handed_over(sides: &BTreeMap<usize, Sides>) -> Vec<(usize, usize, PortSet)> {
    let stays = sides.values().filter_map(|side| side.current.as_ref()?.intersection(side.desired.as_ref()?));
    let stays = stays.reduce(|all, more| all.union(&more));
    let beyond = |ports: Option<&PortSet>, other: Option<&PortSet>| match other {
        Some(other) => ports?.difference(other),
        None => ports.cloned(),
    };
    let mut handed = Vec::new();
    for (from, loser) in sides {
        let lost = beyond(loser.current.as_ref(), loser.desired.as_ref());
        let mut lost = beyond(lost.as_ref(), stays.as_ref());
        for (to, gainer) in sides {
            let gained = beyond(gainer.desired.as_ref(), gainer.current.as_ref());
            let (Some(remaining), Some(gained)) = (&lost, gained) else { continue };
            if let Some(ports) = remaining.intersection(&gained) {
                lost = remaining.difference(&ports);
                handed.push((*from, *to, ports));
            }
        }
    }
    handed
}
