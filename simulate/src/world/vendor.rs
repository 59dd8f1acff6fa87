//! The vendor without sockets: lists that change, and the ways in which it fails.

use connectivity_allowlist::{Fetch, FetchError, FetchRequest, Fetched, Validators};
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The most requests that the vendor takes in a minute (its API's overview).
pub const RATE: usize = 5;
/// How long a list is valid after it was published.
const VALID: SignedDuration = SignedDuration::from_hours(84);

/// What a list allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Exact names.
    pub names: BTreeSet<String>,
    /// Networks.
    pub networks: BTreeSet<String>,
}

/// A list as it was published.
#[derive(Clone, Debug)]
pub struct Version {
    /// When.
    pub published: Timestamp,
    /// What it allows.
    pub content: Content,
}

/// How the vendor answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VendorFault {
    /// As documented.
    #[default]
    None,
    /// 503.
    Unavailable,
    /// No answer until the client gives up.
    Silent,
    /// A page that is no list.
    Nonsense,
    /// A list without entries.
    Empty,
    /// An edge that still has the version before.
    Stale,
}

#[derive(Debug, Default)]
struct State {
    versions: BTreeMap<String, Vec<Version>>,
    fault: VendorFault,
    /// When the requests of the last minute came.
    recent: VecDeque<Instant>,
    /// The most requests in any minute.
    most: usize,
    requests: usize,
}

/// The vendor. Clones are the same vendor.
#[derive(Clone, Debug)]
pub struct Vendor {
    state: Arc<Mutex<State>>,
    /// What its clock says, as a function of virtual time.
    epoch: (Timestamp, Instant),
}

impl Vendor {
    /// A vendor without lists, at this time.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self { state: Arc::default(), epoch: (now, Instant::now()) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.epoch.1.elapsed()).unwrap_or(SignedDuration::MAX);
        self.epoch.0.saturating_add(passed).unwrap_or(Timestamp::MAX)
    }

    /// Publishes a list for a customer.
    pub fn publish(&self, customer: &str, content: Content) {
        let version = Version { published: self.now(), content };
        self.lock().versions.entry(customer.to_owned()).or_default().push(version);
    }

    /// Every version that was published for a customer, the newest last.
    #[must_use]
    pub fn versions(&self, customer: &str) -> Vec<Version> {
        self.lock().versions.get(customer).cloned().unwrap_or_default()
    }

    /// Changes how it answers.
    pub fn fault(&self, fault: VendorFault) {
        self.lock().fault = fault;
    }

    /// The most requests in any minute, and all of them.
    #[must_use]
    pub fn requests(&self) -> (usize, usize) {
        let state = self.lock();
        (state.most, state.requests)
    }

    fn answer(&self, request: &FetchRequest) -> Result<Fetched, FetchError> {
        let mut state = self.lock();
        let now = Instant::now();
        while state.recent.front().is_some_and(|at| now.duration_since(*at) >= Duration::from_secs(60)) {
            state.recent.pop_front();
        }
        state.recent.push_back(now);
        state.requests += 1;
        state.most = state.most.max(state.recent.len());
        if state.recent.len() > RATE {
            return Err(FetchError::RateLimited { retry_after: Some(Duration::from_secs(60)) });
        }
        let unavailable = || FetchError::Unavailable { detail: "503".to_owned(), retry_after: None };
        let customer = request.url.split("customerId=").nth(1).and_then(|rest| rest.split('&').next());
        let versions = customer.and_then(|customer| state.versions.get(customer)).map_or(&[][..], Vec::as_slice);
        let (newest, before) = match versions {
            [.., before, newest] => (newest, before),
            [only] => (only, only),
            [] => return Err(FetchError::Rejected { status: 404, detail: String::new() }),
        };
        let version = match state.fault {
            VendorFault::Unavailable => return Err(unavailable()),
            VendorFault::Nonsense => return Ok(document(b"<html>".to_vec(), None)),
            VendorFault::Empty => Version { published: newest.published, content: Content::default() },
            VendorFault::Stale => before.clone(),
            VendorFault::None | VendorFault::Silent => newest.clone(),
        };
        let tag = format!("\"{}-{}\"", version.published, version.content.names.len() + version.content.networks.len());
        if request.validators.etag.as_deref() == Some(&tag) {
            return Ok(Fetched::NotModified);
        }
        Ok(document(json(&version).to_string().into_bytes(), Some(tag)))
    }
}

impl Fetch for Vendor {
    fn fetch(&self, request: FetchRequest) -> BoxFuture<'_, Result<Fetched, FetchError>> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(40)).await;
            if self.lock().fault == VendorFault::Silent {
                tokio::time::sleep(Duration::from_secs(30)).await;
                return Err(FetchError::Unavailable { detail: "no answer in 30 s".to_owned(), retry_after: None });
            }
            self.answer(&request)
        })
    }
}

fn document(body: Vec<u8>, etag: Option<String>) -> Fetched {
    Fetched::Document { body, validators: Validators::new(etag, None), content_type: Some("application/json".to_owned()) }
}

fn json(version: &Version) -> Value {
    let valid = version.published.saturating_add(VALID).unwrap_or(Timestamp::MAX);
    let Content { names, networks } = &version.content;
    let services = match names.is_empty() && networks.is_empty() {
        true => json!([]),
        false => json!([{ "name": "DaaS", "direction": "outbound", "tcpPorts": "443", "required": true,
            "endpoints": [{ "fqdns": names, "ips": networks }] }]),
    };
    json!({ "meta": { "version": version.published.to_string(), "validUntil": valid.to_string() }, "services": services })
}
