//! Engines: each turns a plan into objects of its own kind, which allow what the plan allows. Pure.
//!
//! A folder here is an engine. [`Engines`] is the registry, an argument of the operator's composition root.

pub mod network_policy;

use crate::crd::{Problem, Summary};
use crate::export::CONFIG_MAP;
use crate::objects::desired::{Body, Desired};
use crate::objects::key::{ObjectKey, Role};
use crate::objects::kind::Kind;
use crate::plan::{Coverage, Plan};
use connectivity_allowlist::net::Direction;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use network_policy::budget::Cni;
use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

/// Builds objects that allow what a plan allows.
pub trait Engine: Debug + Send + Sync {
    /// The kind of its objects.
    fn kind(&self) -> &'static Kind;

    /// Builds the objects' bodies. A direction that the plan leaves absent has no policy. If one address of thousands changes,
    /// most bodies equal those of `before`, and have to be reused.
    fn build(&self, order: &Order<'_>, before: Option<&Built>) -> Built;
}

/// The input of an engine.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// The selected pods.
    pub pod_selector: &'a LabelSelector,
    /// What policies should allow.
    pub plan: &'a Plan,
    /// Bounds on objects.
    pub limits: &'a Limits,
    /// Over how many objects each direction is spread now.
    pub layout: Layout,
}

/// The output of an engine, for any owner: resources that select the same pods by the same plan share it.
#[derive(Clone, Debug, Default)]
pub struct Built {
    /// The objects, outbound before inbound, by number.
    pub objects: Vec<BuiltObject>,
    /// Budgets that the objects overrun.
    pub problems: Vec<Problem>,
    /// How much they allow.
    pub figures: Counts,
    /// The part that the engine itself reads from `before`.
    pub source: Option<Arc<dyn Any + Send + Sync>>,
}

/// One object that an engine built.
#[derive(Clone, Debug)]
pub struct BuiltObject {
    /// What it is for.
    pub role: Role,
    /// Its body.
    pub body: Arc<Body>,
    /// Networks of its direction that only the user asked for, as its annotation lists them.
    pub users: Option<Arc<str>>,
}

/// The engines whose objects are written, in this order. The first one's figures are reported.
#[derive(Clone, Debug)]
pub struct Engines(Arc<[&'static dyn Engine]>);

impl Default for Engines {
    fn default() -> Self {
        Self::new(&[&network_policy::NetworkPolicies])
    }
}

impl Engines {
    /// These engines.
    #[must_use]
    pub fn new(engines: &[&'static dyn Engine]) -> Self {
        Self(engines.into())
    }

    /// Each engine.
    pub fn iter(&self) -> impl Iterator<Item = &'static dyn Engine> + '_ {
        self.0.iter().copied()
    }

    /// The kinds of all objects, in the order in which they are written.
    #[must_use]
    pub fn kinds(&self) -> Vec<&'static Kind> {
        let mut kinds: Vec<_> = self.iter().map(Engine::kind).chain([&CONFIG_MAP]).collect();
        kinds.sort_unstable();
        kinds
    }

    /// The layout of each engine's objects among these.
    pub fn layouts<'a>(&self, objects: impl Iterator<Item = &'a ObjectKey> + Clone) -> Vec<Layout> {
        let of = |engine: &dyn Engine| Layout::of(objects.clone().filter(|key| key.kind == engine.kind()));
        self.iter().map(of).collect()
    }
}

/// The policies among objects, each in NetworkPolicy's terms.
#[must_use]
pub fn as_network_policies(objects: &[(ObjectKey, Desired)]) -> Vec<NetworkPolicy> {
    let policy = |(key, desired): &(ObjectKey, Desired)| {
        let spec = (key.kind.policy?.as_network_policy)(&desired.body.json);
        Some(NetworkPolicy { metadata: desired.metadata.clone(), spec })
    };
    objects.iter().filter_map(policy).collect()
}

/// Bounds on objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most peers of one policy, those for DNS left out; at least 1.
    pub peers: usize,
    /// The most bytes of one object as JSON; at least 64 KiB.
    pub bytes: usize,
    /// The network plugin whose budgets are watched, where it is known.
    pub cni: Option<Cni>,
}

impl Default for Limits {
    /// 1,000 peers, which a person can still read, and 1,000,000 bytes: etcd accepts 1.5 MiB, a ConfigMap 1 MiB of data.
    fn default() -> Self {
        Self { peers: 1_000, bytes: 1_000_000, cni: None }
    }
}

/// Over how many objects each direction is spread. An engine that knows it changes the number rarely.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// The highest number among outbound policies; 0 where there is none.
    pub outbound: usize,
    /// The highest number among inbound policies; 0 where there is none.
    pub inbound: usize,
}

impl Layout {
    /// The layout that objects show.
    pub fn of<'a>(objects: impl IntoIterator<Item = &'a ObjectKey>) -> Self {
        let mut layout = Self::default();
        for key in objects {
            if let Some(Role::Policy { direction, part }) = key.role {
                let highest = match direction {
                    Direction::Outbound => &mut layout.outbound,
                    Direction::Inbound => &mut layout.inbound,
                };
                *highest = part.max(*highest);
            }
        }
        layout
    }

    /// The highest number among the policies of a direction; 0 where there is none.
    #[must_use]
    pub const fn direction(self, direction: Direction) -> usize {
        match direction {
            Direction::Outbound => self.outbound,
            Direction::Inbound => self.inbound,
        }
    }
}

/// How much policies allow. What they allow for DNS is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The policies.
    pub policies: usize,
    /// Distinct CIDRs in them.
    pub cidrs: usize,
    /// Rules over all of them.
    pub rules: usize,
    /// Peers over all of them.
    pub peers: usize,
}

impl Counts {
    /// The counts for status.
    #[must_use]
    pub fn summary(&self, plan: &Plan, coverage: &Coverage) -> Summary {
        let (all, uncovered) = (coverage.wildcards.len(), coverage.uncovered());
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        Summary {
            services: count(plan.services),
            names: count(plan.names),
            names_resolved: count(plan.names_resolved),
            resolved: format!("{}/{}", plan.names_resolved, plan.names),
            wildcards: count(uncovered),
            wildcards_covered: format!("{}/{all}", all - uncovered),
            addresses: count(plan.addresses),
            cidrs: count(self.cidrs),
            policies: count(self.policies),
            inherited: count(plan.inherited),
            ..Summary::default()
        }
    }
}
