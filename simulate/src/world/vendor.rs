//! The vendor without sockets: lists that change, and the ways in which it fails.

use super::pods::wildcard_of;
use citrix_allowlist::lock::lock;
use connectivity_allowlist::{Fetch, FetchError, FetchRequest, Fetched, Validators};
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

/// The most requests that the vendor takes in a minute (its API's overview).
pub const RATE: usize = 5;
/// How long a list is valid after it was published.
const VALID: SignedDuration = SignedDuration::from_hours(84);

/// What a list allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListContent {
    /// Exact names.
    pub names: BTreeSet<String>,
    /// Networks.
    pub networks: BTreeSet<String>,
}

/// A list as it was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// When.
    pub published: Timestamp,
    /// What it allows.
    pub content: ListContent,
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
    /// Every second answer is from such an edge.
    Flipping,
    /// One answer for each customer lacks most of the list.
    Shrunk,
    /// The list has networks that nobody may allow.
    Lying,
    /// Everything is for another region.
    Elsewhere,
    /// 404.
    Gone,
    /// 429.
    Throttled,
    /// Each answer takes 20 seconds.
    Slow,
}

impl VendorFault {
    /// Every fault but those that were added later.
    pub const ALL: [Self; 11] = [
        Self::Unavailable,
        Self::Silent,
        Self::Nonsense,
        Self::Empty,
        Self::Stale,
        Self::Flipping,
        Self::Shrunk,
        Self::Lying,
        Self::Elsewhere,
        Self::Gone,
        Self::Throttled,
    ];
}

/// What a list has that lies: everything, the cluster, the machine.
const LIES: [&str; 4] = ["0.0.0.0/0", "10.0.0.0/8", "127.0.0.0/8", "::/0"];

#[derive(Debug, Default)]
struct State {
    versions: BTreeMap<String, Vec<Arc<Version>>>,
    fault: VendorFault,
    /// When the requests of the last minute came.
    recent: VecDeque<Instant>,
    /// The most requests in any minute.
    most: usize,
    requests: usize,
    /// Whom [`VendorFault::Shrunk`] has met.
    shrunk: BTreeSet<String>,
    /// Whether each list has a wildcard too.
    has_wildcards: bool,
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
        lock(&self.state)
    }

    /// What its clock says.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.epoch.1.elapsed()).unwrap_or(SignedDuration::MAX);
        self.epoch.0.saturating_add(passed).unwrap_or(Timestamp::MAX)
    }

    /// Publishes a list for a customer.
    pub fn publish(&self, customer: &str, content: ListContent) {
        let version = Version { published: self.now(), content };
        self.lock().versions.entry(customer.to_owned()).or_default().push(Arc::new(version));
    }

    /// Every version that was published for a customer, the newest last.
    #[must_use]
    pub fn versions(&self, customer: &str) -> Vec<Arc<Version>> {
        self.lock().versions.get(customer).cloned().unwrap_or_default()
    }

    /// Each list has a wildcard from now on.
    pub fn add_wildcards(&self) {
        self.lock().has_wildcards = true;
    }

    /// Changes how it answers.
    pub fn fault(&self, fault: VendorFault) {
        let mut state = self.lock();
        state.fault = fault;
        state.shrunk.clear();
    }

    /// The most requests in any minute.
    #[must_use]
    pub fn most_requests(&self) -> usize {
        self.lock().most
    }

    /// Counts a request. Returns whether it is one too many.
    fn arrive(&self) -> bool {
        let now = Instant::now();
        let mut state = self.lock();
        while state.recent.front().is_some_and(|at| now.duration_since(*at) >= Duration::from_secs(60)) {
            state.recent.pop_front();
        }
        state.recent.push_back(now);
        state.requests += 1;
        state.most = state.most.max(state.recent.len());
        state.recent.len() > RATE
    }

    fn answer(&self, request: &FetchRequest) -> Result<Fetched, FetchError> {
        let wall = self.now();
        let mut guard = self.lock();
        let state = &mut *guard;
        let unavailable = || FetchError::Unavailable { detail: "503".to_owned(), retry_after: None };
        let rejected = || FetchError::Rejected { status: 404, detail: String::new() };
        let customer = request.url.split("customerId=").nth(1).and_then(|rest| rest.split('&').next());
        let customer = customer.ok_or_else(rejected)?.to_owned();
        let mut none = Vec::new();
        let versions = state.versions.get_mut(&customer).unwrap_or(&mut none);
        // A list is published again long before it expires, whether it changes or not.
        if let Some(last) = versions.last().filter(|last| wall.duration_since(last.published) > VALID / 2) {
            let again = Version { published: wall, content: last.content.clone() };
            versions.push(Arc::new(again));
        }
        let (newest, before) = match versions.as_slice() {
            [.., before, newest] => (Version::clone(newest), Version::clone(before)),
            [only] => (Version::clone(only), Version::clone(only)),
            [] => return Err(rejected()),
        };
        let mut version = newest;
        match state.fault {
            VendorFault::Unavailable => return Err(unavailable()),
            VendorFault::Nonsense => return Ok(document(b"<html>".to_vec(), None)),
            VendorFault::Gone => return Err(rejected()),
            VendorFault::Throttled => {
                return Err(FetchError::RateLimited { retry_after: Some(Duration::from_secs(90)) });
            }
            VendorFault::Empty => version.content = ListContent::default(),
            VendorFault::Stale => version = before,
            VendorFault::Flipping if state.requests.is_multiple_of(2) => version = before,
            VendorFault::Shrunk if state.shrunk.insert(customer.clone()) => {
                version.content.networks.clear();
                version.content.names = version.content.names.into_iter().take(1).collect();
            }
            VendorFault::Lying => version.content.networks.extend(LIES.map(str::to_owned)),
            VendorFault::None
            | VendorFault::Silent
            | VendorFault::Flipping
            | VendorFault::Shrunk
            | VendorFault::Slow
            | VendorFault::Elsewhere => {}
        }
        let geo = if state.fault == VendorFault::Elsewhere { "eu" } else { "us" };
        let tag =
            format!("\"{}-{}-{geo}\"", version.published, version.content.names.len() + version.content.networks.len());
        if request.validators.etag.as_deref() == Some(&tag) {
            return Ok(Fetched::NotModified);
        }
        let wildcard = state.has_wildcards.then(|| wildcard_of(&customer));
        Ok(document(json(&version, wildcard, geo).to_string().into_bytes(), Some(tag)))
    }
}

impl Fetch for Vendor {
    fn fetch(&self, request: FetchRequest) -> BoxFuture<'_, Result<Fetched, FetchError>> {
        Box::pin(async move {
            let is_too_many = self.arrive();
            tokio::time::sleep(Duration::from_millis(40)).await;
            if is_too_many {
                return Err(FetchError::RateLimited { retry_after: Some(Duration::from_secs(60)) });
            }
            if self.lock().fault == VendorFault::Silent {
                tokio::time::sleep(Duration::from_secs(30)).await;
                return Err(FetchError::Unavailable { detail: "no answer in 30 s".to_owned(), retry_after: None });
            }
            if self.lock().fault == VendorFault::Slow {
                tokio::time::sleep(Duration::from_secs(20)).await;
            }
            self.answer(&request)
        })
    }
}

fn document(body: Vec<u8>, etag: Option<String>) -> Fetched {
    Fetched::Document {
        body,
        validators: Validators::new(etag, None),
        content_type: Some("application/json".to_owned()),
    }
}

fn json(version: &Version, wildcard: Option<String>, geo: &str) -> Value {
    let valid = version.published.saturating_add(VALID).unwrap_or(Timestamp::MAX);
    let ListContent { names, networks } = &version.content;
    let fqdns: Vec<&String> = names.iter().chain(&wildcard).collect();
    let services = match names.is_empty() && networks.is_empty() {
        true => json!([]),
        false => json!([{ "name": "DaaS", "direction": "outbound", "tcpPorts": "443", "required": true,
            "endpoints": [{ "geo": geo, "fqdns": fqdns, "ips": networks }] }]),
    };
    json!({ "meta": { "version": version.published.to_string(), "validUntil": valid.to_string() }, "services": services })
}
