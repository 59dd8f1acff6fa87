//! The shared table: an entry per list, however many resources need it.

use super::entry::{Entry, Rendered, ResponseMetadata};
use super::observer::FeedObserver;
use super::request::{FeedKey, FeedRequest};
use super::room::{Room, without_room};
use super::run::Unnoted;
use super::settings::{FeedSettings, TEMPLATE_CUSTOMER};
use super::store::ListStore;
use super::view::{FeedSnapshot, FeedView, empty_view, unusable};
use crate::clock::Clock;
use crate::interner::Interner;
use crate::lock::lock;
use crate::memory::Pressure;
use crate::resource_ref::{ResourceRef, Waker};
use connectivity_allowlist::document::{self, DocumentError, Reading};
use connectivity_allowlist::gzip::decompress;
use connectivity_allowlist::limiter::{FairOrder, RateLimiter};
use connectivity_allowlist::query::is_customer_id;
use connectivity_allowlist::{Fetch, ParsedDocument};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// The vendor's unit of the request rate.
const MINUTE: Duration = Duration::from_secs(60);

/// The vendor's lists, shared by every resource that needs them. Cheap to clone.
///
/// [`Feeds::watch`] and [`Feeds::view`] answer at once from what is known; [`Feeds::run`] sends the requests.
#[derive(Clone)]
pub struct Feeds(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) settings: FeedSettings,
    pub(super) clock: Clock,
    pub(super) waker: Waker,
    pub(super) store: Arc<dyn ListStore>,
    pub(super) client: Arc<dyn Fetch>,
    pub(super) observer: Arc<dyn FeedObserver>,
    pub(super) table: Mutex<Table>,
    /// The entries of all lists.
    shared_entries: Interner<connectivity_allowlist::Entry>,
    pub(super) changed: Notify,
    /// Whether memory is short, if that is watched.
    pub(super) pressure: OnceLock<Pressure>,
    /// Locked during writes of requests to the store, so that an older state never overwrites a newer one.
    pub(super) saving: tokio::sync::Mutex<()>,
}

#[derive(Default)]
pub(super) struct Table {
    pub(super) entries: BTreeMap<FeedKey, Entry>,
    pub(super) subscriptions: BTreeMap<ResourceRef, Subscription>,
    pub(super) hosts: BTreeMap<String, Host>,
    /// How many entries of each host have had no answer yet, as of the last pass over all of them.
    pub(super) waiting: BTreeMap<String, usize>,
    /// Whether the saved state has been read: until then no saved list may be forgotten.
    pub(super) restored: bool,
    /// Who uses which lists, and whose has no room.
    pub(super) room: Room,
}

pub(super) struct Subscription {
    pub(super) key: FeedKey,
    pub(super) request: FeedRequest,
    pub(super) refresh: RefreshTokens,
}

/// The refreshes of a resource: the newest requested, the newest with a request sent, the newest answered.
#[derive(Default)]
pub(super) struct RefreshTokens {
    pub(super) asked: Option<Arc<str>>,
    pub(super) sent: Option<Arc<str>>,
    pub(super) handled: Option<Arc<str>>,
}

pub(super) struct Host {
    pub(super) limiter: RateLimiter,
    /// The limiter before its rate was presumed to be used up; `None` if it was not.
    pub(super) unpresumed: Option<RateLimiter>,
    pub(super) order: FairOrder,
    pub(super) paused_until: Option<Instant>,
    /// The requests that a former process noted, as last read.
    pub(super) noted: Vec<Timestamp>,
    /// Requests that could not be noted.
    pub(super) unnoted: Unnoted,
}

impl Host {
    /// Pauses the host until this moment at least.
    pub(super) fn pause_until(&mut self, moment: Instant) {
        self.paused_until = Some(self.paused_until.map_or(moment, |before| before.max(moment)));
    }
}

impl Feeds {
    /// An empty table.
    pub fn new(
        settings: FeedSettings,
        clock: Clock,
        waker: Waker,
        store: Arc<dyn ListStore>,
        client: Arc<dyn Fetch>,
        observer: Arc<dyn FeedObserver>,
    ) -> Self {
        Self(Arc::new(Shared {
            settings,
            clock,
            waker,
            store,
            client,
            observer,
            table: Mutex::default(),
            shared_entries: Interner::default(),
            changed: Notify::new(),
            pressure: OnceLock::new(),
            saving: tokio::sync::Mutex::default(),
        }))
    }

    /// Delays large lists while memory is short. Only the first call counts.
    pub fn put_off_under(&self, pressure: Pressure) {
        let _ = self.0.pressure.set(pressure);
    }

    /// Subscribes a resource, in place of its earlier request, and returns what is known now. Never blocks.
    ///
    /// An equal request changes nothing. If the API refused the list, a changed request is sent once more.
    pub fn watch(&self, resource: &ResourceRef, request: FeedRequest) -> FeedView {
        self.watch_applied(resource, request, false)
    }

    /// The same for a resource that may have policies of this very spec (`applied`): then its list always has room.
    pub fn watch_applied(&self, resource: &ResourceRef, request: FeedRequest, applied: bool) -> FeedView {
        // The schema checks it too, but here the id becomes part of a URL and a file's name.
        if !is_customer_id(&request.customer) {
            self.unwatch(resource);
            return unusable(&request);
        }
        let shared = &*self.0;
        let (now, wall) = (shared.clock.instant(), shared.clock.now());
        let (key, cloud) = (FeedKey::for_request(&request, &shared.settings), request.cloud);
        let mut table = shared.lock();
        let is_same = |known: &Subscription| known.key == key && known.request == request;
        if !table.subscriptions.get(resource).is_some_and(is_same) {
            let mut refresh = RefreshTokens::default();
            if let Some(former) = table.subscriptions.remove(resource) {
                shared.leave(&mut table, resource, &former, now);
                refresh = former.refresh;
            }
            if let Err(full) = table.admit(resource, &key, &shared.settings.lists, applied) {
                return without_room(cloud, full);
            }
            table.join(resource, &key, &request, &shared.settings, now, wall);
            table.subscriptions.insert(resource.clone(), Subscription { key, request, refresh });
            shared.changed.notify_one();
        }
        shared.view(&mut table, resource).unwrap_or_else(|| empty_view(cloud))
    }

    /// What is known for a resource that watches; `None` for one that does not.
    #[must_use]
    pub fn view(&self, resource: &ResourceRef) -> Option<FeedView> {
        self.0.view(&mut self.0.lock(), resource)
    }

    /// Ends a resource's subscription.
    pub fn unwatch(&self, resource: &ResourceRef) {
        let shared = &*self.0;
        let mut table = shared.lock();
        match table.subscriptions.remove(resource) {
            Some(former) => shared.leave(&mut table, resource, &former, shared.clock.instant()),
            None => table.dismiss(resource, None),
        }
    }

    /// Requests a fetch now, within the rate: once for each new value of `token`.
    pub fn refresh(&self, resource: &ResourceRef, token: &str) {
        let now = self.0.clock.instant();
        let mut guard = self.0.lock();
        let table = &mut *guard;
        let Some(subscription) = table.subscriptions.get_mut(resource) else { return };
        if subscription.refresh.asked.as_deref() == Some(token) {
            return;
        }
        subscription.refresh.asked = Some(token.into());
        if let Some(entry) = table.entries.get_mut(&subscription.key) {
            entry.request_by(now);
        }
        self.0.changed.notify_one();
    }

    /// Requests one more fetch, as soon as the shortest interval allows, to confirm a suspicious list.
    pub fn confirm(&self, resource: &ResourceRef) {
        self.request_soon(resource, |entry| entry.confirmations < 2);
    }

    /// Whether lists come from the vendor, not from a directory.
    #[must_use]
    pub fn asks_vendor(&self) -> bool {
        self.0.settings.feed_dir.is_none()
    }

    /// Requests one more fetch, as soon as the shortest interval allows, since a newer list is known to exist.
    pub fn hurry(&self, resource: &ResourceRef) {
        self.request_soon(resource, |_| true);
    }

    fn request_soon(&self, resource: &ResourceRef, is_due: impl FnOnce(&Entry) -> bool) {
        let shared = &*self.0;
        let (now, wall) = (shared.clock.instant(), shared.clock.now());
        let mut guard = shared.lock();
        let table = &mut *guard;
        let Some(subscription) = table.subscriptions.get(resource) else { return };
        if let Some(entry) = table.entries.get_mut(&subscription.key)
            && is_due(entry)
        {
            let since = entry.last.and_then(|last| Duration::try_from(wall.duration_since(last.at)).ok());
            entry.request_by(now + entry.bounds.min().saturating_sub(since.unwrap_or_default()));
        }
        shared.changed.notify_one();
    }

    /// How many resources have no list, since there is no room for it, by [`Level`](crate::bound::Level).
    #[must_use]
    pub fn left_out(&self) -> [usize; 3] {
        self.0.lock().room.left_out()
    }

    /// Every entry, in the order of their keys.
    #[must_use]
    pub fn snapshot(&self) -> Vec<FeedSnapshot> {
        let shared = &*self.0;
        let (now, wall) = (shared.clock.instant(), shared.clock.now());
        let table = shared.lock();
        let mut waiting: Vec<(bool, Instant, &FeedKey)> = Vec::new();
        for (key, entry) in &table.entries {
            let due = entry.due(shared.settings.min_refresh, now, wall);
            if due <= now && !entry.in_flight && !entry.subscribers.is_empty() {
                waiting.push((entry.accepted.is_some(), due, key));
            }
        }
        waiting.sort();
        let places: BTreeMap<&FeedKey, usize> =
            waiting.into_iter().enumerate().map(|(index, (_, _, key))| (key, index + 1)).collect();
        let age = |at: Timestamp| Duration::try_from(wall.duration_since(at)).unwrap_or(Duration::ZERO);
        let snapshot = |(key, entry): (&FeedKey, &Entry)| FeedSnapshot {
            key: key.clone(),
            subscribers: entry.subscribers.len(),
            age: entry.fetched_at.map(age),
            valid_until: entry.accepted.as_ref().and_then(|list| list.allowlist.valid_until),
            version: entry.accepted.as_ref().and_then(|list| list.allowlist.version.clone()),
            next_fetch: entry.next_fetch(),
            queue_place: places.get(key).copied(),
            reason: entry.condition.reason,
            held_back: entry.held_back.is_some(),
            failures: entry.last.map_or(0, |last| last.failures),
        };
        table.entries.iter().map(snapshot).collect()
    }
}

impl Shared {
    /// Ends a use of a list, and wakes the first resource that has room now.
    fn leave(&self, table: &mut Table, resource: &ResourceRef, former: &Subscription, now: Instant) {
        table.leave(resource, former, &self.settings, now);
        table.dismiss(resource, Some(&former.key));
        self.wake_first_with_room(table);
    }

    /// Wakes the first of the resources without a list that has room now.
    pub(super) fn wake_first_with_room(&self, table: &mut Table) {
        if let Some(first) = table.take_first_with_room(&self.settings.lists) {
            self.waker.wake(&first);
        }
    }

    /// A panic while the table was locked leaves it as consistent as any step does.
    pub(super) fn lock(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }

    /// The metadata of an answer of the API, now.
    pub(super) fn arrival(&self, transaction_id: Option<String>) -> ResponseMetadata {
        let (at, instant, fraction) = (self.clock.now(), self.clock.instant(), fastrand::f64());
        ResponseMetadata { at, instant, transaction_id, fraction, from_api: true }
    }

    pub(super) fn host(&self) -> Host {
        let limit = usize::try_from(self.settings.requests_per_minute.get()).unwrap_or(usize::MAX);
        let window = MINUTE.saturating_add(self.settings.request_margin);
        let limiter = RateLimiter::new(limit, window);
        Host {
            limiter,
            unpresumed: None,
            order: FairOrder::default(),
            paused_until: None,
            noted: Vec::new(),
            unnoted: Unnoted::default(),
        }
    }

    /// Reads a document for an entry, or for one customer of an entry for all customers. Lists share equal entries: most of a
    /// customer's list is every customer's, and most of a new list is the last one's.
    pub(super) fn read(
        &self,
        key: &FeedKey,
        customer: Option<&str>,
        bytes: &[u8],
    ) -> Result<ParsedDocument, DocumentError> {
        let template = key.customer.is_none();
        let reading = Reading {
            customer: customer.or(key.customer.as_deref()).or(template.then_some(TEMPLATE_CUSTOMER)),
            template_customer: template.then_some(TEMPLATE_CUSTOMER),
            scope: key.scope,
            static_list: self.settings.static_list.clone(),
        };
        let mut read = document::parse(bytes, &reading)?;
        for entry in &mut read.allowlist.entries {
            *entry = self.shared_entries.intern(Arc::clone(entry));
        }
        Ok(read)
    }

    fn view(&self, table: &mut Table, resource: &ResourceRef) -> Option<FeedView> {
        let subscription = table.subscriptions.get(resource)?;
        let (key, customer) = (subscription.key.clone(), subscription.request.customer.clone());
        let handled_refresh = subscription.refresh.handled.clone();
        let entry = table.entries.get_mut(&key)?;
        let (allowlist, previous, digest) = match &entry.accepted {
            None => (None, None, 0),
            Some(accepted) if key.customer.is_some() => {
                let previous = entry.previous.as_ref().map(|list| list.allowlist.clone());
                (Some(accepted.allowlist.clone()), previous, accepted.digest)
            }
            Some(_) => match self.rendered(&key, entry, &customer) {
                Some(rendered) => (Some(rendered.allowlist), rendered.previous, rendered.digest),
                None => (None, None, 0),
            },
        };
        Some(FeedView {
            allowlist,
            previous,
            confirmations: entry.confirmations,
            digest,
            reason: entry.condition.reason,
            message: entry.condition.message.clone(),
            current: entry.condition.current,
            problems: entry.condition.problems.clone(),
            cloud: key.cloud,
            fetched_at: entry.fetched_at,
            next_fetch: entry.next_fetch().filter(|_| self.settings.feed_dir.is_none()),
            transaction_id: entry.transaction_id.clone(),
            handled_refresh,
        })
    }

    /// A shared document for one customer's id, read once for each customer.
    fn rendered(&self, key: &FeedKey, entry: &mut Entry, customer: &Arc<str>) -> Option<Rendered> {
        if let Some(rendered) = entry.rendered.get(customer) {
            return Some(rendered.clone());
        }
        let received = entry.fetched_at?;
        let read = |document: &[u8]| {
            // It was read before, within the same bound: an error now would be a fault of the program.
            let bytes = decompress(document, usize::MAX - 1).ok()?;
            self.read(key, Some(customer), &bytes).ok().map(|document| Arc::new(document.received_at(received)))
        };
        let allowlist = read(&entry.accepted.as_ref()?.document)?;
        let previous = entry.previous.as_ref().and_then(|list| read(&list.document));
        let rendered = Rendered { digest: allowlist.digest(), allowlist, previous };
        entry.rendered.insert(customer.clone(), rendered.clone());
        Some(rendered)
    }
}
