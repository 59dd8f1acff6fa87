//! The kinds of hostile tenants and pods: what each does, what came of it formerly, and what it is told now.

use super::{crowd, names, port, quarrel};
use crate::common::eventually;
use citrix_allowlist::crd::CitrixAllowlist;
use futures::future::BoxFuture;
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::time::Duration;

/// Who attacks, and how.
pub struct Kind {
    /// Also how its namespace is called.
    pub name: &'static str,
    /// Goes on for ever.
    pub attack: fn(Ground) -> BoxFuture<'static, ()>,
    /// What a status of its namespace says of it, where it meets a bound.
    pub told: Option<&'static str>,
}

/// Said only once it has lasted, or by many: the short form does not come to it.
const LATE: &str = "--dns-questions-per-second";
const MANY: &str = "--max-lists-per-namespace";

macro_rules! kinds {
    ($($(#[doc = $formerly:literal])+ $name:literal $attack:path, $told:expr;)*) => {
        /// All of them. Above each what came of it formerly, with the operator of 0.1.0.
        pub const KINDS: &[Kind] = &[$(Kind { name: $name, attack: |ground| Box::pin($attack(ground)), told: $told }),*];
    };
}

kinds! {
    /// 4,096 names of 70 addresses each: both replicas killed for memory ten times in 300 s; another's change was followed after
    /// up to 151 s.
    "many-addresses" names::many_addresses, Some("--max-addresses-per-resource");
    /// Five resources of 4,096 names that no server answers: another's change not followed within 200 s, its new resource not
    /// Ready within 300 s.
    "silent-names" names::silent, Some("--max-names-per-namespace");
    /// Eight resources of 4,096 names whose answers may not be kept: 12,855 questions a second, at which the DNS server fell over.
    "short-ttl" names::short_ttl, Some(LATE);
    /// Random addresses in each answer: up to 45 writes of policies a second.
    "random-addresses" names::random_addresses, None;
    /// 300 connections that say nothing: `/livez` failed ten times of ten in 90 s, and six are a restart. 100 readers of
    /// `/debug/state` who do not read: 710 MiB.
    "port" port::flood, None;
    /// Held already: a fetch that is asked for again and again waits for its turn.
    "refresh" quarrel::ask_for_fetches, None;
    /// A forged or wiped status stood for 45 s and more, up to a day.
    "status" quarrel::forge_status, None;
    /// Held already: edits are undone three times, and deletions always.
    "policies" quarrel::edit_policies, Some("keeps changing NetworkPolicy");
    /// Not tried: a spec that changes all the time.
    "specs" quarrel::change_spec, None;
    /// A list of 80 KiB for each customer that nobody knows, ten minutes beyond its resource: both replicas near their memory
    /// limit after a quarter of an hour, so that new resources of all waited.
    "resources" crowd::resources, Some(MANY);
    /// 900 suspended resources with annotations of 256 KiB filled the memory of both replicas.
    "annotations" crowd::annotations, None;
}

/// Where an attack goes on, and with what.
#[derive(Clone)]
pub struct Ground {
    pub client: Client,
    pub namespace: String,
    /// Where the operators serve metrics and `/debug/state`.
    pub ports: Vec<SocketAddr>,
    /// Whether it is done at full size.
    pub is_long: bool,
}

impl Ground {
    pub fn resources(&self) -> Api<CitrixAllowlist> {
        self.api()
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Creates a resource. What the API server refuses is no attack.
    pub async fn create(&self, name: &str, spec: Value, annotations: Value) {
        let resource = serde_json::json!({
            "apiVersion": "citrix-allowlist.io/v1alpha1", "kind": "CitrixAllowlist",
            "metadata": { "name": name, "annotations": annotations }, "spec": spec,
        });
        let resource = serde_json::from_value(resource).expect("a resource");
        self.resources().create(&PostParams::default(), &resource).await.expect("an accepted resource");
    }

    /// So many of the short form, or so many of the long one.
    pub const fn scale(&self, short: usize, long: usize) -> usize {
        if self.is_long { long } else { short }
    }
}

impl Kind {
    /// Waits until its namespace is told which bound it meets.
    pub async fn is_told(&self, ground: &Ground) {
        let told = eventually(Duration::from_secs(60), async || self.is_told_now(ground, true).await.then_some(()));
        assert!(told.await.is_some(), "{}: none says `{:?}`: {:?}", self.name, self.told, problems(ground).await);
    }

    /// Whether its namespace is told now, if it has to be. `alone`, that is its own bound; with other kinds around it, they may
    /// have filled a wider one first.
    pub async fn is_told_now(&self, ground: &Ground, alone: bool) -> bool {
        let Some(words) = self.told.filter(|words| ground.is_long || ![LATE, MANY].contains(words)) else {
            return true;
        };
        let words = if alone { words } else { words.split("-per-").next().unwrap_or(words) };
        problems(ground).await.iter().any(|message| message.contains(words))
    }
}

/// The problems of every status in its namespace.
async fn problems(ground: &Ground) -> Vec<String> {
    let resources = ground.resources().list(&ListParams::default()).await.expect("resources").items;
    let status = resources.into_iter().filter_map(|resource| resource.status);
    status.flat_map(|status| status.problems).map(|problem| problem.message).collect()
}
