//! Which resources select the pod that asked a question, where the cluster's DNS says who asked.

use super::client::deadline;
use super::pod::Pod;
use super::resources::ResourceStore;
use super::scope::Scope;
use crate::clock::Clock;
use crate::facts::ClusterFacts;
use crate::lock::lock;
use crate::names::{Asker, Names};
use crate::resource_ref::ResourceRef;
use futures::future::try_join_all;
use kube::api::ListParams;
use kube::core::{Selector, SelectorExt as _};
use kube::{Client, ResourceExt as _};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};

/// How long the API server may take: a pod waits for its answer.
const PATIENCE: Duration = Duration::from_millis(300);
/// How long it is remembered which pods have an address: a pod that starts asks for many names.
const REMEMBERED: Duration = Duration::from_secs(10);
/// How many lists of pods may be open at once: an API server that is slow is not asked more and more.
const MOST_LISTS: usize = 16;
/// For how many addresses that is remembered.
const MOST_REMEMBERED: usize = 1024;

/// The pods with an address, and when that was found.
type Found = (Instant, Arc<[Pod]>);

/// Finds out who asked.
pub struct Askers {
    client: Client,
    scope: Scope,
    resources: Arc<ResourceStore>,
    facts: watch::Receiver<Arc<ClusterFacts>>,
    names: Names,
    clock: Clock,
    /// Lists that may be open at once.
    places: Semaphore,
    known: Mutex<HashMap<IpAddr, Found>>,
}

impl Askers {
    /// Looks among the pods of `scope`, for `resources`. Endpoints of the cluster's DNS by `facts`, and the servers that `names` asks,
    /// are believed.
    #[must_use]
    pub fn new(
        client: Client,
        scope: Scope,
        resources: Arc<ResourceStore>,
        facts: watch::Receiver<Arc<ClusterFacts>>,
        names: Names,
        clock: Clock,
    ) -> Self {
        Self {
            client,
            scope,
            resources,
            facts,
            names,
            clock,
            places: Semaphore::new(MOST_LISTS),
            known: Mutex::default(),
        }
    }

    /// The pods at `client`, as `server` says, and the resources that select one of them: none of either where no pod is found, so that
    /// the name counts for nobody until it is asked for again. `None` where the client is a node, for whose pods nobody can tell, or
    /// the server is not the cluster's DNS.
    pub async fn of(&self, server: IpAddr, client: IpAddr) -> Option<Asker> {
        if !self.is_believed(server) {
            return None;
        }
        let pods = match self.remembered(client) {
            Some(pods) => pods,
            None => {
                let pods = match deadline(PATIENCE, self.at(client)).await {
                    Ok(pods) => pods,
                    Err(error) => {
                        tracing::warn!(%client, %error, "the pods with this address are not known: the name that was asked for counts for nobody");
                        return Some(Asker::default());
                    }
                };
                self.remember(client, &pods);
                pods
            }
        };
        if pods.iter().any(|pod| pod.spec.host_network) {
            return None;
        }
        let selects = |resource: &ResourceRef| {
            let own = || pods.iter().filter(|pod| pod.namespace().as_deref() == Some(&*resource.namespace));
            // Most resources are in other namespaces.
            let selector = own().next().and_then(|_| self.resources.get(resource))?.spec.pod_selector.clone();
            let selector = Selector::try_from(selector).ok()?;
            own().any(|pod| selector.matches(pod.labels())).then_some(())
        };
        let resources = self.resources.all().into_iter().filter(|resource| selects(resource).is_some()).collect();
        let name = |pod: &Pod| format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
        Some(Asker { pods: pods.iter().map(name).collect(), resources })
    }

    fn is_believed(&self, server: IpAddr) -> bool {
        let facts = self.facts.borrow();
        let services = facts.dns.iter().filter_map(|dns| dns.service.as_ref());
        services.flat_map(|service| &service.endpoints).any(|endpoint| endpoint.ip() == server)
            || self.names.servers().iter().any(|known| known.ip() == server)
    }

    /// The pods with this address.
    async fn at(&self, client: IpAddr) -> kube::Result<Arc<[Pod]>> {
        let parameters = ListParams::default().fields(&format!("status.podIP={client}")).match_any();
        let _place = self.places.acquire().await;
        let apis = self.scope.apis::<Pod>(&self.client);
        let lists = try_join_all(apis.iter().map(|(_, api)| api.list(&parameters))).await?;
        let is_there = |pod: &Pod| !matches!(&*pod.status.phase, "Succeeded" | "Failed");
        Ok(lists.into_iter().flat_map(|list| list.items).filter(is_there).collect())
    }

    fn remembered(&self, client: IpAddr) -> Option<Arc<[Pod]>> {
        let (known, now) = (lock(&self.known), self.clock.instant());
        known
            .get(&client)
            .filter(|(at, _)| now.saturating_duration_since(*at) < REMEMBERED)
            .map(|(_, pods)| Arc::clone(pods))
    }

    fn remember(&self, client: IpAddr, pods: &Arc<[Pod]>) {
        let (mut known, now) = (lock(&self.known), self.clock.instant());
        if known.len() >= MOST_REMEMBERED {
            known.retain(|_, (at, _)| now.saturating_duration_since(*at) < REMEMBERED);
        }
        if !pods.is_empty() && known.len() < MOST_REMEMBERED {
            known.insert(client, (now, Arc::clone(pods)));
        }
    }
}
