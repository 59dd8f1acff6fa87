//! What is wanted of objects, ready to be compared with the cluster and to be sent. Put into JSON and digested once for all
//! resources whose objects say the same: a thousand mostly do, and only their metadata is each one's own. Pure.

use super::digest::{self, Digest};
use super::owned::{Kind, ObjectKey};
use crate::render::{self, Content, Owner, Remarks, config_map};
use kube::core::ObjectMeta;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use std::sync::Arc;

/// What an object says beside its metadata: a policy's `spec`, a ConfigMap's `data`.
#[derive(Debug)]
pub struct Body {
    json: Box<RawValue>,
    digest: Option<Digest>,
}

impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        self.json.get() == other.json.get()
    }
}

impl Body {
    fn new(value: &impl Serialize, digest: Option<Digest>) -> Arc<Self> {
        // Structures and maps of text: nothing in them can fail to become JSON.
        let json = to_raw_value(value).expect("what is rendered is JSON");
        Arc::new(Self { json, digest })
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
        digest::of_object(metadata, Some(self.body.digest?))
    }
}

/// What objects say, whosever they are.
#[derive(Debug, Default)]
pub struct Prepared {
    /// Each policy's body, with what its name adds to its owner's.
    policies: Vec<(String, Arc<Body>)>,
    config_maps: Vec<Arc<Body>>,
    /// What is told beside.
    pub remarks: Remarks,
}

impl Prepared {
    /// Makes content ready.
    ///
    /// # Panics
    /// Never: what is rendered always becomes JSON.
    #[must_use]
    pub fn of(content: &Content) -> Self {
        let policy = |(suffix, spec): &(String, _)| (suffix.clone(), Body::new(spec, digest::of_policy_spec(spec)));
        Self {
            policies: content.policies.iter().map(policy).collect(),
            config_maps: content.config_maps.iter().map(|data| Body::new(data, digest::of_data(data))).collect(),
            remarks: content.remarks.clone(),
        }
    }

    /// The objects of an owner that say this: the policies in their order, and after them the ConfigMaps.
    #[must_use]
    pub fn desired(&self, namespace: &Arc<str>, owner: &Owner) -> Vec<(ObjectKey, Desired)> {
        let object = |kind, name: String, body: &Arc<Body>| {
            let key = ObjectKey { kind, namespace: Arc::clone(namespace), name: name.as_str().into() };
            (key, Desired { metadata: render::metadata(owner, name), body: Arc::clone(body) })
        };
        let policies = self.policies.iter().map(|(suffix, body)| object(Kind::Policy, owner.policy(suffix), body));
        let maps = self
            .config_maps
            .iter()
            .enumerate()
            .map(|(index, body)| object(Kind::ConfigMap, config_map::config_map_name(&owner.name, index), body));
        policies.chain(maps).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::owned;
    use k8s_openapi::api::networking::v1::NetworkPolicySpec;
    use serde_json::json;
    use std::collections::BTreeMap;

    #[test]
    fn what_is_sent_and_its_digest_are_those_of_the_whole_objects() {
        let spec: NetworkPolicySpec = serde_json::from_value(json!({
            "podSelector": { "matchLabels": { "app": "vda" } },
            "policyTypes": ["Egress"],
            "egress": [{ "to": [{ "ipBlock": { "cidr": "20.1.2.3/32" } }], "ports": [{ "port": 443, "protocol": "TCP" }] }],
        }))
        .expect("a spec");
        let data = BTreeMap::from([("egress.cidrs".to_owned(), "20.1.2.3/32\n".to_owned())]);
        let content = Content {
            policies: vec![("-egress".to_owned(), spec.clone()), ("-egress-2".to_owned(), spec)],
            config_maps: vec![data],
            ..Content::default()
        };
        let owner = Owner { namespace: "web".into(), name: "daas".into(), uid: Some("1".into()) };
        let whole = content.objects(&owner);
        let desired = Prepared::of(&content).desired(&"web".into(), &owner);
        let names: Vec<&str> = desired.iter().map(|(key, _)| &*key.name).collect();
        assert_eq!(names, ["daas-egress", "daas-egress-2", "daas-cidrs"]);
        for ((key, desired), policy) in desired.iter().zip(&whole.policies) {
            assert_eq!((key.kind, &desired.metadata), (Kind::Policy, &policy.metadata));
            assert_eq!(desired.body.json().get(), serde_json::to_string(&policy.spec).expect("JSON"));
            assert_eq!(desired.digest(), owned::fold_policy(policy).digest);
        }
        let (key, desired) = &desired[2];
        assert_eq!((key.kind, &desired.metadata), (Kind::ConfigMap, &whole.config_maps[0].metadata));
        assert_eq!(desired.body.json().get(), serde_json::to_string(&whole.config_maps[0].data).expect("JSON"));
        assert_eq!(desired.digest(), owned::fold_config_map(&whole.config_maps[0]).digest);
    }
}
