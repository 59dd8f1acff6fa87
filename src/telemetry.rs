//! Metrics (stand-in until the real room lands).
use crate::crd::CitrixAllowlistStatus;
use crate::subscriber::Subscriber;
use std::time::Duration;
/// Metrics.
#[derive(Debug, Default)]
pub struct Metrics;
impl Metrics {
    /// One reconcile.
    pub fn reconciled(&self, _outcome: &'static str, _took: Duration) {}
    /// The status of a resource.
    pub fn resource(&self, _who: &Subscriber, _status: &CitrixAllowlistStatus) {}
    /// A resource is gone.
    pub fn forget(&self, _who: &Subscriber) {}
}
impl crate::cluster::apply::WriteObserver for Metrics {
    fn wrote(&self, _: crate::cluster::owned::Kind, _: &'static str, _: &'static str) {}
}
