//! HTTP on `--listen` and `--probe-listen`: liveness and readiness, metrics, and tables for `explain`.

mod connections;
mod health;
mod state;

pub use health::Health;
pub use state::{Access, Authorizer, StatePieces, StateSource, TOKEN_HEADER};

use crate::lock::lock;
use crate::telemetry::metrics::CONTENT_TYPE;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use connections::{Bounds, Connections, Ticket};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use state::StateRoom;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long a client may take over a request's head.
const HEAD_LIMIT: Duration = Duration::from_secs(2);

/// How long a connection may live, from its start to its answer's last byte; it serves one request. `explain` waits for five
/// seconds, a scraper for ten.
const CONNECTION_LIMIT: Duration = Duration::from_secs(30);

/// How large a request's head may be, in bytes, and how many header fields it may have.
const HEAD_BYTES: usize = 16 * 1024;
const HEAD_FIELDS: usize = 64;

/// Connections to `--listen`: a scraper, the API server's proxy and a person have one or two each.
const CONNECTIONS: Bounds = Bounds { total: 256, each_peer: 8 };

/// Connections to `--probe-listen`: a kubelet has two at a time.
const PROBES: Bounds = Bounds { total: 64, each_peer: 8 };

/// How long open requests may take at the end of the process.
const GRACE_PERIOD: Duration = Duration::from_secs(2);

/// Renders the process's current metrics in OpenMetrics' text form.
pub type TextSource = Arc<dyn Fn() -> String + Send + Sync>;

/// The served content.
#[derive(Clone)]
pub struct Content {
    /// For `/livez` and `/readyz`.
    pub health: Health,
    /// For `/metrics`.
    pub metrics: TextSource,
    /// For `/debug/state`.
    pub state: StateSource,
    /// Decides who may read `/debug/state`; `None` lets everyone.
    pub authorizer: Option<Arc<dyn Authorizer>>,
}

/// Why the server cannot listen.
#[derive(Debug, Error)]
#[error("{flag} {address}: {reason}")]
pub struct ServerError {
    /// The flag with the address.
    pub flag: &'static str,
    /// The address.
    pub address: SocketAddr,
    /// The cause.
    pub reason: io::Error,
}

/// A server that listens, and does not answer yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Listens on the address of `flag`; port 0 is any free one.
    ///
    /// # Errors
    /// The address is not this machine's, or its port is taken.
    pub async fn bind(flag: &'static str, address: SocketAddr) -> Result<Self, ServerError> {
        let failed = |reason| ServerError { flag, address, reason };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Its address.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers everything until `stop`, then finishes the open requests, for two seconds at most. Nothing outlives it.
    pub async fn run(self, content: Content, stop: CancellationToken) {
        let room = StateRoom::new(content.state, content.authorizer);
        let state = Router::new().route("/debug/state", get(state::answer)).with_state(room);
        let metrics = Router::new().route("/metrics", get(metrics)).with_state(content.metrics);
        self.serve(probes(content.health).merge(metrics).merge(state), CONNECTIONS, stop).await;
    }

    /// Answers only `/livez` and `/readyz`, like [`Self::run`]. It has connections of its own: whatever clients do to the port of
    /// [`Self::run`], the kubelet's probes are answered.
    pub async fn run_probes(self, health: Health, stop: CancellationToken) {
        self.serve(probes(health), PROBES, stop).await;
    }

    async fn serve(self, router: Router, bounds: Bounds, stop: CancellationToken) {
        let admission = Arc::new(Mutex::new(Connections::new(bounds)));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let admitted = lock(&admission).admit(peer.ip());
                    let place = Place { admission: Arc::clone(&admission), ticket: admitted.ticket };
                    let serving = answer(stream, router.clone(), stop.clone());
                    connections.spawn(async move {
                        tokio::select! {
                            () = admitted.ended.cancelled() => {}
                            () = serving => {}
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    // Out of file descriptors, mostly: it passes.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
        drop(self.listener);
        let drained = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE_PERIOD, drained).await.is_err() {
            connections.shutdown().await;
        }
    }
}

/// A connection's place, freed however the connection ends.
struct Place {
    admission: Arc<Mutex<Connections>>,
    ticket: Ticket,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.admission).leave(self.ticket);
    }
}

/// Answers one request. No client needs a second one on the same connection, and an attacker could keep an idle one open.
async fn answer(stream: TcpStream, router: Router, stop: CancellationToken) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEAD_FIELDS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let outcome = tokio::time::timeout(CONNECTION_LIMIT, async {
        tokio::select! {
            outcome = connection.as_mut() => outcome,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    });
    if let Ok(Err(error)) = outcome.await {
        tracing::debug!(%error, "a connection ended early");
    }
}

fn probes(health: Health) -> Router {
    let live = get(async |State(health): State<Health>| verdict(health.live()));
    let ready = get(async |State(health): State<Health>| verdict(health.ready()));
    Router::new().route("/livez", live).route("/readyz", ready).with_state(health)
}

fn verdict(verdict: Result<(), String>) -> Response {
    match verdict {
        Ok(()) => (StatusCode::OK, "ok\n").into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn metrics(State(metrics): State<TextSource>) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], metrics()).into_response()
}

#[cfg(test)]
mod tests;
