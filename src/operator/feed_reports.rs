//! Passes the feed's reports on: figures to the metrics, and problems of saved lists to people. Those are events on the
//! operator's own pod, since they belong to no single resource.

use crate::cluster::report::StatusWriter;
use crate::feed::{CompletedFetch, FeedKey, FeedObserver};
use crate::reason::Reason;
use crate::status::Note;
use crate::telemetry::Metrics;
use k8s_openapi::api::core::v1::ObjectReference;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Receives the feed's reports.
pub(super) struct FeedReports {
    metrics: Arc<Metrics>,
    warnings: UnboundedSender<String>,
}

impl FeedReports {
    /// Also returns the warnings to publish.
    pub fn new(metrics: Arc<Metrics>) -> (Self, UnboundedReceiver<String>) {
        let (warnings, received) = unbounded_channel();
        (Self { metrics, warnings }, received)
    }
}

/// Publishes each warning as an event on `pod`, until the feed ends.
pub(super) async fn publish(mut warnings: UnboundedReceiver<String>, reporter: StatusWriter, pod: ObjectReference) {
    while let Some(message) = warnings.recv().await {
        let note = Note { warning: true, reason: Reason::SavedListIgnored, message };
        reporter.publish(&pod, &note).await;
    }
}

impl FeedObserver for FeedReports {
    fn fetched(&self, fetch: &CompletedFetch<'_>) {
        FeedObserver::fetched(&*self.metrics, fetch);
    }

    fn limiter_waited(&self, host: &str, waited: Duration) {
        FeedObserver::limiter_waited(&*self.metrics, host, waited);
    }

    fn host_paused(&self, host: &str, pause: Duration) {
        FeedObserver::host_paused(&*self.metrics, host, pause);
    }

    fn fetch_interrupted(&self, feed: &FeedKey, message: &str) {
        FeedObserver::fetch_interrupted(&*self.metrics, feed, message);
    }

    fn store_warning(&self, message: &str) {
        FeedObserver::store_warning(&*self.metrics, message);
        // Nothing receives it outside a pod, and when the process stops.
        let _ = self.warnings.send(message.to_owned());
    }
}
