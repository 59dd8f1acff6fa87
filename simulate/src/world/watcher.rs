//! Looks at every version of every object.

use super::HOME;
use super::calls::replica_of;
use super::claims::{Claims, Newest};
use super::dns::Dns;
use super::history::History;
use super::laws::Law;
use super::policy;
use super::tenants::{POLICIES, RESOURCES};
use super::vendor::Vendor;
use crate::api::{ApiServer, StoreChange, Stored};
use citrix_allowlist::lock::lock;
use connectivity_allowlist::net::{canonical_set, cidr};
use ipnet::IpNet;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

/// How long one reconcile may take. First policies of which one is refused are taken back in it: all appear, or none.
const TAKEN_BACK: Duration = Duration::from_secs(60);

/// A resource: its namespace and name.
pub type Name = (String, String);

/// What is known of a resource.
#[derive(Debug, Default)]
pub struct Known {
    /// Its object, if it exists.
    pub object: Option<Value>,
    /// Every customer that it ever had.
    customers: BTreeSet<String>,
    /// The networks that each of its policies allows.
    pub policies: BTreeMap<String, BTreeSet<IpNet>>,
    /// Since when it has had a policy without a break.
    isolates_since: Option<Instant>,
    /// Whether somebody else changed what its policies allow. A successor does not trust an edited policy's addresses, so nobody
    /// promises any more that all of them stay.
    is_edited: bool,
    /// When its policies last lost addresses, and gained none.
    narrowed_at: Option<Instant>,
    /// When its policies last lost addresses.
    lost_at: Option<Instant>,
    /// When its policies were written that lost none, lately.
    written_at: Vec<Instant>,
    /// The newest list that its status has named.
    newest: Option<Newest>,
}

impl Known {
    /// The networks that its policies allow together.
    #[must_use]
    pub fn allowed(&self) -> Vec<IpNet> {
        canonical_set(self.policies.values().flatten().copied())
    }

    fn customer(&self) -> Option<&str> {
        self.object.as_ref()?["spec"]["customerId"].as_str()
    }
}

/// How long the writes of one reconcile take, when nothing is wrong.
const RECONCILED: Duration = Duration::from_secs(10);

/// How many versions of objects the operator wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WrittenCounts {
    /// Policies of a resource that just lost addresses.
    pub narrowed: usize,
    /// Policies otherwise.
    pub policies: usize,
    /// ConfigMaps.
    pub maps: usize,
    /// Histories.
    pub histories: usize,
    /// Resources, which is their status.
    pub statuses: usize,
}

#[derive(Debug)]
struct Inner {
    seen: u64,
    resources: BTreeMap<Name, Known>,
    /// What the operator wrote outside its own namespace.
    written: WrittenCounts,
    claims: Claims,
}

/// Watches every version. Clones are the same watcher.
#[derive(Clone)]
pub struct Watcher {
    api: ApiServer,
    history: History,
    inner: Arc<Mutex<Inner>>,
}

impl Watcher {
    pub fn new(api: ApiServer, vendor: Vendor, dns: Dns, history: History) -> Self {
        let (resources, written) = (BTreeMap::new(), WrittenCounts::default());
        let inner = Inner { seen: 0, resources, written, claims: Claims::new(vendor, dns) };
        Self { api, history, inner: Arc::new(Mutex::new(inner)) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// Looks at every change as it comes.
    pub async fn watch(self) {
        let mut ticks = self.api.ticks();
        while ticks.changed().await.is_ok() {
            self.look();
        }
    }

    /// What the operator wrote so far.
    pub fn written(&self) -> WrittenCounts {
        self.lock().written
    }

    /// Everything is as the operator wants it again.
    pub fn undone(&self) {
        self.lock().resources.values_mut().for_each(|known| known.is_edited = false);
    }

    /// Looks at what is known of each resource.
    pub fn each(&self, mut look: impl FnMut(&Name, &Known)) {
        self.lock().resources.iter().for_each(|(name, known)| look(name, known));
    }

    /// The account of the process that holds the Lease.
    pub fn holder(&self) -> Option<String> {
        self.api.read(|store| {
            let leases = store.kinds().find("coordination.k8s.io", "leases")?;
            let (_, lease) = store.objects(leases, Some(HOME)).next()?;
            Some(lease.value["spec"]["holderIdentity"].as_str()?.rsplit_once('_')?.0.to_owned())
        })
    }

    /// The resources that want a name, by their ConfigMaps, and the addresses among these that their policies do not allow.
    pub fn not_in_force(&self, name: &str, addresses: &[IpAddr]) -> Vec<(Name, IpAddr)> {
        self.look();
        let inner = self.lock();
        let wants = format!("\"name\":\"{name}\"");
        let wanting: BTreeSet<Name> = self.api.read(|store| {
            let Some(maps) = store.kinds().find("", "configmaps") else { return BTreeSet::new() };
            let text = |stored: &Stored| stored.value["data"]["endpoints.json"].as_str().map(str::to_owned);
            let having =
                store.objects(maps, None).filter(|(_, stored)| text(stored).is_some_and(|it| it.contains(&wants)));
            having.filter_map(|(key, stored)| Some((key.namespace.clone(), policy::owner(&stored.value)?))).collect()
        });
        let is_at_rest = |known: &Known| {
            let generation = known.object.as_ref().map(|object| &object["metadata"]["generation"]);
            let observed = known.object.as_ref().map(|object| &object["status"]["observedGeneration"]);
            // Nobody else changed its policies, and none of its own changes is on its way.
            generation.is_some()
                && generation == observed
                && !known.is_edited
                && !known.policies.is_empty()
                && known.lost_at.is_none_or(|at| at.elapsed() > TAKEN_BACK)
        };
        let judged = inner.resources.iter().filter(|(name, known)| wanting.contains(*name) && is_at_rest(known));
        let lacking = judged.flat_map(|(name, known)| {
            let allowed = known.allowed();
            let lacks = move |address: &&IpAddr| !cidr::covers(&allowed, &IpNet::from(**address));
            addresses.iter().filter(lacks).map(move |address| (name.clone(), *address))
        });
        lacking.collect()
    }

    /// Looks at the changes since the last time.
    pub fn look(&self) {
        let seen = self.lock().seen;
        let (changes, newest, kinds) = self.api.read(|store| {
            let kinds = [POLICIES, ("", "configmaps"), RESOURCES, ("coordination.k8s.io", "leases")];
            let kinds = kinds.map(|(group, plural)| store.kinds().known(group, plural));
            (store.changes(seen).cloned().collect::<Vec<StoreChange>>(), store.revision(), kinds)
        });
        let mut inner = self.lock();
        inner.seen = newest;
        for change in &changes {
            let kind = kinds.iter().position(|kind| *kind == Some(change.key.kind));
            let ours = replica_of(&change.by).is_some();
            match kind {
                Some(0) => {
                    self.policy(&mut inner, change, ours);
                }
                Some(1) if change.key.name.ends_with("-history") => inner.written.histories += usize::from(ours),
                Some(1) => inner.written.maps += usize::from(ours && change.key.namespace != HOME),
                Some(2) => {
                    inner.written.statuses += usize::from(ours);
                    self.resource(&mut inner, change);
                }
                Some(3) => {
                    self.lease(change);
                    continue;
                }
                _ => {}
            }
            if kind != Some(0) {
                self.note(change, "");
            }
        }
    }

    /// Only a new holder is worth a line.
    fn lease(&self, change: &StoreChange) {
        let holder = |stored: &Option<Arc<Stored>>| {
            stored.as_ref().and_then(|stored| Some(stored.value["spec"]["holderIdentity"].as_str()?.to_owned()))
        };
        let pod =
            |holder: Option<String>| holder.as_deref().and_then(|holder| Some(holder.rsplit_once('_')?.0.to_owned()));
        if holder(&change.before) != holder(&change.after) {
            self.history.note(&format!("{} the Lease is held by {:?}", change.revision, pod(holder(&change.after))));
        }
    }

    fn note(&self, change: &StoreChange, more: &str) {
        let verb = match (&change.before, &change.after) {
            (None, _) => "creates",
            (_, None) => "deletes",
            _ => "changes",
        };
        let newest = change.after.as_ref().or(change.before.as_ref());
        let kind = newest.and_then(|stored| stored.value["kind"].as_str()).unwrap_or_default();
        let by = if change.by.is_empty() { "the cluster" } else { &change.by };
        let place = (&change.key.namespace, &change.key.name);
        let status = newest.map(|stored| reported(&stored.value)).unwrap_or_default();
        self.history.note(&format!("{} {by} {verb} {kind} {}/{}{more}{status}", change.revision, place.0, place.1));
    }

    fn policy(&self, inner: &mut Inner, change: &StoreChange, ours: bool) {
        let name = &change.key.name;
        let owner = |stored: &Option<Arc<Stored>>| stored.as_ref().and_then(|stored| policy::owner(&stored.value));
        let (before_owner, after_owner) = (owner(&change.before), owner(&change.after));
        let place = |owner: String| (change.key.namespace.clone(), owner);
        if let Some(owner) = before_owner.clone().filter(|_| after_owner != before_owner)
            && let Some(known) = inner.resources.get_mut(&place(owner))
        {
            known.policies.remove(name);
        }
        if after_owner.is_none()
            && change.after.is_some()
            && let Some(owner) = &before_owner
            && let Some(known) = inner.resources.get_mut(&place(owner.clone()))
        {
            known.is_edited |= !ours;
            known.isolates_since = known.isolates_since.filter(|_| !known.policies.is_empty());
        }
        let owner = if change.after.is_some() { after_owner } else { before_owner };
        let Some(owner) = owner else { return self.note(change, "") };
        let owner = place(owner);
        let inner = &mut *inner;
        let known = inner.resources.entry(owner.clone()).or_default();
        let before = known.allowed();
        let mut broken = Vec::new();
        match &change.after {
            Some(stored) => {
                let (allowed, wrong) = policy::read(&stored.value, known.object.as_ref());
                broken.extend(wrong.map(|wrong| (Law::NeverEverything, wrong)));
                known.policies.insert(name.clone(), allowed);
            }
            None => drop(known.policies.remove(name)),
        }
        let after = known.allowed();
        let difference = |these: &[IpNet], those: &[IpNet], sign: char| -> String {
            let networks = these.iter().filter(|network| !cidr::covers(those, network));
            networks.map(|network| format!(" {sign}{network}")).collect()
        };
        let since = known.isolates_since;
        known.isolates_since = (!known.policies.is_empty()).then(|| since.unwrap_or_else(Instant::now));
        let is_taken_back = |since: Instant| change.after.is_none() && since.elapsed() < TAKEN_BACK;
        let (gained, lost) = (difference(&after, &before, '+'), difference(&before, &after, '-'));
        self.note(change, &format!("{gained}{lost}"));
        if !ours {
            known.is_edited |= !gained.is_empty() || !lost.is_empty();
            return;
        }
        let is_edited = known.is_edited;
        // What was recovered and is the spec's own too is named as such once the recovery ends.
        let is_renamed = change
            .before
            .as_ref()
            .zip(change.after.as_ref())
            .is_some_and(|(before, after)| policy::names_more(&before.value, &after.value));
        if !is_renamed {
            inner.written.policies += 1;
            known.written_at.retain(|at| at.elapsed() < RECONCILED);
            known.written_at.push(Instant::now());
        }
        if !lost.is_empty() {
            known.lost_at = Some(Instant::now());
        }
        if gained.is_empty() && !lost.is_empty() {
            known.narrowed_at = Some(Instant::now());
        }
        // Fewer addresses may need fewer policies: what is left moves, before and after, and the emptied ones go.
        if gained.is_empty() && known.narrowed_at.is_some_and(|at| at.elapsed() < RECONCILED) {
            let moved = std::mem::take(&mut known.written_at).len();
            inner.written.policies -= moved;
            inner.written.narrowed += moved;
        }
        // A resource that is gone has no claim: the cluster collects what it leaves.
        if let Some(customer) = known.customer().map(str::to_owned).filter(|_| !since.is_some_and(is_taken_back)) {
            if known.policies.is_empty() {
                broken.push((Law::LastPolicy, "its last policy is gone, and the user did not say so".to_owned()));
            }
            let customers = known.customers.clone();
            let kept = if !lost.is_empty() && !is_edited { inner.claims.kept(&customer) } else { Vec::new() };
            let lost = kept.iter().find(|network| cidr::covers(&before, network) && !cidr::covers(&after, network));
            broken
                .extend(lost.map(|network| (Law::NeverNarrower, format!("{network} is lost, and nobody withdrew it"))));
            let generation = known.object.as_ref().and_then(|object| object["metadata"]["generation"].as_i64());
            let newest = known
                .newest
                .as_ref()
                .filter(|newest| !is_edited && newest.customer == customer && Some(newest.generation) == generation);
            let taken = newest.and_then(|newest| inner.claims.taken_back(newest, &before, &after));
            broken.extend(taken.map(|network| {
                (Law::NeverOlder, format!("{network} is lost, and no list after the newest that status named lacks it"))
            }));
            // What somebody else opened may be in a policy until it is written again.
            if !is_edited {
                let ever = canonical_set(customers.iter().flat_map(|customer| inner.claims.ever(customer)));
                let wide = after.iter().find(|network| !cidr::covers(&ever, network));
                let wide = wide.map(|network| {
                    (Law::NeverWider, format!("{network} is allowed, and was neither listed nor answered"))
                });
                broken.extend(wide);
            }
        }
        for (law, what) in broken {
            self.history
                .violated(law, &format!("{}/{} in {name} at revision {}: {what}", owner.0, owner.1, change.revision));
        }
    }

    fn resource(&self, inner: &mut Inner, change: &StoreChange) {
        let known = inner.resources.entry((change.key.namespace.clone(), change.key.name.clone())).or_default();
        let live = change.after.as_ref().filter(|stored| !stored.is_deleting());
        known.object = live.map(|stored| stored.value.clone());
        known.customers.extend(known.customer().map(str::to_owned));
        let (object, allowed) = (known.object.as_ref(), known.allowed());
        let newest = object.and_then(|object| inner.claims.newest(object, known.newest.as_ref(), &allowed));
        if newest.is_some() {
            known.newest = newest;
        }
    }
}

/// What a resource's status reports, for the timeline; empty for other objects.
fn reported(object: &Value) -> String {
    let conditions = object["status"]["conditions"].as_array();
    let ready = conditions.and_then(|conditions| conditions.iter().find(|condition| condition["type"] == "Ready"));
    let Some(reason) = ready.and_then(|ready| ready["reason"].as_str()) else { return String::new() };
    format!(": {reason}, list {}", object["status"]["feed"]["version"].as_str().unwrap_or("none"))
}
