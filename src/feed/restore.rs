//! Takes over what an earlier process saved.

use super::entry::{CachedList, Entry, Restored};
use super::request::FeedKey;
use super::store::{Saved, SavedList, StoreError};
use super::table::Feeds;
use connectivity_allowlist::Validators;
use connectivity_allowlist::client::{LARGEST_DOCUMENT, origin};
use connectivity_allowlist::gzip::decompress;
use connectivity_allowlist::schedule::IntervalBounds;
use std::time::Duration;

/// How long the store may take to load everything.
const LOAD_TIMEOUT: Duration = Duration::from_secs(30);

impl Feeds {
    /// Reads what was saved, on start and on becoming leader. [`Feeds::run`] does so before it sends anything; an earlier call
    /// spares resources a first look at an empty table. Known newer state stays. Returns whether the store could be read; if not,
    /// the rate counts as used up.
    pub async fn restore(&self) -> bool {
        let shared = &*self.0;
        let loaded = tokio::time::timeout(LOAD_TIMEOUT, shared.store.load()).await;
        let loaded = loaded.unwrap_or_else(|_| Err(StoreError("no answer in time".to_owned())));
        match loaded {
            Ok(saved) => {
                self.take_saved(saved);
                true
            }
            Err(error) => {
                let message =
                    format!("saved lists cannot be read, requests wait until they can, for a minute at most ({error})");
                shared.observer.store_warning(&message);
                let now = shared.clock.instant();
                let mut table = shared.lock();
                let urls = [&shared.settings.global_url, &shared.settings.japan_url].into_iter();
                for url in urls.chain(shared.settings.static_list_urls.values()) {
                    let host = table.hosts.entry(origin(url)).or_insert_with(|| shared.host());
                    // Once: requests of an earlier process are a minute old a minute after its first try.
                    if host.unpresumed.is_none() {
                        host.unpresumed = Some(host.limiter.clone());
                        host.limiter.fill(now);
                    }
                }
                false
            }
        }
    }

    fn take_saved(&self, saved: Saved) {
        let shared = &*self.0;
        let (now, wall) = (shared.clock.instant(), shared.clock.now());
        let mut warnings = saved.warnings;
        let mut read = Vec::new();
        for list in saved.lists {
            match self.read_saved(&list) {
                Ok(restored) => read.push((list, restored)),
                Err(error) => warnings.push(format!("the saved list of {} is ignored ({error})", list.key)),
            }
        }
        let mut guard = shared.lock();
        let table = &mut *guard;
        table.restored = true;
        // The sent requests are known now, and need not be presumed any more.
        for host in table.hosts.values_mut() {
            if let Some(limiter) = host.unpresumed.take() {
                host.limiter = limiter;
            }
        }
        // Two machines' clocks may differ by more than a minute: ages are told by the clock that noted the times.
        let noted_by = saved.requests_clock.unwrap_or(wall);
        for (name, host) in saved.requests.hosts {
            let known = table.hosts.entry(name).or_insert_with(|| shared.host());
            // They may be read twice when this process begins to lead.
            let new: Vec<_> = host.sent.iter().copied().filter(|at| !known.noted.contains(at)).collect();
            known.limiter.restore(&new, now, noted_by);
            known.noted = host.sent;
            let left = host.not_before.map(|until| until.duration_since(noted_by));
            if let Some(pause) = left.and_then(|left| Duration::try_from(left).ok()) {
                // No pause is longer than an hour; a longer one comes from a clock that was set.
                known.pause_until(now + pause.min(Duration::from_secs(3600)));
            }
        }
        let unbound = IntervalBounds::shared([], shared.settings.min_refresh);
        let new = |key: &FeedKey| Entry::new(origin(&shared.settings.url(key)), unbound, now, Some(wall));
        for (list, restored) in read {
            let entry = table.entries.entry(list.key.clone()).or_insert_with_key(new);
            if entry.is_newer_than(&restored, wall) {
                continue;
            }
            entry.restore(restored, &shared.arrival(list.state.transaction_id));
            if entry.from_elsewhere {
                // From another address than now: it serves until the new one has answered.
                entry.request_by(now);
            }
            table.wake(&list.key, &shared.waker);
        }
        for begun in saved.requests.begun {
            let Some(key) = begun.list.key() else { continue };
            let entry = table.entries.entry(key.clone()).or_insert_with_key(new);
            let begun_at = wall.saturating_sub(noted_by.duration_since(begun.at)).unwrap_or(wall);
            if let Some(message) = entry.interrupt((begun_at, begun.at), begun.times, &shared.arrival(None)) {
                shared.observer.fetch_interrupted(&key, &message);
                table.wake(&key, &shared.waker);
            }
        }
        drop(guard);
        for warning in warnings {
            shared.observer.store_warning(&warning);
        }
        shared.changed.notify_one();
    }

    fn read_saved(&self, list: &SavedList) -> Result<Restored, StoreError> {
        let state = &list.state;
        let read = |document: &std::sync::Arc<[u8]>, validators: Validators| {
            let failed = |error: &dyn std::error::Error| StoreError(error.to_string());
            let bytes = decompress(document, LARGEST_DOCUMENT).map_err(|error| failed(&error))?;
            let read = self.0.read(&list.key, None, &bytes).map_err(|error| failed(&error))?;
            Ok(CachedList::new(document.clone(), read.received_at(state.fetched_at), validators))
        };
        let accepted = read(&list.document, Validators::new(state.etag.clone(), state.last_modified.clone()))?;
        if accepted.allowlist.entries.is_empty() {
            // Such a first list was accepted once, until it expired.
            return Err(StoreError("it holds nothing".to_owned()));
        }
        // Without the list before it, the newer one counts like a confirmed one.
        let previous = list.previous.as_ref().and_then(|document| read(document, Validators::default()).ok());
        Ok(Restored {
            accepted,
            previous,
            fetched_at: state.fetched_at,
            confirmations: state.confirmations,
            stale_answers: state.stale_answers,
            older_since: state.older_since,
            // The new address must send it whole: the old one's validators mean nothing there.
            from_elsewhere: state.url != self.0.settings.url(&list.key),
        })
    }
}
