//! Watches every version of every policy of a namespace and holds each against what was ever published: none may be
//! narrower than the last good, nor wider than the lists and the answers.

use citrix_allowlist::crd::FIELD_MANAGER;
use citrix_allowlist::engines::network_policy::evaluate::{Connection, evaluate};
use citrix_allowlist::engines::network_policy::fold;
use connectivity_allowlist::net::{Direction, Protocol};
use futures::StreamExt;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{WatchStreamExt, utils::Backoff};
use kube::{Api, Client, ResourceExt};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;

/// What a policy opens to one address: TCP on one port, outbound.
pub type Opening = (Ipv4Addr, u16);

/// What the policies should say by now, and what they may say meanwhile.
#[derive(Debug, Default)]
struct Truth {
    /// What the newest list and answers open.
    newest: BTreeSet<Opening>,
    /// What every list and answer since the beginning opened: no version may lack any of it.
    floor: Option<BTreeSet<Opening>>,
    /// What any list or answer opened: no version may have anything beyond it.
    ceiling: BTreeSet<Opening>,
    /// What pods' questions may open beside that: each stays, from the first version that has it.
    learned: BTreeSet<Opening>,
    /// Whether policies may be away: before the first, and where a test itself removes them.
    may_be_absent: bool,
}

/// What was seen of the policies.
#[derive(Debug, Default)]
struct Seen {
    policies: BTreeMap<String, NetworkPolicy>,
    /// What of that which may be learned some version had.
    learned: BTreeSet<Opening>,
    /// Whether the first are not all there yet.
    incomplete: bool,
    /// Whether a test removed some and has not said since that they are back. Meanwhile the operator may act on what it
    /// knew: what it moves to a policy that the test removes is lost by the test's doing.
    removed: bool,
    versions: usize,
    strangers: usize,
    relists: usize,
    violations: Vec<String>,
    /// What came in which order, for a failure's message.
    history: Vec<String>,
}

/// The recorder; dropped, it stops.
pub struct Recorder {
    truth: Arc<Mutex<Truth>>,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

/// What a recorder has seen, all in all.
#[derive(Debug, PartialEq, Eq)]
pub struct Tally {
    /// Versions of policies that were checked.
    pub versions: usize,
    /// Versions that somebody else had written.
    pub strangers: usize,
    /// How often the watch itself had to list again.
    pub relists: usize,
}

struct Soon;

impl Iterator for Soon {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::from_millis(100))
    }
}

impl Backoff for Soon {
    fn reset(&mut self) {}
}

impl Recorder {
    /// Starts to watch the policies of a namespace.
    pub fn start(client: Client, namespace: &str) -> Self {
        let truth = Arc::new(Mutex::new(Truth { may_be_absent: true, ..Truth::default() }));
        // The first policies come one after the other.
        let seen = Arc::new(Mutex::new(Seen { incomplete: true, ..Seen::default() }));
        let api = Api::<NetworkPolicy>::namespaced(client, namespace);
        let (of_truth, of_seen) = (Arc::clone(&truth), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).backoff(Soon));
            let mut listed = BTreeMap::new();
            while let Some(event) = events.next().await {
                let Ok(event) = event else { continue };
                let (truth, mut seen) = (lock(&of_truth), lock(&of_seen));
                match event {
                    Event::Init => {
                        listed.clear();
                        seen.relists += 1;
                    }
                    Event::InitApply(policy) => drop(listed.insert(policy.name_any(), policy)),
                    // A list is of one moment: its policies count together.
                    Event::InitDone => seen.replace(std::mem::take(&mut listed), &truth),
                    Event::Apply(policy) => seen.take(policy, &truth),
                    Event::Delete(policy) => seen.lose(&policy.name_any(), &truth),
                }
            }
        });
        Self { truth, seen, task }
    }

    /// These openings are about to become the newest.
    pub fn publish(&self, newest: BTreeSet<Opening>) {
        let mut truth = lock(&self.truth);
        truth.ceiling.extend(newest.iter().copied());
        let floor = match truth.floor.take() {
            Some(floor) => floor.intersection(&newest).copied().collect(),
            None => newest.clone(),
        };
        truth.floor = Some(floor);
        truth.newest = newest;
    }

    /// A pod is about to ask for a name that opens these. They are open once they are learned, and stay.
    pub fn may_learn(&self, openings: impl IntoIterator<Item = Opening>) {
        lock(&self.truth).learned.extend(openings);
    }

    /// From here on policies are there, until a test says otherwise.
    pub fn may_be_absent(&self, may: bool) {
        let (mut truth, mut seen) = (lock(&self.truth), lock(&self.seen));
        truth.may_be_absent = may;
        seen.history.push(format!("may be absent: {may}"));
        seen.removed &= may;
    }

    /// Whether the policies, as last seen, open exactly the newest, and nothing beside it but what is learned.
    pub fn is_newest(&self) -> bool {
        let (truth, seen) = (lock(&self.truth), lock(&self.seen));
        let policies: Vec<NetworkPolicy> = seen.policies.values().cloned().collect();
        let open: BTreeSet<Opening> = policies.iter().flat_map(openings).collect();
        let may_be_open = |opening: &Opening| truth.newest.contains(opening) || truth.learned.contains(opening);
        open.is_superset(&truth.newest) && open.iter().all(may_be_open)
    }

    /// Whether the policies, as last seen, open all that may be learned.
    pub fn has_learned_all(&self) -> bool {
        let (truth, seen) = (lock(&self.truth), lock(&self.seen));
        let open: BTreeSet<Opening> = seen.policies.values().flat_map(openings).collect();
        open.is_superset(&truth.learned)
    }

    /// Whether these addresses may be open by the newest list and answers, or by what is learned.
    pub fn may_open(&self, address: Ipv4Addr) -> bool {
        let truth = lock(&self.truth);
        truth.newest.iter().chain(&truth.learned).any(|(known, _)| *known == address)
    }

    /// What differs from the newest, for a failure's message.
    pub fn difference(&self) -> String {
        let (truth, seen) = (lock(&self.truth), lock(&self.seen));
        let open: BTreeSet<Opening> = seen.policies.values().flat_map(openings).collect();
        let lacking: Vec<_> = truth.newest.difference(&open).take(5).collect();
        let beyond: Vec<_> = open.difference(&truth.newest).take(5).collect();
        let names: Vec<_> = seen.policies.keys().collect();
        format!("policies {names:?} lack {lacking:?} and have {beyond:?} beyond")
    }

    /// What was seen.
    ///
    /// # Panics
    /// Where a version was narrower or wider than it may be.
    pub fn verdict(&self) -> Tally {
        let seen = lock(&self.seen);
        assert!(
            seen.violations.is_empty(),
            "{} violations, first: {:#?}, after {:#?}",
            seen.violations.len(),
            &seen.violations[..seen.violations.len().min(3)],
            seen.history
        );
        Tally { versions: seen.versions, strangers: seen.strangers, relists: seen.relists }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Seen {
    fn take(&mut self, policy: NetworkPolicy, truth: &Truth) {
        self.count(&policy);
        let name = policy.name_any();
        let version = policy.metadata.resource_version.clone().unwrap_or_default();
        let (opens, strangers) = (openings(&policy).len(), is_strangers(&policy));
        self.history.push(format!("{name} at {version} opens {opens}, a stranger's: {strangers}"));
        self.policies.insert(name.clone(), policy);
        self.check(&format!("with {name} at version {version}"), truth);
    }

    fn replace(&mut self, policies: BTreeMap<String, NetworkPolicy>, truth: &Truth) {
        policies.values().for_each(|policy| self.count(policy));
        let before = std::mem::replace(&mut self.policies, policies);
        let gone: Vec<&String> = before.keys().filter(|name| !self.policies.contains_key(*name)).collect();
        if !self.policies.is_empty() || before.is_empty() {
            self.removed |= truth.may_be_absent && !gone.is_empty();
            return self.check("after a list", truth);
        }
        before.into_keys().for_each(|name| self.lose(&name, truth));
    }

    fn count(&mut self, policy: &NetworkPolicy) {
        self.versions += 1;
        self.strangers += usize::from(is_strangers(policy));
    }

    /// Holds what is there against what may be.
    fn check(&mut self, when: &str, truth: &Truth) {
        let all: Vec<NetworkPolicy> = self.policies.values().cloned().collect();
        if all.is_empty() || all.iter().any(is_strangers) {
            return;
        }
        let lacking = self.lacking(truth);
        self.incomplete &= !lacking.is_empty();
        if !self.incomplete && !self.removed {
            self.violations.extend(
                lacking
                    .into_iter()
                    .map(|opening| format!("{when}, policies are narrower than the last good: {opening:?}")),
            );
        }
        for opening in all.iter().flat_map(openings) {
            if truth.learned.contains(&opening) {
                self.learned.insert(opening);
            } else if !truth.ceiling.contains(&opening) {
                self.violations.push(format!("{when}, policies are wider than the list: {opening:?}"));
            }
        }
        for policy in &all {
            if let Some(why) = opens_everything(policy) {
                self.violations.push(format!("{when}, a policy {why}"));
            }
        }
    }

    fn lose(&mut self, name: &str, truth: &Truth) {
        self.policies.remove(name);
        self.history.push(format!("{name} is gone, as it may: {}", truth.may_be_absent));
        if truth.may_be_absent {
            self.removed = true;
        } else if let Some(opening) = self.lacking(truth).first() {
            self.violations.push(format!("{name} was deleted, and nothing else holds {opening:?}"));
        }
    }

    /// What no policy holds of what no version may lack.
    fn lacking(&self, truth: &Truth) -> Vec<Opening> {
        let all: Vec<NetworkPolicy> = self.policies.values().cloned().collect();
        let floor = truth.floor.iter().flatten().chain(&self.learned);
        floor.filter(|opening| !allows(&all, **opening)).copied().collect()
    }
}

/// Whether somebody else changed what the operator wrote, or cut it out.
fn is_strangers(policy: &NetworkPolicy) -> bool {
    let ours = policy.metadata.managed_fields.iter().flatten().any(|entry| {
        let holds = entry.fields_v1.as_ref().is_some_and(|fields| fields.0["f:spec"].get("f:egress").is_some());
        entry.manager.as_deref() == Some(FIELD_MANAGER) && holds
    });
    !ours || fold(policy).edited_by.is_some()
}

fn allows(policies: &[NetworkPolicy], (address, port): Opening) -> bool {
    let peer = IpAddr::V4(address);
    evaluate(policies, Connection { direction: Direction::Outbound, peer, protocol: Protocol::Tcp, port }).is_allowed()
}

/// Everything that a policy's egress opens, address by address. Test lists are small enough for that.
fn openings(policy: &NetworkPolicy) -> Vec<Opening> {
    let rules = policy.spec.iter().flat_map(|spec| spec.egress.iter().flatten());
    let mut openings = Vec::new();
    for rule in rules {
        let ports: Vec<u16> = rule
            .ports
            .iter()
            .flatten()
            .filter_map(|port| match port.port.as_ref()? {
                IntOrString::Int(first) => {
                    let last = port.end_port.unwrap_or(*first);
                    Some((*first..=last).filter_map(|port| u16::try_from(port).ok()))
                }
                IntOrString::String(_) => None,
            })
            .flatten()
            .collect();
        for peer in rule.to.iter().flatten() {
            let Some(block) = &peer.ip_block else { continue };
            let Ok(network) = block.cidr.parse::<ipnet::Ipv4Net>() else { continue };
            let addresses = u32::from(network.network())..=u32::from(network.broadcast());
            for address in addresses.take(4096) {
                openings.extend(ports.iter().map(|port| (Ipv4Addr::from(address), *port)));
            }
        }
    }
    openings
}

fn opens_everything(policy: &NetworkPolicy) -> Option<&'static str> {
    let spec = policy.spec.as_ref()?;
    for rule in spec.egress.iter().flatten() {
        if rule.to.as_ref().is_none_or(Vec::is_empty) {
            return Some("opens every address");
        }
        if rule.ports.as_ref().is_none_or(Vec::is_empty) {
            return Some("opens every port");
        }
    }
    None
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
