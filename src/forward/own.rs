//! The hosts that the operator itself talks to at the moment. Its own questions come back through the cluster's DNS, and look like a
//! pod's: they are neither held nor learned.

use crate::counts::{count, uncount};
use crate::lock::lock;
use connectivity_allowlist::net::DomainName;
use connectivity_allowlist::{Fetch, FetchError, FetchRequest, Fetched};
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// The hosts, each with how many requests to it are open. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct OwnHosts(Arc<Mutex<BTreeMap<DomainName, usize>>>);

impl OwnHosts {
    /// Whether a request to this host is open.
    #[must_use]
    pub fn contains(&self, name: &DomainName) -> bool {
        lock(&self.0).contains_key(name)
    }

    /// A request to a host is open for as long as what this returns is kept.
    #[must_use]
    pub fn open(&self, name: DomainName) -> OpenRequest {
        count(&mut lock(&self.0), &name);
        OpenRequest { hosts: self.clone(), name }
    }
}

/// An open request.
#[derive(Debug)]
pub struct OpenRequest {
    hosts: OwnHosts,
    name: DomainName,
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        uncount(&mut lock(&self.hosts.0), &self.name);
    }
}

/// Requests of the vendor's lists, which notes the host of each while it is open.
pub struct NotedFetch {
    /// What sends them.
    pub fetch: Arc<dyn Fetch>,
    /// Where they are noted.
    pub hosts: OwnHosts,
}

impl Fetch for NotedFetch {
    fn fetch(&self, request: FetchRequest) -> BoxFuture<'_, Result<Fetched, FetchError>> {
        let url: Option<http::Uri> = request.url.parse().ok();
        let host = url.and_then(|url| DomainName::parse(url.host()?).ok());
        Box::pin(async move {
            let _open = host.map(|host| self.hosts.open(host));
            self.fetch.fetch(request).await
        })
    }
}

#[cfg(test)]
mod tests;
