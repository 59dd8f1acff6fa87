//! A plan becomes Kubernetes objects. Pure: a file per engine.

pub mod budget;
pub mod config_map;
pub mod evaluate;
pub mod isolation;
pub mod network_policy;
mod placement;

use crate::crd::{
    ADDITIONAL_ANNOTATION, ALLOWLIST_LABEL, CitrixAllowlist, CitrixAllowlistSpec, FIELD_MANAGER, MANAGED_BY_LABEL,
    Problem, SELECTION_ANNOTATION, Summary,
};
use crate::objects::key::{ObjectKey, Role};
use crate::objects::prepared::Prepared;
use crate::plan::Plan;
use crate::plan::keep::Selected;
use budget::Cni;
use connectivity_allowlist::net::{Direction, canonical_set};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::Resource;
use network_policy::PolicyContent;
use std::collections::BTreeMap;

/// The `CitrixAllowlist` that objects are kept for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its namespace, which is the objects' too.
    pub namespace: String,
    /// Its name, which the objects' names start with.
    pub name: String,
    /// Its uid; `None` where nothing is applied and there is none: then objects carry no owner reference.
    pub uid: Option<String>,
    /// What its spec selects.
    pub selected: Selected,
}

/// Bounds on objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most peers of one NetworkPolicy, those for DNS left out; at least 1.
    pub peers: usize,
    /// The most bytes of one object as JSON; at least 64 KiB.
    pub bytes: usize,
    /// The network plugin whose budgets are watched, where it is known.
    pub cni: Option<Cni>,
}

impl Default for Limits {
    /// 1,000 peers, which a person can still read, and 1,000,000 bytes: etcd takes 1.5 MiB, a ConfigMap 1 MiB of data.
    fn default() -> Self {
        Self { peers: 1_000, bytes: 1_000_000, cni: None }
    }
}

/// Over how many objects each direction was spread before, so that the number changes rarely.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PreviousLayout {
    /// The highest number among egress objects; 0 where there was none.
    pub outbound: usize,
    /// The highest number among ingress objects; 0 where there was none.
    pub inbound: usize,
}

impl PreviousLayout {
    /// The layout that objects show.
    pub fn of<'a>(objects: impl IntoIterator<Item = &'a ObjectKey>) -> Self {
        let mut layout = Self::default();
        for key in objects {
            match key.role {
                Some(Role::Policy { direction: Direction::Outbound, part }) => {
                    layout.outbound = layout.outbound.max(part)
                }
                Some(Role::Policy { direction: Direction::Inbound, part }) => layout.inbound = layout.inbound.max(part),
                Some(Role::Export { .. }) | None => {}
            }
        }
        layout
    }

    /// The highest number among the objects of a direction; 0 where there was none.
    #[must_use]
    pub const fn direction(self, direction: Direction) -> usize {
        match direction {
            Direction::Outbound => self.outbound,
            Direction::Inbound => self.inbound,
        }
    }
}

/// Everything that is kept in the cluster for one `CitrixAllowlist`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Objects {
    /// The policies, egress before ingress, by number.
    pub policies: Vec<NetworkPolicy>,
    /// The ConfigMaps, by number; always at least one.
    pub config_maps: Vec<ConfigMap>,
    /// Budgets of the network plugin that the policies overrun, and what had to be shortened, sorted.
    pub problems: Vec<Problem>,
    /// How much the policies allow.
    pub figures: Figures,
}

/// How much policies allow. What they allow for DNS is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// The policies.
    pub policies: usize,
    /// Distinct CIDRs in them.
    pub cidrs: usize,
    /// Rules over all of them.
    pub rules: usize,
    /// Peers over all of them.
    pub peers: usize,
}

impl Figures {
    /// The counts for status.
    #[must_use]
    pub fn summary(&self, plan: &Plan) -> Summary {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        Summary {
            services: count(plan.services),
            names: count(plan.names),
            names_resolved: count(plan.names_resolved),
            resolved: format!("{}/{}", plan.names_resolved, plan.names),
            wildcards: count(plan.wildcards),
            addresses: count(plan.addresses),
            cidrs: count(self.cidrs),
            policies: count(self.policies),
            inherited: count(plan.inherited),
        }
    }
}

/// The objects that say what a plan says. A direction that the plan leaves absent has no policy.
#[must_use]
pub fn objects(
    owner: &Owner,
    spec: &CitrixAllowlistSpec,
    plan: &Plan,
    limits: &Limits,
    previous: &PreviousLayout,
) -> Objects {
    Prepared::of(content(&spec.pod_selector, plan, limits, previous), None).objects(owner)
}

/// What objects say, apart from whose they are: resources that select the same pods by the same plan share it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Content {
    /// What each policy says.
    pub policies: Vec<PolicyContent>,
    /// The data of each ConfigMap.
    pub config_maps: Vec<BTreeMap<String, String>>,
    /// What is told beside.
    pub remarks: Remarks,
}

/// What is told of objects' content.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Remarks {
    problems: Vec<Problem>,
    shortened: bool,
    /// How much the policies allow.
    pub figures: Figures,
}

impl Remarks {
    /// What of the content is not as it should be, where its objects are this owner's; sorted.
    #[must_use]
    pub fn problems(&self, owner: &str) -> Vec<Problem> {
        let mut problems = self.problems.clone();
        problems.extend(self.shortened.then(|| config_map::shortened(owner)));
        problems.sort_unstable();
        problems
    }
}

/// What the objects say that a plan asks for, whosever they are.
#[must_use]
pub fn content(pod_selector: &LabelSelector, plan: &Plan, limits: &Limits, previous: &PreviousLayout) -> Content {
    let mut content = Content::default();
    let Remarks { problems, shortened, figures } = &mut content.remarks;
    let mut lists = config_map::Lists::default();
    let mut distinct = Vec::new();
    for direction in Direction::ALL {
        lists.add_names(direction, plan.fqdns(direction));
        let Some(decided) = plan.direction(direction) else { continue };
        lists.add_networks(direction, &canonical_set(decided.networks()));
        let fixed = network_policy::fixed_bytes(pod_selector, decided.dns());
        let parts = placement::place(decided.rules(), limits, fixed, previous.direction(direction));
        for part in &parts {
            figures.rules += part.rules.len();
            for rule in &part.rules {
                figures.peers += rule.networks.len();
                distinct.extend(rule.networks.iter().copied());
            }
        }
        problems.extend(budget::overruns(direction, &parts, limits));
        content.policies.extend(network_policy::policies(
            pod_selector,
            direction,
            parts,
            decided.dns(),
            decided.users(),
        ));
    }
    distinct.sort_unstable();
    distinct.dedup();
    figures.cidrs = distinct.len();
    figures.policies = content.policies.len();
    (content.config_maps, *shortened) = config_map::config_maps(plan, &lists, limits.bytes);
    content
}

/// How an object says that the resource of this name and uid controls it.
#[must_use]
pub fn owner_reference(name: &str, uid: &str) -> OwnerReference {
    OwnerReference {
        api_version: CitrixAllowlist::api_version(&()).into_owned(),
        kind: CitrixAllowlist::kind(&()).into_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// What every object carries: name, labels, and the owner that takes it along when it goes.
#[must_use]
pub fn metadata(owner: &Owner, role: Role) -> ObjectMeta {
    let reference = owner.uid.as_ref().map(|uid| owner_reference(&owner.name, uid));
    ObjectMeta {
        name: Some(role.object_name(&owner.name)),
        namespace: Some(owner.namespace.clone()),
        labels: Some(BTreeMap::from([
            (MANAGED_BY_LABEL.to_owned(), FIELD_MANAGER.to_owned()),
            (ALLOWLIST_LABEL.to_owned(), owner.name.clone()),
        ])),
        owner_references: reference.map(|reference| vec![reference]),
        ..ObjectMeta::default()
    }
}

/// What every policy carries: what every object does, and what the spec selected when it was written; the first of a
/// direction also what only the user asked for.
#[must_use]
pub fn policy_metadata(owner: &Owner, policy: &PolicyContent) -> ObjectMeta {
    let selected = owner.selected.direction(policy.direction()).to_string();
    let users = policy.users().map(|users| (ADDITIONAL_ANNOTATION.to_owned(), users.to_owned()));
    let selection = std::iter::once((SELECTION_ANNOTATION.to_owned(), selected));
    ObjectMeta { annotations: Some(selection.chain(users).collect()), ..metadata(owner, policy.role()) }
}
