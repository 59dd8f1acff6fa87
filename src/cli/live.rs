//! What a cluster holds for a resource.

use super::assumptions::AssumptionArguments;
use super::preview::Assumptions;
use crate::cluster::client::{CALL_TIMEOUT, CallError, Connected, deadline};
use crate::cluster::facts::{Facts, FactsSettings};
use crate::crd::ALLOWLIST_LABEL;
use crate::guard::Guard;
use crate::objects::key::{Kind, ObjectKey, Role};
use crate::objects::observed::{Observed, fold_known_config_map, fold_known_policy};
use anyhow::Context as _;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, ListParams};
use kube::core::ObjectMeta;
use kube::{Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

/// Objects in one page of a list.
const PAGE: u32 = 200;

/// What a cluster holds for one resource.
#[derive(Clone, Debug, Default)]
pub(super) struct Live {
    /// Its policies, by name.
    pub policies: Vec<NetworkPolicy>,
    /// Every other policy of the namespace.
    pub other_policies: Vec<NetworkPolicy>,
    /// Its ConfigMaps, by name.
    pub config_maps: Vec<ConfigMap>,
    /// Kind and name of objects with a name that it needs, and that are somebody else's.
    pub foreign: BTreeSet<(&'static str, String)>,
}

impl Live {
    /// Its objects as the controller sees them.
    pub fn objects(&self) -> BTreeMap<ObjectKey, Observed> {
        let key = |kind, metadata: &ObjectMeta| {
            let (namespace, name) = (metadata.namespace.as_deref(), metadata.name.as_deref());
            ObjectKey::new(kind, namespace.unwrap_or_default(), name.unwrap_or_default())
        };
        let policies = self.policies.iter();
        let policies = policies.map(|policy| (key(Kind::Policy, &policy.metadata), fold_known_policy(policy)));
        let maps = self.config_maps.iter();
        let maps = maps.map(|map| (key(Kind::ConfigMap, &map.metadata), fold_known_config_map(map)));
        policies.chain(maps).collect()
    }
}

/// Reads what a cluster holds for the resource of a name.
pub(super) async fn of(client: &Client, namespace: &str, name: &str) -> anyhow::Result<Live> {
    let policies: Vec<NetworkPolicy> = list(client, namespace, ListParams::default().limit(PAGE)).await?;
    let labelled = ListParams::default().limit(PAGE).labels(&format!("{ALLOWLIST_LABEL}={name}"));
    let config_maps: Vec<ConfigMap> = list(client, namespace, labelled).await?;
    let (policies, other_policies): (Vec<_>, Vec<_>) = policies.into_iter().partition(|policy| is_owned(policy, name));
    let mut live = Live { policies, other_policies, ..Live::default() };
    live.config_maps = config_maps.into_iter().filter(|map| is_owned(map, name)).collect();
    let needed = |policy: &&NetworkPolicy| {
        let own_name = policy.name_any();
        matches!(Role::of_name(&own_name), Some((owner, Role::Policy { .. })) if owner == name)
    };
    live.foreign.extend(live.other_policies.iter().filter(needed).map(|policy| ("NetworkPolicy", policy.name_any())));
    let first = Role::Export { part: 1 }.object_name(name);
    if live.config_maps.is_empty() {
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        let found = deadline(CALL_TIMEOUT, api.get_opt(&first)).await.context("ConfigMap cannot be read")?;
        live.foreign.extend(found.filter(|map| !is_owned(map, name)).map(|_| ("ConfigMap", first)));
    }
    Ok(live)
}

fn is_owned(object: &impl Resource, name: &str) -> bool {
    let owners = object.meta().owner_references.iter().flatten();
    owners.filter(|owner| owner.controller == Some(true)).any(|owner| {
        owner.kind == "CitrixAllowlist" && owner.api_version.starts_with("citrix-allowlist.io/") && owner.name == name
    })
}

/// Every object of a kind in a namespace, page by page, by name.
async fn list<K>(client: &Client, namespace: &str, mut parameters: ListParams) -> anyhow::Result<Vec<K>>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let mut found = Vec::new();
    loop {
        let page = deadline(CALL_TIMEOUT, api.list(&parameters)).await;
        let page = page.map_err(|error: CallError| {
            anyhow::Error::new(error).context(format!("{} in {namespace} cannot be listed", K::plural(&())))
        })?;
        parameters.continue_token = page.metadata.continue_.clone().filter(|token| !token.is_empty());
        found.extend(page.items);
        if parameters.continue_token.is_none() {
            found.sort_by_key(kube::ResourceExt::name_any);
            return Ok(found);
        }
    }
}

/// What the flags say, and for the rest what the cluster shows.
pub(super) async fn assumptions(connected: &Connected, arguments: &AssumptionArguments) -> Assumptions {
    let settings = FactsSettings {
        nameservers: Vec::new(),
        service_networks: arguments.service_cidr.clone(),
        pod_networks: arguments.pod_cidr.clone(),
        nat64_prefix: arguments.nat64_prefix,
        api_server: connected.api_server,
    };
    let facts = Facts::start(connected.client.clone(), settings);
    // What may not be read is left as the flags have it, as the operator does.
    facts.ready().await;
    let facts = facts.current();
    let guard = Arc::new(Guard::new(arguments.guard.settings(), &facts));
    Assumptions { facts, guard, ..arguments.assumptions() }
}
