//! The loop: which change wakes which resource, while this process leads.

use super::Context;
use super::term::Term;
use crate::cluster::watch::ResourceChange;
use crate::crd::CitrixAllowlist;
use crate::facts::ClusterFacts;
use crate::server::Health;
use crate::subscriber::Subscriber;
use futures::{Stream, StreamExt as _};
use kube::ResourceExt as _;
use kube::runtime::reflector::Store;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Everything the loop listens to.
pub struct Inputs<Changes> {
    /// The resources.
    pub store: Store<CitrixAllowlist>,
    /// Which of them changed in what their users ask for.
    pub changes: Changes,
    /// Whom the tables and the owned objects wake.
    pub woken: UnboundedReceiver<Subscriber>,
    /// What the cluster is.
    pub facts: watch::Receiver<Arc<ClusterFacts>>,
    /// Whether this process leads.
    pub leading: watch::Receiver<bool>,
    /// What has to be known before anything is decided: a first policy without the cluster's DNS would cut it.
    pub synced: Vec<watch::Receiver<bool>>,
    /// Beaten by the loop.
    pub health: Health,
}

/// How often the loop shows that it goes round.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Reconciles while this process leads, until `stop`; then finishes the writes in hand.
pub async fn run<Changes>(context: Arc<Context>, inputs: Inputs<Changes>, stop: CancellationToken)
where
    Changes: Stream<Item = Vec<ResourceChange>> + Send + 'static,
{
    let Inputs { store, changes, mut woken, mut facts, mut leading, synced, health } = inputs;
    let mut synced = stream_of(synced).fuse();
    let mut known = false;
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    let (queue, requests) = tokio::sync::mpsc::unbounded_channel::<Subscriber>();
    let requests = Arc::new(tokio::sync::Mutex::new(requests));
    let mut changes = Box::pin(changes);
    let request = |who: Subscriber| {
        // The queue lives as long as this loop.
        let _ = queue.send(who);
    };
    let request_all = || {
        for resource in store.state() {
            request(Subscriber::new(resource.namespace().unwrap_or_default(), resource.name_any()));
        }
    };
    context.learn(facts.borrow_and_update().clone());
    let mut term: Option<Term> = None;
    loop {
        let leads = *leading.borrow_and_update();
        // Here and not where it changes: a change that comes together with another is seen only here.
        context.metrics.leading(leads);
        if leads && known && term.is_none() {
            tracing::info!("leading: reconciling");
            tokio::select! {
                () = context.feeds.restore() => {}
                () = stop.cancelled() => break,
            }
            while requests.lock().await.try_recv().is_ok() {}
            term = Some(Term::begin(Arc::clone(&context), store.clone(), Arc::clone(&requests)));
            request_all();
        } else if !leads && let Some(ended) = term.take() {
            tracing::warn!("no longer leading: standing by");
            ended.abort().await;
            context.states.clear();
            context.metrics.forget_resources();
            // Whoever leads meanwhile writes what we shall have to remember.
            context.owned.start_over();
            // Nor is anything decided before it has been listed again, however soon this process leads again.
            known = false;
        }
        tokio::select! {
            () = stop.cancelled() => break,
            Some(changes) = changes.next() => for change in changes {
                match change {
                    ResourceChange::Changed(who) if term.is_some() => request(who),
                    ResourceChange::Changed(_) => {}
                    ResourceChange::Gone(who) => context.forget(&who),
                }
            },
            Some(who) = woken.recv() => if term.is_some() { request(who) },
            Ok(()) = facts.changed() => {
                let newest = facts.borrow_and_update().clone();
                if context.learn(newest) && term.is_some() {
                    request_all();
                }
            }
            Ok(()) = leading.changed() => {}
            _ = heartbeat.tick() => health.beat(),
            Some(all) = synced.next() => known = all,
        }
    }
    if let Some(term) = term {
        term.finish().await;
    }
}

/// Whether all of these are true, each time one of them changes.
fn stream_of(receivers: Vec<watch::Receiver<bool>>) -> impl Stream<Item = bool> + Unpin {
    let state = (receivers, true);
    Box::pin(futures::stream::unfold(state, |(mut receivers, first)| async move {
        if !first && receivers.is_empty() {
            return None;
        }
        if !first {
            let changes = receivers.iter_mut().map(|receiver| Box::pin(receiver.changed()));
            // A sender that is gone never changes again: its watch has ended, and the process with it.
            if futures::future::select_all(changes).await.0.is_err() {
                return None;
            }
        }
        // Every one is marked as seen, whether or not an earlier one is false already.
        let values: Vec<bool> = receivers.iter_mut().map(|receiver| *receiver.borrow_and_update()).collect();
        let all = values.into_iter().all(|value| value);
        Some((all, (receivers, false)))
    }))
}
