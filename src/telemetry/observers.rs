//! Metrics and log lines of the other rooms' events.

use super::Metrics;
use crate::cluster::apply::WriteObserver;
use crate::feed::{CompletedFetch, FeedKey, FeedObserver};
use crate::names::{Family, NamesObserver, RefusedAddress};
use crate::reason::Reason;
use connectivity_allowlist::net::DomainName;
use std::net::SocketAddr;
use std::time::Duration;

impl WriteObserver for Metrics {
    fn wrote(&self, kind: &'static str, verb: &'static str, result: &'static str) {
        self.written(kind, verb, result);
    }
}

impl FeedObserver for Metrics {
    fn fetched(&self, fetch: &CompletedFetch<'_>) {
        let (feed, transaction, reason) = (fetch.key, fetch.transaction_id, fetch.reason);
        if reason == Reason::Fetched {
            tracing::info!(%feed, transaction, changed = fetch.changed, "{}", fetch.message);
        } else {
            tracing::warn!(%feed, transaction, %reason, "{}", fetch.message);
        }
        self.feed_requested(fetch.key.cloud.as_str(), reason.as_str(), fetch.took);
    }

    fn limiter_waited(&self, _host: &str, waited: Duration) {
        Self::limiter_waited(self, waited);
    }

    fn host_paused(&self, host: &str, pause: Duration) {
        tracing::warn!(host, seconds = pause.as_secs(), "the API asks for a pause");
    }

    fn fetch_interrupted(&self, feed: &FeedKey, message: &str) {
        tracing::warn!(%feed, "{message}");
    }

    fn store_warning(&self, message: &str) {
        tracing::warn!("{message}");
    }
}

impl NamesObserver for Metrics {
    fn asked(&self, server: SocketAddr, _family: Family, result: &'static str, latency: Duration) {
        self.dns_asked(server, result, latency);
    }

    fn refused(&self, name: &DomainName, refused: &RefusedAddress) {
        let RefusedAddress { address, server, reason } = refused;
        tracing::debug!(%name, %address, %server, %reason, "an address was refused");
        self.dns_refused(*server);
    }

    fn stretched(&self, factor: f64) {
        if crate::names::stretch::is_late(factor, true) {
            tracing::warn!(
                factor,
                "names need more queries than --dns-questions-per-second: those of the largest namespaces are queried less often"
            );
        } else {
            tracing::info!("names are queried by their TTLs again");
        }
    }

    fn predicted_miss(&self, _name: &DomainName, wait: Duration) {
        Self::predicted_miss(self, wait);
    }
}
