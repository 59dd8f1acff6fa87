//! When the table has something to do. Pure.

use super::addresses::Addresses;
use crate::counts::{count, uncount};
use crate::resource_ref::ResourceRef;
use connectivity_allowlist::net::DomainName;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Changes that follow another within this time reach their subscribers together.
pub const COALESCE: Duration = Duration::from_millis(200);
/// The most that is added to a TTL so that names drift apart: answers are followed within two seconds of their TTL.
const MOST_JITTER: Duration = Duration::from_secs(1);

/// When to query again after `wait`: later by at most a twentieth and at most a second. Never earlier: the cache in between
/// would only repeat itself, with a TTL of next to nothing. `random` is between 0 and 1.
#[must_use]
pub fn with_jitter(wait: Duration, random: f64) -> Duration {
    wait + (wait / 20).min(MOST_JITTER).mul_f64(random.clamp(0.0, 1.0))
}

/// The first moment after `now` that is a whole number of `interval`s after `epoch`.
#[must_use]
pub fn next_tick(epoch: Instant, interval: Duration, now: Instant) -> Instant {
    let interval = interval.as_millis().max(1);
    let passed = now.saturating_duration_since(epoch).as_millis();
    let ticks = passed / interval + 1;
    let milliseconds = u64::try_from(ticks.saturating_mul(interval)).unwrap_or(u64::MAX);
    epoch.checked_add(Duration::from_millis(milliseconds)).unwrap_or(now)
}

/// What is due when, most overdue first. A key has one moment at most.
#[derive(Debug)]
pub struct Agenda<K: Ord + Clone> {
    by_moment: BTreeSet<(Instant, K)>,
    by_key: BTreeMap<K, Instant>,
}

impl<K: Ord + Clone> Default for Agenda<K> {
    fn default() -> Self {
        Self { by_moment: BTreeSet::new(), by_key: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> Agenda<K> {
    /// Makes `key` due at `moment`, instead of any other moment.
    pub fn set(&mut self, key: K, moment: Instant) {
        self.remove(&key);
        self.by_key.insert(key.clone(), moment);
        self.by_moment.insert((moment, key));
    }

    /// Makes `key` due at `moment`, unless it is due earlier.
    pub fn set_by(&mut self, key: K, moment: Instant) {
        if self.by_key.get(&key).is_none_or(|set| *set > moment) {
            self.set(key, moment);
        }
    }

    /// Removes `key`.
    pub fn remove(&mut self, key: &K) {
        if let Some(moment) = self.by_key.remove(key) {
            self.by_moment.remove(&(moment, key.clone()));
        }
    }

    /// When `key` is due.
    pub fn get(&self, key: &K) -> Option<Instant> {
        self.by_key.get(key).copied()
    }

    /// Takes the most overdue key, if one is due.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        if self.first()? > now {
            return None;
        }
        let (_, key) = self.by_moment.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
    }

    /// The next moment.
    pub fn first(&self) -> Option<Instant> {
        self.by_moment.first().map(|(moment, _)| *moment)
    }
}

/// Subscribers with the same names and retention: they see the same, and are woken together.
#[derive(Debug, Default)]
pub struct Group {
    /// The names they want.
    pub names: Arc<BTreeSet<DomainName>>,
    /// How long addresses are to be retained.
    pub retention: Duration,
    /// How many addresses are cached of these names.
    pub addresses: usize,
    /// The subscribers.
    pub subscribers: BTreeSet<ResourceRef>,
    /// Their namespaces, with the number of subscribers in each.
    pub namespaces: BTreeMap<Arc<str>, usize>,
    /// What they see, until something changes.
    pub seen: Option<Arc<Addresses>>,
    /// How many of the names have had no answer and no failure yet.
    pub waiting: usize,
    /// When they were last woken.
    pub woken: Option<Instant>,
}

impl Group {
    /// Adds a subscriber. Returns whether it is the first of its namespace.
    pub fn add(&mut self, resource: &ResourceRef) -> bool {
        self.subscribers.insert(resource.clone()) && count(&mut self.namespaces, &resource.namespace)
    }

    /// Removes a subscriber. Returns whether it was the last of its namespace.
    pub fn remove(&mut self, resource: &ResourceRef) -> bool {
        self.subscribers.remove(resource) && uncount(&mut self.namespaces, &resource.namespace)
    }

    /// When to wake for a change that happens now: at once, but not within [`COALESCE`] of the last time. While first answers
    /// are missing, when the last has come or after [`COALESCE`].
    #[must_use]
    pub fn wake_at(&self, now: Instant) -> Instant {
        let quiet = self.woken.map_or(now, |woken| woken + COALESCE);
        if self.waiting > 0 { now + COALESCE } else { quiet.max(now) }
    }
}

#[cfg(test)]
mod tests;
