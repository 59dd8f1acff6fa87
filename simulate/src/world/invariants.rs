//! What must hold at every version of every object, and once nothing is wrong any more.

use super::dns::Dns;
use super::history::History;
use super::vendor::Vendor;
use super::World;
use crate::api::{ApiServer, StoreChange as Change, Stored};
use connectivity_allowlist::net::{canonical_set, cidr};
use ipnet::IpNet;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long an answer must be kept at least, whatever else happens. The operator's own retention is longer.
const KEPT: Duration = Duration::from_secs(600);
/// How long the operator may take to mend everything once nothing is wrong any more: its longest backoffs, and one more fetch.
const BOUND: Duration = Duration::from_secs(40 * 60);
/// How long nothing may be written after that.
const QUIET: Duration = Duration::from_secs(600);

/// The networks that one policy allows.
type Allowed = BTreeSet<IpNet>;
/// A resource: its namespace and name.
type Resource = (String, String);

#[derive(Debug, Default)]
struct Inner {
    seen: u64,
    policies: BTreeMap<Resource, BTreeMap<String, Allowed>>,
    customers: BTreeMap<Resource, String>,
    violation: Option<String>,
    /// How many versions of policies and ConfigMaps there were.
    written: usize,
}

/// Watches every version. Clones are the same watcher.
#[derive(Clone)]
pub struct Watcher {
    api: ApiServer,
    vendor: Vendor,
    dns: Dns,
    history: History,
    inner: Arc<Mutex<Inner>>,
}

impl Watcher {
    pub fn new(api: ApiServer, vendor: Vendor, dns: Dns, history: History) -> Self {
        Self { api, vendor, dns, history, inner: Arc::default() }
    }

    /// Looks at every change as it comes.
    pub async fn watch(self) {
        let mut ticks = self.api.ticks();
        while ticks.changed().await.is_ok() {
            self.look(false);
        }
    }

    /// Looks at the changes since the last time. `vandal`: they are a tenant's own, and nobody promised anything.
    pub fn look(&self, vandal: bool) {
        let seen = self.lock().seen;
        let (changes, newest, kinds) = self.api.read(|store| {
            let kinds = [("networking.k8s.io", "networkpolicies"), ("", "configmaps"), ("citrix-allowlist.io", "citrixallowlists")];
            let kinds = kinds.map(|(group, plural)| store.kinds().find(group, plural));
            (store.changes(seen).cloned().collect::<Vec<Change>>(), store.revision(), kinds)
        });
        let mut inner = self.lock();
        inner.seen = newest;
        for change in &changes {
            self.note(change);
            if Some(change.key.kind) == kinds[0] {
                inner.written += 1;
                self.policy(&mut inner, change, vandal);
            } else if Some(change.key.kind) == kinds[1] && change.key.namespace != super::HOME {
                inner.written += 1;
            } else if Some(change.key.kind) == kinds[2]
                && let Some(after) = &change.after
            {
                let customer = after.value["spec"]["customerId"].as_str().unwrap_or_default().to_owned();
                inner.customers.insert((change.key.namespace.clone(), change.key.name.clone()), customer);
            }
        }
    }

    fn note(&self, change: &Change) {
        let verb = match (&change.before, &change.after) {
            (None, _) => "created",
            (_, None) => "deleted",
            _ => "changed",
        };
        let kind = change.after.as_ref().or(change.before.as_ref()).map_or("", |stored| stored.value["kind"].as_str().unwrap_or_default());
        self.history.note(&format!("{} {verb} {kind} {}/{}", change.revision, change.key.namespace, change.key.name));
    }

    fn policy(&self, inner: &mut Inner, change: &Change, vandal: bool) {
        let Some(owner) = change.after.as_ref().or(change.before.as_ref()).and_then(|stored| owner(stored)) else { return };
        let resource = (change.key.namespace.clone(), owner);
        let policies = inner.policies.entry(resource.clone()).or_default();
        let before = canonical_set(policies.values().flatten().copied());
        match &change.after {
            Some(after) => {
                match allowed(&after.value) {
                    Ok(networks) => drop(policies.insert(change.key.name.clone(), networks)),
                    Err(what) => inner.violation = inner.violation.take().or_else(|| Some(format!("{}: {what}", change.key.name))),
                };
            }
            None => drop(policies.remove(&change.key.name)),
        }
        let policies = inner.policies.entry(resource.clone()).or_default();
        let after = canonical_set(policies.values().flatten().copied());
        let (none_left, count) = (policies.is_empty(), after.len());
        let Some(customer) = inner.customers.get(&resource).cloned() else { return };
        let mut wrong = Vec::new();
        let ever = self.ever(&customer);
        wrong.extend(after.iter().filter(|network| !cidr::covers(&ever, network)).map(|network| format!("{network} is allowed, and nobody ever listed or answered it")));
        if !vandal {
            if none_left {
                wrong.push("its last policy is gone, and the user did not say so".to_owned());
            }
            let kept = self.kept(&customer).into_iter();
            let lost = kept.filter(|network| cidr::covers(&before, network) && !cidr::covers(&after, network));
            wrong.extend(lost.map(|network| format!("{network} is lost, and nobody withdrew it")));
        }
        if let Some(first) = wrong.first() {
            let what = format!("{}/{} at revision {} ({count} networks): {first}", resource.0, resource.1, change.revision);
            self.history.note(&format!("VIOLATION {what}"));
            inner.violation.get_or_insert(what);
        }
    }

    /// Everything that was ever listed for a customer, or answered for its names.
    fn ever(&self, customer: &str) -> Vec<IpNet> {
        let versions = self.vendor.versions(customer);
        let networks = versions.iter().flat_map(|version| &version.content.networks).filter_map(|text| text.parse().ok());
        let names: BTreeSet<&String> = versions.iter().flat_map(|version| &version.content.names).collect();
        let answered = self.dns.answered();
        let addresses = answered.keys().filter(|(name, _)| names.contains(name)).map(|(_, address)| IpNet::from(*address));
        canonical_set(networks.chain(addresses))
    }

    /// What every version of a customer's list has had, and was answered a short time ago: that may not be lost.
    fn kept(&self, customer: &str) -> Vec<IpNet> {
        let versions = self.vendor.versions(customer);
        let Some(last) = versions.last() else { return Vec::new() };
        let in_all = |network: &&String| versions.iter().all(|version| version.content.networks.contains(*network));
        let networks = last.content.networks.iter().filter(in_all).filter_map(|text| text.parse().ok());
        let names: BTreeSet<&String> =
            last.content.names.iter().filter(|name| versions.iter().all(|version| version.content.names.contains(*name))).collect();
        let now = Instant::now();
        let answered = self.dns.answered();
        let recent = answered.iter().filter(|((name, _), (at, _))| names.contains(name) && now.duration_since(*at) < KEPT);
        networks.chain(recent.map(|((_, address), _)| IpNet::from(*address))).collect()
    }

    /// What did not hold so far.
    ///
    /// # Errors
    /// The first violation.
    pub fn result(&self) -> Result<(), String> {
        let (most, _) = self.vendor.requests();
        let inner = self.lock();
        match &inner.violation {
            Some(what) => Err(what.clone()),
            None if most > super::vendor::RATE => Err(format!("the vendor got {most} requests in a minute")),
            None => Ok(()),
        }
    }

    fn written(&self) -> usize {
        self.lock().written
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World {
    /// Waits until status says of every resource that its policies are applied, and then sees that nothing is written any more.
    ///
    /// # Errors
    /// What does not settle in time.
    pub(super) async fn settle(&mut self) -> Result<(), String> {
        let began = Instant::now();
        loop {
            tokio::time::sleep(Duration::from_secs(30)).await;
            self.watcher.result()?;
            let unready = self.unready();
            match unready.first() {
                None => break,
                Some(first) if began.elapsed() > BOUND => {
                    return Err(format!("{} of {} resources are not Ready {BOUND:?} after the last fault: {first}", unready.len(), self.size.resources));
                }
                Some(_) => {}
            }
        }
        self.history.note("settled");
        // A last confirmation may still be on its way.
        tokio::time::sleep(BOUND.saturating_sub(began.elapsed())).await;
        let before = self.watcher.written();
        tokio::time::sleep(QUIET).await;
        self.watcher.result()?;
        match self.watcher.written() - before {
            // Each name has four addresses and answers with two: the others come in turn.
            _ if self.rotates() => Ok(()),
            0 => Ok(()),
            written => Err(format!("{written} writes in {QUIET:?} in which nothing happened")),
        }
    }

    const fn rotates(&self) -> bool {
        true
    }

    fn unready(&self) -> Vec<String> {
        self.api.read(|store| {
            let Some(kind) = store.kinds().find("citrix-allowlist.io", "citrixallowlists") else { return Vec::new() };
            let unready = store.objects(kind, None).filter(|(_, stored)| !is_ready(&stored.value));
            unready.map(|(key, stored)| format!("{}/{}: {}", key.namespace, key.name, ready(&stored.value))).collect()
        })
    }
}

fn condition<'a>(object: &'a Value) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == "Ready")
}

fn is_ready(object: &Value) -> bool {
    condition(object).is_some_and(|condition| {
        condition["status"] == "True" && condition["observedGeneration"] == object["metadata"]["generation"]
    })
}

fn ready(object: &Value) -> String {
    condition(object).map_or_else(|| "no status".to_owned(), |condition| format!("{} {}", condition["reason"], condition["message"]))
}

fn owner(stored: &Stored) -> Option<String> {
    let owner = stored.value["metadata"]["ownerReferences"].as_array()?.first()?;
    owner["name"].as_str().map(str::to_owned)
}

/// The networks that a policy allows, without the cluster's DNS.
fn allowed(policy: &Value) -> Result<Allowed, String> {
    let mut networks = Allowed::new();
    let rules = [("egress", "to"), ("ingress", "from")].into_iter();
    for (rule, peers) in rules.flat_map(|(rules, peers)| policy["spec"][rules].as_array().into_iter().flatten().map(move |rule| (rule, peers))) {
        let peers = rule[peers].as_array().filter(|peers| !peers.is_empty()).ok_or("a rule for everybody")?;
        let ports = rule["ports"].as_array().filter(|ports| !ports.is_empty()).ok_or("a rule on every port")?;
        if ports.iter().all(|port| port["port"] == 53) {
            continue;
        }
        for peer in peers {
            let Some(text) = peer["ipBlock"]["cidr"].as_str() else { continue };
            let network: IpNet = text.parse().map_err(|_| format!("`{text}` is no network"))?;
            if network.prefix_len() == 0 {
                return Err(format!("{network} is everything"));
            }
            networks.insert(network);
        }
    }
    Ok(networks)
}
