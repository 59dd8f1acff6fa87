//! The loop: which change wakes which resource, while this process leads.

use super::leader_session::LeaderSession;
use super::queue::{DirtyFlag, Requeue};
use crate::cluster::resources::ResourceChange;
use crate::facts::ClusterFacts;
use crate::resource_ref::ResourceRef;
use crate::server::Health;
use futures::{Stream, StreamExt as _};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Everything the loop listens to.
pub struct LoopInputs<Changes> {
    /// Resources whose spec or annotations changed.
    pub changes: Changes,
    /// Resources that the tables and the owned objects wake.
    pub woken: UnboundedReceiver<ResourceRef>,
    /// The facts about the cluster.
    pub facts: watch::Receiver<Arc<ClusterFacts>>,
    /// Whether this process leads.
    pub leading: watch::Receiver<bool>,
    /// Whether the facts are complete: a first policy made without the cluster's DNS would cut it.
    pub facts_complete: watch::Receiver<bool>,
    /// Receives the loop's heartbeat.
    pub health: Health,
}

/// The queue of resources ended by itself: a defect. Only a restart helps.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the queue of resources has ended by itself")]
pub struct QueueEnded;

/// The work that the loop orders. The controller does it; tests record it.
pub trait Work: Send + Sync + 'static {
    /// Every resource.
    fn resources(&self) -> Vec<ResourceRef>;
    /// What has to be complete before a session may begin.
    fn lists(&self) -> Vec<watch::Receiver<bool>>;
    /// Whether this process leads, in each round of the loop.
    fn leads(&self, leads: bool);
    /// Whether the lists show what the cluster has now: a standby's may be behind.
    fn is_current(&self) -> impl Future<Output = bool> + Send;
    /// Restores what the previous leader saved in the cluster.
    fn restore(&self) -> impl Future<Output = ()> + Send;
    /// A session begins: every object is known as it is now.
    fn begins(&self);
    /// A resource changed, and waits for its reconcile.
    fn changed(&self, resource: &ResourceRef);
    /// Reconciles a resource once.
    fn work(self: Arc<Self>, resource: ResourceRef, dirty: DirtyFlag) -> impl Future<Output = Requeue> + Send;
    /// The resources to be requested again, since they have waited too long.
    fn overdue(&self) -> Vec<ResourceRef>;
    /// Accepts new facts; returns whether every resource has to be reconciled.
    fn learn(&self, facts: Arc<ClusterFacts>) -> bool;
    /// A resource is deleted; its objects are garbage-collected.
    fn forget(&self, resource: &ResourceRef);
    /// Leadership was lost: another process may write from now on. One of `lists` is incomplete when this returns.
    fn start_over(&self);
}

/// How often the loop shows that it runs.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// How long a new leader compares what it knows with the cluster; past it, listing again is the faster way.
const COMPARED_WITHIN: Duration = Duration::from_secs(20);

/// Reconciles while this process leads, until `stop`; then finishes the writes in flight.
///
/// It loses no wake. A session begins only when the lists are complete, and requests every resource: so it meets each change
/// before it. A change during a session is requested, and only a reconcile that reads after it meets it. All changes pass
/// through this one task, so none falls between the two.
///
/// # Errors
/// Where the queue of resources ends by itself.
pub async fn run(
    work: Arc<impl Work>,
    inputs: LoopInputs<impl Stream<Item = Vec<ResourceChange>> + Send + 'static>,
    stop: CancellationToken,
) -> Result<(), QueueEnded> {
    let LoopInputs { changes, mut woken, mut facts, mut leading, facts_complete, health } = inputs;
    let mut complete = all_of(work.lists().into_iter().chain([facts_complete]).collect()).fuse();
    // Whether everything is listed, and whether that is of the time in which this process leads.
    let (mut is_complete, mut is_current) = (false, false);
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    let mut changes = Box::pin(changes);
    work.learn(facts.borrow_and_update().clone());
    let mut leader = Leader::new(work);
    let mut is_interrupted = false;
    loop {
        let leads = {
            let now = leading.borrow_and_update();
            is_interrupted |= now.has_changed();
            *now
        };
        // Not in the branch of `leading` below: another branch may win, and this round still sees the change.
        leader.work.leads(leads);
        // Another process may have led between two rounds, even if this one leads again.
        if (!leads || is_interrupted) && leader.end_session().await {
            // Nothing is decided before everything has been listed again.
            is_complete = false;
        }
        is_current &= leads && !is_interrupted;
        is_interrupted = false;
        if leads && is_complete && leader.session.is_none() && !is_current {
            is_current = true;
            let is_known = tokio::select! {
                compared = tokio::time::timeout(COMPARED_WITHIN, leader.work.is_current()) => compared.unwrap_or(false),
                () = stop.cancelled() => break,
            };
            if !is_known {
                // What is listed from now on is of this time, however long that takes.
                leader.work.start_over();
                is_complete = false;
            }
            health.beat();
            if leading.has_changed().unwrap_or(false) {
                // Another process may lead by now.
                continue;
            }
        }
        if leads && is_complete && leader.session.is_none() {
            tracing::info!("leading: reconciling");
            tokio::select! {
                () = leader.work.restore() => {}
                () = stop.cancelled() => break,
            }
            // The signal that facts are complete may arrive before the facts.
            leader.work.learn(facts.borrow_and_update().clone());
            leader.begin_session().await;
        }
        tokio::select! {
            () = stop.cancelled() => break,
            Some(changes) = changes.next() => changes.into_iter().for_each(|change| leader.follow(change)),
            Some(resource) = woken.recv() => leader.request([resource]),
            Ok(()) = facts.changed() => {
                let newest = facts.borrow_and_update().clone();
                if leader.work.learn(newest) {
                    leader.request(leader.work.resources());
                }
            }
            Ok(()) = leading.changed() => is_interrupted = true,
            _ = heartbeat.tick() => {
                health.beat();
                if leader.session.is_some() {
                    leader.request(leader.work.overdue());
                }
            }
            Some(all) = complete.next() => is_complete = all,
            () = ended(&mut leader.session) => return Err(QueueEnded),
        }
    }
    if let Some(session) = leader.session {
        session.finish().await;
    }
    Ok(())
}

/// The session of a process that leads, and the queue that the session reads.
struct Leader<W> {
    work: Arc<W>,
    queue: UnboundedSender<ResourceRef>,
    requests: Arc<tokio::sync::Mutex<UnboundedReceiver<ResourceRef>>>,
    session: Option<LeaderSession>,
}

impl<W: Work> Leader<W> {
    fn new(work: Arc<W>) -> Self {
        let (queue, requests) = unbounded_channel();
        Self { work, queue, requests: Arc::new(tokio::sync::Mutex::new(requests)), session: None }
    }

    /// Begins a session, with every resource requested.
    async fn begin_session(&mut self) {
        while self.requests.lock().await.try_recv().is_ok() {}
        self.work.begins();
        self.session = Some(LeaderSession::begin(Arc::clone(&self.work), Arc::clone(&self.requests)));
        let resources = self.work.resources();
        resources.iter().for_each(|resource| self.work.changed(resource));
        self.request(resources);
    }

    /// Ends the session, if there is one; returns whether there was.
    async fn end_session(&mut self) -> bool {
        let Some(session) = self.session.take() else { return false };
        tracing::warn!("no longer leading: standing by");
        session.abort().await;
        self.work.start_over();
        true
    }

    /// Requests resources of the session. Without a session nothing is lost: the next one requests every resource.
    fn request(&self, resources: impl IntoIterator<Item = ResourceRef>) {
        if self.session.is_some() {
            for resource in resources {
                // The queue lives as long as this loop.
                let _ = self.queue.send(resource);
            }
        }
    }

    fn follow(&self, change: ResourceChange) {
        match change {
            ResourceChange::Changed(resource) if self.session.is_some() => {
                self.work.changed(&resource);
                self.request([resource]);
            }
            ResourceChange::Changed(_) => {}
            ResourceChange::Gone(resource) => self.work.forget(&resource),
        }
    }
}

/// Waits for a session to end by itself, which none does.
async fn ended(session: &mut Option<LeaderSession>) {
    match session {
        Some(session) => session.ended().await,
        None => std::future::pending().await,
    }
}

/// Whether all of these are true, each time one of them changes.
fn all_of(receivers: Vec<watch::Receiver<bool>>) -> impl Stream<Item = bool> + Unpin {
    let state = (receivers, true);
    Box::pin(futures::stream::unfold(state, |(mut receivers, first)| async move {
        if !first {
            let changes = receivers.iter_mut().map(|receiver| Box::pin(receiver.changed()));
            // A dropped sender never changes again: its watch has ended, and the process ends with it.
            if futures::future::select_all(changes).await.0.is_err() {
                return None;
            }
        }
        // Each is marked as seen, even after one that is false.
        let values: Vec<bool> = receivers.iter_mut().map(|receiver| *receiver.borrow_and_update()).collect();
        let all = values.into_iter().all(|value| value);
        Some((all, (receivers, false)))
    }))
}

#[cfg(test)]
mod tests;
