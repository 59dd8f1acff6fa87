//! Names asked less often than their TTLs say, since a server's questions a second are used up. Pure.

use super::{Entry, Table};
use crate::names::stretch::{factors, is_late};
use connectivity_allowlist::net::DomainName;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often it is worked out again who wants how much.
const OFTEN: Duration = Duration::from_secs(1);

/// How far names are stretched now.
#[derive(Debug, Default)]
pub(super) struct Stretch {
    seen: Option<Instant>,
    by_namespace: BTreeMap<Arc<str>, f64>,
    is_late: bool,
    news: Option<f64>,
}

impl Table {
    /// Works out, once a second, how much less often the names of each namespace are to be asked.
    pub(super) fn stretch(&mut self, now: Instant) {
        if self.stretch.seen.is_some_and(|seen| now.saturating_duration_since(seen) < OFTEN) {
            return;
        }
        self.stretch.seen = Some(now);
        let bound = f64::from(self.questions_per_second.max(1));
        let most = 2.0 * self.names.len() as f64 / self.bounds.min_ttl.as_secs_f64();
        if most <= bound && self.stretch.by_namespace.is_empty() {
            return;
        }
        let mut wanted: BTreeMap<Arc<str>, f64> = BTreeMap::new();
        // Those that time out hold few places and so ask little: they stretch nobody.
        for entry in self.names.values().filter(|entry| entry.silent.is_empty()) {
            if let Some(namespace) = self.charged(entry) {
                *wanted.entry(Arc::clone(namespace)).or_default() += entry.held.questions_per_second(&self.bounds);
            }
        }
        self.stretch.by_namespace = factors(&wanted, bound);
        let factor = self.stretch.by_namespace.values().copied().fold(1.0, f64::max);
        let late = is_late(factor, self.stretch.is_late);
        if late != self.stretch.is_late {
            self.stretch.is_late = late;
            self.stretch.news = Some(factor);
        }
        let turned: Vec<(DomainName, bool)> = self
            .names
            .iter()
            .map(|(name, entry)| (name, entry, is_late(self.factor(entry), entry.view.reached.late)))
            .filter(|(_, entry, late)| entry.view.reached.late != *late)
            .map(|(name, _, late)| (name.clone(), late))
            .collect();
        for (name, late) in turned {
            if let Some(entry) = self.names.get_mut(&name) {
                entry.held.set_late(late);
            }
            self.changed(&name, now);
        }
    }

    /// Whose share a name's questions are of: of the namespaces that want it the one with the fewest names.
    fn charged(&self, entry: &Entry) -> Option<&Arc<str>> {
        let groups = entry.groups.iter().filter_map(|id| self.groups.get(id));
        groups
            .flat_map(|group| group.namespaces.keys())
            .min_by_key(|namespace| (self.spaces.get(*namespace).map_or(0, |space| space.names()), *namespace))
    }

    /// By what factor a name is asked less often.
    pub(super) fn factor(&self, entry: &Entry) -> f64 {
        if self.stretch.by_namespace.is_empty() {
            return 1.0;
        }
        let namespace = self.charged(entry);
        namespace.and_then(|namespace| self.stretch.by_namespace.get(namespace)).copied().unwrap_or(1.0)
    }

    /// The greatest factor there is.
    pub(in crate::names) fn greatest_stretch(&self) -> f64 {
        self.stretch.by_namespace.values().copied().fold(1.0, f64::max)
    }

    /// That names began to be late, or no longer are, and the greatest factor then.
    pub(in crate::names) const fn take_news(&mut self) -> Option<f64> {
        self.stretch.news.take()
    }
}
