//! One session of leadership: the queue of resources, and its end.

use super::queue;
use super::run_loop::Work;
use crate::resource_ref::ResourceRef;
use futures::StreamExt as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

/// How long writes in flight may take once the process stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

/// The reconciling of one session of leadership.
pub(super) struct LeaderSession {
    finish: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl LeaderSession {
    /// Begins to reconcile resources as they are requested.
    pub(super) fn begin(
        work: Arc<impl Work>,
        requests: Arc<tokio::sync::Mutex<UnboundedReceiver<ResourceRef>>>,
    ) -> Self {
        let finish = CancellationToken::new();
        let stopped = finish.clone();
        let task = tokio::spawn(async move {
            let mut requests = requests.lock_owned().await;
            let requests = futures::stream::poll_fn(move |waker| requests.poll_recv(waker))
                .take_until(Box::pin(stopped.cancelled_owned()));
            queue::run(requests, |resource: &ResourceRef, dirty| Arc::clone(&work).work(resource.clone(), dirty)).await;
        });
        Self { finish, task }
    }

    /// Waits until the queue ends by itself, which is a defect: then nothing is reconciled any more.
    pub(super) async fn ended(&mut self) {
        if let Err(error) = (&mut self.task).await {
            tracing::error!(%error, "the queue of resources failed");
        }
    }

    /// Starts no further reconcile, and waits for those that run.
    pub(super) async fn finish(mut self) {
        self.finish.cancel();
        if tokio::time::timeout(DRAIN_TIMEOUT, &mut self.task).await.is_err() {
            tracing::warn!("writes in flight did not end in time");
            self.task.abort();
        }
    }

    /// Drops the reconciles that run: their writes would be refused.
    pub(super) async fn abort(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}
