//! Counters and gauges in OpenMetrics' text form. Methods are named after events; no other room knows Prometheus.
//!
//! No label has unbounded values: clouds, results, kinds and verbs are words of this program. The resources bound the customers,
//! and the cluster the DNS servers; both are forgotten when they leave.

use super::process::ProcessMetrics;
use super::reference::{self, MetricDoc, MetricKind};
use super::resources::Resources;
use crate::bound::Level;
use crate::crd::CitrixAllowlistStatus;
use crate::feed::FeedSnapshot;
use crate::forward::Forwarded;
use crate::lock::lock;
use crate::memory::Pressure;
use crate::names::{ForgottenCause, NameState, NamesSnapshot, ZoneState};
use crate::resource_ref::ResourceRef;
use crate::trail::Cause;
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
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// The media type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) type Labels<const N: usize> = [(&'static str, Cow<'static, str>); N];
pub(super) type Seconds = Gauge<f64, AtomicU64>;

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    process: ProcessMetrics,
    leader: Gauge,
    resources: Resources,
    reconciles: Family<Labels<1>, Counter>,
    reconcile_duration: Histogram,
    overdue: Gauge,
    lost_wakes: Counter,
    pub(super) writes: Family<Labels<3>, Counter>,
    pub(super) feed_fetches: Family<Labels<2>, Counter>,
    pub(super) feed_fetch_duration: Histogram,
    feed_fetched: Family<Labels<2>, Seconds>,
    feed_age: Family<Labels<2>, Seconds>,
    feed_valid_until: Family<Labels<2>, Seconds>,
    feed_next_fetch: Family<Labels<2>, Seconds>,
    limiter_limit: Gauge,
    limiter_queue: Gauge,
    pub(super) limiter_wait: Histogram,
    pub(super) dns_questions: Family<Labels<2>, Counter>,
    pub(super) dns_duration: Family<Labels<1>, Histogram>,
    pub(super) dns_refused: Family<Labels<1>, Counter>,
    names: Family<Labels<1>, Gauge>,
    addresses: Gauge,
    memory_used: Gauge,
    memory_limit: Gauge,
    memory_short: Gauge,
    pods_opened: Family<Labels<1>, Counter>,
    lists_held: Gauge,
    lists_failing: Gauge,
    lists_left_out: Family<Labels<1>, Gauge>,
    names_left_out: Family<Labels<1>, Gauge>,
    addresses_left_out: Family<Labels<1>, Gauge>,
    dns_stretch: Seconds,
    dns_waiting: Family<Labels<1>, Gauge>,
    pub(super) forwarded: Family<Labels<1>, Counter>,
    pub(super) forward_held: Histogram,
    pub(super) forward_upstream: Histogram,
    forward_zones: Family<Labels<1>, Gauge>,
    pub(super) learned: Gauge,
    pub(super) learned_total: Counter,
    pub(super) forgotten_total: Family<Labels<1>, Counter>,
    pub(super) predicted_miss: Histogram,
    /// The labels of the last lists, so that they can be forgotten.
    feeds: Mutex<BTreeSet<Labels<2>>>,
    /// The results of each DNS server, so that its labels can be forgotten.
    pub(super) servers: Mutex<BTreeMap<SocketAddr, BTreeSet<&'static str>>>,
}

/// How a reconcile is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// An object was written.
    Changed,
    /// Nothing had to be written.
    Unchanged,
    /// It waits for a list, for names or for memory.
    Waiting,
    /// The spec, the mode or a conflict prevents it.
    Held,
    /// It failed, and is tried again.
    Failed,
}

impl Counted {
    const ALL: [Self; 5] = [Self::Changed, Self::Unchanged, Self::Waiting, Self::Held, Self::Failed];

    /// The label of the metric.
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

/// The label of a list for every customer: no customer's id contains this character.
const EVERY_CUSTOMER: &str = "*";

/// Wide enough for a write under load and a reconcile that waits for its deadline.
fn reconcile_buckets() -> Histogram {
    Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0])
}

/// From no wait to an hour's queue at 5 requests a minute.
fn limiter_buckets() -> Histogram {
    Histogram::new([0.1, 1.0, 5.0, 12.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0])
}

/// From an answer out of a cache to the time limit of a query.
fn dns_buckets() -> Histogram {
    Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0])
}

/// From the operator's own speed to a TTL at its ceiling.
fn miss_buckets() -> Histogram {
    Histogram::new([0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 3600.0])
}

pub(super) fn label<const N: usize>(doc: &MetricDoc, values: [Cow<'static, str>; N]) -> Labels<N> {
    let mut names = doc.labels.iter().copied();
    values.map(|value| (names.next().unwrap_or_default(), value))
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Registers `metric` under the documented name, and gives it back.
pub(super) fn register<M: Metric + Clone>(registry: &mut Registry, doc: &MetricDoc, metric: M) -> M {
    // The encoder appends a counter's suffix itself.
    let name = if doc.kind == MetricKind::Counter { doc.name.trim_end_matches("_total") } else { doc.name };
    registry.register(name, doc.help, metric.clone());
    metric
}

impl Default for Metrics {
    /// Everything at zero.
    fn default() -> Self {
        let mut registry = Registry::default();
        let all = &mut registry;
        let build = register(all, &reference::BUILD_INFO, Family::<Labels<1>, Gauge>::default());
        build.get_or_create(&label(&reference::BUILD_INFO, [env!("CARGO_PKG_VERSION").into()])).set(1);
        let metrics = Self {
            process: ProcessMetrics::new(all),
            leader: register(all, &reference::LEADER, Gauge::default()),
            resources: Resources::new(
                register(all, &reference::RESOURCES, Family::default()),
                register(all, &reference::CONDITIONS, Family::default()),
                register(all, &reference::PROBLEMS, Family::default()),
                register(all, &reference::WILDCARDS, Gauge::default()),
            ),
            reconciles: register(all, &reference::RECONCILES, Family::default()),
            reconcile_duration: register(all, &reference::RECONCILE_DURATION, reconcile_buckets()),
            writes: register(all, &reference::WRITES, Family::default()),
            overdue: register(all, &reference::OVERDUE, Gauge::default()),
            lost_wakes: register(all, &reference::LOST_WAKES, Counter::default()),
            feed_fetches: register(all, &reference::FEED_FETCHES, Family::default()),
            feed_fetch_duration: register(all, &reference::FEED_FETCH_DURATION, reconcile_buckets()),
            feed_fetched: register(all, &reference::FEED_FETCHED, Family::default()),
            feed_age: register(all, &reference::FEED_AGE, Family::default()),
            feed_valid_until: register(all, &reference::FEED_VALID_UNTIL, Family::default()),
            feed_next_fetch: register(all, &reference::FEED_NEXT_FETCH, Family::default()),
            limiter_limit: register(all, &reference::LIMITER_LIMIT, Gauge::default()),
            limiter_queue: register(all, &reference::LIMITER_QUEUE, Gauge::default()),
            limiter_wait: register(all, &reference::LIMITER_WAIT, limiter_buckets()),
            dns_questions: register(all, &reference::DNS_QUESTIONS, Family::default()),
            dns_duration: register(all, &reference::DNS_DURATION, Family::new_with_constructor(dns_buckets)),
            dns_refused: register(all, &reference::DNS_REFUSED, Family::default()),
            names: register(all, &reference::NAMES, Family::default()),
            addresses: register(all, &reference::ADDRESSES, Gauge::default()),
            memory_used: register(all, &reference::MEMORY_USED, Gauge::default()),
            memory_limit: register(all, &reference::MEMORY_LIMIT, Gauge::default()),
            memory_short: register(all, &reference::MEMORY_SHORT, Gauge::default()),
            pods_opened: register(all, &reference::PODS_OPENED, Family::default()),
            lists_held: register(all, &reference::LISTS_HELD, Gauge::default()),
            lists_failing: register(all, &reference::LISTS_FAILING, Gauge::default()),
            lists_left_out: register(all, &reference::LISTS_LEFT_OUT, Family::default()),
            names_left_out: register(all, &reference::NAMES_LEFT_OUT, Family::default()),
            addresses_left_out: register(all, &reference::ADDRESSES_LEFT_OUT, Family::default()),
            dns_stretch: register(all, &reference::DNS_STRETCH, Seconds::default()),
            dns_waiting: register(all, &reference::DNS_WAITING, Family::default()),
            forwarded: register(all, &reference::FORWARDED, Family::default()),
            forward_held: register(all, &reference::FORWARD_HELD, dns_buckets()),
            forward_upstream: register(all, &reference::FORWARD_UPSTREAM, dns_buckets()),
            forward_zones: register(all, &reference::FORWARD_ZONES, Family::default()),
            learned: register(all, &reference::LEARNED, Gauge::default()),
            learned_total: register(all, &reference::LEARNED_TOTAL, Counter::default()),
            forgotten_total: register(all, &reference::FORGOTTEN_TOTAL, Family::default()),
            predicted_miss: register(all, &reference::PREDICTED_MISS, miss_buckets()),
            feeds: Mutex::default(),
            servers: Mutex::default(),
            registry,
        };
        // A rate or an alert needs the zero before the first count.
        for outcome in Counted::ALL {
            drop(metrics.reconciles.get_or_create(&label(&reference::RECONCILES, [outcome.as_str().into()])));
        }
        for cause in Cause::ALL {
            drop(metrics.pods_opened.get_or_create(&label(&reference::PODS_OPENED, [cause.as_str().into()])));
        }
        for cause in ForgottenCause::ALL {
            drop(metrics.forgotten_total.get_or_create(&label(&reference::FORGOTTEN_TOTAL, [cause.label().into()])));
        }
        for how in Forwarded::ALL {
            drop(metrics.forwarded.get_or_create(&label(&reference::FORWARDED, [how.label().into()])));
        }
        for state in NameState::LABELS {
            drop(metrics.names.get_or_create(&label(&reference::NAMES, [state.into()])));
        }
        metrics
    }
}

impl Metrics {
    /// The text for a scrape. Call [`Self::feeds_are`], [`Self::names_are`] and [`Self::memory_is`] before.
    #[must_use]
    pub fn render(&self) -> String {
        self.process.read();
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// This replica became the leader, or stopped being it.
    pub fn leading(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Pods lost their last policy of a resource in this many directions.
    pub fn pods_opened(&self, cause: Cause, directions: usize) {
        let label = label(&reference::PODS_OPENED, [cause.as_str().into()]);
        self.pods_opened.get_or_create(&label).inc_by(u64::try_from(directions).unwrap_or(u64::MAX));
    }

    /// This replica stands by: the leader reports the resources.
    pub fn forget_resources(&self) {
        self.resources.clear();
        self.overdue.set(0);
    }

    /// This many resources changed long ago and have not been reconciled since.
    pub fn overdue(&self, resources: usize) {
        self.overdue.set(count(resources));
    }

    /// The watchdog found a change that nothing would have reconciled.
    pub fn wake_lost(&self) {
        self.lost_wakes.inc();
    }

    /// A reconcile ended.
    pub fn reconciled(&self, outcome: Counted, took: Duration) {
        self.reconciles.get_or_create(&label(&reference::RECONCILES, [outcome.as_str().into()])).inc();
        self.reconcile_duration.observe(took.as_secs_f64());
    }

    /// A resource has this status now.
    pub fn resource(&self, resource: &ResourceRef, status: &CitrixAllowlistStatus) {
        self.resources.put(resource, status);
    }

    /// A resource is gone.
    pub fn forget(&self, resource: &ResourceRef) {
        self.resources.remove(resource);
    }

    /// These lists are in use `now`; any other is forgotten. Of a customer's list in parts, the oldest, the first to end and the
    /// first to be requested count. `left_out` counts the resources without a list, by [`Level`].
    pub fn feeds_are(&self, feeds: &[FeedSnapshot], left_out: [usize; 3], now: Timestamp) {
        #[derive(Default)]
        struct Parts {
            age: Option<Duration>,
            valid_until: Option<Timestamp>,
            next_fetch: Option<Timestamp>,
        }
        for (level, left_out) in Level::ALL.into_iter().zip(left_out) {
            let label = label(&reference::LISTS_LEFT_OUT, [level.as_str().into()]);
            self.lists_left_out.get_or_create(&label).set(count(left_out));
        }
        let first = |times: [Option<Timestamp>; 2]| times.into_iter().flatten().min();
        let mut current: BTreeMap<Labels<2>, Parts> = BTreeMap::new();
        for feed in feeds {
            let customer = feed.key.customer.as_deref().unwrap_or(EVERY_CUSTOMER).to_owned();
            let labels = label(&reference::FEED_AGE, [feed.key.cloud.as_str().into(), customer.into()]);
            let parts = current.entry(labels).or_default();
            parts.age = feed.age.max(parts.age);
            parts.valid_until = first([feed.valid_until, parts.valid_until]);
            parts.next_fetch = first([feed.next_fetch, parts.next_fetch]);
        }
        self.lists_held.set(count(feeds.iter().filter(|feed| feed.held_back).count()));
        self.lists_failing.set(count(feeds.iter().filter(|feed| feed.failures > 0).count()));
        let queued = feeds.iter().filter(|feed| feed.queue_place.is_some()).count();
        self.limiter_queue.set(count(queued));
        let seconds = |time: Timestamp| time.as_duration().as_secs_f64();
        let families = [&self.feed_age, &self.feed_fetched, &self.feed_valid_until, &self.feed_next_fetch];
        for (labels, parts) in &current {
            let age = parts.age.map(|age| age.as_secs_f64());
            let fetched = age.map(|age| seconds(now) - age);
            let values = [age, fetched, parts.valid_until.map(seconds), parts.next_fetch.map(seconds)];
            for (family, value) in families.iter().zip(values) {
                match value {
                    Some(value) => drop(family.get_or_create(labels).set(value)),
                    None => drop(family.remove(labels)),
                }
            }
        }
        let current: BTreeSet<Labels<2>> = current.into_keys().collect();
        let before = std::mem::replace(&mut *lock(&self.feeds), current.clone());
        for gone in before.difference(&current) {
            for family in families {
                family.remove(gone);
            }
        }
    }

    /// One host of the API gets at most this many requests in any minute.
    pub fn limited_to(&self, requests_per_minute: NonZeroU32) {
        self.limiter_limit.set(requests_per_minute.get().into());
    }

    /// These are the current names and servers; any other server is forgotten.
    pub fn names_are(&self, names: &NamesSnapshot) {
        self.learned.set(count(names.learned));
        for state in ZoneState::KNOWN {
            let zones = names.zones.get(&state).copied().unwrap_or_default();
            self.forward_zones
                .get_or_create(&label(&reference::FORWARD_ZONES, [state.label().into()]))
                .set(count(zones));
        }
        let allowed = names.names.iter().flat_map(|name| &name.addresses).filter(|address| address.refused.is_none());
        self.addresses.set(count(allowed.count()));
        for state in NameState::LABELS {
            let so = names.names.iter().filter(|name| name.state.label() == state).count();
            self.names.get_or_create(&label(&reference::NAMES, [state.into()])).set(count(so));
        }
        for level in Level::ALL {
            let (bound, index) = (level.as_str(), level as usize);
            let left_out = label(&reference::NAMES_LEFT_OUT, [bound.into()]);
            self.names_left_out.get_or_create(&left_out).set(count(names.names_left_out[index]));
            let left_out = label(&reference::ADDRESSES_LEFT_OUT, [bound.into()]);
            self.addresses_left_out.get_or_create(&left_out).set(count(names.addresses_left_out[index]));
        }
        self.dns_stretch.set(names.stretch.max(1.0));
        for server in &names.servers {
            let label = label(&reference::DNS_WAITING, [server.server.to_string().into()]);
            self.dns_waiting.get_or_create(&label).set(count(server.waiting));
        }
        let current: BTreeSet<SocketAddr> = names.servers.iter().map(|server| server.server).collect();
        lock(&self.servers).retain(|server, results| {
            let keep = current.contains(server);
            if !keep {
                let server: Cow<'static, str> = server.to_string().into();
                for result in results.iter() {
                    self.dns_questions.remove(&label(&reference::DNS_QUESTIONS, [server.clone(), (*result).into()]));
                }
                self.dns_duration.remove(&label(&reference::DNS_DURATION, [server.clone()]));
                self.dns_waiting.remove(&label(&reference::DNS_WAITING, [server.clone()]));
                self.dns_refused.remove(&label(&reference::DNS_REFUSED, [server]));
            }
            keep
        });
    }

    /// The container's memory, as last read.
    pub fn memory_is(&self, pressure: &Pressure) {
        let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let (used, limit) = pressure.usage().map_or((0, 0), |usage| (usage.used, usage.limit));
        self.memory_used.set(bytes(used));
        self.memory_limit.set(bytes(limit));
        self.memory_short.set(i64::from(pressure.is_high()));
    }
}

#[cfg(test)]
mod tests;
