//! `networking.k8s.io/v1 NetworkPolicy`: the engine that every cluster has. Pure.

mod allows;
pub mod budget;
mod content;
pub mod evaluate;
pub mod isolation;
mod observe;
mod parts;
mod placement;
mod read;

use super::{Built, BuiltObject, Counts, Engine, Order};
use crate::crd::{ADDITIONAL_ANNOTATION, SELECTION_ANNOTATION};
use crate::objects::desired::Body;
use crate::objects::key::Role;
use crate::objects::kind::{Kind, PolicyKind};
use crate::objects::owner::owner_of;
use connectivity_allowlist::net::Direction;
use content::PolicyContent;
pub use content::widened;
pub use observe::{body, fold};
pub use read::{protocol, remembered, rules};
use std::sync::Arc;

/// The NetworkPolicy.
pub static NETWORK_POLICY: Kind = Kind {
    group: "networking.k8s.io",
    version: "v1",
    name: "NetworkPolicy",
    plural: "networkpolicies",
    body: "spec",
    order: 0,
    annotations: &[SELECTION_ANNOTATION, ADDITIONAL_ANNOTATION],
    owner: owner_of,
    observe: observe::observe,
    owned: parts::owned,
    parts: parts::parts,
    policy: Some(PolicyKind {
        rules: observe::rules_of,
        widened: observe::widened_of,
        as_network_policy: observe::spec_of,
    }),
};

/// The engine that writes NetworkPolicies.
#[derive(Clone, Copy, Debug)]
pub struct NetworkPolicies;

/// The contents of the bodies, so that equal contents share one.
type Source = Vec<(PolicyContent, Arc<Body>)>;

impl Engine for NetworkPolicies {
    fn kind(&self) -> &'static Kind {
        &NETWORK_POLICY
    }

    fn build(&self, order: &Order<'_>, before: Option<&Built>) -> Built {
        let (contents, problems, figures) = contents(order);
        let before = before.and_then(|before| before.source.as_ref()?.downcast_ref::<Source>());
        let same = |content: &PolicyContent| {
            let (_, body) = before?.iter().find(|(cached, _)| cached == content)?;
            Some(Arc::clone(body))
        };
        let with_body = |content: PolicyContent| {
            let body = same(&content).unwrap_or_else(|| body(&content.spec()));
            (content, body)
        };
        let source: Source = contents.into_iter().map(with_body).collect();
        let object = |(content, body): &(PolicyContent, Arc<Body>)| BuiltObject {
            role: Role::Policy { direction: content.direction, part: content.part },
            body: Arc::clone(body),
            users: content.users.clone(),
        };
        let objects = source.iter().map(object).collect();
        Built { objects, problems, figures, source: Some(Arc::new(source)) }
    }
}

/// The content of each policy, the budgets they overrun, and how much they allow.
fn contents(order: &Order<'_>) -> (Vec<PolicyContent>, Vec<crate::crd::Problem>, Counts) {
    let Order { pod_selector, plan, limits, layout } = *order;
    let (mut contents, mut problems, mut figures) = (Vec::new(), Vec::new(), Counts::default());
    let mut distinct = Vec::new();
    for direction in Direction::ALL {
        let Some(decided) = plan.direction(direction) else { continue };
        let fixed = content::fixed_bytes(pod_selector, decided.dns());
        let parts = placement::place(decided.rules(), limits, fixed, layout.direction(direction));
        for rule in parts.iter().flat_map(|part| &part.rules) {
            figures.rules += 1;
            figures.peers += rule.networks.len();
            distinct.extend(rule.networks.iter().copied());
        }
        problems.extend(budget::overruns(direction, &parts, limits));
        contents.extend(content::policies(pod_selector, direction, parts, decided.dns(), decided.users()));
    }
    distinct.sort_unstable();
    distinct.dedup();
    figures.cidrs = distinct.len();
    figures.policies = contents.len();
    (contents, problems, figures)
}
