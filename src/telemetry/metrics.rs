//! Counted and measured, in OpenMetrics' text form. Methods are named by what happened; nobody else knows Prometheus.
//!
//! No label has unbounded values: clouds, results, kinds and verbs are words of this program; customers are bounded by
//! the resources, and DNS servers by the cluster's; both are forgotten when they go.

use super::reference::{self, MetricDoc, MetricKind, PREFIX};
use crate::crd::ProblemKind;
use jiff::Timestamp;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The media type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels<const N: usize> = [(&'static str, Cow<'static, str>); N];
type Seconds = Gauge<f64, AtomicU64>;
type Durations = Family<Labels<1>, Histogram, fn() -> Histogram>;

/// How a reconcile ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReconcileOutcome {
    /// Something was written.
    Changed,
    /// Everything was as it should be.
    Unchanged,
    /// It waits for the first list or the first answers.
    Waiting,
    /// It may not act: suspended, audited, or in a protected namespace.
    Held,
    /// It failed, and will be tried again.
    Failed,
}

impl ReconcileOutcome {
    /// Every outcome.
    pub const ALL: [Self; 5] = [Self::Changed, Self::Unchanged, Self::Waiting, Self::Held, Self::Failed];

    /// The label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Waiting => "waiting",
            Self::Held => "held",
            Self::Failed => "failed",
        }
    }
}

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    leader: Gauge,
    resources: Family<Labels<1>, Gauge>,
    problems: Family<Labels<1>, Gauge>,
    reconciles: Family<Labels<1>, Counter>,
    reconcile_duration: Histogram,
    writes: Family<Labels<3>, Counter>,
    feed_fetches: Family<Labels<2>, Counter>,
    feed_fetched: Family<Labels<2>, Seconds>,
    feed_age: Family<Labels<2>, Seconds>,
    feed_valid_until: Family<Labels<2>, Seconds>,
    limiter_queue: Gauge,
    limiter_wait: Histogram,
    dns_questions: Family<Labels<2>, Counter>,
    dns_duration: Durations,
    dns_refused: Family<Labels<1>, Counter>,
    names: Gauge,
    addresses: Gauge,
    predicted_miss: Histogram,
    /// When the list of each (cloud, customer) was fetched: its age is worked out when it is asked for.
    fetched: Mutex<BTreeMap<(String, String), Timestamp>>,
    /// The results seen of each DNS server, so that its labels can be forgotten.
    servers: Mutex<BTreeMap<SocketAddr, BTreeSet<&'static str>>>,
}

/// Wide enough for a write under load and a reconcile that waits for its deadline.
fn reconcile_buckets() -> Histogram {
    Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0])
}

/// From a turn at once to an hour's queue at 5 requests a minute.
fn limiter_buckets() -> Histogram {
    Histogram::new([0.1, 1.0, 5.0, 12.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0])
}

/// From an answer out of a cache to the end of a question's time.
fn dns_buckets() -> Histogram {
    Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0])
}

/// From the operator's own speed to a TTL at its ceiling.
fn miss_buckets() -> Histogram {
    Histogram::new([0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 3600.0])
}

fn label<const N: usize>(doc: &MetricDoc, values: [Cow<'static, str>; N]) -> Labels<N> {
    let mut names = doc.labels.iter().copied();
    values.map(|value| (names.next().unwrap_or_default(), value))
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Registers `metric` under the documented name, and gives it back.
fn register<M: Metric + Clone>(registry: &mut Registry, doc: &MetricDoc, metric: M) -> M {
    let name = doc.name.strip_prefix(PREFIX).map_or(doc.name, |rest| rest.trim_start_matches('_'));
    // The encoder appends a counter's suffix itself.
    let name = if doc.kind == MetricKind::Counter { name.trim_end_matches("_total") } else { name };
    registry.register(name, doc.help, metric.clone());
    metric
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Everything at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let all = &mut registry;
        let build = register(all, &reference::BUILD_INFO, Family::<Labels<1>, Gauge>::default());
        build.get_or_create(&label(&reference::BUILD_INFO, [env!("CARGO_PKG_VERSION").into()])).set(1);
        let metrics = Self {
            leader: register(all, &reference::LEADER, Gauge::default()),
            resources: register(all, &reference::RESOURCES, Family::default()),
            problems: register(all, &reference::PROBLEMS, Family::default()),
            reconciles: register(all, &reference::RECONCILES, Family::default()),
            reconcile_duration: register(all, &reference::RECONCILE_DURATION, reconcile_buckets()),
            writes: register(all, &reference::WRITES, Family::default()),
            feed_fetches: register(all, &reference::FEED_FETCHES, Family::default()),
            feed_fetched: register(all, &reference::FEED_FETCHED, Family::default()),
            feed_age: register(all, &reference::FEED_AGE, Family::default()),
            feed_valid_until: register(all, &reference::FEED_VALID_UNTIL, Family::default()),
            limiter_queue: register(all, &reference::LIMITER_QUEUE, Gauge::default()),
            limiter_wait: register(all, &reference::LIMITER_WAIT, limiter_buckets()),
            dns_questions: register(all, &reference::DNS_QUESTIONS, Family::default()),
            dns_duration: register(
                all,
                &reference::DNS_DURATION,
                Family::new_with_constructor(dns_buckets as fn() -> _),
            ),
            dns_refused: register(all, &reference::DNS_REFUSED, Family::default()),
            names: register(all, &reference::NAMES, Gauge::default()),
            addresses: register(all, &reference::ADDRESSES, Gauge::default()),
            predicted_miss: register(all, &reference::PREDICTED_MISS, miss_buckets()),
            fetched: Mutex::default(),
            servers: Mutex::default(),
            registry,
        };
        // A rate or an alert needs the zero from which it counts.
        for outcome in ReconcileOutcome::ALL {
            drop(metrics.reconciles.get_or_create(&label(&reference::RECONCILES, [outcome.as_str().into()])));
        }
        metrics.resources_counted(0, 0, 0);
        metrics.problems_counted(&BTreeMap::new());
        metrics
    }

    /// Every metric there is, for the documentation.
    #[must_use]
    pub fn reference() -> Vec<MetricDoc> {
        reference::ALL.to_vec()
    }

    /// What a scrape gets, as of `now`.
    #[must_use]
    pub fn render(&self, now: Timestamp) -> String {
        for ((cloud, customer), fetched) in lock(&self.fetched).iter() {
            let labels = label(&reference::FEED_AGE, [cloud.clone().into(), customer.clone().into()]);
            self.feed_age.get_or_create(&labels).set(now.duration_since(*fetched).as_secs_f64().max(0.0));
        }
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// This replica became the leader, or stopped being it.
    pub fn leading(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// How many resources are Ready, are not, and have not said yet.
    pub fn resources_counted(&self, ready: usize, not_ready: usize, unknown: usize) {
        for (status, number) in [("True", ready), ("False", not_ready), ("Unknown", unknown)] {
            self.resources.get_or_create(&label(&reference::RESOURCES, [status.into()])).set(count(number));
        }
    }

    /// How many problems all resources report, by kind; a kind left out has none.
    pub fn problems_counted(&self, problems: &BTreeMap<ProblemKind, usize>) {
        for kind in ProblemKind::ALL {
            let labels = label(&reference::PROBLEMS, [format!("{kind:?}").into()]);
            self.problems.get_or_create(&labels).set(count(problems.get(&kind).copied().unwrap_or_default()));
        }
    }

    /// A reconcile ended.
    pub fn reconciled(&self, outcome: ReconcileOutcome, duration: Duration) {
        self.reconciles.get_or_create(&label(&reference::RECONCILES, [outcome.as_str().into()])).inc();
        self.reconcile_duration.observe(duration.as_secs_f64());
    }

    /// A write was sent: `kind` as Kubernetes names it, `verb` and `result` in words of this program.
    pub fn wrote(&self, kind: &'static str, verb: &'static str, result: &'static str) {
        self.writes.get_or_create(&label(&reference::WRITES, [kind.into(), verb.into(), result.into()])).inc();
    }

    /// A request for a list ended.
    pub fn feed_requested(&self, cloud: &'static str, result: &'static str) {
        self.feed_fetches.get_or_create(&label(&reference::FEED_FETCHES, [cloud.into(), result.into()])).inc();
    }

    /// The list in use for a customer was fetched, or confirmed, at `fetched`.
    pub fn feed_current(
        &self,
        cloud: &'static str,
        customer: &str,
        fetched: Timestamp,
        valid_until: Option<Timestamp>,
    ) {
        let seconds = |time: Timestamp| time.as_duration().as_secs_f64();
        let labels = label(&reference::FEED_FETCHED, [cloud.into(), customer.to_owned().into()]);
        self.feed_fetched.get_or_create(&labels).set(seconds(fetched));
        match valid_until {
            Some(valid_until) => {
                self.feed_valid_until.get_or_create(&labels).set(seconds(valid_until));
            }
            None => {
                self.feed_valid_until.remove(&labels);
            }
        }
        lock(&self.fetched).insert((cloud.to_owned(), customer.to_owned()), fetched);
    }

    /// No resource wants the list of a customer any more.
    pub fn feed_forgotten(&self, cloud: &'static str, customer: &str) {
        let labels = label(&reference::FEED_FETCHED, [cloud.into(), customer.to_owned().into()]);
        // Held while removing, so that no scrape brings the age back.
        let mut fetched = lock(&self.fetched);
        fetched.remove(&(cloud.to_owned(), customer.to_owned()));
        for family in [&self.feed_fetched, &self.feed_age, &self.feed_valid_until] {
            family.remove(&labels);
        }
    }

    /// So many requests wait for their turn now.
    pub fn limiter_queue(&self, length: usize) {
        self.limiter_queue.set(count(length));
    }

    /// A request had its turn after `waited`.
    pub fn limiter_waited(&self, waited: Duration) {
        self.limiter_wait.observe(waited.as_secs_f64());
    }

    /// A DNS server was asked.
    pub fn dns_asked(&self, server: SocketAddr, result: &'static str, latency: Duration) {
        lock(&self.servers).entry(server).or_default().insert(result);
        let server: Cow<'static, str> = server.to_string().into();
        self.dns_questions.get_or_create(&label(&reference::DNS_QUESTIONS, [server.clone(), result.into()])).inc();
        self.dns_duration.get_or_create(&label(&reference::DNS_DURATION, [server])).observe(latency.as_secs_f64());
    }

    /// A DNS server's answer held an address that may not be opened.
    pub fn dns_refused(&self, server: SocketAddr) {
        lock(&self.servers).entry(server).or_default();
        self.dns_refused.get_or_create(&label(&reference::DNS_REFUSED, [server.to_string().into()])).inc();
    }

    /// These are the DNS servers now: what was counted of any other is forgotten.
    pub fn dns_servers(&self, current: &BTreeSet<SocketAddr>) {
        lock(&self.servers).retain(|server, results| {
            let keep = current.contains(server);
            if !keep {
                let server: Cow<'static, str> = server.to_string().into();
                for result in results.iter() {
                    self.dns_questions.remove(&label(&reference::DNS_QUESTIONS, [server.clone(), (*result).into()]));
                }
                self.dns_duration.remove(&label(&reference::DNS_DURATION, [server.clone()]));
                self.dns_refused.remove(&label(&reference::DNS_REFUSED, [server]));
            }
            keep
        });
    }

    /// So many names are resolved, and so many addresses held for them.
    pub fn names_held(&self, names: usize, addresses: usize) {
        self.names.set(count(names));
        self.addresses.set(count(addresses));
    }

    /// An address had been answered for `wait` before policies allowed it: who was told it in between was refused.
    pub fn predicted_miss(&self, wait: Duration) {
        self.predicted_miss.observe(wait.as_secs_f64());
    }
}

#[cfg(test)]
mod tests;
