//! Metrics and log lines of the other rooms' events.

use super::metrics::{Metrics, label};
use super::reference;
use crate::cluster::apply::WriteObserver;
use crate::feed::{CompletedFetch, FeedKey, FeedObserver};
use crate::forward::{ForwardObserver, Forwarded};
use crate::lock::lock;
use crate::names::{Family, ForgottenCause, NamesObserver, RefusedAddress};
use crate::reason::Reason;
use connectivity_allowlist::net::DomainName;
use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

impl WriteObserver for Metrics {
    fn wrote(&self, kind: &'static str, verb: &'static str, result: &'static str) {
        self.writes.get_or_create(&label(&reference::WRITES, [kind.into(), verb.into(), result.into()])).inc();
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
        let labels = [fetch.key.cloud.as_str().into(), reason.as_str().into()];
        self.feed_fetches.get_or_create(&label(&reference::FEED_FETCHES, labels)).inc();
        self.feed_fetch_duration.observe(fetch.took.as_secs_f64());
    }

    fn limiter_waited(&self, _host: &str, waited: Duration) {
        self.limiter_wait.observe(waited.as_secs_f64());
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

impl ForwardObserver for Metrics {
    fn forwarded(&self, name: Option<&DomainName>, how: Forwarded, held: Duration) {
        self.forwarded.get_or_create(&label(&reference::FORWARDED, [how.label().into()])).inc();
        // An alert on the first early answer needs the zero before it.
        drop(self.forwarded.get_or_create(&label(&reference::FORWARDED, [Forwarded::Early.label().into()])));
        self.forward_held.observe(held.as_secs_f64());
        if let (Some(name), Forwarded::Early | Forwarded::Barred) = (name, how) {
            tracing::debug!(%name, result = how.label(), "an answer went out with addresses that are not in force");
        }
    }

    fn upstream_took(&self, time: Duration) {
        self.forward_upstream.observe(time.as_secs_f64());
    }

    fn learned(&self, name: &DomainName, resources: usize) {
        self.learned_total.inc();
        tracing::info!(%name, resources, "a name under a wildcard is learned, since a pod asked for it");
    }
}

impl NamesObserver for Metrics {
    fn asked(&self, server: SocketAddr, _family: Family, result: &'static str, latency: Duration) {
        lock(&self.servers).entry(server).or_default().insert(result);
        let server: Cow<'static, str> = server.to_string().into();
        self.dns_questions.get_or_create(&label(&reference::DNS_QUESTIONS, [server.clone(), result.into()])).inc();
        let duration = self.dns_duration.get_or_create(&label(&reference::DNS_DURATION, [server.clone()]));
        duration.observe(latency.as_secs_f64());
        // An alert on the first refusal needs the zero before it.
        drop(self.dns_refused.get_or_create(&label(&reference::DNS_REFUSED, [server])));
    }

    fn refused(&self, name: &DomainName, refused: &RefusedAddress) {
        let RefusedAddress { address, server, reason } = refused;
        tracing::debug!(%name, %address, %server, %reason, "an address was refused");
        lock(&self.servers).entry(*server).or_default();
        self.dns_refused.get_or_create(&label(&reference::DNS_REFUSED, [server.to_string().into()])).inc();
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
        self.predicted_miss.observe(wait.as_secs_f64());
    }

    fn forgotten(&self, cause: ForgottenCause, names: usize) {
        let count = u64::try_from(names).unwrap_or(u64::MAX);
        self.forgotten_total.get_or_create(&label(&reference::FORGOTTEN_TOTAL, [cause.label().into()])).inc_by(count);
        if names > 0 {
            tracing::info!(names, reason = cause.label(), "learned names are forgotten");
        }
    }
}
