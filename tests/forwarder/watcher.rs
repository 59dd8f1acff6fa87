//! What the policies of each resource allow, as an independent watcher of the API server sees it, and since which of its versions.

use citrix_allowlist::crd::CitrixAllowlist;
use futures::StreamExt as _;
use ipnet::IpNet;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, ListParams};
use kube::runtime::watcher::{self, Event};
use kube::{Client, Resource as _, ResourceExt as _};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How far apart the watcher asks how far the API server is.
const ASK_INTERVAL: Duration = Duration::from_millis(15);

/// The networks that one policy allows connections to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(HashSet<IpNet>, BTreeSet<u8>);

impl Networks {
    fn of(policy: &NetworkPolicy) -> Self {
        let rules = policy.spec.iter().flat_map(|spec| spec.egress.iter().flatten());
        let blocks = rules.flat_map(|rule| rule.to.iter().flatten()).filter_map(|peer| peer.ip_block.as_ref());
        let networks: HashSet<IpNet> = blocks.map(|block| block.cidr.parse().expect("a CIDR")).collect();
        let lengths = networks.iter().map(IpNet::prefix_len).collect();
        Self(networks, lengths)
    }

    pub fn hold(&self, address: IpAddr) -> bool {
        let lengths = self.1.iter().filter_map(|length| IpNet::new(address, *length).ok());
        lengths.into_iter().any(|network| self.0.contains(&network.trunc()))
    }
}

/// A change of one policy.
#[derive(Debug)]
pub struct PolicyChange {
    /// When the watcher had it.
    pub at: Instant,
    /// The version of the API server that it made.
    pub version: u64,
    pub policy: String,
    /// The resource that the policy belongs to.
    pub resource: String,
    /// What it allows from then on; nothing once it is gone.
    pub networks: Option<Networks>,
}

/// How far the API server was: a consistent read that was sent at `asked` and answered at `answered` found this version.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub asked: Instant,
    pub answered: Instant,
    pub version: u64,
}

/// Everything a watcher has seen.
#[derive(Debug, Default)]
pub struct History {
    /// In the order of their versions.
    pub changes: Vec<PolicyChange>,
    /// In the order in which they were asked.
    pub seen: Vec<Seen>,
}

impl History {
    /// A list is in the order of names, and all of it is known at once.
    fn begin_with_the_list(&mut self, at: Instant) {
        self.changes.sort_by_key(|change| change.version);
        self.changes.iter_mut().for_each(|change| change.at = at);
    }

    /// When the API server had, at the latest, what allows an address since then.
    pub fn allowed_since(&self, address: IpAddr) -> Option<Instant> {
        let (mut policies, mut is_allowed, mut since) = (Policies::default(), false, None);
        for change in &self.changes {
            policies.change(change);
            let was_allowed = is_allowed;
            is_allowed = policies.0.values().any(|(_, networks)| networks.hold(address));
            if is_allowed && !was_allowed {
                since = Some(change);
            }
        }
        let PolicyChange { at, version, .. } = since?;
        let seen = self.seen.iter().find(|seen| seen.version >= *version);
        Some(seen.map_or(*at, |seen| seen.answered.min(*at)))
    }
}

/// A running watcher of one namespace.
pub struct PolicyWatcher {
    history: Arc<Mutex<History>>,
    tasks: JoinSet<()>,
}

impl PolicyWatcher {
    /// Starts to watch, and returns once it has seen what there is.
    pub async fn start(client: Client, namespace: &str) -> Self {
        let history: Arc<Mutex<History>> = Arc::default();
        let policies: Api<NetworkPolicy> = Api::namespaced(client, namespace);
        let (listed, mut all) = tokio::sync::watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(follow(policies.clone(), Arc::clone(&history), listed));
        tasks.spawn(ask(policies, Arc::clone(&history)));
        all.wait_for(|listed| *listed).await.expect("a watch");
        while lock(&history).seen.is_empty() {
            tokio::time::sleep(ASK_INTERVAL).await;
        }
        Self { history, tasks }
    }

    /// Ends it, once it has seen all that was written until now.
    pub async fn end(mut self) -> History {
        let now = Instant::now();
        let is_current = || {
            let history = lock(&self.history);
            let last = history.seen.last().filter(|seen| seen.asked > now).map(|seen| seen.version);
            // A version may be that of another object: so the watch has to be quiet for a while too.
            last.is_some() && history.changes.last().is_none_or(|last| last.at.elapsed() > Duration::from_millis(500))
        };
        let limit = Instant::now() + Duration::from_secs(60);
        while !is_current() {
            assert!(Instant::now() < limit, "the policies do not come to rest");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.tasks.shutdown().await;
        std::mem::take(&mut *lock(&self.history))
    }
}

fn lock(history: &Mutex<History>) -> std::sync::MutexGuard<'_, History> {
    history.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn follow(policies: Api<NetworkPolicy>, history: Arc<Mutex<History>>, listed: tokio::sync::watch::Sender<bool>) {
    let mut events = watcher::watcher(policies, watcher::Config::default()).boxed();
    while let Some(event) = events.next().await {
        let (policy, is_there) = match event.expect("the test's own watch lasts") {
            Event::Init => {
                assert!(!*listed.borrow(), "a second list could hide a change");
                continue;
            }
            Event::InitDone => {
                lock(&history).begin_with_the_list(Instant::now());
                listed.send_replace(true);
                continue;
            }
            Event::InitApply(policy) | Event::Apply(policy) => (policy, true),
            Event::Delete(policy) => (policy, false),
        };
        let version = policy.resource_version().and_then(|version| version.parse().ok()).expect("a version");
        let mut owners = policy.owner_references().iter();
        let owner = owners.find(|owner| owner.kind == CitrixAllowlist::kind(&()));
        let networks = is_there.then(|| Networks::of(&policy));
        let resource = owner.expect("a resource owns it").name.clone();
        let change = PolicyChange { at: Instant::now(), version, policy: policy.name_any(), resource, networks };
        lock(&history).changes.push(change);
    }
}

async fn ask(policies: Api<NetworkPolicy>, history: Arc<Mutex<History>>) {
    let one = ListParams::default().limit(1);
    loop {
        let asked = Instant::now();
        let list = policies.list_metadata(&one).await.expect("the API server answers the test");
        let version = list.metadata.resource_version.and_then(|version| version.parse().ok()).expect("a version");
        lock(&history).seen.push(Seen { asked, answered: Instant::now(), version });
        tokio::time::sleep_until((asked + ASK_INTERVAL).into()).await;
    }
}

/// The policies at one version.
#[derive(Debug, Default)]
pub struct Policies(BTreeMap<String, (String, Networks)>);

impl Policies {
    pub fn change(&mut self, change: &PolicyChange) {
        match &change.networks {
            Some(networks) => drop(self.0.insert(change.policy.clone(), (change.resource.clone(), networks.clone()))),
            None => drop(self.0.remove(&change.policy)),
        }
    }

    /// Whether some policy of the resource allows connections to the address.
    pub fn allow(&self, resource: &str, address: IpAddr) -> bool {
        self.0.values().any(|(of, networks)| of == resource && networks.hold(address))
    }
}
