//! The controller: which change wakes which resource, and the reconcile.

mod apply;
mod backoff;
mod changed;
mod conflicts;
mod contention;
mod execute;
mod failure;
mod gather;
mod leader_session;
mod permits;
mod queue;
mod reconcile;
mod recorder;
mod report;
mod run_loop;
mod session;
mod unmet;
mod worker;

use crate::clock::Clock;
use crate::cluster::apply::Writer;
use crate::cluster::freshness::Freshness;
use crate::cluster::owned::OwnedObjects;
use crate::cluster::pods::PodLister;
use crate::cluster::report::StatusWriter;
use crate::cluster::resources::ResourceStore;
use crate::engines::{Engines, Limits};
use crate::facts::ClusterFacts;
use crate::feed::Feeds;
use crate::guard::{Guard, GuardSettings};
use crate::lock::lock;
use crate::memory::Pressure;
use crate::names::Names;
use crate::pipeline::Memo;
pub use crate::pipeline::OwnPod;
use crate::resource_ref::ResourceRef;
use crate::telemetry::Metrics;
pub use failure::Error;
use permits::Permits;
use queue::{DirtyFlag, Requeue};
pub use recorder::Recorder;
pub use run_loop::{LoopInputs, QueueEnded, run};
use session::Session;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use unmet::Unmet;

/// The operator's flags about reconciling.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a first policy waits for names that fail (`--first-policy-wait`).
    pub first_policy_wait: Duration,
    /// Namespaces where no policy is ever written (`--protected-namespace`).
    pub protected_namespaces: Vec<String>,
    /// The engines whose objects are written.
    pub engines: Engines,
    /// Bounds on objects.
    pub limits: Limits,
    /// The operator's own pod, where it runs in one.
    pub own_pod: watch::Receiver<OwnPod>,
    /// What may be opened.
    pub guard: GuardSettings,
    /// How many reconciles run at a time.
    pub concurrency: usize,
    /// Whether the process is close to its memory limit.
    pub pressure: Pressure,
    /// How long an answer is held after its addresses are in force; `None` where the cluster's DNS forwards no names to the operator.
    pub settle: Option<Duration>,
}

impl Settings {
    /// Whether the cluster's DNS may forward names to the operator.
    #[must_use]
    pub const fn forwards(&self) -> bool {
        self.settle.is_some()
    }
}

/// Everything a reconcile works with.
pub struct Context {
    /// The resources.
    pub resources: Arc<ResourceStore>,
    /// The vendor's lists.
    pub feeds: Feeds,
    /// The names.
    pub names: Names,
    /// The operator's objects in the cluster.
    pub owned: Arc<OwnedObjects>,
    /// Lists the selected pods, where a report needs them.
    pub pods: PodLister,
    /// Compares what is known of these with the cluster.
    pub freshness: Freshness,
    /// Writes objects.
    pub writer: Writer,
    /// Writes status and events.
    pub reporter: StatusWriter,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// The operator's flags.
    pub settings: Settings,
    /// The time.
    pub clock: Clock,
    /// What reconciles share.
    pub shared: ReconcileState,
}

/// What reconciles share: nothing is reconciled yet in a new one.
pub struct ReconcileState {
    /// The guard, and the facts it was made from.
    cluster: Mutex<(Arc<Guard>, Arc<ClusterFacts>)>,
    permits: Permits,
    /// What is kept of each resource between its reconciles.
    sessions: Mutex<HashMap<ResourceRef, Arc<tokio::sync::Mutex<Session>>>>,
    /// The changes that no reconcile has met yet.
    unmet: Mutex<Unmet>,
    memo: Memo,
}

impl ReconcileState {
    /// Without facts about the cluster yet.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let facts = Arc::new(ClusterFacts::default());
        let guard = Arc::new(Guard::new(settings.guard.clone(), &facts));
        Self {
            cluster: Mutex::new((guard, facts)),
            permits: Permits::new(settings.concurrency),
            sessions: Mutex::default(),
            unmet: Mutex::default(),
            memo: Memo::default(),
        }
    }
}

impl run_loop::Work for Context {
    fn resources(&self) -> Vec<ResourceRef> {
        self.resources.all()
    }

    fn lists(&self) -> Vec<watch::Receiver<bool>> {
        vec![self.resources.listed(), self.owned.listed()]
    }

    fn leads(&self, leads: bool) {
        self.metrics.leading(leads);
    }

    async fn is_current(&self) -> bool {
        self.freshness.is_current().await
    }

    async fn restore(&self) {
        self.feeds.restore().await;
    }

    fn begins(&self) {
        self.owned.begin_trail();
    }

    fn changed(&self, resource: &ResourceRef) {
        lock(&self.shared.unmet).changed(resource, self.clock.instant());
    }

    async fn work(self: Arc<Self>, resource: ResourceRef, dirty: DirtyFlag) -> Requeue {
        worker::work(resource, self, dirty).await
    }

    fn overdue(&self) -> Vec<ResourceRef> {
        let (count, new) = lock(&self.shared.unmet).overdue(self.clock.instant());
        self.metrics.overdue(count);
        for (resource, wait, is_queued) in &new {
            let message = if *is_queued {
                "overdue: waits for its place in the queue, others come first"
            } else {
                self.metrics.wake_lost();
                "overdue: a wake was lost, which is a defect; the resource is requested again"
            };
            tracing::warn!(%resource, waits_seconds = wait.as_secs(), "{message}");
        }
        new.into_iter().map(|(resource, ..)| resource).collect()
    }

    fn learn(&self, facts: Arc<ClusterFacts>) -> bool {
        let guard = Arc::new(Guard::new(self.settings.guard.clone(), &facts));
        self.names.set_guard((*guard).clone());
        let before = std::mem::replace(&mut *lock(&self.shared.cluster), (guard, Arc::clone(&facts)));
        // Most endpoints of DNS decide only which servers `names` queries.
        before.1.as_policies_see() != facts.as_policies_see()
    }

    fn forget(&self, resource: &ResourceRef) {
        self.feeds.unwatch(resource);
        self.names.unwatch(resource);
        lock(&self.shared.sessions).remove(resource);
        lock(&self.shared.unmet).forget(resource);
        self.owned.forget_owner(resource);
        self.metrics.forget(resource);
    }

    fn start_over(&self) {
        lock(&self.shared.sessions).clear();
        *lock(&self.shared.unmet) = Unmet::default();
        self.metrics.forget_resources();
        // The next leader writes what this process has to recover when it leads again.
        self.owned.start_over();
        self.names.forget_enforced();
    }
}
