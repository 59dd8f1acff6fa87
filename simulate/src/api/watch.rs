//! Watches: a stream of events that follows the store's log.

use super::ApiServer;
use super::call::Call;
use super::failure::ApiFailure;
use super::faults::WatchFault;
use super::read::Form;
use super::select::Selection;
use super::store::{Event, Store};
use bytes::Bytes;
use citrix_allowlist::cluster::client::READ_TIMEOUT;
use futures::Stream;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// How long a watch lasts whose client names no time (kube-apiserver's `--min-request-timeout`, seconds).
const LONGEST: u64 = 1800;
/// How often a quiet watch gets a bookmark (the watch cache's `defaultBookmarkFrequency`).
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// How long before its end a watch gets its last bookmark.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);

/// How many revisions a watch goes back that repeats itself.
const REPEATED: u64 = 50;

/// An open watch.
pub(super) struct Watch {
    server: ApiServer,
    /// Its number among the open watches.
    id: u64,
    kind: usize,
    namespace: Option<String>,
    select: Selection,
    form: Form,
    since: u64,
    bookmarks: bool,
    end: Instant,
    next_bookmark: Instant,
    ticks: watch::Receiver<u64>,
    ready: VecDeque<Bytes>,
    /// Since when nothing arrives.
    held_since: Option<Instant>,
    ended: bool,
}

impl Watch {
    /// Opens a watch; it is numbered `id`.
    pub fn open(
        server: ApiServer,
        store: &Store,
        (id, ticks): (u64, watch::Receiver<u64>),
        kind: usize,
        call: &Call,
        form: Form,
    ) -> Result<Self, ApiFailure> {
        let select =
            Selection::read(store.kinds().get(kind), call.parameter("labelSelector"), call.parameter("fieldSelector"))?;
        if !call.parameter("sendInitialEvents").is_empty() {
            return Err(ApiFailure::bad_request("this model has no streaming lists"));
        }
        let seconds = call.parameter("timeoutSeconds").parse().ok().filter(|seconds| *seconds > 0).unwrap_or(LONGEST);
        let now = Instant::now();
        let end = now + Duration::from_secs(seconds);
        let since: u64 = call.parameter("resourceVersion").parse().unwrap_or_default();
        let mut watch = Self {
            server,
            id,
            kind,
            namespace: call.namespace.clone(),
            select,
            form,
            since: if since == 0 { store.revision() } else { since },
            bookmarks: call.parameter("allowWatchBookmarks") == "true",
            end,
            next_bookmark: bookmark_after(now, end),
            ticks,
            ready: VecDeque::new(),
            held_since: None,
            ended: false,
        };
        if since == 0 {
            // Without a version, a watch begins with what there is.
            for (_, object) in store.objects(kind, watch.namespace.as_deref()) {
                if watch.select.selects(&object.value) {
                    watch.ready.push_back(watch.line("ADDED", &watch.form.of(object)));
                }
            }
        }
        Ok(watch)
    }

    /// The stream of its answer's body.
    pub fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send {
        futures::stream::unfold(self, |mut watch| async move { Some((watch.next().await?, watch)) })
    }

    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(Ok(line));
            }
            if self.ended {
                return None;
            }
            match self.read() {
                WatchFault::Broken => {
                    self.ended = true;
                    return Some(Err(io::ErrorKind::ConnectionReset.into()));
                }
                WatchFault::Ended => self.ended = true,
                WatchFault::Held => {
                    // Held events arrive late or never, and so does the end.
                    let given_up = *self.held_since.get_or_insert_with(Instant::now) + READ_TIMEOUT;
                    tokio::select! {
                        biased;
                        changed = self.ticks.changed() => if changed.is_err() {
                            return None;
                        },
                        () = sleep_until(given_up) => {
                            self.ended = true;
                            return Some(Err(io::ErrorKind::TimedOut.into()));
                        }
                    }
                    continue;
                }
                WatchFault::None | WatchFault::Repeated => {}
            }
            self.held_since = None;
            if self.ready.is_empty() && !self.ended {
                self.wait().await;
            }
        }
    }

    /// Reads what is new from the log.
    fn read(&mut self) -> WatchFault {
        let server = self.server.clone();
        let mut state = server.lock();
        match state.fault_of(self.id) {
            WatchFault::None => {}
            WatchFault::Repeated => {
                if let Some(open) = state.watches.get_mut(&self.id) {
                    open.fault = WatchFault::None;
                }
                self.since = self.since.saturating_sub(REPEATED).max(state.store.compacted());
            }
            fault => return fault,
        }
        let store = &state.store;
        if !store.kinds().is_installed(self.kind) {
            return WatchFault::Ended;
        }
        if self.since < store.compacted() {
            let message = format!("too old resource version: {} ({})", self.since, store.compacted());
            let status = ApiFailure::expired(message).status().to_string().into();
            self.ready.push_back(self.line("ERROR", &status));
            return WatchFault::Ended;
        }
        let events = store.events(self.kind, self.namespace.as_deref(), &self.select, self.since);
        for Event { kind, object } in events {
            self.ready.push_back(self.line(kind, &self.form.of(&object)));
        }
        // What was read once is not read again, whatever it was.
        self.since = self.since.max(store.revision());
        let now = Instant::now();
        if self.ready.is_empty() && self.bookmarks && now >= self.next_bookmark {
            self.next_bookmark = bookmark_after(now, self.end);
            let bookmark = bookmark(store, self.kind, self.since);
            self.ready.push_back(self.line("BOOKMARK", &bookmark.to_string().into()));
        }
        if let Some(open) = state.watches.get_mut(&self.id) {
            open.since = self.since;
        }
        if now >= self.end { WatchFault::Ended } else { WatchFault::None }
    }

    async fn wait(&mut self) {
        let next = if self.bookmarks { self.end.min(self.next_bookmark) } else { self.end };
        tokio::select! {
            biased;
            changed = self.ticks.changed() => self.ended |= changed.is_err(),
            () = sleep_until(next) => {}
        }
    }

    fn line(&self, kind: &str, object: &Bytes) -> Bytes {
        let mut line = format!("{{\"type\":\"{kind}\",\"object\":").into_bytes();
        line.extend_from_slice(object);
        line.extend_from_slice(b"}\n");
        line.into()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.server.lock().watches.remove(&self.id);
    }
}

/// The next bookmark: a minute on, or shortly before the end.
fn bookmark_after(now: Instant, end: Instant) -> Instant {
    let last = end.checked_sub(LAST_BOOKMARK).unwrap_or(end);
    if now < last { last.min(now + BOOKMARK_EVERY) } else { end + BOOKMARK_EVERY }
}

fn bookmark(store: &Store, kind: usize, revision: u64) -> Value {
    let kind = store.kinds().get(kind);
    json!({
        "kind": kind.kind,
        "apiVersion": kind.api_version(),
        "metadata": { "resourceVersion": revision.to_string(), "creationTimestamp": null },
    })
}
