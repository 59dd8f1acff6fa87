//! What becomes of each request to the API server: faults, processes that die in the middle of a write, and who may still write.

use super::HOME;
use super::history::History;
use super::laws::Law;
use crate::api::{ApiFailure, Call, Fate, Key, Store};
use citrix_allowlist::cluster::lease;
use citrix_allowlist::lock::lock;
use fastrand::Rng;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::task::AbortHandle;

/// How long a request or an answer takes at most, in microseconds, where that is not nothing.
const LATENCY: u64 = 15_000;

/// How a request fails.
#[derive(Clone, Copy, Debug)]
pub enum CallFault {
    /// It arrives, and its answer, after half this time each.
    Slow(Duration),
    /// 500.
    Refused,
    /// 429.
    Throttled,
    /// 403.
    Forbidden,
    /// The connection breaks before it arrives.
    Broken,
    /// It is carried out, and the connection breaks before its answer.
    AnswerBroken,
    /// It never arrives, and nothing says so.
    Silent,
    /// It is carried out, and its answer never arrives.
    AnswerSilent,
}

impl CallFault {
    fn fate(self) -> Fate {
        match self {
            Self::Slow(time) => Fate::Slow { request: time / 2, answer: time / 2 },
            Self::Refused => Fate::Refused(ApiFailure::internal("an outage")),
            Self::Throttled => Fate::Refused(ApiFailure::too_many_requests(1)),
            Self::Forbidden => {
                let subject = crate::api::Subject { group: "", kind: "objects", name: "" };
                Fate::Refused(ApiFailure::forbidden(subject, "no rights"))
            }
            Self::Broken => Fate::Broken,
            Self::AnswerBroken => Fate::AnswerBroken,
            Self::Silent => Fate::Silent,
            Self::AnswerSilent => Fate::AnswerSilent,
        }
    }
}

/// Which requests fail, how, and how often.
#[derive(Clone, Debug)]
pub struct CallRule {
    /// Those of a replica; `None` for all.
    pub replica: Option<usize>,
    /// Those about a resource in a namespace; `None` for all.
    pub about: Option<(&'static str, Option<usize>)>,
    /// Only writes.
    pub writes: bool,
    /// How.
    pub fault: CallFault,
    /// How many of 256.
    pub often: u8,
}

impl CallRule {
    fn meets(&self, call: &Call) -> bool {
        let replica = replica_of(&call.account);
        let namespace = |number: usize| call.namespace.as_deref() == Some(&*super::namespace_of(number));
        replica.is_some()
            && self.replica.is_none_or(|number| Some(number) == replica)
            && (!self.writes || call.is_write())
            && self.about.is_none_or(|(plural, of)| call.plural == plural && of.is_none_or(namespace))
    }
}

/// When a process dies.
#[derive(Clone, Copy, Debug)]
struct Trap {
    /// After so many more writes.
    writes: u32,
    /// Whether the last of them is carried out.
    carried_out: bool,
}

#[derive(Debug)]
struct Process {
    task: AbortHandle,
    trap: Option<Trap>,
}

#[derive(Debug)]
struct State {
    random: Rng,
    processes: BTreeMap<String, Process>,
    /// The rules of the faults that last, by their numbers.
    rules: BTreeMap<usize, CallRule>,
    history: History,
    /// Whether requests and answers take some time.
    has_latency: bool,
}

/// The fates of all requests. Clones are the same.
#[derive(Clone, Debug)]
pub struct Calls(Arc<Mutex<State>>);

/// The account of a process of a replica.
pub fn account(replica: usize, incarnation: usize) -> String {
    format!("replica-{replica}-{incarnation}")
}

/// The replica of an account; `None` for a tenant or the cluster.
pub fn replica_of(account: &str) -> Option<usize> {
    account.strip_prefix("replica-")?.split('-').next()?.parse().ok()
}

impl Calls {
    pub fn new(random: Rng, history: History, has_latency: bool) -> Self {
        let state = State { random, processes: BTreeMap::new(), rules: BTreeMap::new(), history, has_latency };
        Self(Arc::new(Mutex::new(state)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    /// A process begins.
    pub fn began(&self, account: String, task: AbortHandle) {
        self.lock().processes.insert(account, Process { task, trap: None });
    }

    /// Whether a process was neither killed nor trapped.
    pub fn lives(&self, account: &str) -> bool {
        self.lock().processes.contains_key(account)
    }

    /// A process is no more: none of its requests arrives any longer.
    pub fn killed(&self, account: &str) {
        if let Some(process) = self.lock().processes.remove(account) {
            process.task.abort();
        }
    }

    /// Lets a process die in the middle of a write.
    pub fn trap(&self, account: &str, writes: u32, carried_out: bool) {
        if let Some(process) = self.lock().processes.get_mut(account) {
            process.trap = Some(Trap { writes, carried_out });
        }
    }

    /// Nothing that a replica sends arrives.
    pub fn cut_off(&self, number: usize, replica: usize) {
        let rule =
            CallRule { replica: Some(replica), about: None, writes: false, fault: CallFault::Silent, often: u8::MAX };
        self.add(number, rule);
    }

    /// Adds the rule of a fault.
    pub fn add(&self, number: usize, rule: CallRule) {
        self.lock().rules.insert(number, rule);
    }

    /// Takes it away.
    pub fn remove(&self, number: usize) {
        self.lock().rules.remove(&number);
    }

    /// Decides about a request.
    pub fn fate(&self, call: &Call, store: &Store) -> Fate {
        let mut state = self.lock();
        if replica_of(&call.account).is_none() {
            return Fate::Served;
        }
        if !state.processes.contains_key(&call.account) {
            return Fate::Silent;
        }
        if call.is_write() {
            state.one_writer(call, store);
            if let Some(fate) = state.trapped(call) {
                return fate;
            }
        }
        let State { random, rules, has_latency, .. } = &mut *state;
        let mut met = rules.values().filter(|rule| rule.meets(call));
        match met.find(|rule| random.u8(..) <= rule.often) {
            Some(rule) => rule.fault.fate(),
            None if *has_latency => {
                let mut some = || Duration::from_micros(random.u64(100..LATENCY));
                Fate::Slow { request: some(), answer: some() }
            }
            None => Fate::Served,
        }
    }
}

impl State {
    /// Writes are sent by the holder of the Lease alone: by whom the API server has as such, at that moment.
    fn one_writer(&self, call: &Call, store: &Store) {
        let is_fenced = match &*call.plural {
            "networkpolicies" | "configmaps" => true,
            "citrixallowlists" => call.subresource.as_deref() == Some("status"),
            _ => false,
        };
        let Some(kind) = store.kinds().find("coordination.k8s.io", "leases").filter(|_| is_fenced) else { return };
        let key = Key { kind, namespace: HOME.to_owned(), name: lease::NAME.to_owned() };
        let held = store.get(&key).and_then(|lease| lease.value["spec"]["holderIdentity"].as_str());
        if held.and_then(lease::pod_of) != Some(&call.account) {
            let name = call.name.as_deref().unwrap_or_default();
            let what =
                format!("{} sends a write of {} {name}, and {held:?} holds the Lease", call.account, call.plural);
            self.history.violated(Law::OneWriter, &what);
        }
    }

    fn trapped(&mut self, call: &Call) -> Option<Fate> {
        let process = self.processes.get_mut(&call.account)?;
        let trap = process.trap.as_mut()?;
        trap.writes = trap.writes.saturating_sub(1);
        if trap.writes > 0 {
            return None;
        }
        let fate = if trap.carried_out { Fate::AnswerSilent } else { Fate::Silent };
        process.task.abort();
        self.processes.remove(&call.account);
        self.history.note(&format!("{} dies in a write of {} {:?}", call.account, call.plural, call.name));
        Some(fate)
    }
}
