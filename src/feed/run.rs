//! Drives the table: sends due requests within the rate, and takes the answers in.

mod failures;
mod unnoted;

use super::entry::{Answer, CachedList, Entry, ResponseMetadata, UNASKED_304};
use super::observer::CompletedFetch;
use super::request::FeedKey;
use super::settings::MOST_REDIRECTS;
use super::store::{SavedKey, SavedList, SavedState, StoreError};
use super::subscriptions::refreshes_sent;
use super::table::{Feeds, Table};
use crate::memory::LARGE_LIST;
use crate::reason::Reason;
use connectivity_allowlist::limiter::{DueRequest, RequestTicket};
use connectivity_allowlist::schedule::FetchOutcome;
use connectivity_allowlist::{FetchError, FetchRequest, Fetched, Validators, gzip};
use failures::answer_to;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

pub(super) use unnoted::Unnoted;

/// How often the wall clock is read, in case the machine slept or the clock was set.
const READ_THE_CLOCK: Duration = Duration::from_secs(30);
/// How long the store may take.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often, and how far apart, reading the saved state is tried before the process goes on without it.
const RESTORE_TRIES: u32 = 9;
const RESTORE_PAUSE: Duration = Duration::from_secs(10);

/// A request that may be sent.
struct Started {
    key: FeedKey,
    host: String,
    ticket: RequestTicket,
    request: FetchRequest,
}

impl Feeds {
    /// Keeps every list current until dropped. While `leading` is false, nothing is sent, read or written. Whenever it turns true,
    /// the saved state is read before the first request.
    pub async fn run(&self, mut leading: watch::Receiver<bool>) {
        loop {
            if !*leading.borrow_and_update() {
                if leading.changed().await.is_err() {
                    return;
                }
                continue;
            }
            tokio::select! {
                () = self.lead() => {}
                () = ends(&mut leading) => {}
            }
        }
    }

    async fn lead(&self) {
        self.give_up_requests();
        if self.0.settings.feed_dir.is_some() {
            return self.follow_directory().await;
        }
        for attempt in 0..RESTORE_TRIES {
            if attempt > 0 {
                tokio::time::sleep(RESTORE_PAUSE.min(Duration::from_secs(1 << attempt.min(8)) / 2)).await;
            }
            if self.restore().await {
                self.presume_unnoted();
                break;
            }
        }
        let mut in_flight: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
        loop {
            let (started, wake) = self.start_due();
            for request in started {
                in_flight.push(Box::pin(self.perform(request)));
            }
            self.0.wake_first_with_room(&mut self.0.lock());
            if self.forget_unneeded() {
                in_flight.push(Box::pin(self.forget_saved()));
            }
            tokio::select! {
                Some(()) = in_flight.next(), if !in_flight.is_empty() => {}
                () = self.0.changed.notified() => {}
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
    }

    /// Requests of a former run are lost; the vendor may have counted them until now.
    fn give_up_requests(&self) {
        let now = self.0.clock.instant();
        let mut table = self.0.lock();
        for entry in table.entries.values_mut() {
            entry.in_flight = false;
            entry.begun = None;
        }
        for host in table.hosts.values_mut() {
            host.limiter.abandon(now);
            host.unnoted.start_over();
        }
    }

    /// Starts every due request whose turn it is; returns when to look again.
    fn start_due(&self) -> (Vec<Started>, Instant) {
        let shared = &*self.0;
        let (now, wall) = (shared.clock.instant(), shared.clock.now());
        let mut wake = now + READ_THE_CLOCK;
        let mut guard = shared.lock();
        let table = &mut *guard;
        let mut due: BTreeMap<String, Vec<(FeedKey, DueRequest)>> = BTreeMap::new();
        table.waiting.clear();
        for (key, entry) in &table.entries {
            if entry.last.is_none() && !entry.subscribers.is_empty() {
                *table.waiting.entry(entry.host.clone()).or_default() += 1;
            }
            if entry.in_flight || entry.subscribers.is_empty() {
                continue;
            }
            let at = entry.due(shared.settings.min_refresh, now, wall);
            if at > now {
                wake = wake.min(at);
                continue;
            }
            let tenants: BTreeSet<&Arc<str>> = entry.subscribers.iter().map(|it| &it.namespace).collect();
            let request = DueRequest {
                new: entry.accepted.is_none(),
                failures: entry.last.map_or(0, |last| last.failures),
                due: at,
                tenants: tenants.into_iter().cloned().collect(),
            };
            due.entry(entry.host.clone()).or_default().push((key.clone(), request));
        }
        let mut started = Vec::new();
        for (name, waiting) in due {
            let (mut keys, mut requests): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
            let host = table.hosts.entry(name.clone()).or_insert_with(|| shared.host());
            if let Some(until) = host.paused_until.filter(|until| *until > now) {
                wake = wake.min(until);
                continue;
            }
            while host.limiter.is_open(now) {
                let Some(index) = host.order.choose(&requests) else { break };
                let (key, due) = (keys.swap_remove(index), requests.swap_remove(index));
                host.order.serve(&due);
                let ticket = host.limiter.send();
                host.unpresumed = None;
                shared.observer.limiter_waited(&name, now.saturating_duration_since(due.due));
                let Some(entry) = table.entries.get_mut(&key) else { continue };
                refreshes_sent(entry, &mut table.subscriptions);
                entry.in_flight = true;
                entry.begun = Some(wall);
                let url = entry.redirect.as_ref().map_or_else(|| shared.settings.url(&key), |(url, _)| url.clone());
                let request = FetchRequest {
                    url,
                    transaction_id: uuid::Uuid::new_v4().to_string(),
                    validators: entry.validators(wall),
                };
                started.push(Started { key, host: name.clone(), ticket, request });
            }
            if !requests.is_empty() {
                // If only requests in flight are in the way, their end wakes the loop.
                wake = host.limiter.opens_at(now).map_or(wake, |opens| wake.min(opens));
            }
        }
        (started, wake)
    }

    /// One request, from the note that it is sent to the note of its answer.
    async fn perform(&self, started: Started) {
        let shared = &*self.0;
        // Noted before it is sent. A process that dies in between must not exceed the rate when it is back. If the answer kills
        // it, the next one must not request it at once.
        if !self.save_requests().await && self.waits_for_note(&started) {
            return;
        }
        let begun = shared.clock.instant();
        let result = shared.client.fetch(started.request.clone()).await;
        let took = shared.clock.instant().saturating_duration_since(begun);
        let is_saved = match self.finish(started, result, took) {
            Some(save) => self.save(save).await,
            None => false,
        };
        // A saved list shows that its fetch has completed; otherwise the note of its start is removed.
        if !is_saved {
            self.save_requests().await;
        }
    }

    /// Takes an answer into the table and wakes its resources; returns what to save.
    fn finish(&self, started: Started, result: Result<Fetched, FetchError>, took: Duration) -> Option<SavedList> {
        let shared = &*self.0;
        let now = shared.clock.instant();
        let Started { key, host, ticket, request } = started;
        // Read before the table is locked, so that no one waits for it.
        let read = match &result {
            Ok(Fetched::Document { body, validators, content_type }) => {
                Some(self.read(&key, body, validators.clone(), content_type.as_deref()))
            }
            _ => None,
        };
        let mut guard = shared.lock();
        let table = &mut *guard;
        if let Some(host) = table.hosts.get_mut(&host) {
            host.limiter.complete(ticket, now);
        }
        let entry = table.entries.get_mut(&key)?;
        entry.in_flight = false;
        let answer = match result {
            Ok(Fetched::Document { .. }) => read.unwrap_or(Answer::NotModified),
            Ok(Fetched::Moved { url }) => {
                let hops = entry.redirect.as_ref().map_or(1, |(_, hops)| hops + 1);
                if hops <= MOST_REDIRECTS {
                    entry.redirect = Some((url, hops));
                    entry.request_by(now);
                    return None;
                }
                Answer::failed(Reason::FeedUnavailable, "the API redirects in circles")
            }
            Ok(Fetched::NotModified) if request.validators.is_empty() => {
                Answer::failed(Reason::FeedMalformed, UNASKED_304)
            }
            Ok(Fetched::NotModified) => match &entry.accepted {
                // A list that is valid for a time after its receipt counts as received again.
                Some(list) if list.allowlist.valid_until.is_some() && !list.allowlist.form.states_expiry() => {
                    let document = gzip::decompress(&list.document, usize::MAX - 1).unwrap_or_default();
                    self.read(&key, &document, list.validators.clone(), None)
                }
                _ => Answer::NotModified,
            },
            Err(error) => answer_to(&error),
        };
        self.take(table, &key, answer, &shared.arrival(Some(request.transaction_id)), took);
        let entry = table.entries.get(&key)?;
        if let Some(pause) = entry.last.and_then(|last| last.host_pause()) {
            shared.observer.host_paused(&host, pause);
            if let Some(host) = table.hosts.get_mut(&host) {
                host.pause_until(now + pause);
            }
        }
        self.saved_list(&key, entry)
    }

    /// Takes an answer into the table, reports it and wakes the resources of its entry.
    pub(super) fn take(
        &self,
        table: &mut Table,
        key: &FeedKey,
        answer: Answer,
        arrival: &ResponseMetadata,
        took: Duration,
    ) {
        let Some(entry) = table.entries.get_mut(key) else { return };
        let changed = entry.take(answer, arrival);
        self.0.observer.fetched(&CompletedFetch {
            key,
            reason: entry.condition.reason,
            message: &entry.condition.message,
            changed,
            transaction_id: arrival.transaction_id.as_deref().unwrap_or_default(),
            took,
        });
        table.answered(key);
        table.wake(key, &self.0.waker);
    }

    pub(super) fn read(
        &self,
        key: &FeedKey,
        body: &[u8],
        validators: Validators,
        content_type: Option<&str>,
    ) -> Answer {
        if let Some(pressure) = self.0.pressure.get()
            && pressure.is_high()
            && body.len() > LARGE_LIST
        {
            let detail = pressure.in_words(&format!("a list of {} bytes", body.len()));
            return Answer::failed(Reason::FeedUnavailable, detail);
        }
        match self.0.read(key, None, body) {
            Ok(document) => {
                let allowlist = document.received_at(self.0.clock.now());
                Answer::List(CachedList::new(gzip::compress(body), allowlist, validators))
            }
            Err(error) => {
                let called = content_type.map(|called| format!(", sent as {called},")).unwrap_or_default();
                Answer::failed(Reason::FeedMalformed, format!("the answer{called} is not usable: {error}"))
            }
        }
    }

    /// What to save of an entry: the list in use, if the last request brought or confirmed it.
    fn saved_list(&self, key: &FeedKey, entry: &Entry) -> Option<SavedList> {
        let last = entry.last?;
        if !matches!(last.outcome, FetchOutcome::Usable { .. }) {
            return None;
        }
        let accepted = entry.accepted.as_ref()?;
        let state = SavedState {
            list: SavedKey::of(key),
            url: self.0.settings.url(key),
            fetched_at: entry.fetched_at?,
            last_modified: accepted.validators.last_modified.clone(),
            etag: accepted.validators.etag.clone(),
            transaction_id: entry.transaction_id.clone(),
            confirmations: entry.confirmations,
            stale_answers: last.stale_answers,
            older_since: entry.older_since,
        };
        let previous = entry.previous.as_ref().map(|list| list.document.clone());
        Some(SavedList { key: key.clone(), state, document: accepted.document.clone(), previous })
    }

    /// Returns whether it is saved.
    async fn save(&self, list: SavedList) -> bool {
        let consequence = format!("the list of {} is not saved: a restart fetches it again", list.key);
        self.stored(self.0.store.save(list), Some(&consequence)).await
    }

    /// Drops entries that no resource has needed for long enough; returns whether there were any.
    pub(super) fn forget_unneeded(&self) -> bool {
        let shared = &*self.0;
        let now = shared.clock.instant();
        let mut guard = shared.lock();
        let table = &mut *guard;
        let before = table.entries.len();
        table.entries.retain(|_, entry| {
            let long = |since: Instant| now.saturating_duration_since(since) >= shared.settings.forget_after;
            entry.in_flight || !entry.unneeded_since.is_some_and(long)
        });
        table.forget_beyond(shared.settings.lists.process);
        let gone = before != table.entries.len();
        if gone {
            let namespaces: BTreeSet<&str> = table.subscriptions.keys().map(|resource| &*resource.namespace).collect();
            for host in table.hosts.values_mut() {
                host.order.retain(|namespace| namespaces.contains(namespace));
            }
        }
        gone && table.restored
    }

    async fn forget_saved(&self) {
        let keys: BTreeSet<FeedKey> = self.0.lock().entries.keys().cloned().collect();
        self.stored(self.0.store.retain(keys), Some("saved lists that nothing needs any more stay for now")).await;
    }

    /// Waits until the store has done its `work`; returns whether it has, and warns of the consequence if not.
    async fn stored(&self, work: impl Future<Output = Result<(), StoreError>>, consequence: Option<&str>) -> bool {
        let error = match tokio::time::timeout(STORE_TIMEOUT, work).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        if let Some(consequence) = consequence {
            self.0.observer.store_warning(&format!("{consequence} ({error})"));
        }
        false
    }
}

async fn ends(leading: &mut watch::Receiver<bool>) {
    // No sender is left: the value stays as it is.
    if leading.wait_for(|leading| !leading).await.is_err() {
        std::future::pending::<()>().await;
    }
}
