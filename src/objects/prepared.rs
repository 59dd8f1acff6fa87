//! What is wanted of objects, ready to be compared with the cluster and to be sent. Put into JSON and digested once for all
//! resources whose objects say the same: a thousand mostly do, and only their metadata is each one's own. Pure.

use super::digest::{self, Digest};
use super::key::{Kind, ObjectKey, Role};
use crate::render::network_policy::PolicyContent;
use crate::render::{self, Content, Objects, Owner, Remarks};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicySpec};
use kube::core::ObjectMeta;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What an object says beside its metadata: a policy's `spec`, a ConfigMap's `data`.
#[derive(Debug)]
pub struct Body {
    kind: Kind,
    json: Box<RawValue>,
    digest: Option<Digest>,
}

impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        self.json.get() == other.json.get()
    }
}

impl Body {
    /// That of a policy.
    ///
    /// # Panics
    /// Never: a spec always becomes JSON.
    #[must_use]
    pub fn of_policy(spec: &NetworkPolicySpec) -> Arc<Self> {
        Self::new(Kind::Policy, spec, digest::of_policy_spec(spec))
    }

    /// That of a ConfigMap.
    ///
    /// # Panics
    /// Never: texts always become JSON.
    #[must_use]
    pub fn of_config_map(data: &BTreeMap<String, String>) -> Arc<Self> {
        Self::new(Kind::ConfigMap, data, digest::of_data(data))
    }

    fn new(kind: Kind, value: &impl Serialize, digest: Option<Digest>) -> Arc<Self> {
        // Structures and maps of text: nothing in them can fail to become JSON.
        let json = to_raw_value(value).expect("what is rendered is JSON");
        Arc::new(Self { kind, json, digest })
    }

    /// It as JSON.
    #[must_use]
    pub fn json(&self) -> &RawValue {
        &self.json
    }
}

/// An object as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// Its name, its labels and whose it is.
    pub metadata: ObjectMeta,
    /// What it says.
    pub body: Arc<Body>,
}

impl Desired {
    /// The digest of the fields that the operator owns in it.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.digest_with(&self.metadata)
    }

    /// The digest that an object has which says this under such metadata.
    #[must_use]
    pub fn digest_with(&self, metadata: &ObjectMeta) -> Option<Digest> {
        digest::of_object(self.body.kind, metadata, Some(self.body.digest?))
    }
}

/// What objects say, whosever they are.
#[derive(Debug, Default)]
pub struct Prepared {
    policies: Vec<(PolicyContent, Arc<Body>)>,
    config_maps: Vec<Arc<Body>>,
    /// What is told beside.
    pub remarks: Remarks,
}

impl Prepared {
    /// Makes content ready. Where one address of thousands changes, most policies say what they said `before`: their
    /// bodies are taken over.
    ///
    /// # Panics
    /// Never: what is rendered always becomes JSON.
    #[must_use]
    pub fn of(content: Content, before: Option<&Self>) -> Self {
        let held = |policy: &PolicyContent| {
            let (_, body) = before?.policies.iter().find(|(held, _)| held == policy)?;
            Some(Arc::clone(body))
        };
        let policy = |policy: PolicyContent| {
            let body = held(&policy).unwrap_or_else(|| Body::of_policy(&policy.spec()));
            (policy, body)
        };
        Self {
            policies: content.policies.into_iter().map(policy).collect(),
            config_maps: content.config_maps.iter().map(Body::of_config_map).collect(),
            remarks: content.remarks,
        }
    }

    /// The same as whole objects, to be shown.
    #[must_use]
    pub fn objects(&self, owner: &Owner) -> Objects {
        let policy = |(policy, _): &(PolicyContent, Arc<Body>)| NetworkPolicy {
            metadata: render::policy_metadata(owner, policy),
            spec: Some(policy.spec()),
        };
        let config_map = |(index, body): (usize, &Arc<Body>)| ConfigMap {
            metadata: render::metadata(owner, Role::Export { part: index + 1 }),
            // Texts that were put into JSON a moment ago.
            data: serde_json::from_str(body.json().get()).unwrap_or_default(),
            ..ConfigMap::default()
        };
        Objects {
            policies: self.policies.iter().map(policy).collect(),
            config_maps: self.config_maps.iter().enumerate().map(config_map).collect(),
            problems: self.remarks.problems(&owner.name),
            figures: self.remarks.figures,
        }
    }

    /// The objects of an owner that say this: the policies in their order, and after them the ConfigMaps.
    #[must_use]
    pub fn desired(&self, namespace: &Arc<str>, owner: &Owner) -> Vec<(ObjectKey, Desired)> {
        let object = |role, metadata: ObjectMeta, body: &Arc<Body>| {
            let (kind, name) = (body.kind, metadata.name.as_deref().unwrap_or_default().into());
            let key = ObjectKey { kind, namespace: Arc::clone(namespace), name, role: Some(role) };
            (key, Desired { metadata, body: Arc::clone(body) })
        };
        let policies = self
            .policies
            .iter()
            .map(|(policy, body)| object(policy.role(), render::policy_metadata(owner, policy), body));
        let maps = self.config_maps.iter().enumerate().map(|(index, body)| {
            let role = Role::Export { part: index + 1 };
            object(role, render::metadata(owner, role), body)
        });
        policies.chain(maps).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::observed;
    use crate::plan::keep::Selected;
    use crate::plan::{DirectionPlan, Peers, Plan, Rule};
    use crate::render::{Limits, PreviousLayout};
    use connectivity_allowlist::net::{PortRange, PortSet, Protocol};
    use ipnet::IpNet;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
    use std::net::Ipv4Addr;

    /// Content that allows so many addresses, over objects of ten at most.
    fn content(addresses: u32) -> Content {
        let networks =
            (0..addresses).map(|index| IpNet::from(std::net::IpAddr::from(Ipv4Addr::from(0x1401_0000 + 97 * index))));
        let rule = Rule {
            ports: PortSet::new([(Protocol::Tcp, PortRange::new(443, 443).expect("a range"))]).expect("ports"),
            peers: Peers::new(networks).expect("peers"),
        };
        let plan = Plan { outbound: DirectionPlan::new(vec![rule], Vec::new()), ..Plan::default() };
        let limits = Limits { peers: 10, ..Limits::default() };
        render::content(&LabelSelector::default(), &plan, &limits, &PreviousLayout { outbound: 8, inbound: 0 })
    }

    fn owner() -> Owner {
        let spec = serde_json::from_value(serde_json::json!({ "customerId": "kitsune" })).expect("a spec");
        Owner { namespace: "web".into(), name: "daas".into(), uid: Some("1".into()), selected: Selected::by(&spec) }
    }

    #[test]
    fn what_is_sent_and_its_digest_are_those_of_the_whole_objects() {
        let prepared = Prepared::of(content(40), None);
        let (whole, desired) = (prepared.objects(&owner()), prepared.desired(&"web".into(), &owner()));
        assert_eq!(desired.len(), whole.policies.len() + whole.config_maps.len());
        assert!(whole.policies.len() > 1);
        let (policies, maps) = desired.split_at(whole.policies.len());
        for ((key, desired), policy) in policies.iter().zip(&whole.policies) {
            assert_eq!((key.kind, Some(&*key.name)), (Kind::Policy, policy.metadata.name.as_deref()));
            assert_eq!(desired.metadata, policy.metadata);
            assert_eq!(desired.body.json().get(), serde_json::to_string(&policy.spec).expect("JSON"));
            assert_eq!(desired.digest(), observed::fold_policy(policy).digest);
        }
        for ((key, desired), map) in maps.iter().zip(&whole.config_maps) {
            assert_eq!((key.kind, Some(&*key.name)), (Kind::ConfigMap, map.metadata.name.as_deref()));
            assert_eq!(desired.metadata, map.metadata);
            assert_eq!(desired.body.json().get(), serde_json::to_string(&map.data).expect("JSON"));
            assert_eq!(desired.digest(), observed::fold_config_map(map).digest);
        }
    }

    #[test]
    fn policies_that_say_what_they_said_are_taken_over_and_others_are_not() {
        let before = Prepared::of(content(40), None);
        let after = Prepared::of(content(41), Some(&before));
        let fresh = Prepared::of(content(41), None);
        let taken_over =
            |(_, body): &&(PolicyContent, Arc<Body>)| before.policies.iter().any(|(_, held)| Arc::ptr_eq(held, body));
        assert_eq!(
            after.policies.iter().filter(taken_over).count(),
            before.policies.len() - 1,
            "one address, one policy"
        );
        assert_eq!(after.desired(&"web".into(), &owner()), fresh.desired(&"web".into(), &owner()));
    }
}
