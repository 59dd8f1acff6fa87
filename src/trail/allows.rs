//! What policies allow, as it stands in the cluster, no matter who wrote it. Pure.

use crate::direction::PolicyDirection as _;
use connectivity_allowlist::net::{Direction, canonical_set};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// The peer of a rule that names none.
pub const ANY_ADDRESS: &str = "any address";

/// What one policy allows, for each direction that it governs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PolicyAllows(pub Vec<Governed>);

/// What one policy allows in one direction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Governed {
    /// Which pods it isolates, and in which direction.
    pub scope: IsolatedPods,
    /// What it allows them.
    pub rules: Vec<AllowedRule>,
}

/// Pods that a policy isolates in one direction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IsolatedPods {
    /// The direction.
    pub direction: Direction,
    /// The label selector, as JSON; `{}` selects every pod of the namespace.
    pub selector: Arc<str>,
}

impl fmt::Display for IsolatedPods {
    /// `egress {"matchLabels":{"app":"vda"}}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.direction.object_suffix(), self.selector)
    }
}

/// The ports and peers of one rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AllowedRule {
    /// Each range with its protocol, `TCP 443` or `UDP 16500-16509`; named ports by their names, `any port` where a rule names none.
    pub ports: Vec<Arc<str>>,
    /// The networks.
    pub networks: Vec<IpNet>,
    /// Every other peer, as JSON of the policy; `"any address"` where a rule names none.
    pub others: Vec<Arc<str>>,
}

/// The peers that pods may reach, or that may reach them, on one range of ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedPeers {
    /// Networks, in canonical form.
    pub networks: Vec<IpNet>,
    /// Other peers.
    pub others: BTreeSet<Arc<str>>,
}

impl AllowedPeers {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && self.others.is_empty()
    }
}

/// What is allowed by port range.
pub type ByPorts = BTreeMap<Arc<str>, AllowedPeers>;

/// What all policies of a resource allow together: the union, by the pods that are isolated. Pods that no key selects are open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InForce(pub BTreeMap<IsolatedPods, ByPorts>);

impl InForce {
    /// The union of policies.
    #[must_use]
    pub fn of<'a>(policies: impl IntoIterator<Item = &'a Arc<PolicyAllows>>) -> Self {
        type Collected<'a> = BTreeMap<&'a Arc<str>, (Vec<IpNet>, BTreeSet<Arc<str>>)>;
        let mut networks: BTreeMap<&IsolatedPods, Collected<'_>> = BTreeMap::new();
        for governed in policies.into_iter().flat_map(|policy| &policy.0) {
            let by_ports = networks.entry(&governed.scope).or_default();
            for (rule, ports) in
                governed.rules.iter().flat_map(|rule| rule.ports.iter().map(move |ports| (rule, ports)))
            {
                let (networks, others) = by_ports.entry(ports).or_default();
                networks.extend(&rule.networks);
                others.extend(rule.others.iter().cloned());
            }
        }
        let mut state = Self::default();
        for (scope, by_ports) in networks {
            let of = |(ports, (networks, others))| {
                (Arc::clone(ports), AllowedPeers { networks: canonical_set(networks), others })
            };
            state.0.insert(scope.clone(), by_ports.into_iter().map(of).collect());
        }
        state
    }
}
