//! A proxy between the operator and the API server that answers in its place, late, wrongly or not at all.
//!
//! It ends TLS with a certificate of its own and passes every request on with the caller's own credentials, so that
//! what is seen through it is the real API server, but for the faults switched on with [`FaultProxy::inject`].

mod request;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use self::request::{Asked, Verb};
use crate::standin::TestAuthority;
use crate::standin::connection::{Connecting, Connections, Peer};

/// The largest request that is passed on, in bytes: twice what etcd takes.
const LARGEST_REQUEST: usize = 4 << 20;

/// What happens to a request in the API server's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiFault {
    /// This status, with this reason and message, and with this `Retry-After` in seconds.
    Status {
        /// The status code.
        code: u16,
        /// The reason, as `metav1.Status` has it.
        reason: String,
        /// What it says.
        message: String,
        /// How long to wait, in seconds.
        retry_after: Option<u32>,
    },
    /// It is passed on, this much later.
    Late(Duration),
    /// It is passed on and carried out, and its answer never arrives.
    Unanswered,
    /// Nothing comes of it, and nothing is said.
    Hang,
    /// A watch that begins, says 410 Gone as an event, and ends, as after a compaction.
    GoneEvent,
}

impl ApiFault {
    /// A status with a reason and a message.
    #[must_use]
    pub fn status(code: u16, reason: &str, message: &str) -> Self {
        Self::Status { code, reason: reason.to_owned(), message: message.to_owned(), retry_after: None }
    }
}

/// Which requests a fault is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Which {
    /// These verbs; any where empty.
    pub verbs: Vec<Verb>,
    /// These resources, `networkpolicies` or `citrixallowlists/status`; any where empty.
    pub resources: Vec<String>,
    /// Objects whose names begin so.
    pub named: String,
}

impl Which {
    /// Every request.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Requests with these verbs to these resources.
    #[must_use]
    pub fn of(verbs: &[Verb], resources: &[&str]) -> Self {
        let resources = resources.iter().map(|resource| (*resource).to_owned()).collect();
        Self { verbs: verbs.to_vec(), resources, named: String::new() }
    }

    /// Of these, requests for objects whose names begin so.
    #[must_use]
    pub fn named(self, prefix: &str) -> Self {
        Self { named: prefix.to_owned(), ..self }
    }

    fn takes(&self, asked: &Asked) -> bool {
        (self.verbs.is_empty() || self.verbs.contains(&asked.verb))
            && (self.resources.is_empty() || self.resources.contains(&asked.resource))
            && asked.name.as_deref().unwrap_or_default().starts_with(&self.named)
    }
}

#[derive(Clone, Debug)]
struct Rule {
    which: Which,
    fault: ApiFault,
    /// How many more requests; every one without.
    left: Option<usize>,
    /// How many requests in a hundred.
    percent: u8,
}

/// A request that came, and how it was answered.
#[derive(Clone, Debug)]
pub struct Passed {
    /// What was asked.
    pub asked: Asked,
    /// When.
    pub at: Instant,
    /// The status it was answered with; `None` while it is not.
    pub status: Option<u16>,
    /// Whether a fault took it.
    pub faulted: bool,
}

struct Shared {
    upstream: String,
    client: reqwest::Client,
    rules: Mutex<Vec<Rule>>,
    changed: watch::Sender<u64>,
    cuts: watch::Sender<u64>,
    passed: Mutex<Vec<Passed>>,
}

/// A running proxy; dropped, it ends.
pub struct FaultProxy {
    shared: Arc<Shared>,
    connections: Connections,
    kubeconfig: PathBuf,
    running: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl FaultProxy {
    /// A proxy to the API server of a kubeconfig written by the control plane, for the same user.
    ///
    /// # Errors
    /// Where the kubeconfig is not such a one, or nothing can be listened on.
    pub async fn start(kubeconfig: &Path) -> Result<Self> {
        let mut config: Value = serde_json::from_slice(&std::fs::read(kubeconfig)?).context("a kubeconfig in JSON")?;
        let cluster = &mut config["clusters"][0]["cluster"];
        let upstream = cluster["server"].as_str().context("a server")?.to_owned();
        let ca_file = cluster["certificate-authority"].as_str().context("an authority's file")?;
        let ca = reqwest::Certificate::from_pem(&std::fs::read(ca_file)?)?;
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .no_proxy()
            .no_gzip()
            .http1_only()
            .tls_certs_only([ca])
            .build()
            .context("a client for the API server")?;
        let authority = TestAuthority::new()?;
        let folder = tempfile::tempdir()?;
        let own_ca = folder.path().join("ca.crt");
        std::fs::write(&own_ca, authority.pem())?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        cluster["server"] = json!(format!("https://{}", listener.local_addr()?));
        cluster["certificate-authority"] = json!(own_ca);
        let own = folder.path().join("kubeconfig");
        std::fs::write(&own, serde_json::to_vec_pretty(&config)?)?;
        let connections = Connections::default();
        let tls = Arc::new(authority.server_config(&["127.0.0.1", "localhost"])?);
        let connecting = Connecting::new(listener, Some(tls), connections.clone())?;
        let shared = Arc::new(Shared {
            upstream,
            client,
            rules: Mutex::default(),
            changed: watch::Sender::new(0),
            cuts: watch::Sender::new(0),
            passed: Mutex::default(),
        });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let service = router.into_make_service_with_connect_info::<Peer>();
        let running = tokio::spawn(async move {
            // It ends only by being dropped.
            let _ = axum::serve(connecting, service).await;
        });
        Ok(Self { shared, connections, kubeconfig: own, running, _folder: folder })
    }

    /// A kubeconfig that leads through the proxy.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Switches a fault on for all such requests until [`Self::heal`]. Of several, the first that fits counts.
    pub fn inject(&self, which: Which, fault: ApiFault) {
        self.add(Rule { which, fault, left: None, percent: 100 });
    }

    /// Switches a fault on for so many such requests.
    pub fn inject_times(&self, times: usize, which: Which, fault: ApiFault) {
        self.add(Rule { which, fault, left: Some(times), percent: 100 });
    }

    /// Switches a fault on for so many in a hundred such requests, at random.
    pub fn inject_percent(&self, percent: u8, which: Which, fault: ApiFault) {
        self.add(Rule { which, fault, left: None, percent });
    }

    fn add(&self, rule: Rule) {
        lock(&self.shared.rules).push(rule);
        self.shared.changed.send_modify(|version| *version += 1);
    }

    /// Switches every fault off. Requests that hang get no answer still: their connections are cut.
    pub fn heal(&self) {
        lock(&self.shared.rules).clear();
        self.shared.changed.send_modify(|version| *version += 1);
    }

    /// Breaks every watch off in the middle of an event.
    pub fn cut_watches(&self) {
        self.shared.cuts.send_modify(|version| *version += 1);
    }

    /// Resets every connection.
    pub fn cut_connections(&self) {
        self.connections.cut_all();
    }

    /// Every request since the start.
    #[must_use]
    pub fn requests(&self) -> Vec<Passed> {
        lock(&self.shared.passed).clone()
    }

    /// Requests that came since then.
    #[must_use]
    pub fn since(&self, then: Instant) -> Vec<Passed> {
        lock(&self.shared.passed).iter().filter(|passed| passed.at >= then).cloned().collect()
    }

    /// How many writes came since then, Leases and dry runs aside.
    #[must_use]
    pub fn writes_since(&self, then: Instant) -> usize {
        self.since(then).iter().filter(|passed| passed.asked.is_write() && passed.asked.resource != "leases").count()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.running.abort();
        self.connections.cut_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn fault_for(&self, asked: &Asked) -> Option<ApiFault> {
        let mut rules = lock(&self.rules);
        let index = rules
            .iter()
            .position(|rule| rule.left != Some(0) && rule.which.takes(asked) && fastrand::u8(0..100) < rule.percent)?;
        let rule = &mut rules[index];
        rule.left = rule.left.map(|left| left - 1);
        Some(rule.fault.clone())
    }

    fn note(&self, asked: Asked, faulted: bool) -> usize {
        let mut passed = lock(&self.passed);
        passed.push(Passed { asked, at: Instant::now(), status: None, faulted });
        passed.len() - 1
    }

    fn answered(&self, index: usize, status: StatusCode) {
        lock(&self.passed)[index].status = Some(status.as_u16());
    }

    /// Nothing, until the faults change.
    async fn silence(&self) {
        let mut changed = self.changed.subscribe();
        let _ = changed.changed().await;
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    peer: axum::extract::ConnectInfo<Peer>,
    request: Request,
) -> Response {
    let asked = Asked::of(request.method(), request.uri());
    let fault = shared.fault_for(&asked);
    let index = shared.note(asked.clone(), fault.is_some());
    let response = match fault {
        None => forward(&shared, &asked, request, &peer.0).await,
        Some(ApiFault::Late(delay)) => {
            tokio::time::sleep(delay).await;
            forward(&shared, &asked, request, &peer.0).await
        }
        Some(ApiFault::Unanswered) => {
            forward(&shared, &asked, request, &peer.0).await;
            shared.silence().await;
            peer.0.switch.cut();
            StatusCode::BAD_GATEWAY.into_response()
        }
        Some(ApiFault::Hang) => {
            shared.silence().await;
            peer.0.switch.cut();
            StatusCode::BAD_GATEWAY.into_response()
        }
        Some(ApiFault::GoneEvent) => {
            let event = json!({ "type": "ERROR", "object": status_object(410, "Expired", "too old resource version") });
            ([(header::CONTENT_TYPE, "application/json")], format!("{event}\n")).into_response()
        }
        Some(ApiFault::Status { code, reason, message, retry_after }) => {
            let mut headers = HeaderMap::new();
            if let Some(seconds) = retry_after {
                headers.insert(header::RETRY_AFTER, seconds.into());
            }
            let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
            (code, headers, status_object(code.as_u16(), &reason, &message).to_string()).into_response()
        }
    };
    shared.answered(index, response.status());
    response
}

fn status_object(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "code": code, "reason": reason, "message": message,
    })
}

async fn forward(shared: &Shared, asked: &Asked, request: Request, peer: &Peer) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, LARGEST_REQUEST).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut headers = parts.headers;
    for name in [header::HOST, header::CONTENT_LENGTH, header::CONNECTION, header::TRANSFER_ENCODING] {
        headers.remove(name);
    }
    let sent = shared
        .client
        .request(parts.method, format!("{}{path}", shared.upstream))
        .headers(headers)
        .body(body)
        .send()
        .await;
    let Ok(answer) = sent else {
        // What a client sees of an API server that is away.
        peer.switch.cut();
        return StatusCode::BAD_GATEWAY.into_response();
    };
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        if !matches!(*name, header::CONNECTION | header::TRANSFER_ENCODING) {
            response = response.header(name, value);
        }
    }
    let body = if asked.verb == Verb::Watch {
        let cuts = shared.cuts.subscribe();
        Body::from_stream(until_cut(answer.bytes_stream(), cuts))
    } else {
        Body::from_stream(answer.bytes_stream())
    };
    response.body(body).unwrap_or_else(|_| StatusCode::BAD_GATEWAY.into_response())
}

/// A watch as it comes, until it is cut: then half an event, and the end of the connection.
fn until_cut(
    events: impl futures::Stream<Item = reqwest::Result<Bytes>> + Send + 'static,
    cuts: watch::Receiver<u64>,
) -> impl futures::Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static {
    let state = (Box::pin(events), cuts, 0_u8);
    stream::unfold(state, |(mut events, mut cuts, cut)| async move {
        match cut {
            0 => tokio::select! {
                event = events.next() => {
                    let event = event?.map_err(std::io::Error::other);
                    Some((event, (events, cuts, 0)))
                }
                _ = cuts.changed() => {
                    let half = Bytes::from_static(b"{\"type\":\"MODIFIED\",\"object\":{\"kind\":\"Net");
                    Some((Ok(half), (events, cuts, 1)))
                }
            },
            1 => {
                let error = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
                Some((Err(error), (events, cuts, 2)))
            }
            _ => None,
        }
    })
}
