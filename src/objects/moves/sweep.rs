//! What moves from which policy to which: address by address and port by port. Pure.

use crate::objects::key::ObjectKey;
use crate::plan::RememberedRule;
use connectivity_allowlist::net::{Direction, PortSet};
use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use std::collections::{BTreeMap, BTreeSet};

/// Addresses that one policy loses and another gains, with no third that holds them all the while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    pub from: ObjectKey,
    pub to: ObjectKey,
    pub direction: Direction,
    pub networks: Vec<IpNet>,
    pub ports: PortSet,
}

/// Where addresses lie that can be compared: those of one direction and one family.
type Space = (Direction, bool);

/// Networks of one rule of one policy.
struct Piece {
    first: u128,
    last: u128,
    policy: usize,
    is_desired: bool,
    ports: usize,
}

/// What policies hold and shall hold, in pieces.
#[derive(Default)]
pub struct Pieces {
    policies: BTreeMap<ObjectKey, usize>,
    ports: Vec<PortSet>,
    by_space: BTreeMap<Space, Vec<Piece>>,
}

/// What a policy holds of an address, and shall hold.
#[derive(Default)]
struct Sides {
    held: Option<PortSet>,
    desired: Option<PortSet>,
}

impl Pieces {
    /// What a policy holds now.
    pub fn held(&mut self, policy: &ObjectKey, rules: &[RememberedRule]) {
        self.add(policy, rules, false);
    }

    /// What a policy shall hold.
    pub fn desired(&mut self, policy: &ObjectKey, rules: &[RememberedRule]) {
        self.add(policy, rules, true);
    }

    fn add(&mut self, policy: &ObjectKey, rules: &[RememberedRule], is_desired: bool) {
        let next = self.policies.len();
        let policy = *self.policies.entry(policy.clone()).or_insert(next);
        for (direction, ports, networks) in rules {
            let number = self.ports.len();
            self.ports.push(ports.clone());
            for network in networks {
                let (is_v6, first, last) = span(network);
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

    /// Walks over the addresses of a space; between two bounds, all policies hold the same of all addresses.
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
            // Where nothing changes hands, which is nearly everywhere, there is nothing to work out.
            if around.iter().all(|piece| piece.is_desired) || around.iter().all(|piece| !piece.is_desired) {
                continue;
            }
            for (from, to, ports) in handed_over(&self.sides(&around)) {
                let networks = networks(space.1, first, last);
                let (from, to) = (names[from].clone(), names[to].clone());
                moved.push(Moved { from, to, direction: space.0, networks, ports });
            }
        }
    }

    fn sides(&self, around: &[Piece]) -> BTreeMap<usize, Sides> {
        let mut sides: BTreeMap<usize, Sides> = BTreeMap::new();
        for piece in around {
            let of = sides.entry(piece.policy).or_default();
            let side = if piece.is_desired { &mut of.desired } else { &mut of.held };
            let ports = &self.ports[piece.ports];
            *side = Some(side.as_ref().map_or_else(|| ports.clone(), |held| held.union(ports)));
        }
        sides
    }
}

/// Who hands which ports of an address over to whom. What a policy holds and shall hold is handed over by nobody.
fn handed_over(sides: &BTreeMap<usize, Sides>) -> Vec<(usize, usize, PortSet)> {
    let stays = sides.values().filter_map(|side| side.held.as_ref()?.intersection(side.desired.as_ref()?));
    let stays = stays.reduce(|all, more| all.union(&more));
    let beyond = |ports: Option<&PortSet>, other: Option<&PortSet>| match other {
        Some(other) => ports?.difference(other),
        None => ports.cloned(),
    };
    let mut handed = Vec::new();
    for (from, loser) in sides {
        let lost = beyond(loser.held.as_ref(), loser.desired.as_ref());
        let mut lost = beyond(lost.as_ref(), stays.as_ref());
        for (to, gainer) in sides {
            let gained = beyond(gainer.desired.as_ref(), gainer.held.as_ref());
            let (Some(left), Some(gained)) = (&lost, gained) else { continue };
            if let Some(ports) = left.intersection(&gained) {
                lost = left.difference(&ports);
                handed.push((*from, *to, ports));
            }
        }
    }
    handed
}

/// A network's family and its first and last address.
fn span(network: &IpNet) -> (bool, u128, u128) {
    match network {
        IpNet::V4(network) => (false, network.network().to_bits().into(), network.broadcast().to_bits().into()),
        IpNet::V6(network) => (true, network.network().to_bits(), network.broadcast().to_bits()),
    }
}

/// The networks that hold exactly the addresses from `first` to `last`.
fn networks(is_v6: bool, first: u128, last: u128) -> Vec<IpNet> {
    if is_v6 {
        return Ipv6Subnets::new(first.into(), last.into(), 0).map(IpNet::from).collect();
    }
    let address = |bits: u128| u32::try_from(bits).unwrap_or(u32::MAX).into();
    Ipv4Subnets::new(address(first), address(last), 0).map(IpNet::from).collect()
}
