//! A stand-in for the vendor's Connectivity AllowList API, with everything its overview documents and every fault a
//! client may meet.
//!
//! [`Standin::start`] serves both clouds and the two older static lists on one loopback port, over HTTP or, with a
//! [`TestAuthority`], HTTPS. Tests change the lists with [`Standin::publish`] and [`Standin::edit`], switch faults on
//! with [`Standin::inject`] and read what was asked from [`Standin::requests`].

mod answer;
mod authority;
pub(crate) mod connection;
mod document;
mod fault;
mod limit;
mod lists;
mod proxy;
mod record;
mod server;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use rustls::ServerConfig;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use authority::TestAuthority;
pub use document::{Document, Endpoint, Meta, Service};
pub use fault::{Fault, Injection, RetryAfter, http_date};
pub use lists::Validity;
pub use proxy::{ConnectProxy, Proxied, ProxyConfig};
pub use record::{Recorded, busiest};

use connection::{Connecting, Connections};

/// The vendor's two clouds, each with a host and a list of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StandinCloud {
    /// `api.cloud.com`: US, EU and AP-S.
    Global,
    /// `api.citrixcloud.jp`.
    Japan,
}

/// What a request asks: one of the four lists served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// The Global cloud's API.
    Global,
    /// The Japan cloud's API.
    Japan,
    /// The older static list, commercial.
    StaticCommercial,
    /// The older static list of Japan.
    StaticJapan,
}

impl From<StandinCloud> for Source {
    fn from(cloud: StandinCloud) -> Self {
        match cloud {
            StandinCloud::Global => Self::Global,
            StandinCloud::Japan => Self::Japan,
        }
    }
}

/// How a 429 of the rate limit itself says when to come back: the documentation says nothing, so nothing by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LimitHint {
    /// No `Retry-After`.
    #[default]
    None,
    /// In seconds, until a request would be let through.
    Seconds,
    /// As an HTTP date, of when a request would be let through.
    Date,
}

/// How to serve.
#[derive(Clone, Debug)]
pub struct StandinConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Serves HTTPS with a certificate of this authority for the listening address, `localhost` and the vendor's hosts.
    pub authority: Option<TestAuthority>,
    /// The Global cloud's base path.
    pub global_path: String,
    /// The Japan cloud's base path.
    pub japan_path: String,
    /// Requests a minute from one address to one cloud; no limit without.
    pub requests_per_minute: Option<u32>,
    /// What a 429 says about when to come back.
    pub limit_hint: LimitHint,
    /// Where `validUntil` comes from.
    pub validity: Validity,
    /// The `Cache-Control` of answers; none without.
    pub cache_control: Option<String>,
    /// Whether lists carry an `ETag`. The API's overview names `Last-Modified` and `Cache-Control` alone.
    pub etag: bool,
    /// `usage.update_interval` of `format=zscaler`, in hours; the overview's example has 84.
    pub update_interval: u32,
    /// Whether `/admin/publish` and `/admin/valid-for` are served: for a shell's use, not a test's.
    pub admin: bool,
    /// The Global cloud's document, unfiltered.
    pub global: Document,
    /// The Japan cloud's document, unfiltered.
    pub japan: Document,
}

impl Default for StandinConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            authority: None,
            global_path: "/global/connectivity".to_owned(),
            japan_path: "/japan/connectivity".to_owned(),
            requests_per_minute: Some(5),
            limit_hint: LimitHint::default(),
            validity: Validity::default(),
            cache_control: Some("public, max-age=3600".to_owned()),
            etag: false,
            update_interval: 84,
            admin: false,
            global: crate::fixture::document(StandinCloud::Global),
            japan: crate::fixture::document(StandinCloud::Japan),
        }
    }
}

impl StandinConfig {
    /// The default without a rate limit, for tests about something else.
    #[must_use]
    pub fn unlimited() -> Self {
        Self { requests_per_minute: None, ..Self::default() }
    }
}

/// A running stand-in; dropped, it stops.
#[derive(Debug)]
pub struct Standin {
    state: Arc<server::State>,
    address: SocketAddr,
    authority: Option<TestAuthority>,
    tls: Option<Arc<ServerConfig>>,
    global_path: String,
    japan_path: String,
    connections: Connections,
    running: Option<JoinHandle<()>>,
}

impl Standin {
    /// Starts to listen and to serve.
    ///
    /// # Errors
    /// If the address cannot be had or the certificate cannot be made.
    pub async fn start(config: StandinConfig) -> Result<Self> {
        let tls = match &config.authority {
            None => None,
            Some(authority) => {
                let address = config.listen.ip().to_string();
                let names = [address.as_str(), "localhost", "api.cloud.com", "api.citrixcloud.jp"];
                Some(Arc::new(authority.server_config(&names)?))
            }
        };
        let mut standin = Self {
            address: config.listen,
            authority: config.authority.clone(),
            tls,
            global_path: config.global_path.trim_end_matches('/').to_owned(),
            japan_path: config.japan_path.trim_end_matches('/').to_owned(),
            connections: Connections::default(),
            running: None,
            state: Arc::new(server::State::new(config)?),
        };
        standin.restart().await?;
        Ok(standin)
    }

    /// The Global cloud's base: what the operator's `--global-url` takes.
    #[must_use]
    pub fn base_url_global(&self) -> String {
        format!("{}{}", self.origin(), self.global_path)
    }

    /// The Japan cloud's base: what the operator's `--japan-url` takes.
    #[must_use]
    pub fn base_url_japan(&self) -> String {
        format!("{}{}", self.origin(), self.japan_path)
    }

    /// The address of a list, without a query.
    #[must_use]
    pub fn url(&self, source: Source) -> String {
        match source {
            Source::Global => format!("{}/v2/allowlist", self.base_url_global()),
            Source::Japan => format!("{}/v2/allowlist", self.base_url_japan()),
            source => format!("{}{}", self.origin(), lists::static_path(source).unwrap_or_default()),
        }
    }

    /// Scheme, host and port.
    #[must_use]
    pub fn origin(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The authority's certificate in PEM, where it serves HTTPS.
    #[must_use]
    pub fn ca_pem(&self) -> Option<&str> {
        self.authority.as_ref().map(TestAuthority::pem)
    }

    /// The document of a cloud as it is published now, unfiltered and with its own `validUntil`.
    #[must_use]
    pub fn document(&self, cloud: StandinCloud) -> Document {
        self.inner().published(cloud).document().clone()
    }

    /// Publishes a document. `Last-Modified` moves, and `meta.version` too where the document kept the old one.
    pub fn publish(&self, cloud: StandinCloud, document: Document) {
        self.inner().published(cloud).publish(document, Timestamp::now());
    }

    /// Publishes the present document as `change` leaves it.
    pub fn edit(&self, cloud: StandinCloud, change: impl FnOnce(&mut Document)) {
        let mut inner = self.inner();
        let published = inner.published(cloud);
        let mut document = published.document().clone();
        change(&mut document);
        published.publish(document, Timestamp::now());
    }

    /// Changes where the `validUntil` of both clouds comes from.
    pub fn set_validity(&self, validity: Validity) {
        let mut inner = self.inner();
        for cloud in [StandinCloud::Global, StandinCloud::Japan] {
            inner.published(cloud).set_validity(validity, Timestamp::now());
        }
    }

    /// Publishes one of the older static lists; the clouds' documents are not concerned.
    pub fn publish_static(&self, cloud: StandinCloud, document: Value) {
        self.inner().static_list(cloud).publish(document, Timestamp::now());
    }

    /// Changes the rate limit; what was counted is forgotten.
    pub fn set_requests_per_minute(&self, limit: Option<u32>) {
        let mut inner = self.inner();
        inner.requests_per_minute = limit;
        inner.limiter.forget();
    }

    /// Changes the `Cache-Control` of answers.
    pub fn set_cache_control(&self, value: Option<&str>) {
        self.inner().cache_control = value.map(str::to_owned);
    }

    /// From now on the API knows nobody of this id: 404.
    pub fn forget_customer(&self, customer: &str) {
        self.inner().unknown_customers.insert(customer.to_owned());
    }

    /// The API knows this id again.
    pub fn remember_customer(&self, customer: &str) {
        self.inner().unknown_customers.remove(customer);
    }

    /// Every request fails so until [`Standin::clear_faults`].
    pub fn fail(&self, fault: Fault) {
        self.inject(Injection::always(fault));
    }

    /// The next `times` requests fail so.
    pub fn fail_times(&self, times: usize, fault: Fault) {
        self.inject(Injection::always(fault).times(times));
    }

    /// Switches a fault on, behind those that are. A request meets the first that strikes it.
    pub fn inject(&self, injection: Injection) {
        self.inner().faults.add(injection);
    }

    /// Switches every fault off. Requests that already met one still do.
    pub fn clear_faults(&self) {
        self.inner().faults.clear();
    }

    /// Every request since the start or the last [`Standin::clear_requests`], in order of arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.inner().recorded.clone()
    }

    /// Forgets the requests recorded so far.
    pub fn clear_requests(&self) {
        self.inner().recorded.clear();
    }

    /// Waits until as many requests were recorded.
    ///
    /// # Errors
    /// If there are fewer after `timeout`.
    pub async fn wait_for_requests(&self, count: usize, timeout: Duration) -> Result<Vec<Recorded>> {
        let enough = async {
            loop {
                let recorded = self.requests();
                if recorded.len() >= count {
                    return recorded;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(timeout, enough)
            .await
            .with_context(|| format!("{} requests instead of {count} within {timeout:?}", self.requests().len()))
    }

    /// Resets every connection and listens no more. Lists, faults and records stay.
    pub async fn stop(&mut self) {
        self.abort();
        if let Some(running) = self.running.take() {
            // An aborted task ends with an error that says just so.
            let _aborted = running.await;
        }
        // Connections that were handed over while the server was ending.
        self.connections.cut_all();
    }

    /// Listens again, on the same port as before; a running one is stopped first.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await;
        let listener =
            TcpListener::bind(self.address).await.with_context(|| format!("listening on {}", self.address))?;
        self.address = listener.local_addr().context("the address listened on")?;
        let connecting =
            Connecting::new(listener, self.tls.clone(), self.connections.clone()).context("the address listened on")?;
        self.running = Some(server::spawn(self.state.clone(), connecting));
        Ok(())
    }

    fn abort(&self) {
        if let Some(running) = &self.running {
            running.abort();
        }
        self.connections.cut_all();
    }

    fn inner(&self) -> MutexGuard<'_, server::Inner> {
        lock(&self.state.inner)
    }
}

impl Drop for Standin {
    fn drop(&mut self) {
        self.abort();
    }
}

/// Locks even where a panic left it poisoned: a failed assertion in one test task must not hide behind a second panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
