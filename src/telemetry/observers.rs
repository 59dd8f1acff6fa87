//! What the rooms tell, counted.

use super::metrics::Metrics;
use crate::cluster::apply::WriteObserver;
use crate::cluster::owned::Kind;
use crate::feed::{CompletedFetch, FeedObserver};
use crate::names::{Family, NamesObserver, RefusedAddress};
use crate::net::DomainName;
use std::net::SocketAddr;
use std::time::Duration;

impl WriteObserver for Metrics {
    fn wrote(&self, kind: Kind, verb: &'static str, result: &'static str) {
        Self::wrote(self, kind.as_str(), verb, result);
    }
}

impl FeedObserver for Metrics {
    fn fetched(&self, fetch: &CompletedFetch<'_>) {
        self.feed_requested(fetch.key.cloud.as_str(), fetch.reason.as_str());
        let CompletedFetch { key, reason, message, transaction_id, took, .. } = fetch;
        if reason.is_failure() {
            tracing::warn!(list = %key, %reason, message, transaction_id, ?took, "a fetch did not bring a usable list");
        } else {
            tracing::info!(list = %key, %reason, changed = fetch.changed, transaction_id, ?took, "fetched");
        }
    }

    fn limiter_waited(&self, _host: &str, waited: Duration) {
        Self::limiter_waited(self, waited);
    }

    fn host_paused(&self, host: &str, pause: Duration) {
        tracing::warn!(host, ?pause, "the API asks for a pause");
    }

    fn store_warning(&self, message: &str) {
        tracing::warn!(message, "a saved list");
    }
}

impl NamesObserver for Metrics {
    fn asked(&self, server: SocketAddr, _family: Family, result: &'static str, latency: Duration) {
        self.dns_asked(server, result, latency);
    }

    fn refused(&self, name: &DomainName, refused: &RefusedAddress) {
        self.dns_refused(refused.server);
        let RefusedAddress { address, server, reason } = refused;
        tracing::warn!(%name, %address, %server, %reason, "an answer holds an address that may not be opened");
    }

    fn predicted_miss(&self, _name: &DomainName, wait: Duration) {
        Self::predicted_miss(self, wait);
    }
}
