//! How what is in force changed. Pure.

use super::allows::{AllowedPeers, ByPorts, InForce, IsolatedPods, PolicyAllows};
use crate::direction::PolicyDirection as _;
use connectivity_allowlist::net::{Direction, canonical_set, cidr};
use ipnet::IpNet;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Whether pods are isolated that were open, or the reverse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Isolation {
    /// Their first policy came: what none allows is cut.
    Began,
    /// Their last policy of this resource went: they are open, unless another policy selects them.
    Ended,
}

/// How it changed, by the pods that it changed for. Replayed in order from nothing, differences give what is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference(pub BTreeMap<IsolatedPods, ScopeChange>);

/// How it changed for some pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScopeChange {
    /// Whether they became isolated or open.
    pub isolation: Option<Isolation>,
    /// What is allowed in addition.
    pub added: ByPorts,
    /// What is not allowed any more. Where pods became open, this is the end of a limit and not of a permission.
    pub removed: ByPorts,
}

impl Difference {
    /// From what some policies allow to what others do. Equal ones, as most reconciles find them, are not looked into.
    #[must_use]
    pub fn of(before: &[Arc<PolicyAllows>], after: &[Arc<PolicyAllows>]) -> Self {
        if before == after { Self::default() } else { Self::between(&InForce::of(before), &InForce::of(after)) }
    }

    /// From one state to another.
    #[must_use]
    pub fn between(before: &InForce, after: &InForce) -> Self {
        let (nothing, mut changes) = (ByPorts::new(), BTreeMap::new());
        let scopes = before.0.keys().chain(after.0.keys().filter(|scope| !before.0.contains_key(*scope)));
        for scope in scopes {
            let (was, is) = (before.0.get(scope), after.0.get(scope));
            let isolation = match (was, is) {
                (None, Some(_)) => Some(Isolation::Began),
                (Some(_), None) => Some(Isolation::Ended),
                _ => None,
            };
            let (was, is) = (was.unwrap_or(&nothing), is.unwrap_or(&nothing));
            let change = ScopeChange { isolation, added: beyond(is, was), removed: beyond(was, is) };
            if change != ScopeChange::default() {
                changes.insert(scope.clone(), change);
            }
        }
        Self(changes)
    }

    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many different networks and other peers were added, and how many removed.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let count = |of: fn(&ScopeChange) -> &ByPorts| {
            let peers = || self.0.values().flat_map(move |change| of(change).values());
            let networks = canonical_count(peers().flat_map(|peers| &peers.networks));
            let mut others: Vec<_> = peers().flat_map(|peers| &peers.others).collect();
            others.sort_unstable();
            others.dedup();
            networks + others.len()
        };
        (count(|change| &change.added), count(|change| &change.removed))
    }

    /// The pods that became isolated, or open.
    pub fn isolation(&self, which: Isolation) -> impl Iterator<Item = &IsolatedPods> {
        self.0.iter().filter(move |(_, change)| change.isolation == Some(which)).map(|(scope, _)| scope)
    }

    /// Every network that was added.
    pub fn added_networks(&self) -> impl Iterator<Item = &IpNet> {
        self.0.values().flat_map(|change| change.added.values()).flat_map(|peers| &peers.networks)
    }
}

fn canonical_count<'a>(networks: impl Iterator<Item = &'a IpNet>) -> usize {
    let mut networks: Vec<&IpNet> = networks.collect();
    networks.sort_unstable();
    networks.dedup();
    networks.len()
}

/// What the first has and the second lacks.
fn beyond(all: &ByPorts, known: &ByPorts) -> ByPorts {
    let of = |(ports, peers): (&Arc<str>, &AllowedPeers)| {
        let left = known.get(ports).map_or_else(
            || peers.clone(),
            |known| AllowedPeers {
                networks: cidr::subtract(peers.networks.iter().copied(), &known.networks),
                others: peers.others.difference(&known.others).cloned().collect(),
            },
        );
        (!left.is_empty()).then(|| (Arc::clone(ports), left))
    };
    all.iter().filter_map(of).collect()
}

impl InForce {
    /// The state after a change.
    pub fn apply(&mut self, difference: &Difference) {
        for (scope, change) in &difference.0 {
            if change.isolation == Some(Isolation::Ended) {
                self.0.remove(scope);
                continue;
            }
            let by_ports = self.0.entry(scope.clone()).or_default();
            for (ports, removed) in &change.removed {
                let Some(peers) = by_ports.get_mut(ports) else { continue };
                peers.networks = cidr::subtract(std::mem::take(&mut peers.networks), &removed.networks);
                peers.others.retain(|peer| !removed.others.contains(peer));
            }
            by_ports.retain(|_, peers| !peers.is_empty());
            for (ports, added) in &change.added {
                let peers = by_ports.entry(Arc::clone(ports)).or_default();
                peers.networks = canonical_set(peers.networks.iter().chain(&added.networks).copied());
                peers.others.extend(added.others.iter().cloned());
            }
        }
    }
}

/// As it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    direction: String,
    pods: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    isolation: Option<Isolation>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    added: BTreeMap<Arc<str>, Vec<String>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    removed: BTreeMap<Arc<str>, Vec<String>>,
}

impl Serialize for Difference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fn texts(by_ports: &ByPorts) -> BTreeMap<Arc<str>, Vec<String>> {
            let of = |peers: &AllowedPeers| {
                let others = peers.others.iter().map(|peer| peer.to_string());
                peers.networks.iter().map(cidr::text).chain(others).collect()
            };
            by_ports.iter().map(|(ports, peers)| (Arc::clone(ports), of(peers))).collect()
        }
        serializer.collect_seq(self.0.iter().map(|(scope, change)| Written {
            direction: scope.direction.object_suffix().to_owned(),
            pods: Arc::clone(&scope.selector),
            isolation: change.isolation,
            added: texts(&change.added),
            removed: texts(&change.removed),
        }))
    }
}

impl<'de> Deserialize<'de> for Difference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        fn by_ports(texts: BTreeMap<Arc<str>, Vec<String>>) -> ByPorts {
            let peers = |texts: Vec<String>| {
                let mut peers = AllowedPeers::default();
                for text in texts {
                    match text.parse() {
                        Ok(network) => peers.networks.push(network),
                        Err(_) => drop(peers.others.insert(text.into())),
                    }
                }
                peers
            };
            texts.into_iter().map(|(ports, texts)| (ports, peers(texts))).collect()
        }
        let read = |written: Written| {
            let known = |direction: &Direction| direction.object_suffix() == written.direction;
            let direction = Direction::ALL.into_iter().find(known).ok_or_else(|| {
                D::Error::custom(format!("the direction `{}` is neither egress nor ingress", written.direction))
            })?;
            let scope = IsolatedPods { direction, selector: written.pods };
            let (added, removed) = (by_ports(written.added), by_ports(written.removed));
            Ok((scope, ScopeChange { isolation: written.isolation, added, removed }))
        };
        Ok(Self(Vec::<Written>::deserialize(deserializer)?.into_iter().map(read).collect::<Result<_, _>>()?))
    }
}
