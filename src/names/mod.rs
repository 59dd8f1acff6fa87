//! The DNS side: a table of names, shared by all resources that want them. It queries every server that pods use for A and
//! AAAA of each name, once per TTL of that family's own answer.
//!
//! [`retention`] decides what is cached and for how long, [`crate::guard`] which addresses are accepted, the table when to
//! query and whom to wake. Only [`lookup`] touches the network.

mod addresses;
pub mod answer;
mod forwarding;
pub mod learned;
pub mod light;
pub mod lookup;
mod memory;
pub mod places;
pub mod probes;
pub mod retention;
pub mod schedule;
pub mod servers;
mod snapshot;
pub mod spelling;
pub mod stretch;
mod table;
pub mod zones;

pub use addresses::{Addresses, NameAddresses, NameState, Reached, RefusedAddress};
pub use answer::{Answer, Failure, Family, LookupOutcome};
pub use forwarding::Interest;
pub use learned::{Asker, ForgottenCause, LearnedSnapshot, ObservedPattern};
pub use lookup::{HickoryLookup, Lookup};
pub use memory::{AnsweredTime, RecoveredAddresses};
pub use probes::{ProbeOutcome, ZoneState};
pub use snapshot::{AddressSnapshot, NameSnapshot, NamesSnapshot, ServerSnapshot};
pub use table::{AddressState, Enforcement, HeardAnswer, InUse};

use crate::bound::Bound;
use crate::clock::Clock;
use crate::guard::Guard;
use crate::lock::lock;
use crate::resource_ref::{ResourceRef, Waker};
use connectivity_allowlist::net::DomainName;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use places::Question;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use table::Table;
use tokio::sync::{Notify, watch};

/// How long one query may take, retransmissions and TCP included. Resolvers of pods wait five seconds (resolv.conf(5)).
pub const QUERY_TIMEOUT: Duration = Duration::from_secs(2);

/// How names are resolved.
#[derive(Clone, Debug)]
pub struct NamesSettings {
    /// The shortest time between two queries for a name, whatever the TTL (`--dns-min-ttl`); 100 ms at least.
    pub min_ttl: Duration,
    /// The longest time between two queries for a name, whatever the TTL (`--dns-max-ttl`); seven days at most.
    pub max_ttl: Duration,
    /// How long servers may fail for a name before it is flagged as stale (`--max-stale`).
    pub max_stale: Duration,
    /// How many addresses a name may have.
    pub addresses_per_name: usize,
    /// How many names there may be (`--max-names-per-resource`, ...).
    pub names: Bound,
    /// How many addresses there may be of all names (`--max-addresses-per-resource`, ...).
    pub addresses: Bound,
    /// How long one query may take, retransmissions and TCP included, from when it is sent.
    pub timeout: Duration,
    /// How many queries a second one server gets (`--dns-questions-per-second`).
    pub questions_per_second: u32,
    /// How long a learned name outlives its last question (`--learned-retention`).
    pub learned_retention: Duration,
    /// The guard until [`Names::set_guard`] is called.
    pub guard: Guard,
}

impl NamesSettings {
    /// The defaults, with `guard`: TTLs between 5 s (CoreDNS' own floor) and 1 h; stale after a week; 1,000 addresses a name;
    /// 2 s a query, which leaves UDP several tries at losses of a third; 1,000 queries a second, twice what one such list
    /// needs at the floor of 5 s; learned names are forgotten a week after their last question.
    #[must_use]
    pub const fn new(guard: Guard) -> Self {
        Self {
            min_ttl: Duration::from_secs(5),
            max_ttl: Duration::from_secs(3600),
            max_stale: Duration::from_secs(168 * 3600),
            addresses_per_name: 1000,
            names: Bound { resource: 4096, namespace: 5000, process: 20_000 },
            addresses: Bound { resource: 10_000, namespace: 20_000, process: 80_000 },
            timeout: QUERY_TIMEOUT,
            questions_per_second: 1000,
            learned_retention: Duration::from_secs(168 * 3600),
            guard,
        }
    }
}

/// Counts events. Every method may stay as it is.
pub trait NamesObserver: Send + Sync {
    /// `server` was queried for the records of `family` of a name; `result` is a metric label: `answered`, `nxdomain`,
    /// `nodata`, `timeout`, `unreachable`, `failed` or `malformed`.
    fn asked(&self, _server: SocketAddr, _family: Family, _result: &'static str, _latency: Duration) {}

    /// An answer contained an address that may not be allowed.
    fn refused(&self, _name: &DomainName, _refused: &RefusedAddress) {}

    /// Names began to be queried notably less often than their TTLs allow, by this factor at most, or (if it is small) no
    /// longer are: a server's queries per second are used up.
    fn stretched(&self, _factor: f64) {}

    /// An address had been answered for `wait` before policies allowed it: a pod that used it in between was refused.
    fn predicted_miss(&self, _name: &DomainName, _wait: Duration) {}

    /// So many learned names were forgotten: no resource has them any more.
    fn forgotten(&self, _cause: ForgottenCause, _names: usize) {}
}

impl NamesObserver for () {}

/// The shared table of names. Cheap to clone: clones are the same table.
#[derive(Clone)]
pub struct Names(Arc<Inner>);

struct Inner {
    table: Mutex<Table>,
    timeout: Duration,
    clock: Clock,
    waker: Waker,
    resolver: Arc<dyn Lookup>,
    observer: Arc<dyn NamesObserver>,
    /// Something may be due earlier than `run` knows.
    earlier: Notify,
    /// Counts up when policies may allow more than before.
    enforced: watch::Sender<u64>,
}

impl Names {
    /// An empty table, which queries nothing until [`Names::run`] is polled.
    pub fn new(
        settings: &NamesSettings,
        clock: Clock,
        waker: Waker,
        resolver: Arc<dyn Lookup>,
        observer: Arc<dyn NamesObserver>,
    ) -> Self {
        Self(Arc::new(Inner {
            table: Mutex::new(Table::new(settings, clock.instant())),
            timeout: settings.timeout,
            clock,
            waker,
            resolver,
            observer,
            earlier: Notify::new(),
            enforced: watch::Sender::default(),
        }))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.0.table)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Table, Instant) -> T) -> T {
        let result = change(&mut self.table(), self.0.clock.instant());
        self.0.earlier.notify_one();
        result
    }

    /// Subscribes a resource to these names, instead of its earlier ones, and returns what is known of them now. New names
    /// are queried at once. The resource is woken when the last of them has been answered or has failed, and then whenever an
    /// answer changes the result of this call.
    ///
    /// If several subscribers want one name, the longest retention wins. Subscribers with equal names and retention share one
    /// map, so that the second and the thousandth cost nearly nothing.
    pub fn watch(
        &self,
        resource: &ResourceRef,
        wanted: &Arc<BTreeSet<DomainName>>,
        retention: Duration,
    ) -> Arc<Addresses> {
        self.watch_applied(resource, wanted, retention, &|_| false).0
    }

    /// The same, except that names `applied` by an earlier process come first, and with the time at which it was so. Names without room
    /// are not queried ([`NameState::LeftOut`]); the resource is woken to try again when others have left.
    pub fn watch_applied(
        &self,
        resource: &ResourceRef,
        wanted: &Arc<BTreeSet<DomainName>>,
        retention: Duration,
        applied: &dyn Fn(&DomainName) -> bool,
    ) -> (Arc<Addresses>, Instant) {
        self.change(|table, now| (table.watch(resource, wanted, retention, applied, now), now))
    }

    /// Forgets a resource, and each name that no other resource wants.
    pub fn unwatch(&self, resource: &ResourceRef) {
        self.change(|table, now| table.unwatch(resource, now));
    }

    /// Sets the servers. A new server is queried for every name within a second.
    pub fn set_servers(&self, servers: Vec<SocketAddr>) {
        let servers = self.change(|table, now| {
            table.set_servers(servers, now);
            table.all_servers()
        });
        self.0.resolver.retain(&servers);
    }

    /// Sets the guard. Every cached address is judged again, and affected resources are woken.
    pub fn set_guard(&self, guard: Guard) {
        self.change(|table, now| table.set_guard(guard, now));
    }

    /// Notes that policies now allow `addresses`, and reports to the observer for how long new ones had been answered before.
    /// To be called after each apply with the addresses it used.
    pub fn allowed(&self, addresses: &Addresses) {
        let waits = self.table().allowed(addresses, self.0.clock.instant());
        for (name, wait) in waits {
            self.0.observer.predicted_miss(&name, wait);
        }
    }

    /// What is known at this moment, for metrics and for people.
    #[must_use]
    pub fn snapshot(&self) -> NamesSnapshot {
        let now = self.0.clock.instant();
        let table = self.table();
        let mut names: Vec<NameSnapshot> =
            table.names.iter().map(|(name, entry)| table.snapshot(name, entry, now)).collect();
        names.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let servers =
            table.health.iter().map(|(server, health)| health.snapshot(*server, table.waiting(*server), now)).collect();
        let (names_left_out, addresses_left_out) = table.left_out();
        let stretch = table.greatest_stretch();
        let (learned, zones) = (table.learned.count(), table.zones.probes.counts());
        NamesSnapshot { names, servers, names_left_out, addresses_left_out, learned, zones, stretch }
    }

    /// Every cached name, sorted.
    #[must_use]
    pub fn held(&self) -> Vec<DomainName> {
        let mut names: Vec<DomainName> = self.table().names.keys().cloned().collect();
        names.sort_unstable();
        names
    }

    /// What is known of one name at this moment; none if it is no longer cached. So the whole table is read without a copy.
    #[must_use]
    pub fn known(&self, name: &DomainName) -> Option<NameSnapshot> {
        let now = self.0.clock.instant();
        let table = self.table();
        let mut known = table.names.get_key_value(name).map(|(name, entry)| table.snapshot(name, entry, now))?;
        for address in &mut known.addresses {
            if let AddressState::InForce(Some(since)) = table.address_state(name, address.address) {
                address.in_force = Some(now.saturating_duration_since(since));
            }
        }
        Some(known)
    }

    /// Queries, caches and wakes, for as long as it is polled. It queries only while `leading` is true. When that becomes true,
    /// cached addresses stay and everything overdue is queried. One call at a time. Ends when the sender of `leading` is gone.
    pub async fn run(&self, mut leading: watch::Receiver<bool>) {
        let mut is_leading = false;
        let mut questions = FuturesUnordered::new();
        loop {
            let leads = *leading.borrow_and_update();
            if leads != is_leading {
                is_leading = leads;
                questions.clear();
                self.table().resume(self.0.clock.instant());
            }
            let (due, next) = self.step(is_leading);
            questions.extend(due.into_iter().map(|question| self.ask(question)));
            tokio::select! {
                changed = leading.changed() => if changed.is_err() { return },
                () = self.0.earlier.notified() => {}
                () = sleep_until(next) => {}
                Some((question, outcome)) = questions.next() => self.report(&question, &outcome),
            }
        }
    }

    /// Does what is due, wakes affected resources, and returns the queries to send and the moment of the next step.
    fn step(&self, is_leading: bool) -> (Vec<Question>, Option<Instant>) {
        let now = self.0.clock.instant();
        let (questions, woken, next, news, forgotten) = {
            let mut table = self.table();
            let questions = if is_leading { table.questions_due(now) } else { Vec::new() };
            let woken = table.tick(now);
            let forgotten = table.learned.take_forgotten();
            (questions, woken, table.next_moment(is_leading), table.take_news(), forgotten)
        };
        for (cause, names) in forgotten {
            self.0.observer.forgotten(cause, names);
        }
        if let Some(factor) = news {
            self.0.observer.stretched(factor);
        }
        for subscriber in &woken {
            self.0.waker.wake(subscriber);
        }
        (questions, next)
    }

    fn report(&self, question: &Question, outcome: &LookupOutcome) {
        let refused = self.table().report(question, outcome, self.0.clock.instant());
        for address in &refused {
            self.0.observer.refused(&question.name, address);
        }
    }

    /// One query to one server.
    fn ask(&self, question: Question) -> impl Future<Output = (Question, LookupOutcome)> + use<> {
        let inner = self.0.clone();
        async move {
            let start = inner.clock.instant();
            let answer = inner.resolver.ask(question.server, &question.name, question.family);
            let outcome = tokio::time::timeout(inner.timeout, answer).await.unwrap_or(Err(Failure::Timeout));
            let latency = inner.clock.instant().saturating_duration_since(start);
            let result = outcome.as_ref().map_or_else(Failure::label, Answer::label);
            inner.observer.asked(question.server, question.family, result, latency);
            (question, outcome)
        }
    }
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
