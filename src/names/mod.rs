//! The DNS side: a table of names, shared by all resources that want them. Every server that pods ask is asked for A and
//! for AAAA of each, once per TTL of that family's own answer.
//!
//! What is held and for how long is decided in [`retention`], what may be believed in [`crate::guard`], when to ask and
//! whom to wake in the table; only [`lookup`] touches the network.

mod addresses;
pub mod answer;
pub mod lookup;
mod memory;
pub mod retention;
pub mod schedule;
pub mod servers;
mod snapshot;
mod table;

pub use addresses::{Addresses, NameAddresses, NameState, RefusedAddress};
pub use answer::{Answer, Failure, Family, Outcome};
pub use lookup::{HickoryLookup, Lookup};
pub use memory::{AnsweredTime, Memory};
pub use snapshot::{AddressSnapshot, NameSnapshot, NamesSnapshot, ServerSnapshot};

use crate::clock::Clock;
use crate::guard::Guard;
use crate::net::DomainName;
use crate::subscriber::{Subscriber, Waker};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use table::{Report, Round, Table};
use tokio::sync::{Notify, Semaphore, watch};

/// How many questions one server is given at once. More, and what its socket's buffer cannot take has to be sent again.
pub(crate) const IN_FLIGHT_PER_SERVER: usize = 64;

/// How names are resolved.
#[derive(Clone, Debug)]
pub struct NamesSettings {
    /// The shortest time between two questions for a name, whatever the TTL (`--dns-min-ttl`); 100 ms at least.
    pub min_ttl: Duration,
    /// The longest time between two questions for a name, whatever the TTL (`--dns-max-ttl`); seven days at most.
    pub max_ttl: Duration,
    /// How long servers may fail for a name before it is flagged as stale (`--max-stale`).
    pub max_stale: Duration,
    /// How many addresses a name may have.
    pub addresses_per_name: usize,
    /// How long one server has for one question, retransmissions and TCP included.
    pub timeout: Duration,
    /// What may be believed until [`Names::set_guard`] is called.
    pub guard: Guard,
}

impl NamesSettings {
    /// The defaults, with `guard`: TTLs between 5 s, where CoreDNS has its own floor, and 1 h; stale after a week;
    /// 1,000 addresses a name; 2 s a question, which leaves UDP several tries at losses of a third.
    #[must_use]
    pub const fn new(guard: Guard) -> Self {
        Self {
            min_ttl: Duration::from_secs(5),
            max_ttl: Duration::from_secs(3600),
            max_stale: Duration::from_secs(168 * 3600),
            addresses_per_name: 1000,
            timeout: Duration::from_secs(2),
            guard,
        }
    }
}

/// Who counts what happens. Every method may be left as it is.
pub trait NamesObserver: Send + Sync {
    /// `server` was asked for the records of `family` of a name; `result` is a metric label: `answered`, `nxdomain`,
    /// `nodata`, `timeout`, `unreachable`, `failed` or `malformed`.
    fn asked(&self, _server: SocketAddr, _family: Family, _result: &'static str, _latency: Duration) {}

    /// An answer held an address that may not be allowed.
    fn refused(&self, _name: &DomainName, _refused: &RefusedAddress) {}

    /// An address had been answered for `wait` before policies allowed it: whoever was told it in between was refused.
    fn predicted_miss(&self, _name: &DomainName, _wait: Duration) {}
}

impl NamesObserver for () {}

/// The shared table of names. Cheap to clone: clones are the same table.
#[derive(Clone)]
pub struct Names(Arc<Inner>);

struct Inner {
    table: Mutex<Table>,
    permits: Mutex<HashMap<SocketAddr, Arc<Semaphore>>>,
    timeout: Duration,
    clock: Clock,
    waker: Waker,
    resolver: Arc<dyn Lookup>,
    observer: Arc<dyn NamesObserver>,
    /// Something may be due earlier than `run` last saw.
    earlier: Notify,
}

impl Names {
    /// An empty table, which asks nothing until [`Names::run`] is polled.
    pub fn new(
        settings: &NamesSettings,
        clock: Clock,
        waker: Waker,
        resolver: Arc<dyn Lookup>,
        observer: Arc<dyn NamesObserver>,
    ) -> Self {
        Self(Arc::new(Inner {
            table: Mutex::new(Table::new(settings, clock.instant())),
            permits: Mutex::default(),
            timeout: settings.timeout,
            clock,
            waker,
            resolver,
            observer,
            earlier: Notify::new(),
        }))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Table, Instant) -> T) -> T {
        let result = change(&mut self.table(), self.0.clock.instant());
        self.0.earlier.notify_one();
        result
    }

    /// Subscribes `who` to the names it wants, instead of those it wanted before, and returns what is known of them
    /// now. Names nobody wanted before are asked for at once, and `who` is woken when the last of them has been
    /// answered or has failed; after that, whenever an answer changes what is returned here.
    ///
    /// Where several subscribers want one name, the longest retention wins. Subscribers that want the same names for
    /// the same time share one map, so that the second and the thousandth cost nearly nothing.
    pub fn watch(&self, who: &Subscriber, wanted: &Arc<BTreeSet<DomainName>>, retention: Duration) -> Arc<Addresses> {
        self.change(|table, now| table.watch(who, wanted, retention, now))
    }

    /// Forgets `who`, and each name that nobody else wants.
    pub fn unwatch(&self, who: &Subscriber) {
        self.change(|table, _| table.unwatch(who));
    }

    /// Says who is asked from now on. A server that is new is asked for every name within a second.
    pub fn set_servers(&self, servers: Vec<SocketAddr>) {
        let servers = self.change(|table, now| {
            table.set_servers(servers, now);
            table.servers()
        });
        self.0.resolver.retain(&servers);
        self.0.permits.lock().unwrap_or_else(PoisonError::into_inner).retain(|server, _| servers.contains(server));
    }

    /// Says what may be believed from now on. Everything held is judged again, and whom that concerns is woken.
    pub fn set_guard(&self, guard: Guard) {
        self.change(|table, now| table.set_guard(guard, now));
    }

    /// Takes note that policies now allow `addresses`, so that the observer hears for how long new ones had been
    /// answered before. To be called after each apply with what it was made from.
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
        let servers = table.health.iter().map(|(server, health)| health.snapshot(*server, now)).collect();
        NamesSnapshot { names, servers }
    }

    /// Every name held, sorted.
    #[must_use]
    pub fn held(&self) -> Vec<DomainName> {
        let mut names: Vec<DomainName> = self.table().names.keys().cloned().collect();
        names.sort_unstable();
        names
    }

    /// What is known of one name at this moment; none where it is held no longer. The whole table is read so without a copy
    /// of it.
    #[must_use]
    pub fn known(&self, name: &DomainName) -> Option<NameSnapshot> {
        let now = self.0.clock.instant();
        let table = self.table();
        table.names.get_key_value(name).map(|(name, entry)| table.snapshot(name, entry, now))
    }

    /// Asks, keeps and wakes, for as long as it is polled. Questions are asked only while `leading` says so; when it
    /// comes to say so, what was known before stays, and everything overdue is asked. One call at a time: a table is
    /// run once. Ends when the sender of `leading` is gone.
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
            let (rounds, next) = self.step(is_leading);
            for round in rounds {
                for server in round.servers.iter() {
                    questions.extend(round.families.iter().map(|family| self.ask(&round, *server, *family)));
                }
            }
            tokio::select! {
                changed = leading.changed() => if changed.is_err() { return },
                () = self.0.earlier.notified() => {}
                () = sleep_until(next) => {}
                Some(report) = questions.next() => self.report(&report),
            }
        }
    }

    /// Does what is due, wakes whom it concerns, and returns the rounds to ask and the moment of the next step.
    fn step(&self, is_leading: bool) -> (Vec<Round>, Option<Instant>) {
        let now = self.0.clock.instant();
        let (rounds, woken, next) = {
            let mut table = self.table();
            let rounds = if is_leading { table.due(now) } else { Vec::new() };
            let woken = table.tick(now);
            (rounds, woken, table.next_moment(is_leading))
        };
        for subscriber in &woken {
            self.0.waker.wake(subscriber);
        }
        (rounds, next)
    }

    fn report(&self, report: &Report) {
        let refused = self.table().report(report, self.0.clock.instant());
        for address in &refused {
            self.0.observer.refused(&report.name, address);
        }
    }

    /// One question to one server. It waits for a place among those in flight no longer than the question itself may
    /// take, so that a silent server holds up nothing but its own part.
    fn ask(&self, round: &Round, server: SocketAddr, family: Family) -> impl Future<Output = Report> + use<> {
        let inner = self.0.clone();
        let (name, number) = (round.name.clone(), round.number);
        let permits = {
            let mut permits = inner.permits.lock().unwrap_or_else(PoisonError::into_inner);
            permits.entry(server).or_insert_with(|| Arc::new(Semaphore::new(IN_FLIGHT_PER_SERVER))).clone()
        };
        async move {
            let permit = tokio::time::timeout(inner.timeout, permits.acquire()).await;
            let asked = inner.clock.instant();
            let outcome = match permit {
                Ok(Ok(_permit)) => {
                    let answer = inner.resolver.ask(server, &name, family);
                    tokio::time::timeout(inner.timeout, answer).await.unwrap_or(Err(Failure::Timeout))
                }
                _ => Err(Failure::Timeout),
            };
            let latency = inner.clock.instant().saturating_duration_since(asked);
            let result = outcome.as_ref().map_or_else(Failure::label, Answer::label);
            inner.observer.asked(server, family, result, latency);
            Report { name, number, server, family, outcome }
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
