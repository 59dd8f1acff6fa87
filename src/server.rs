//! HTTP on `--listen`: whether the process lives and is ready, its metrics, and its tables for `explain`.

mod health;

pub use health::Health;

use crate::telemetry::metrics::CONTENT_TYPE;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long a client may take over a request's head, and how long a connection may idle between two requests.
const HEAD_LIMIT: Duration = Duration::from_secs(30);

/// How long one connection may live: nothing here is asked for longer.
const CONNECTION_LIMIT: Duration = Duration::from_secs(300);

/// How large a request's head may be, in bytes, and how many header fields it may have.
const HEAD_BYTES: usize = 16 * 1024;
const HEAD_FIELDS: usize = 64;

/// How many connections are served at once; more wait until one ends.
const CONNECTIONS: usize = 256;

/// How long requests in hand may take when the process ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// Gives the process's tables as JSON.
pub type StateSource = Arc<dyn Fn() -> serde_json::Value + Send + Sync>;

/// Gives the process's metrics in OpenMetrics' text form: brings them up to date, and renders them.
pub type TextSource = Arc<dyn Fn() -> String + Send + Sync>;

/// What is served.
#[derive(Clone)]
pub struct Content {
    /// For `/livez` and `/readyz`.
    pub health: Health,
    /// For `/metrics`.
    pub metrics: TextSource,
    /// For `/debug/state`.
    pub state: StateSource,
}

/// Why nothing is served.
#[derive(Debug, Error)]
#[error("--listen {address}: {reason}")]
pub struct ServerError {
    /// Where it was to listen.
    pub address: SocketAddr,
    /// What speaks against it.
    pub reason: io::Error,
}

/// A server that listens, and does not answer yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Listens on an address; port 0 is any free one.
    ///
    /// # Errors
    /// Where the address is not this machine's, or its port is taken.
    pub async fn bind(address: SocketAddr) -> Result<Self, ServerError> {
        let failed = |reason| ServerError { address, reason };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop`, then finishes what is in hand, for two seconds at most. Nothing outlives it.
    pub async fn run(self, content: Content, stop: CancellationToken) {
        let router = router(content);
        let permits = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                accepted = self.accept(&permits) => accepted,
            };
            match accepted {
                Ok((stream, permit)) => {
                    let serving = serve(stream, router.clone(), stop.clone());
                    connections.spawn(async move {
                        serving.await;
                        drop(permit);
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
        let farewell = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
            connections.shutdown().await;
        }
    }

    async fn accept(&self, permits: &Arc<Semaphore>) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
        let permit = permits.clone().acquire_owned().await.map_err(io::Error::other)?;
        let (stream, _) = self.listener.accept().await?;
        Ok((stream, permit))
    }
}

async fn serve(stream: TcpStream, router: Router, stop: CancellationToken) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
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

fn router(content: Content) -> Router {
    Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/debug/state", get(state))
        .with_state(content)
}

fn verdict(verdict: Result<(), String>) -> Response {
    match verdict {
        Ok(()) => (StatusCode::OK, "ok\n").into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn live(State(content): State<Content>) -> Response {
    verdict(content.health.live())
}

async fn ready(State(content): State<Content>) -> Response {
    verdict(content.health.ready())
}

async fn metrics(State(content): State<Content>) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], (content.metrics)()).into_response()
}

async fn state(State(content): State<Content>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], (content.state)().to_string()).into_response()
}

#[cfg(test)]
mod tests;
