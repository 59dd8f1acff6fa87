//! A model of the Kubernetes API server, in process: no sockets, no threads, no clock and no chance of its own.
//!
//! [`ApiServer::client`] makes a client of kube that speaks to it. The world sets its faults, rights and admission
//! ([`Hooks`]), and steps the cluster's controllers ([`Store::collect_garbage`], [`Store::terminate_namespaces`]).

mod admission;
mod call;
mod controllers;
mod delete;
mod failure;
mod faults;
mod fields;
mod hands;
mod kinds;
mod managed;
mod merge;
mod prepare;
mod read;
mod rights;
mod schema;
mod select;
mod service;
mod store;
mod validate;
mod watch;
mod write;

pub use admission::{Admission, Admit, Phase, quota};
pub use call::Call;
pub use failure::{ApiFailure, Subject};
pub use faults::{Fate, Fates, Hooks, WatchFault};
pub use kinds::{ApiKind, Kinds};
pub use rights::Rights;
pub use service::{AnswerBody, ApiConnection};
pub use store::{Key, Store, StoreChange, Stored, WorldClock};

use citrix_allowlist::lock::lock;
use kube::Client;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::watch as signal;

/// A server. Clones are the same server.
#[derive(Clone)]
pub struct ApiServer {
    state: Arc<Mutex<State>>,
    ticks: signal::Sender<u64>,
}

/// Which requests are meant.
pub type WhichCalls = Box<dyn Fn(&Call) -> bool + Send>;

/// Everything that a server knows.
struct State {
    store: Store,
    hooks: Hooks,
    watches: BTreeMap<u64, OpenWatch>,
    /// The watches on which nothing arrives, whenever they are opened, by the numbers of the faults.
    holds: BTreeMap<usize, WhichCalls>,
    next_watch: u64,
    ticks: signal::Sender<u64>,
}

/// A watch that a client has open.
#[derive(Clone, Debug)]
struct OpenWatch {
    call: Call,
    fault: WatchFault,
    since: u64,
}

impl fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiServer").finish_non_exhaustive()
    }
}

impl ApiServer {
    /// A server of these kinds. `clock` tells the time of its objects; `seed` decides uids and generated names.
    #[must_use]
    pub fn new(kinds: Kinds, clock: WorldClock, seed: u64) -> Self {
        let ticks = signal::Sender::new(0);
        let state = State {
            store: Store::new(kinds, clock, seed),
            hooks: Hooks::default(),
            watches: BTreeMap::new(),
            holds: BTreeMap::new(),
            next_watch: 0,
            ticks: ticks.clone(),
        };
        Self { state: Arc::new(Mutex::new(state)), ticks }
    }

    /// A client of an account.
    #[must_use]
    pub fn client(&self, account: &str, namespace: &str) -> Client {
        Client::new(ApiConnection::new(self.clone(), account.to_owned()), namespace)
    }

    /// Reads the objects.
    pub fn read<T>(&self, look: impl FnOnce(&Store) -> T) -> T {
        look(&self.lock().store)
    }

    /// Changes with every revision.
    #[must_use]
    pub fn ticks(&self) -> signal::Receiver<u64> {
        self.ticks.subscribe()
    }

    /// Changes faults, rights and admission.
    pub fn set<T>(&self, act: impl FnOnce(&mut Hooks) -> T) -> T {
        act(&mut self.lock().hooks)
    }

    /// Lets a fault come over the open watches that `which` names, or takes it away. Returns how many there are.
    pub fn fault_watches(&self, fault: WatchFault, which: impl Fn(&Call) -> bool) -> usize {
        let mut state = self.lock();
        let mut count = 0;
        for open in state.watches.values_mut().filter(|open| which(&open.call)) {
            open.fault = fault;
            count += 1;
        }
        drop(state);
        self.tick();
        count
    }

    /// Nothing arrives on the watches that `which` names, now or opened later, until [`Self::release_watches`] with this number.
    pub fn hold_watches(&self, number: usize, which: WhichCalls) {
        self.lock().holds.insert(number, which);
        self.tick();
    }

    /// What was held arrives, where the watch still is open.
    pub fn release_watches(&self, number: usize) {
        self.lock().holds.remove(&number);
        self.tick();
    }

    /// The open watches, each with the newest revision that it has shown.
    #[must_use]
    pub fn open_watches(&self) -> Vec<(Call, u64)> {
        self.lock().watches.values().map(|open| (open.call.clone(), open.since)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Wakes the watches if anything changed.
    fn changed(&self, state: MutexGuard<'_, State>) {
        let revision = state.store.revision();
        drop(state);
        self.ticks.send_if_modified(|seen| std::mem::replace(seen, revision) != revision);
    }

    fn tick(&self) {
        self.ticks.send_modify(|_| {});
    }
}

impl State {
    /// What happens to an open watch now.
    fn fault_of(&self, id: u64) -> WatchFault {
        match self.watches.get(&id) {
            Some(open) if self.holds.values().any(|holds| holds(&open.call)) => WatchFault::Held,
            Some(open) => open.fault,
            None => WatchFault::Ended,
        }
    }

    fn fate(&mut self, call: &Call) -> Fate {
        self.hooks.fates.as_mut().map_or(Fate::Served, |fates| fates(call, &self.store))
    }

    fn kind_of(&self, call: &Call) -> Option<usize> {
        let kind = self.store.kinds().find(&call.group, &call.plural)?;
        let known = self.store.kinds().get(kind);
        let is_namespace = known.plural == "namespaces";
        let is_placed = is_namespace || known.namespaced || call.namespace.is_none();
        let is_whole = !known.namespaced || call.namespace.is_some() || matches!(call.verb, "list" | "watch");
        (known.version == call.version && is_placed && is_whole).then_some(kind)
    }

    fn open_watch(&mut self, call: &Call) -> (u64, signal::Receiver<u64>) {
        self.next_watch += 1;
        let open = OpenWatch { call: call.clone(), fault: WatchFault::None, since: 0 };
        self.watches.insert(self.next_watch, open);
        (self.next_watch, self.ticks.subscribe())
    }
}
