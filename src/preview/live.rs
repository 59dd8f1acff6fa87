//! The objects of a resource in a cluster.

use crate::cluster::client::Connected;
use crate::cluster::facts::Facts;
use crate::cluster::stored;
use crate::crd::{ALLOWLIST_LABEL, HISTORY_LABEL};
use crate::engines::network_policy::NETWORK_POLICY;
use crate::engines::{Engines, as_network_policies};
use crate::export::CONFIG_MAP;
use crate::guard::Guard;
use crate::objects::desired::Desired;
use crate::objects::key::{ObjectKey, Role};
use crate::objects::kind::Kind;
use crate::objects::observed::Observed;
use crate::preview::Assumptions;
use crate::preview::assumptions::AssumptionArguments;
use anyhow::Context as _;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Client;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The objects of one resource in a cluster.
#[derive(Debug, Default)]
pub(crate) struct Live {
    /// Its objects, policies first, by name.
    pub objects: Vec<(ObjectKey, Desired)>,
    /// Every other NetworkPolicy of the namespace.
    pub other_policies: Vec<NetworkPolicy>,
    /// Kind and name of other owners' objects with a name that it needs.
    pub foreign: BTreeSet<(&'static str, String)>,
}

impl Live {
    /// Its objects as the controller observes them.
    pub fn observed(&self) -> BTreeMap<ObjectKey, Observed> {
        let fold = |Desired { metadata, body }: &Desired| (body.kind.observe)(metadata, Some(&body.json), false);
        self.objects.iter().map(|(key, desired)| (key.clone(), fold(desired))).collect()
    }
}

/// Reads the objects of the resource with this name.
pub(crate) async fn of(client: &Client, engines: &Engines, namespace: &str, name: &str) -> anyhow::Result<Live> {
    let mut live = Live::default();
    for kind in engines.kinds() {
        // All policies of the namespace: another owner's object may have a needed name.
        let label = format!("{ALLOWLIST_LABEL}={name},!{HISTORY_LABEL}");
        let selector = kind.policy.is_none().then_some(&*label);
        let found = stored::list(client, kind, namespace, selector).await;
        let found = found.with_context(|| format!("{} in {namespace} cannot be listed", kind.plural))?;
        let (own, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|(_, object)| is_owned(kind, object, name));
        let needed = |key: &&ObjectKey| key.role.is_some_and(|role| *key.name == *role.object_name(name));
        let foreign = others.iter().map(|(key, _)| key).filter(needed).map(|key| (kind.name, key.name.to_string()));
        live.foreign.extend(foreign);
        live.objects.extend(own);
        if *kind == NETWORK_POLICY {
            live.other_policies = as_network_policies(&others);
        }
    }
    let first = Role::Export { part: 1 }.object_name(name);
    if !live.objects.iter().any(|(key, _)| *key.kind == CONFIG_MAP) {
        let found = stored::get(client, &CONFIG_MAP, namespace, &first).await.context("ConfigMap cannot be read")?;
        let is_foreign = |object: &Desired| !is_owned(&CONFIG_MAP, object, name);
        live.foreign.extend(found.filter(is_foreign).map(|_| (CONFIG_MAP.name, first)));
    }
    Ok(live)
}

/// Whether an object belongs to a resource, by name: the controller adopts objects of a previous owner of the same name.
fn is_owned(kind: &Kind, object: &Desired, name: &str) -> bool {
    (kind.owner)(&object.metadata).is_some_and(|owner| &*owner.resource.name == name)
}

/// The assumptions by the flags, and for the rest by the cluster.
pub(crate) async fn assumptions(connected: &Connected, arguments: &AssumptionArguments) -> Assumptions {
    let settings = arguments.policies.facts(Vec::new(), connected.api_server);
    let facts = Facts::start(connected.client.clone(), settings);
    // Facts that may not be read are left to the flags, as in the operator.
    facts.ready().await;
    let facts = facts.current();
    let guard = Arc::new(Guard::new(arguments.guard.settings(), &facts));
    Assumptions { facts, guard, ..arguments.assumptions() }
}
