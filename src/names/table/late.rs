//! Names queried less often than their TTLs, since a server's queries per second are used up. Pure.

use super::{Entry, Table};
use crate::names::stretch::{factors, is_late};
use connectivity_allowlist::net::DomainName;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the shares are computed again.
const INTERVAL: Duration = Duration::from_secs(1);

/// How far names are stretched now.
#[derive(Debug, Default)]
pub(super) struct Stretch {
    seen: Option<Instant>,
    by_namespace: BTreeMap<Arc<str>, f64>,
    is_late: bool,
    news: Option<f64>,
}

impl Table {
    /// Computes, once a second, how much less often the names of each namespace are queried.
    pub(super) fn stretch(&mut self, now: Instant) {
        if self.stretch.seen.is_some_and(|seen| now.saturating_duration_since(seen) < INTERVAL) {
            return;
        }
        self.stretch.seen = Some(now);
        let bound = f64::from(self.questions_per_second.max(1));
        let most = 2.0 * self.names.len() as f64 / self.bounds.min_ttl.as_secs_f64();
        if most <= bound && self.stretch.by_namespace.is_empty() {
            return;
        }
        let mut wanted: BTreeMap<Arc<str>, f64> = BTreeMap::new();
        // Names that time out have few places, and so few queries: they stretch no other.
        for entry in self.names.values().filter(|entry| entry.silent.is_empty()) {
            if let Some(namespace) = self.charged(entry) {
                *wanted.entry(Arc::clone(namespace)).or_default() += entry.cached.questions_per_second(&self.bounds);
            }
        }
        self.stretch.by_namespace = factors(&wanted, bound);
        let factor = self.greatest_stretch();
        let late = is_late(factor, self.stretch.is_late);
        if late != self.stretch.is_late {
            self.stretch.is_late = late;
            self.stretch.news = Some(factor);
        }
        let turned =
            self.names.iter().map(|(name, entry)| (name, entry, is_late(self.factor(entry), entry.view.reached.late)));
        let turned = turned.filter(|(_, entry, late)| entry.view.reached.late != *late);
        let turned: Vec<(DomainName, bool)> = turned.map(|(name, _, late)| (name.clone(), late)).collect();
        for (name, late) in turned {
            if let Some(entry) = self.names.get_mut(&name) {
                entry.cached.late = late;
            }
            self.changed(&name, now);
        }
    }

    /// The namespace whose share a name's queries use: of those that want it, the one with the fewest names.
    fn charged(&self, entry: &Entry) -> Option<&Arc<str>> {
        let groups = entry.groups.iter().filter_map(|id| self.groups.get(id));
        groups
            .flat_map(|group| group.namespaces.keys())
            .min_by_key(|namespace| (self.spaces.get(*namespace).map_or(0, |space| space.names.len()), *namespace))
    }

    /// By what factor a name is queried less often.
    pub(super) fn factor(&self, entry: &Entry) -> f64 {
        if self.stretch.by_namespace.is_empty() {
            return 1.0;
        }
        let namespace = self.charged(entry);
        namespace.and_then(|namespace| self.stretch.by_namespace.get(namespace)).copied().unwrap_or(1.0)
    }

    /// The greatest factor of any namespace.
    pub(in crate::names) fn greatest_stretch(&self) -> f64 {
        self.stretch.by_namespace.values().copied().fold(1.0, f64::max)
    }

    /// The greatest factor, if names just began or ceased to be late.
    pub(in crate::names) const fn take_news(&mut self) -> Option<f64> {
        self.stretch.news.take()
    }
}
