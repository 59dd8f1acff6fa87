//! The DNS side: a table of names, shared by all resources that want them. Every server that pods ask is asked for A and
//! for AAAA of each, once per TTL of that family's own answer.
//!
//! What is held and for how long is decided in [`retention`], what may be believed in [`crate::guard`], when to ask and
//! whom to wake in the table; only [`lookup`] touches the network.

mod addresses;
pub mod answer;

pub mod light;
pub mod lookup;
mod memory;
pub mod places;
pub mod retention;
pub mod schedule;
pub mod servers;
mod snapshot;
pub mod spelling;
pub mod stretch;
mod table;

pub use addresses::{Addresses, NameAddresses, NameState, Reached, RefusedAddress};
pub use answer::{Answer, Failure, Family, LookupOutcome};
pub use lookup::{HickoryLookup, Lookup};
pub use memory::{AnsweredTime, RecoveredAddresses};
pub use snapshot::{AddressSnapshot, NameSnapshot, NamesSnapshot, ServerSnapshot};

use crate::bound::Bound;
use crate::clock::Clock;
use crate::guard::Guard;
use crate::resource_ref::{ResourceRef, Waker};
use connectivity_allowlist::net::DomainName;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use places::Question;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use table::{RoundReport, Table};
use tokio::sync::{Notify, watch};

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
    /// How many names there may be (`--max-names-per-resource`, ...).
    pub names: Bound,
    /// How many addresses there may be of all names (`--max-addresses-per-resource`, ...).
    pub addresses: Bound,
    /// How long one server has for one question, retransmissions and TCP included, from when it is sent.
    pub timeout: Duration,
    /// How many questions one server is asked in a second (`--dns-questions-per-second`).
    pub questions_per_second: u32,
    /// What may be believed until [`Names::set_guard`] is called.
    pub guard: Guard,
}

impl NamesSettings {
    /// The defaults, with `guard`: TTLs between 5 s, where CoreDNS has its own floor, and 1 h; stale after a week;
    /// 1,000 addresses a name; 2 s a question, which leaves UDP several tries at losses of a third; 1,000 questions a
    /// second, twice what the names of one such list ask at the floor of 5 s.
    #[must_use]
    pub const fn new(guard: Guard) -> Self {
        Self {
            min_ttl: Duration::from_secs(5),
            max_ttl: Duration::from_secs(3600),
            max_stale: Duration::from_secs(168 * 3600),
            addresses_per_name: 1000,
            names: Bound { resource: 4096, namespace: 5000, process: 20_000 },
            addresses: Bound { resource: 10_000, namespace: 20_000, process: 80_000 },
            timeout: Duration::from_secs(2),
            questions_per_second: 1000,
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

    /// Names began to be asked notably less often than their TTLs say, by this factor at most, or where it is small again,
    /// no longer are: a server's questions a second are used up.
    fn stretched(&self, _factor: f64) {}

    /// An address had been answered for `wait` before policies allowed it: a pod that got it in between was refused.
    fn predicted_miss(&self, _name: &DomainName, _wait: Duration) {}
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
    pub fn watch(&self, who: &ResourceRef, wanted: &Arc<BTreeSet<DomainName>>, retention: Duration) -> Arc<Addresses> {
        self.watch_applied(who, wanted, retention, &|_| false)
    }

    /// The same, where names that were `applied` before this process was come before others. Names that there is no room
    /// for are not asked: they stand as [`NameState::LeftOut`], and `who` is woken to try again when others have left.
    pub fn watch_applied(
        &self,
        who: &ResourceRef,
        wanted: &Arc<BTreeSet<DomainName>>,
        retention: Duration,
        applied: &dyn Fn(&DomainName) -> bool,
    ) -> Arc<Addresses> {
        self.change(|table, now| table.watch(who, wanted, retention, applied, now))
    }

    /// Forgets `who`, and each name that nobody else wants.
    pub fn unwatch(&self, who: &ResourceRef) {
        self.change(|table, now| table.unwatch(who, now));
    }

    /// Says who is asked from now on. A server that is new is asked for every name within a second.
    pub fn set_servers(&self, servers: Vec<SocketAddr>) {
        let servers = self.change(|table, now| {
            table.set_servers(servers, now);
            table.servers()
        });
        self.0.resolver.retain(&servers);
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
        let servers =
            table.health.iter().map(|(server, health)| health.snapshot(*server, table.waiting(*server), now)).collect();
        let (names_left_out, addresses_left_out) = table.left_out();
        let stretch = table.greatest_stretch();
        NamesSnapshot { names, servers, names_left_out, addresses_left_out, stretch }
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
            let (due, next) = self.step(is_leading);
            questions.extend(due.into_iter().map(|question| self.ask(question)));
            tokio::select! {
                changed = leading.changed() => if changed.is_err() { return },
                () = self.0.earlier.notified() => {}
                () = sleep_until(next) => {}
                Some((question, outcome)) = questions.next() => self.report(question, outcome),
            }
        }
    }

    /// Does what is due, wakes whom it concerns, and returns the questions to ask and the moment of the next step.
    fn step(&self, is_leading: bool) -> (Vec<Question>, Option<Instant>) {
        let now = self.0.clock.instant();
        let (questions, woken, next, news) = {
            let mut table = self.table();
            let questions = if is_leading { table.questions_due(now) } else { Vec::new() };
            let woken = table.tick(now);
            (questions, woken, table.next_moment(is_leading), table.take_news())
        };
        if let Some(factor) = news {
            self.0.observer.stretched(factor);
        }
        for subscriber in &woken {
            self.0.waker.wake(subscriber);
        }
        (questions, next)
    }

    fn report(&self, question: Question, outcome: LookupOutcome) {
        let refused = {
            let mut table = self.table();
            table.leave_place(&question);
            let Question { server, name, family, number, .. } = question.clone();
            table.report(&RoundReport { name, number, server, family, outcome }, self.0.clock.instant())
        };
        for address in &refused {
            self.0.observer.refused(&question.name, address);
        }
    }

    /// One question to one server.
    fn ask(&self, question: Question) -> impl Future<Output = (Question, LookupOutcome)> + use<> {
        let inner = self.0.clone();
        async move {
            let asked = inner.clock.instant();
            let answer = inner.resolver.ask(question.server, &question.name, question.family);
            let outcome = tokio::time::timeout(inner.timeout, answer).await.unwrap_or(Err(Failure::Timeout));
            let latency = inner.clock.instant().saturating_duration_since(asked);
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
