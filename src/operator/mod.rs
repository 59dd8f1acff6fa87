//! The composition root of the operator's process. Its engines are an argument.

mod arguments;
pub mod debug_state;
mod edges;
mod feed_reports;
mod forwarding;
mod own_pod;
mod parts;
mod values;

use crate::cluster::client::ConnectOptions;
use crate::cluster::lease::election::Timing;
use crate::cluster::lease::{self, Leadership, LeaseSettings};
use crate::controller::{self, LoopInputs};
use crate::engines::Engines;
use crate::forward::{Forwarder, Listener};
use crate::server::{Content, Health, Server};
use crate::telemetry::{Traces, logging};
pub use arguments::RunArguments;
pub(crate) use arguments::{GuardArguments, PolicyArguments};
pub use edges::Edges;
use parts::Parts;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
pub(crate) use values::{base_url, dns_server, period, suffix, tcp_ports};

/// How long the main loop may stall before a restart helps: six of its heartbeats.
const LIVENESS_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a process that stops writes histories. Nobody leads meanwhile; what is left, the next leader finds in the cluster.
const RECORD_WITHIN: Duration = Duration::from_secs(2);

/// Runs the operator until SIGTERM or SIGINT.
///
/// # Errors
/// Where it cannot start, and where a background task stops unexpectedly.
pub fn run(arguments: RunArguments, engines: Engines) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let traces = Traces::from_environment()?;
        logging::init(arguments.process.log_format, std::env::var("RUST_LOG").ok().as_deref(), traces.as_ref())?;
        let ended = serve(arguments, engines, &ConnectOptions::default(), stop_on_signal()?).await;
        if let Some(traces) = traces {
            traces.flush().await;
        }
        ended
    })
}

/// Runs the operator in a cluster until `stop` is cancelled.
///
/// # Errors
/// As [`run`].
pub async fn serve(
    arguments: RunArguments,
    engines: Engines,
    to: &ConnectOptions,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let server = Server::bind("--listen", arguments.process.listen).await?;
    let probe_server = match arguments.process.probe_listen {
        Some(address) => Some(Server::bind("--probe-listen", address).await?),
        None => None,
    };
    let forwarding = match arguments.forward.forward_listen {
        Some(address) => Some(Listener::bind(address).await?),
        None => None,
    };
    let edges = Edges::real(&arguments, to).await?;
    let replica = Replica::new(arguments, engines, edges);
    let endpoints = replica.point_service_here()?;
    let forwarding = forwarding.map(|listener| AbortOnDropHandle::new(tokio::spawn(listener.run(replica.forwarder()))));
    let serving = CancellationToken::new();
    let probes = probe_server.map(|probes| tokio::spawn(probes.run_probes(replica.health(), serving.clone())));
    let server = tokio::spawn(server.run(replica.content(), serving.clone()));
    let result = replica.run(stop).await;
    serving.cancel();
    drop((forwarding, endpoints));
    let _ = server.await;
    if let Some(probes) = probes {
        let _ = probes.await;
    }
    result?;
    tracing::info!("stopped");
    Ok(())
}

/// One replica of the operator, without the addresses on which it serves.
pub struct Replica {
    arguments: RunArguments,
    parts: Parts,
    lease_stop: CancellationToken,
    /// Ends with the operator, however that ends.
    lease_task: Option<AbortOnDropHandle<()>>,
}

impl Replica {
    /// Puts it together. Only the election and the watch of the cluster's facts begin.
    #[must_use]
    pub fn new(arguments: RunArguments, engines: Engines, edges: Edges) -> Self {
        // The Lease is released only after the last write: its task stops by a token of its own.
        let lease_stop = CancellationToken::new();
        let (leadership, lease_task) = match arguments.process.no_leader_election {
            true => (Leadership::always(), None),
            false => {
                let (leadership, task) = elect(&edges, lease_stop.clone());
                (leadership, Some(AbortOnDropHandle::new(task)))
            }
        };
        let parts = Parts::new(&arguments, engines, edges, leadership);
        Self { arguments, parts, lease_stop, lease_task }
    }

    /// What probes ask for.
    #[must_use]
    pub fn health(&self) -> Health {
        self.parts.health.clone()
    }

    /// What the process serves over HTTP.
    #[must_use]
    pub fn content(&self) -> Content {
        self.parts.content(self.arguments.process.authorize_debug_state)
    }

    /// What answers names that the cluster's DNS forwards.
    #[must_use]
    pub fn forwarder(&self) -> Forwarder {
        self.parts.forwarder(&self.arguments)
    }

    /// Points the Service of the forwarder here while this replica leads, where there is one.
    fn point_service_here(&self) -> anyhow::Result<Option<AbortOnDropHandle<()>>> {
        let (client, namespace, leadership) = self.parts.leader();
        let endpoints = self.arguments.forward.endpoints(namespace)?;
        Ok(endpoints.map(|endpoints| AbortOnDropHandle::new(tokio::spawn(endpoints.keep(client, leadership)))))
    }

    /// Reconciles until `stop` is cancelled, and then lets go of the Lease.
    ///
    /// # Errors
    /// A background task stopped unexpectedly.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let result = control(&self.arguments, self.parts, stop).await;
        self.lease_stop.cancel();
        if let Some(task) = self.lease_task {
            let _ = task.await;
        }
        result
    }
}

/// Reconciles until `stop` is cancelled, with everything in the background that this needs.
async fn control(arguments: &RunArguments, mut parts: Parts, stop: CancellationToken) -> anyhow::Result<()> {
    let mut background = JoinSet::new();
    let changes = parts.follow_resources();
    parts.spawn_background(arguments, &mut background);
    // These never end by themselves: if one does, the process has to restart.
    let mut vital = JoinSet::new();
    parts.spawn_vital(arguments, &mut vital);
    let mut recorder = AbortOnDropHandle::new(parts.record(arguments.cluster.history_retention));
    let owned = Arc::clone(&parts.context.owned);
    let inputs = LoopInputs {
        changes,
        woken: parts.woken,
        facts: parts.facts.receiver(),
        leading: parts.leadership.receiver(),
        facts_complete: parts.facts.completion(),
        health: parts.health,
    };
    let mut controlling = std::pin::pin!(controller::run(parts.context, inputs, stop.clone()));
    let is_broken = tokio::select! {
        ended = &mut controlling => ended.is_err(),
        Some(_) = vital.join_next() => {
            stop.cancel();
            // That it is broken is known already.
            let _ = controlling.await;
            true
        }
        _ = &mut recorder => {
            stop.cancel();
            let _ = controlling.await;
            true
        }
    };
    // Before the Lease is let go of: only a leader may write.
    owned.close_trail();
    if !recorder.is_finished() && tokio::time::timeout(RECORD_WITHIN, &mut recorder).await.is_err() {
        tracing::warn!(
            "the newest changes are in the log, but not in the histories; the next leader notes what they led to"
        );
    }
    if is_broken {
        tracing::error!("a background task stopped unexpectedly; exiting so that Kubernetes restarts the pod");
    }
    vital.shutdown().await;
    background.shutdown().await;
    anyhow::ensure!(!is_broken, "a background task stopped unexpectedly");
    Ok(())
}

/// Takes part in the election of the leader.
fn elect(edges: &Edges, stop: CancellationToken) -> (Leadership, JoinHandle<()>) {
    let settings = LeaseSettings {
        namespace: edges.connected.namespace.clone(),
        identity: lease::identity(&edges.candidate),
        timing: Timing::default(),
    };
    lease::start(edges.connected.client.clone(), edges.clock, settings, stop)
}

/// A token that SIGTERM and SIGINT cancel.
fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stopped = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stopped.cancel();
    });
    Ok(stop)
}
