//! The contents of a plan's objects, from every engine and the export. They are built once for all resources with the same
//! plan, which differ only in metadata. Pure.

use crate::crd::Problem;
use crate::engines::{Built, BuiltObject, Counts, Engines, Layout, Limits, Order};
use crate::export::{self, Contents};
use crate::objects::desired::{Body, Desired};
use crate::objects::key::{ObjectKey, Role};
use crate::objects::owner::Ownership;
use crate::plan::Plan;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::sync::Arc;

/// The contents of a plan's objects, for any owner.
#[derive(Clone, Debug, Default)]
pub struct Prepared {
    engines: Vec<Built>,
    export: Contents,
}

impl Prepared {
    /// Builds the objects of a plan. `layouts` has one for each engine.
    #[must_use]
    pub fn of(
        engines: &Engines,
        pod_selector: &LabelSelector,
        plan: &Plan,
        limits: &Limits,
        layouts: &[Layout],
        before: Option<&Self>,
    ) -> Self {
        let built = engines.iter().enumerate().map(|(index, engine)| {
            let layout = layouts.get(index).copied().unwrap_or_default();
            let before = before.and_then(|before| before.engines.get(index));
            engine.build(&Order { pod_selector, plan, limits, layout }, before)
        });
        Self { engines: built.collect(), export: export::build(plan, limits.bytes) }
    }

    /// How much the policies allow.
    #[must_use]
    pub fn figures(&self) -> Counts {
        self.engines.first().map(|built| built.figures).unwrap_or_default()
    }

    /// The problems of the objects, for this owner; sorted.
    #[must_use]
    pub fn problems(&self, owner: &str) -> Vec<Problem> {
        let mut problems: Vec<Problem> = self.engines.iter().flat_map(|built| built.problems.iter().cloned()).collect();
        problems.extend(self.export.is_shortened.then(|| export::shortened(owner)));
        problems.sort_unstable();
        problems
    }

    /// Each object's role, its body, and the networks that its annotation lists.
    fn objects_of_all(&self) -> impl Iterator<Item = (Role, &Arc<Body>, Option<&str>)> {
        let policies = self.engines.iter().flat_map(|built| &built.objects);
        let policies = policies.map(|BuiltObject { role, body, users }| (*role, body, users.as_deref()));
        let exports = self.export.bodies.iter().enumerate();
        policies.chain(exports.map(|(index, body)| (Role::Export { part: index + 1 }, body, None)))
    }

    /// The objects with these contents for an owner: the policies in their order, then the ConfigMaps.
    #[must_use]
    pub fn desired(&self, namespace: &Arc<str>, owner: &Ownership) -> Vec<(ObjectKey, Desired)> {
        let object = |(role, body, users): (Role, &Arc<Body>, Option<&str>)| {
            let metadata = owner.metadata(role, users);
            let name = metadata.name.as_deref().unwrap_or_default().into();
            let key = ObjectKey { kind: body.kind, namespace: Arc::clone(namespace), name, role: Some(role) };
            (key, Desired { metadata, body: Arc::clone(body) })
        };
        self.objects_of_all().map(object).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::as_network_policies;
    use crate::engines::network_policy::{self, NETWORK_POLICY};
    use crate::plan::{DirectionPlan, Peers, Rule};
    use connectivity_allowlist::net::{PortRange, PortSet, Protocol};
    use ipnet::IpNet;
    use std::net::Ipv4Addr;

    /// The contents that allow this many addresses, at most ten in an object.
    fn prepared(addresses: u32, before: Option<&Prepared>) -> Prepared {
        let networks =
            (0..addresses).map(|index| IpNet::from(std::net::IpAddr::from(Ipv4Addr::from(0x1401_0000 + 97 * index))));
        let rule = Rule {
            ports: PortSet::new([(Protocol::Tcp, PortRange::new(443, 443).expect("a range"))]).expect("ports"),
            peers: Peers::new(networks).expect("peers"),
        };
        let plan = Plan { outbound: DirectionPlan::new(vec![rule], Vec::new(), Vec::new()), ..Plan::default() };
        let limits = Limits { peers: 10, ..Limits::default() };
        let layouts = [Layout { outbound: 8, inbound: 0 }];
        Prepared::of(&Engines::default(), &LabelSelector::default(), &plan, &limits, &layouts, before)
    }

    #[test]
    fn what_is_sent_and_its_digest_are_those_of_the_whole_objects() {
        let desired = prepared(40, None).desired(&"web".into(), &Ownership::of_daas());
        let (policies, maps) = (as_network_policies(&desired), export::config_maps(&desired));
        assert_eq!(desired.len(), policies.len() + maps.len());
        assert!(policies.len() > 1);
        let policies = policies.iter().map(|policy| {
            let spec = serde_json::to_string(&policy.spec).expect("JSON");
            (&NETWORK_POLICY, &policy.metadata, spec, network_policy::fold(policy))
        });
        let maps = maps.iter().map(|map| {
            let data = serde_json::to_string(&map.data).expect("JSON");
            (&export::CONFIG_MAP, &map.metadata, data, export::fold(map))
        });
        for ((key, desired), (kind, metadata, body, folded)) in desired.iter().zip(policies.chain(maps)) {
            assert_eq!((key.kind, Some(&*key.name)), (kind, metadata.name.as_deref()));
            assert_eq!((&desired.metadata, desired.body.json.get()), (metadata, &*body));
            let observed = (kind.observe)(&desired.metadata, Some(&desired.body.json), false);
            assert_eq!((desired.digest(), desired.digest()), (observed.digest, folded.digest));
        }
    }

    #[test]
    fn bodies_that_did_not_change_are_reused() {
        let before = prepared(40, None);
        let after = prepared(41, Some(&before));
        let fresh = prepared(41, None);
        let bodies = |prepared: &Prepared| -> Vec<Arc<Body>> {
            prepared.engines[0].objects.iter().map(|object| Arc::clone(&object.body)).collect()
        };
        let (old, new) = (bodies(&before), bodies(&after));
        let is_reused = |body: &&Arc<Body>| old.iter().any(|old| Arc::ptr_eq(old, body));
        assert_eq!(new.iter().filter(is_reused).count(), old.len() - 1, "one address, one policy");
        assert_eq!(
            after.desired(&"web".into(), &Ownership::of_daas()),
            fresh.desired(&"web".into(), &Ownership::of_daas())
        );
    }
}
