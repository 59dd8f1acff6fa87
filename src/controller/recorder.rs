//! Records every change of what policies allow: a line in the log at once, and the history in the cluster a little later.

use crate::clock::Clock;
use crate::cluster::histories::{Histories, HistoriesError};
use crate::cluster::owned::trail::TrailEvent;
use crate::cluster::resources::ResourceStore;
use crate::objects::owner::OwnerRef;
use crate::resource_ref::ResourceRef;
use crate::telemetry::Metrics;
use crate::trail::history::ResourceHistory;
use crate::trail::record::{ChangedBy, PolicyStep};
use crate::trail::{Isolation, PolicyAllows, TrailRecord};
use futures::StreamExt as _;
use jiff::Timestamp;
use kube::ResourceExt as _;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedReceiver;

/// How long changes are gathered before a history is written: a new list or a hand-over brings several.
const GATHER: Duration = Duration::from_secs(10);

/// The shortest time between two writes of one history.
const PAUSE: Duration = Duration::from_secs(60);

/// The bytes of a history from which the pause between its writes grows: each write sends the whole.
const SMALL: usize = 32 << 10;

/// The most changes of one resource that wait for their history; beyond, it gets only their sum. The log has each.
const MOST_PENDING: usize = 500;

/// How long a new leader takes to compare all histories with the cluster.
const COMPARE_WITHIN: Duration = Duration::from_secs(30);

/// How many histories are written at a time when the process stops.
const AT_ONCE: usize = 8;

/// For how long the watch of resources may be behind that of policies, when the garbage collector deletes those of a deleted one.
const WATCHES_APART: Duration = Duration::from_millis(500);

/// Writes the log of changes, and the histories.
#[derive(Clone)]
pub struct Recorder {
    /// Where histories are kept.
    pub histories: Histories,
    /// The resources.
    pub resources: Arc<ResourceStore>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: Clock,
    /// How long changes stay in a history (`--history-retention`); zero where none is kept.
    pub retention: Duration,
}

/// What is to be written for one resource.
#[derive(Debug, Default)]
struct Journal {
    /// What was in force before the pending changes, and when: of the begin, or of the first change. The history has to lead to it.
    baseline: Option<(Timestamp, Vec<Arc<PolicyAllows>>)>,
    /// Whether the log has it.
    is_announced: bool,
    /// Changes that are not in the history yet.
    pending: Vec<TrailRecord>,
    /// When the history is read and written next; `None` while nothing is pending.
    due: Option<Instant>,
    /// When it was last tried.
    tried: Option<Instant>,
    /// The bytes of the history, as it was last written.
    size: usize,
    /// Its resourceVersion since then: while it is the same, the history leads to what was in force before the pending changes.
    version: Option<String>,
}

/// The shortest time between two writes of a history of this many bytes: a minute, and up to nine for the largest.
fn pause(size: usize) -> Duration {
    PAUSE * u32::try_from(1 + size / SMALL).unwrap_or(1)
}

impl Journal {
    fn has_work(&self) -> bool {
        self.baseline.is_some() || !self.pending.is_empty()
    }

    /// Sets when it is due, for new work.
    fn plan(&mut self, now: Instant, soon: Duration) {
        let allowed = self.tried.map_or(now, |tried| tried + pause(self.size));
        let due = (now + soon).max(allowed);
        self.due = Some(self.due.map_or(due, |known| known.min(due)));
    }
}

impl Recorder {
    /// Records what arrives, until its sender is dropped; then writes what is still pending.
    pub async fn run(self, mut events: UnboundedReceiver<TrailEvent>) {
        let mut journals: HashMap<ResourceRef, Journal> = HashMap::new();
        // How many events have arrived already that the watch of resources was waited for.
        let mut awaited = 0_usize;
        loop {
            let due = journals.iter().filter_map(|(resource, journal)| Some((journal.due?, resource))).min();
            let due = due.map(|(at, resource)| (at, resource.clone()));
            let wait = due.as_ref().map(|(at, _)| at.saturating_duration_since(self.clock.instant()));
            tokio::select! {
                biased;
                event = events.recv() => match event {
                    Some(TrailEvent::Begins(allowed)) => {
                        journals.clear();
                        self.begin(allowed, &mut journals);
                    }
                    Some(TrailEvent::Step(resource, step)) => {
                        if step.origin == ChangedBy::Deleted && awaited == 0 && !self.is_gone(&resource) {
                            tokio::time::sleep(WATCHES_APART).await;
                            awaited = events.len() + 1;
                        }
                        awaited = awaited.saturating_sub(1);
                        self.step(resource, &step, &mut journals);
                    }
                    Some(TrailEvent::Adopted(resource, allowed)) => {
                        let journal = journals.entry(resource.clone()).or_default();
                        journal.baseline.get_or_insert_with(|| (self.clock.now(), allowed));
                        // Before the garbage collector takes it with its former owner.
                        self.keep(&resource, journal).await;
                    }
                    Some(TrailEvent::Ends) => self.flush(&mut journals).await,
                    None => return self.flush(&mut journals).await,
                },
                () = tokio::time::sleep(wait.unwrap_or_default()), if due.is_some() => {
                    let Some((_, resource)) = due else { continue };
                    if let Some(journal) = journals.get_mut(&resource) {
                        self.keep(&resource, journal).await;
                    }
                    if self.resources.get(&resource).is_none() {
                        journals.remove(&resource);
                    }
                }
            }
        }
    }

    fn begin(
        &self,
        mut allowed: HashMap<ResourceRef, Vec<Arc<PolicyAllows>>>,
        journals: &mut HashMap<ResourceRef, Journal>,
    ) {
        let (mut all, now) = (self.resources.all(), self.clock.instant());
        all.sort_unstable();
        let count = u32::try_from(all.len()).unwrap_or(u32::MAX).max(1);
        for (index, resource) in (0..count).zip(all) {
            let baseline = Some((self.clock.now(), allowed.remove(&resource).unwrap_or_default()));
            let due = Some(now + GATHER + COMPARE_WITHIN / count * index);
            journals.insert(resource, Journal { baseline, due, ..Journal::default() });
        }
    }

    fn step(&self, resource: ResourceRef, step: &PolicyStep, journals: &mut HashMap<ResourceRef, Journal>) {
        let Some(record) = TrailRecord::of(step, self.is_gone(&resource), self.clock.now()) else { return };
        let journal = journals.entry(resource.clone()).or_default();
        self.announce(&resource, journal);
        log(&resource, &record);
        let opened = record.scopes.isolation(Isolation::Ended).count();
        if let Some(cause) = record.causes.first().filter(|_| opened > 0 && !record.released) {
            self.metrics.pods_opened(*cause, opened);
        }
        if self.resources.get(&resource).is_none() {
            // The history goes with the resource.
            journals.remove(&resource);
        } else if !self.retention.is_zero() {
            if journal.pending.is_empty() {
                journal.baseline.get_or_insert_with(|| (record.at, step.before.clone()));
            }
            journal.pending.push(record);
            if journal.pending.len() > MOST_PENDING {
                journal.pending.clear();
                journal.version = None;
                journal.baseline = Some((self.clock.now(), step.after.clone()));
            }
            journal.plan(self.clock.instant(), GATHER);
        }
    }

    fn is_gone(&self, resource: &ResourceRef) -> bool {
        self.resources.get(resource).is_none_or(|resource| resource.metadata.deletion_timestamp.is_some())
    }

    /// Writes every pending change, while this process still leads.
    async fn flush(&self, journals: &mut HashMap<ResourceRef, Journal>) {
        let pending = journals.drain().filter(|(_, journal)| !journal.pending.is_empty());
        let all = futures::stream::iter(pending).for_each_concurrent(AT_ONCE, |(resource, mut journal)| async move {
            if self.histories.may_write() {
                self.keep(&resource, &mut journal).await;
            }
        });
        all.await;
    }

    /// Logs what was in force when this process began to lead, once: changes that follow are replayed from there.
    fn announce(&self, resource: &ResourceRef, journal: &mut Journal) {
        if !std::mem::replace(&mut journal.is_announced, true)
            && let Some((at, baseline)) = &journal.baseline
        {
            log(resource, &TrailRecord::snapshot(baseline, *at));
        }
    }

    /// Brings the history of a resource up to date. What could not be written stays pending.
    async fn keep(&self, resource: &ResourceRef, journal: &mut Journal) {
        self.announce(resource, journal);
        if self.retention.is_zero() {
            *journal = Journal { is_announced: true, ..Journal::default() };
            return;
        }
        let now = self.clock.instant();
        (journal.due, journal.tried) = (None, Some(now));
        let Some(found) = self.resources.get(resource) else { return };
        let owner = OwnerRef { resource: resource.clone(), uid: found.uid().unwrap_or_default().into() };
        match self.write(&owner, journal).await {
            Ok(()) => {}
            Err(HistoriesError::NotLeading) => return,
            Err(error) => {
                tracing::warn!(%resource, %error, "a history could not be kept; it is tried again in a minute");
            }
        }
        if journal.has_work() {
            journal.plan(now, PAUSE);
        }
    }

    async fn write(&self, owner: &OwnerRef, journal: &mut Journal) -> Result<(), HistoriesError> {
        let mut stored = self.histories.load(owner).await?;
        let mut history = match stored.as_mut().map(|stored| std::mem::replace(&mut stored.history, Err(String::new())))
        {
            Some(Ok(history)) => history,
            Some(Err(error)) => {
                tracing::warn!(resource = %owner.resource, error, "the history cannot be used; a new one begins");
                ResourceHistory::default()
            }
            None => ResourceHistory::default(),
        };
        let is_anothers = stored.as_ref().is_some_and(|stored| stored.owner != *owner.uid);
        // A write whose answer was lost has happened.
        let is_written =
            journal.pending.last().is_some_and(|last| history.records().rev().any(|record| record == last));
        if !is_written {
            // To replay hundreds of changes takes longer than all the rest.
            let is_known =
                stored.as_ref().is_some_and(|stored| journal.version.as_ref() == Some(&stored.resource_version));
            let baseline = journal.baseline.as_ref().filter(|_| !is_known);
            let unexplained = baseline.and_then(|(at, baseline)| TrailRecord::found(&history.end(), baseline, *at));
            let is_news = unexplained.is_some() || !journal.pending.is_empty();
            unexplained.into_iter().chain(journal.pending.iter().cloned()).for_each(|record| history.push(record));
            if is_news || is_anothers {
                history.forget_before(self.clock.now(), self.retention);
                let (size, version) = self.histories.save(owner, stored.as_ref(), &mut history).await?;
                (journal.size, journal.version) = (size, Some(version));
            }
        }
        (journal.baseline, journal.pending) = (None, Vec::new());
        Ok(())
    }
}

/// Logs a change, with everything that was added and removed.
fn log(resource: &ResourceRef, record: &TrailRecord) {
    let (added, removed) = record.scopes.counts();
    let texts = |which| -> String {
        let scopes = record.scopes.isolation(which);
        let texts: Vec<String> = scopes.map(ToString::to_string).collect();
        texts.join(", ")
    };
    let (isolated, opened) = (texts(Isolation::Began), texts(Isolation::Ended));
    let causes: Vec<String> = record.causes.iter().map(ToString::to_string).collect();
    let change = serde_json::to_string(record).unwrap_or_default();
    macro_rules! line {
        ($level:ident, $message:literal) => {
            tracing::$level!(
                %resource,
                policy = record.policy.as_deref(),
                cause = causes.join(","),
                by = record.by.as_deref(),
                list = record.list.as_deref(),
                transaction = record.transaction_id.as_deref(),
                generation = record.generation,
                added,
                removed,
                isolated,
                opened,
                change,
                $message
            )
        };
    }
    if record.snapshot {
        line!(info, "what policies allow when this process begins to lead");
    } else if record.released {
        line!(warn, "a policy does not belong to the resource any more; it stays as it is");
    } else if opened.is_empty() {
        line!(info, "what policies allow has changed");
    } else {
        line!(warn, "pods have lost their last policy of this resource");
    }
}
