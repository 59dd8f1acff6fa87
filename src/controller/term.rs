//! One term of leadership: the queue of resources, and its end.

use super::Context;
use super::failure::{Error, RECONCILE_DEADLINE};
use super::turn::take_turn;
use crate::crd::CitrixAllowlist;
use futures::StreamExt as _;
use kube::runtime::controller::{Action, Config, applier};
use kube::runtime::reflector::{ObjectRef, Store};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

/// How long the writes in hand may still take once the process is asked to leave.
const DRAIN: Duration = Duration::from_secs(8);

/// The reconciling of one term of leadership.
pub(super) struct Term {
    finish: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Term {
    /// Begins to take resources' turns as they are requested.
    pub(super) fn begin(
        context: Arc<Context>,
        store: Store<CitrixAllowlist>,
        requests: Arc<tokio::sync::Mutex<UnboundedReceiver<ObjectRef<CitrixAllowlist>>>>,
    ) -> Self {
        let finish = CancellationToken::new();
        let stopped = finish.clone();
        let task = tokio::spawn(async move {
            let mut requests = requests.lock_owned().await;
            let queue = futures::stream::poll_fn(move |waker| requests.poll_recv(waker))
                .map(Ok::<_, Infallible>)
                .take_until(stopped.cancelled_owned());
            applier(
                |resource, context| Box::pin(take_turn(resource, context)),
                |_, _: &Error, _| Action::requeue(RECONCILE_DEADLINE),
                context,
                store,
                Box::pin(queue),
                Config::default(),
            )
            // A resource that was woken and is gone meanwhile is no failure.
            .for_each(|_| async {})
            .await;
        });
        Self { finish, task }
    }

    /// Takes nothing new on and waits for what is in hand.
    pub(super) async fn finish(mut self) {
        self.finish.cancel();
        if tokio::time::timeout(DRAIN, &mut self.task).await.is_err() {
            tracing::warn!("writes in hand did not end in time");
            self.task.abort();
        }
    }

    /// Drops everything in hand: its writes would be refused.
    pub(super) async fn abort(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}
