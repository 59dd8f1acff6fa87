//! Which resources need which list, and what follows for it.

use super::entry::Entry;
use super::request::{FeedKey, FeedRequest};
use super::settings::FeedSettings;
use super::store::{SavedBegun, SavedHost, SavedKey, SavedRequests};
use super::table::{Host, Subscription, Table};
use crate::resource_ref::{ResourceRef, Waker};
use connectivity_allowlist::client::origin;
use connectivity_allowlist::schedule::IntervalBounds;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::time::Instant;

impl Table {
    pub(super) fn join(
        &mut self,
        resource: &ResourceRef,
        key: &FeedKey,
        request: &FeedRequest,
        settings: &FeedSettings,
        now: Instant,
        wall: Timestamp,
    ) {
        let intervals = (request.min_interval, request.max_interval);
        if !self.entries.contains_key(key) {
            let host = origin(&settings.url(key));
            let estimate = self.estimate(&host, settings, wall);
            let bounds = IntervalBounds::shared([intervals], settings.min_refresh);
            self.entries.insert(key.clone(), Entry::new(host, bounds, now, Some(estimate)));
        }
        if let Some(entry) = self.entries.get_mut(key) {
            if entry.is_rejected() {
                entry.request_by(now);
            }
            let bounds = (entry.bounds.min(), entry.bounds.max());
            let others = (!entry.subscribers.is_empty()).then_some(bounds);
            entry.bounds = IntervalBounds::shared(others.into_iter().chain([intervals]), settings.min_refresh);
            entry.subscribers.insert(resource.clone());
            entry.unneeded_since = None;
        }
    }

    /// Removes a resource from the entry of its former subscription.
    pub(super) fn leave(
        &mut self,
        resource: &ResourceRef,
        former: &Subscription,
        settings: &FeedSettings,
        now: Instant,
    ) {
        let Some(entry) = self.entries.get_mut(&former.key) else { return };
        entry.subscribers.remove(resource);
        if entry.subscribers.is_empty() {
            entry.unneeded_since = Some(now);
        }
        let others: Vec<&FeedRequest> =
            entry.subscribers.iter().filter_map(|other| self.subscriptions.get(other).map(|it| &it.request)).collect();
        let intervals = others.iter().map(|request| (request.min_interval, request.max_interval));
        entry.bounds = IntervalBounds::shared(intervals, settings.min_refresh);
        if !others.iter().any(|request| request.customer == former.request.customer) {
            entry.rendered.remove(&former.request.customer);
        }
    }

    /// About when a further new entry of a host has its turn: a minute for each limit's worth of entries before it.
    fn estimate(&mut self, host: &str, settings: &FeedSettings, wall: Timestamp) -> Timestamp {
        if settings.feed_dir.is_some() {
            return wall;
        }
        let waiting = self.waiting.entry(host.to_owned()).or_default();
        let before = *waiting;
        *waiting += 1;
        let limit = usize::try_from(settings.requests_per_minute.get()).unwrap_or(usize::MAX);
        let minutes = i64::try_from(before / limit.max(1)).unwrap_or(0);
        wall.saturating_add(SignedDuration::from_mins(minutes)).unwrap_or(wall)
    }

    /// The requests of the last window, as saved.
    pub(super) fn requests(&self, now: Instant, wall: Timestamp) -> SavedRequests {
        let saved = |host: &Host| {
            let pause =
                host.paused_until.and_then(|until| until.checked_duration_since(now)).filter(|it| !it.is_zero());
            let not_before = pause.and_then(|pause| wall.saturating_add(pause).ok());
            SavedHost { sent: host.limiter.log(now, wall), not_before }
        };
        let begun = self.entries.iter().filter_map(|(key, entry)| {
            let at = entry.begun.filter(|_| entry.in_flight)?;
            Some(SavedBegun { list: SavedKey::of(key), at, times: entry.interrupted.saturating_add(1) })
        });
        SavedRequests {
            at: Some(wall),
            hosts: self.hosts.iter().map(|(name, host)| (name.clone(), saved(host))).collect(),
            begun: begun.collect(),
        }
    }

    /// Notes which refreshes a completed fetch has answered.
    pub(super) fn answered(&mut self, key: &FeedKey) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let mut unanswered = false;
        for resource in &entry.subscribers {
            if let Some(Subscription { refresh, .. }) = self.subscriptions.get_mut(resource) {
                refresh.handled.clone_from(&refresh.sent);
                unanswered |= refresh.asked != refresh.sent;
            }
        }
        if unanswered {
            // Requested during the fetch: its answer may be older.
            entry.request_by(entry.anchor);
        }
    }

    /// Wakes the resources of an entry.
    pub(super) fn wake(&self, key: &FeedKey, waker: &Waker) {
        let subscribers = self.entries.get(key).into_iter().flat_map(|entry| &entry.subscribers);
        subscribers.for_each(|resource| waker.wake(resource));
    }
}

/// Notes that a request is sent for all refreshes of an entry so far.
pub(super) fn refreshes_sent(entry: &Entry, subscriptions: &mut BTreeMap<ResourceRef, Subscription>) {
    for resource in &entry.subscribers {
        if let Some(Subscription { refresh, .. }) = subscriptions.get_mut(resource) {
            refresh.sent.clone_from(&refresh.asked);
        }
    }
}
