//! Events: what changed, shown by `kubectl describe`. A repeat is counted on the existing event.
//!
//! kube's own recorder takes every version of an object for another object: a status written in between ends every series. And
//! of two notes under one reason it would keep the first.

use super::client::{CallError, deadline};
use crate::clock::Clock;
use crate::crd::FIELD_MANAGER;
use crate::lock::lock;
use crate::reason::Reason;
use crate::status::Note;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long after its last event a further one is a repeat: Kubernetes ends a series after six minutes.
const SERIES: Duration = Duration::from_secs(6 * 60);
/// The longest note, in bytes (events.k8s.io/v1); characters of the longest encoding still fit.
const LONGEST_NOTE: usize = 1024 / 4;
/// The longest name of an instance, in bytes (events.k8s.io/v1).
const LONGEST_INSTANCE: usize = 128;
/// How much of an object's name its events' names contain. They may have 253 bytes with the part that makes them unique.
const LONGEST_NAME: usize = 200;

/// Publishes events. Cheap to clone: clones share their series.
#[derive(Clone)]
pub struct Events {
    client: Client,
    instance: String,
    published: Arc<Mutex<HashMap<InvolvedObject, Repeats>>>,
}

/// The object and reason of an event: only the newest of each can repeat.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct InvolvedObject {
    object: String,
    uid: Option<String>,
    namespace: String,
    reason: Reason,
}

#[derive(Clone, Debug)]
struct Repeats {
    event: String,
    note: String,
    warning: bool,
    count: i32,
    last: Instant,
}

impl Events {
    /// Events signed as `instance`, the operator's pod.
    #[must_use]
    pub fn new(client: Client, instance: Option<String>) -> Self {
        let instance = instance.unwrap_or_else(|| FIELD_MANAGER.to_owned());
        Self { client, instance: instance.chars().take(LONGEST_INSTANCE).collect(), published: Arc::default() }
    }

    /// Publishes a note on an object within `limit`. Returns the verb of the request with its result.
    pub async fn publish(
        &self,
        reference: &ObjectReference,
        note: &Note,
        limit: Duration,
    ) -> (&'static str, Result<(), CallError>) {
        let namespace = reference.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let subject = InvolvedObject {
            object: reference.name.clone().unwrap_or_default(),
            uid: reference.uid.clone(),
            namespace: namespace.clone(),
            reason: note.reason,
        };
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let started = Clock::System.instant();
        let text: String = note.message.chars().take(LONGEST_NOTE).collect();
        if let Some(last) = self.repeated(&subject, &text, note.warning) {
            let series = EventSeries { count: last.count + 1, last_observed_time: MicroTime(Clock::System.now()) };
            let patch = Patch::Merge(json!({ "series": series }));
            match deadline(limit, api.patch(&last.event, &PatchParams::default(), &patch)).await {
                Ok(_) => {
                    let repeats = Repeats { count: last.count + 1, last: Clock::System.instant(), ..last };
                    lock(&self.published).insert(subject, repeats);
                    return ("patch", Ok(()));
                }
                // It is gone, as events are after an hour: a new count starts.
                Err(error) if error.is_not_found() => {}
                Err(error) => return ("patch", Err(error)),
            }
        }
        let event = self.event(reference, &namespace, note, text.clone());
        let (name, now) = (event.name_any(), Clock::System.instant());
        let first = Repeats { event: name, note: text, warning: note.warning, count: 1, last: now };
        let left = limit.saturating_sub(Clock::System.instant().saturating_duration_since(started));
        let created = deadline(left, api.create(&PostParams::default(), &event)).await.map(drop);
        if created.is_ok() {
            lock(&self.published).insert(subject, first);
        }
        ("create", created)
    }

    /// The event that this one would repeat; forgets those whose series is over.
    fn repeated(&self, subject: &InvolvedObject, note: &str, warning: bool) -> Option<Repeats> {
        let now = Clock::System.instant();
        let mut published = lock(&self.published);
        published.retain(|_, event| now.saturating_duration_since(event.last) < SERIES);
        published.get(subject).filter(|event| event.note == note && event.warning == warning).cloned()
    }

    fn event(&self, reference: &ObjectReference, namespace: &str, note: &Note, text: String) -> Event {
        let now = Clock::System.now();
        let object: String = reference.name.iter().flat_map(|name| name.chars()).take(LONGEST_NAME).collect();
        Event {
            metadata: ObjectMeta {
                namespace: Some(namespace.to_owned()),
                name: Some(format!("{object}.{:x}", now.as_nanosecond())),
                ..ObjectMeta::default()
            },
            action: Some(action(note.reason).to_owned()),
            event_time: Some(MicroTime(now)),
            note: Some(text),
            reason: Some(note.reason.as_str().to_owned()),
            regarding: Some(reference.clone()),
            reporting_controller: Some(FIELD_MANAGER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            type_: Some(if note.warning { "Warning" } else { "Normal" }.to_owned()),
            ..Event::default()
        }
    }
}

/// The action that an event has to name.
const fn action(reason: Reason) -> &'static str {
    match reason {
        Reason::Fetched | Reason::SavedListIgnored | Reason::WaitingForFeed => "Fetch",
        reason if reason.is_failure() => "Fetch",
        Reason::Resolved
        | Reason::Unresolved
        | Reason::WildcardsCovered
        | Reason::WildcardsUnenforceable
        | Reason::AddressRefused
        | Reason::WaitingForNames => "Resolve",
        _ => "Apply",
    }
}

#[cfg(test)]
mod tests;
