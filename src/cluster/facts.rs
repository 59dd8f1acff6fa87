//! Finds and follows the facts of the cluster: its DNS, the ranges of its Services and pods, the addresses of its nodes and API
//! server.
//!
//! It watches only what matters: the Services at the pods' nameservers and the two well-known ones by field selector, their
//! EndpointSlices and the API server's by label, the few ServiceCIDRs, and of nodes only `podCIDRs` and public addresses. A
//! failed list keeps what was known. What could never be listed is logged, and not refused in answers.

mod follow;
mod picture;

pub use picture::{FactsSettings, WELL_KNOWN};

use crate::facts::ClusterFacts;
use connectivity_allowlist::net::canonical_set;
use follow::{Report, follow};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{self, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::api::ObjectMeta;
use kube::runtime::watcher::Config;
use kube::{Api, Client, Resource, ResourceExt as _};
use picture::{Answer, Picture, Place, SeenService, SeenSlice, ServiceKey, public};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout_at};

/// How long [`Facts::ready`] waits at most.
const READY_LIMIT: Duration = Duration::from_secs(5);

/// How long news are collected before they are published together: a rollout changes several objects at once.
const QUIET: Duration = Duration::from_millis(50);

/// The longest that news are collected.
const LONGEST_GATHERING: Duration = Duration::from_secs(1);

/// Objects in one page of a list: nodes are large.
const PAGE: u32 = 100;

/// The facts of the cluster, kept current for as long as this lives.
#[derive(Debug)]
pub struct Facts {
    facts: watch::Receiver<Arc<ClusterFacts>>,
    complete: watch::Receiver<bool>,
    started: Instant,
    /// Dropping it ends the watching.
    _watching: JoinSet<()>,
}

impl Facts {
    /// Starts watching. Facts are published as they come in; await [`Self::ready`] before deciding on them.
    #[must_use]
    pub fn start(client: Client, settings: FactsSettings) -> Self {
        let picture = Picture::new(settings);
        let (facts_sender, facts) = watch::channel(Arc::new(picture.facts()));
        let (complete_sender, complete) = watch::channel(picture.is_complete());
        let mut watching = JoinSet::new();
        watching.spawn(Watching::new(client, picture).run(facts_sender, complete_sender));
        Self { facts, complete, started: Instant::now(), _watching: watching }
    }

    /// The facts, changing only when their value does.
    #[must_use]
    pub fn receiver(&self) -> watch::Receiver<Arc<ClusterFacts>> {
        self.facts.clone()
    }

    /// The facts as they are now.
    #[must_use]
    pub fn current(&self) -> Arc<ClusterFacts> {
        self.facts.borrow().clone()
    }

    /// Whether every query to the cluster was answered or refused. Until then, an empty list means "not known yet".
    #[must_use]
    pub fn completion(&self) -> watch::Receiver<bool> {
        self.complete.clone()
    }

    /// Waits for the first complete picture, until 5 s after the start at most. Returns whether there is one.
    pub async fn ready(&self) -> bool {
        let mut complete = self.complete.clone();
        let outcome = timeout_at(self.started + READY_LIMIT, complete.wait_for(|complete| *complete)).await;
        matches!(outcome, Ok(Ok(_)))
    }
}

/// One change of the picture.
type News = Box<dyn FnOnce(&mut Picture) + Send>;

/// The relevant part of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct SeenNode {
    pod_networks: Vec<IpNet>,
    addresses: Vec<IpAddr>,
}

struct Watching {
    client: Client,
    picture: Picture,
    sender: mpsc::UnboundedSender<News>,
    news: mpsc::UnboundedReceiver<News>,
    tasks: JoinSet<()>,
    slices: BTreeMap<ServiceKey, AbortHandle>,
}

impl Watching {
    fn new(client: Client, picture: Picture) -> Self {
        let (sender, news) = mpsc::unbounded_channel();
        Self { client, picture, sender, news, tasks: JoinSet::new(), slices: BTreeMap::new() }
    }

    async fn run(mut self, facts: watch::Sender<Arc<ClusterFacts>>, complete: watch::Sender<bool>) {
        let places: Vec<Place> = self.picture.services.keys().cloned().collect();
        for place in places {
            self.follow_services(place);
        }
        if self.picture.settings.service_networks.is_empty() {
            self.follow_service_networks();
        }
        self.follow_nodes();
        self.follow_api_servers();
        while let Some(news) = self.news.recv().await {
            news(&mut self.picture);
            let end = Instant::now() + LONGEST_GATHERING;
            while let Ok(Some(news)) = timeout_at((Instant::now() + QUIET).min(end), self.news.recv()).await {
                news(&mut self.picture);
                if Instant::now() >= end {
                    break;
                }
            }
            self.follow_wanted_slices();
            let current = self.picture.facts();
            facts.send_if_modified(|published| {
                let changed = **published != current;
                if changed {
                    *published = Arc::new(current);
                }
                changed
            });
            let now_complete = self.picture.is_complete();
            complete.send_if_modified(|complete| std::mem::replace(complete, now_complete) != now_complete);
        }
    }

    /// Follows objects of one kind; `take` takes what is reported of them into the picture.
    fn follow<K, T>(
        &mut self,
        api: Api<K>,
        config: Config,
        what: String,
        keep: impl Fn(&K) -> (String, T) + Send + 'static,
        take: impl Fn(&mut Picture, Report<T>) + Clone + Send + 'static,
    ) -> AbortHandle
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
        T: Clone + PartialEq + Send + 'static,
    {
        let sender = self.sender.clone();
        let report = move |report| {
            let take = take.clone();
            // The receiver lives as long as the tasks that send.
            let _ = sender.send(Box::new(move |picture| take(picture, report)));
        };
        self.tasks.spawn(follow(api, config, what, keep, report))
    }

    fn follow_services(&mut self, place: Place) {
        let (api, selector) = match &place {
            // `spec.clusterIP` is a field selector of Services, of the first address of each.
            Place::At(address) => (Api::all(self.client.clone()), format!("spec.clusterIP={address}")),
            Place::Named((namespace, name)) => {
                (Api::namespaced(self.client.clone(), namespace), format!("metadata.name={name}"))
            }
        };
        let what = format!("Services with {selector}");
        let keep = |service: &Service| {
            let key = key_of(&service.metadata);
            (format!("{}/{}", key.0, key.1), (key, SeenService::of(service)))
        };
        self.follow(api, Config::default().fields(&selector), what, keep, move |picture, report| {
            if let Some(answer) = picture.services.get_mut(&place) {
                take(answer, report, |objects| objects.into_values().collect());
            }
        });
    }

    fn follow_wanted_slices(&mut self) {
        let wanted = self.picture.wanted();
        self.slices.retain(|key, task| {
            let keep = wanted.contains(key);
            if !keep {
                task.abort();
                self.picture.slices.remove(key);
            }
            keep
        });
        for key in wanted {
            if self.slices.contains_key(&key) {
                continue;
            }
            let api = Api::<EndpointSlice>::namespaced(self.client.clone(), &key.0);
            let config = Config::default().labels(&format!("kubernetes.io/service-name={}", key.1));
            let what = format!("EndpointSlices of Service {}/{}", key.0, key.1);
            let keep = |slice: &EndpointSlice| (slice.name_any(), SeenSlice::of(slice));
            let of = key.clone();
            let task = self.follow(api, config, what, keep, move |picture, report| {
                // News of a deleted Service come late.
                if let Some(answer) = picture.slices.get_mut(&of) {
                    take(answer, report, |slices| slices);
                }
            });
            self.picture.slices.insert(key.clone(), Answer::Pending);
            self.slices.insert(key, task);
        }
    }

    fn follow_service_networks(&mut self) {
        let keep = |object: &ServiceCIDR| {
            let cidrs = object.spec.iter().flat_map(|spec| spec.cidrs.iter().flatten());
            (object.name_any(), parse(cidrs))
        };
        let what = "ServiceCIDRs (Kubernetes 1.33 and newer; else give --service-cidr)".to_owned();
        self.follow(Api::all(self.client.clone()), Config::default(), what, keep, |picture, report| {
            take(&mut picture.service_networks, report, |networks| canonical_set(networks.into_values().flatten()));
        });
    }

    fn follow_nodes(&mut self) {
        let keep = |node: &NodeNetworks| {
            let spec = &node.spec;
            let cidrs = spec.pod_cidrs.iter().chain(spec.pod_cidr.iter().filter(|_| spec.pod_cidrs.is_empty()));
            // Names among them cannot occur in an answer.
            let addresses = node.status.addresses.iter().filter_map(|listed| listed.address.parse().ok());
            (node.name_any(), SeenNode { pod_networks: parse(cidrs), addresses: public(addresses) })
        };
        let what = "nodes, whose addresses are then not refused in answers (--pod-cidr gives pods' ranges, --deny-cidr denies nodes' addresses)";
        let config = Config::default().page_size(PAGE);
        self.follow(Api::all(self.client.clone()), config, what.to_owned(), keep, take_nodes);
    }

    fn follow_api_servers(&mut self) {
        let keep = |slice: &EndpointSlice| {
            let addresses = slice.endpoints.iter().flatten().flat_map(|endpoint| &endpoint.addresses);
            (slice.name_any(), public(addresses.filter_map(|address| address.parse().ok())))
        };
        let what = "EndpointSlices of the Service kubernetes, whose addresses are then not refused in answers";
        let config = Config::default().labels("kubernetes.io/service-name=kubernetes");
        let api = Api::<EndpointSlice>::namespaced(self.client.clone(), "default");
        self.follow(api, config, what.to_owned(), keep, |picture, report| {
            take(&mut picture.api_servers, report, |slices| public(slices.into_values().flatten()));
        });
    }
}

fn take<T, U>(answer: &mut Answer<U>, report: Report<T>, convert: impl Fn(BTreeMap<String, T>) -> U) {
    match report {
        Report::Now(objects) => *answer = Answer::Known(convert(objects)),
        Report::Refused => answer.fail(),
    }
}

fn take_nodes(picture: &mut Picture, report: Report<SeenNode>) {
    match report {
        Report::Now(nodes) => {
            let addresses = nodes.values().flat_map(|node| node.addresses.iter().copied());
            picture.node_addresses = Answer::Known(public(addresses));
            // The administrator's ranges of pods take precedence.
            if picture.settings.pod_networks.is_empty() {
                let networks = nodes.into_values().flat_map(|node| node.pod_networks);
                picture.pod_networks = Answer::Known(canonical_set(networks));
            }
        }
        Report::Refused => {
            picture.node_addresses.fail();
            picture.pod_networks.fail();
        }
    }
}

fn parse<'a>(cidrs: impl Iterator<Item = &'a String>) -> Vec<IpNet> {
    cidrs.filter_map(|cidr| cidr.parse().ok()).collect()
}

fn key_of(metadata: &ObjectMeta) -> ServiceKey {
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

/// A Node of which only the pods' ranges and its addresses are read: the rest, images and conditions, is most of it.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = "v1::Node")]
struct NodeNetworks {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: NodeSpec,
    #[serde(default)]
    status: NodeStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NodeStatus {
    addresses: Vec<NodeAddress>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NodeAddress {
    address: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NodeSpec {
    #[serde(rename = "podCIDR")]
    pod_cidr: Option<String>,
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Vec<String>,
}
