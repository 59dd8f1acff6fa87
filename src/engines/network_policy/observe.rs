//! A policy in the cluster: the digest of the fields that the operator owns, and what it allows. Pure.

use super::allows::allows;
use super::{NETWORK_POLICY, content, read};
use crate::direction::PolicyDirection as _;
use crate::objects::desired::Body;
use crate::objects::digest::{self, Digest};
use crate::objects::managed;
use crate::objects::observed::{self, Observed};
use crate::plan::RememberedRule;
use connectivity_allowlist::net::Direction;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::value::RawValue;
use std::sync::Arc;

/// A policy's body.
///
/// # Panics
/// Never: a spec always becomes JSON.
#[must_use]
pub fn body(spec: &NetworkPolicySpec) -> Arc<Body> {
    Body::policy(&NETWORK_POLICY, spec, of_spec(spec), allows(spec))
}

/// The digest of the fields that the operator owns in a spec. The rules of a direction that the policy does not govern have
/// no effect, and are not ours.
fn of_spec(spec: &NetworkPolicySpec) -> Option<Digest> {
    let types = spec.policy_types.as_deref().unwrap_or_default();
    let egress = spec.egress.as_ref().filter(|_| governs(spec, Direction::Outbound));
    let ingress = spec.ingress.as_ref().filter(|_| governs(spec, Direction::Inbound));
    Digest::of(&(&spec.pod_selector, types, egress, ingress))
}

pub(super) fn governs(spec: &NetworkPolicySpec, direction: Direction) -> bool {
    spec.policy_types.iter().flatten().any(|name| name == direction.policy_type())
}

/// Folds a policy, with its memory.
#[must_use]
pub fn fold(policy: &NetworkPolicy) -> Observed {
    fold_spec(&policy.metadata, policy.spec.as_ref(), true)
}

pub(super) fn observe(metadata: &ObjectMeta, body: Option<&RawValue>, reads_memory: bool) -> Observed {
    // A spec that the API server stores can be read.
    let spec = body.and_then(spec_of);
    fold_spec(metadata, spec.as_ref(), reads_memory)
}

fn fold_spec(metadata: &ObjectMeta, spec: Option<&NetworkPolicySpec>, reads_memory: bool) -> Observed {
    let governs = |direction| spec.is_some_and(|spec| governs(spec, direction));
    let digest = digest::of_object(&NETWORK_POLICY, metadata, spec.and_then(of_spec));
    let edited_by = managed::edited_by(metadata, "f:spec", |field| match field {
        "egress" => governs(Direction::Outbound),
        "ingress" => governs(Direction::Inbound),
        _ => true,
    });
    // The rules of a direction that the policy does not govern have no effect, and may be another client's.
    let ours =
        |direction: Direction| governs(direction) && managed::owns(metadata, &["spec", direction.object_suffix()]);
    let remembers = reads_memory && Direction::ALL.into_iter().any(ours);
    let rules = || {
        let mut rules = spec.map(read::rules).unwrap_or_default();
        rules.retain(|(direction, ..)| ours(*direction));
        rules
    };
    let observed = observed::fold_policy(&NETWORK_POLICY, metadata, digest, edited_by, remembers.then_some(rules));
    Observed { allows: spec.map(|spec| Arc::new(allows(spec))), ..observed }
}

pub(super) fn spec_of(body: &RawValue) -> Option<NetworkPolicySpec> {
    serde_json::from_str(body.get()).ok()
}

pub(super) fn rules_of(body: &RawValue) -> Vec<RememberedRule> {
    spec_of(body).map(|spec| read::rules(&spec)).unwrap_or_default()
}

pub(super) fn widened_of(body: &RawValue, more: &[RememberedRule]) -> Option<Arc<Body>> {
    Some(self::body(&content::widened(spec_of(body)?, more)))
}
