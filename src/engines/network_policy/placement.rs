//! Which object a peer is placed in: its own address decides, so that one address more or less changes one object.

use crate::engines::Limits;
use crate::fnv::fnv1a;
use crate::plan::Rule;
use connectivity_allowlist::net::{PortSet, canonical_set};
use ipnet::IpNet;
use std::net::IpAddr;

/// What one object allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The object's number, counted from 0.
    pub index: usize,
    /// Its rules, in the order of their ports.
    pub rules: Vec<PartRule>,
}

/// One rule of one object. Never without networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PartRule {
    pub ports: PortSet,
    pub networks: Vec<IpNet>,
}

/// The most buckets. Each is one object, or several if it overflows all the same.
const MOST_BUCKETS: usize = 4096;
/// Bytes of `{"ipBlock":{"cidr":"..."}},` with the longest CIDR.
const PEER_BYTES: usize = 68;
/// Bytes of `{"endPort":65535,"port":49152,"protocol":"TCP"},`.
const PORT_BYTES: usize = 50;
/// Bytes of a rule around its ports and peers.
const RULE_BYTES: usize = 32;
/// From this bound on peers, neighbours of a /27 (or a /123) stay together, to be merged: at most 16 merged networks. Wider
/// ranges would merge more, but fill objects so unevenly that more are needed.
const NEIGHBOURS_FROM: usize = 128;

/// Neighbouring networks with the same ports, which are placed together.
struct Chunk {
    rule: usize,
    hash: u64,
    networks: Vec<IpNet>,
}

/// Peers and bytes, of an object or allowed to one.
#[derive(Clone, Copy, Default)]
struct Size {
    peers: usize,
    bytes: usize,
}

impl Size {
    const fn within(self, bound: Self) -> bool {
        self.peers <= bound.peers && self.bytes <= bound.bytes
    }

    const fn half(self) -> Self {
        Self { peers: self.peers / 2, bytes: self.bytes / 2 }
    }

    fn add(&mut self, networks: usize) {
        self.peers += networks;
        self.bytes += networks * PEER_BYTES;
    }
}

/// Spreads rules over as few objects as their bounds allow, a power of two. Fewer than `previous` only if half the bound
/// would suffice: otherwise the number would change with every address. `fixed` are the bytes that each object takes anyway.
pub(super) fn place(rules: &[Rule], limits: &Limits, fixed: usize, previous: usize) -> Vec<Part> {
    // Even with the largest selector a rule fits.
    let bytes = limits.bytes.saturating_sub(fixed).max(RULE_BYTES + 16 * (PORT_BYTES + PEER_BYTES));
    let bound = Size { peers: limits.peers.max(1), bytes };
    let whole: Vec<PartRule> = rules
        .iter()
        .map(|rule| PartRule { ports: rule.ports.clone(), networks: canonical_set(rule.peers.iter().copied()) })
        .collect();
    let size = size(&whole);
    let previous = previous.clamp(1, MOST_BUCKETS).next_power_of_two();
    if size.within(if previous > 1 { bound.half() } else { bound }) {
        return vec![Part { index: 0, rules: whole }];
    }
    let chunks = chunks(&whole, bound.peers);
    let fits = |buckets: usize, bound: Size| {
        if buckets == 1 { size.within(bound) } else { largest(rules, &chunks, buckets, bound) }
    };
    let mut needed = 1;
    while needed < MOST_BUCKETS && !fits(needed, bound) {
        needed *= 2;
    }
    let mut buckets = previous.max(needed);
    while buckets > needed && fits(buckets / 2, bound.half()) {
        buckets /= 2;
    }
    let mut placed: Vec<Vec<PartRule>> = vec![Vec::new(); buckets];
    let mut at = 0;
    for (number, rule) in rules.iter().enumerate() {
        let mut networks: Vec<Vec<IpNet>> = vec![Vec::new(); buckets];
        while let Some(chunk) = chunks.get(at).filter(|chunk| chunk.rule == number) {
            networks[bucket(chunk.hash, buckets)].extend(&chunk.networks);
            at += 1;
        }
        for (bucket, networks) in placed.iter_mut().zip(networks) {
            if !networks.is_empty() {
                bucket.push(PartRule { ports: rule.ports.clone(), networks: canonical_set(networks) });
            }
        }
    }
    let mut parts: Vec<Part> = Vec::new();
    for (number, rules) in placed.into_iter().enumerate() {
        let pieces = if self::size(&rules).within(bound) { vec![rules] } else { cut(rules, bound) };
        for (piece, rules) in pieces.into_iter().enumerate().filter(|(_, rules)| !rules.is_empty()) {
            parts.push(Part { index: number + piece * buckets, rules });
        }
    }
    parts.sort_unstable_by_key(|part| part.index);
    parts
}

fn size(rules: &[PartRule]) -> Size {
    let mut size = Size::default();
    for rule in rules {
        size.bytes += rule_bytes(&rule.ports);
        size.add(rule.networks.len());
    }
    size
}

fn rule_bytes(ports: &PortSet) -> usize {
    RULE_BYTES + ports.len() * PORT_BYTES
}

/// The rules' networks in chunks, rule by rule. They are merged already, so that the same addresses are placed alike however
/// the list writes them. A network that grows beyond its /27 stays where its first address is.
fn chunks(rules: &[PartRule], most_peers: usize) -> Vec<Chunk> {
    let (ipv4, ipv6) = if most_peers >= NEIGHBOURS_FROM { (27, 123) } else { (32, 128) };
    let mut chunks: Vec<Chunk> = Vec::new();
    for (number, rule) in rules.iter().enumerate() {
        let mut previous = None;
        for network in &rule.networks {
            let length = if matches!(network, IpNet::V4(_)) { ipv4 } else { ipv6 };
            let around = IpNet::new(network.addr(), length).unwrap_or(*network).trunc();
            match chunks.last_mut() {
                Some(chunk) if previous == Some((number, around)) => chunk.networks.push(*network),
                _ => chunks.push(Chunk { rule: number, hash: hash(around), networks: vec![*network] }),
            }
            previous = Some((number, around));
        }
    }
    chunks
}

/// Whether the fullest bucket fits.
fn largest(rules: &[Rule], chunks: &[Chunk], buckets: usize, bound: Size) -> bool {
    let mut sizes = vec![(Size::default(), usize::MAX); buckets];
    for chunk in chunks {
        let (size, last_rule) = &mut sizes[bucket(chunk.hash, buckets)];
        if *last_rule != chunk.rule {
            *last_rule = chunk.rule;
            size.bytes += rule_bytes(&rules[chunk.rule].ports);
        }
        size.add(chunk.networks.len());
    }
    sizes.iter().all(|(size, _)| size.within(bound))
}

/// Doubling the buckets splits each in two: the low bits of the hash decide. `buckets` is a power of two.
#[expect(clippy::cast_possible_truncation, reason = "the low bits are what is wanted")]
const fn bucket(hash: u64, buckets: usize) -> usize {
    hash as usize & (buckets - 1)
}

/// A hash that is the same in every version: FNV-1a over the address and length, with a finisher (from `SplitMix64`), since
/// FNV's low bits alone are weak.
fn hash(network: IpNet) -> u64 {
    let length = [network.prefix_len()];
    let mut hash = match network.addr() {
        IpAddr::V4(address) => fnv1a(address.octets().into_iter().chain(length)),
        IpAddr::V6(address) => fnv1a(address.octets().into_iter().chain(length)),
    };
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// Cuts a bucket that overflows into pieces one after the other: exact and bounded, but one address may change several.
fn cut(rules: Vec<PartRule>, bound: Size) -> Vec<Vec<PartRule>> {
    let most_ports = (bound.bytes / 2 / PORT_BYTES).max(1);
    let mut pieces: Vec<Vec<PartRule>> = vec![Vec::new()];
    let mut used = Size::default();
    for rule in rules {
        let ranges: Vec<_> = rule.ports.iter().collect();
        for ports in ranges.chunks(most_ports).filter_map(|ranges| PortSet::new(ranges.iter().copied())) {
            let mut networks = rule.networks.as_slice();
            while !networks.is_empty() {
                let bytes = bound.bytes.saturating_sub(used.bytes + rule_bytes(&ports)) / PEER_BYTES;
                let room = bytes.min(bound.peers.saturating_sub(used.peers)).min(networks.len());
                let room = if room == 0 && used.peers == 0 { 1 } else { room };
                if room == 0 {
                    pieces.push(Vec::new());
                    used = Size::default();
                    continue;
                }
                let (now, later) = networks.split_at(room);
                networks = later;
                used.bytes += rule_bytes(&ports);
                used.add(now.len());
                if let Some(piece) = pieces.last_mut() {
                    piece.push(PartRule { ports: ports.clone(), networks: now.to_vec() });
                }
            }
        }
    }
    pieces
}
