//! `run`: the controller, put together from its rooms.

use super::run_arguments::{LogFormat, RunArguments};
use crate::clock::Clock;
use crate::cluster::apply::Writer;
use crate::cluster::client::{ConnectOptions, Connected, connect, deadline};
use crate::cluster::lease::election::Timing;
use crate::cluster::lease::{self, Leadership, LeaseSettings};
use crate::cluster::owned::OwnedObjects;
use crate::cluster::report::StatusWriter;
use crate::cluster::scope::Scope;
use crate::cluster::watch as cluster_watch;
use crate::controller::{self, Context, Inputs, OwnPod, Settings};
use crate::facts::ClusterFacts;
use crate::feed::{ClientSettings, Feeds, HttpClient, MemoryStore, NoObserver};
use crate::guard::Guard;
use crate::names::{HickoryLookup, Names, NamesSettings};
use crate::subscriber::Waker;
use crate::telemetry::Metrics;
use anyhow::Context as _;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::Api;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// The Lease of all replicas.
const LEASE_NAME: &str = "citrix-allowlist-operator";
/// How long the question for the operator's own pod may take.
const OWN_POD_DEADLINE: Duration = Duration::from_secs(5);

pub(super) fn run(arguments: RunArguments) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(arguments))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(arguments: RunArguments) -> anyhow::Result<()> {
    log(arguments.process.log_format);
    let stop = stop_on_signal()?;
    let clock = Clock::System;
    let metrics = Arc::new(Metrics::default());
    let Connected { client, namespace, .. } = connect(&ConnectOptions::default()).await?;
    let namespace = std::env::var("POD_NAMESPACE").unwrap_or(namespace);

    // The Lease is released only after the last write: its task stops by a token of its own.
    let lease_stop = CancellationToken::new();
    let (leadership, lease_task) = if arguments.process.no_leader_election {
        (Leadership::always(), None)
    } else {
        let pod = std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME")).unwrap_or_else(|_| "local".into());
        let settings = LeaseSettings {
            namespace: namespace.clone(),
            name: LEASE_NAME.to_owned(),
            identity: lease::identity(&pod),
            timing: Timing::default(),
        };
        let (leadership, task) = lease::start(client.clone(), settings, lease_stop.clone());
        (leadership, Some(task))
    };

    let (wake, woken) = mpsc::unbounded_channel();
    let waker = Waker::new(wake);
    let guard = Guard::new(arguments.guard.settings(), &ClusterFacts::default());
    let feeds = feeds(&arguments, clock, waker.clone())?;
    let names = names(&arguments, clock, waker.clone(), guard)?;

    let owned = Arc::new(OwnedObjects::default());
    let observer = Arc::clone(&metrics);
    let writer = Writer::new(client.clone(), leadership.clone(), Arc::clone(&owned), observer);
    let reporter = StatusWriter::new(client.clone(), leadership.clone(), std::env::var("POD_NAME").ok());
    let settings = Settings {
        first_policy_wait: arguments.names.first_policy_wait,
        protected_namespaces: arguments.cluster.protected_namespace.clone(),
        limits: arguments.cluster.limits(),
        own_pod: own_pod(&client, &namespace).await,
        guard: arguments.guard.settings(),
        concurrency: arguments.cluster.concurrency.into(),
    };
    let context =
        Context::new(feeds.clone(), names.clone(), Arc::clone(&owned), writer, reporter, metrics, settings, clock);

    let scope = Scope::of(arguments.cluster.watch_namespace.clone());
    let (store, store_writer) = kube::runtime::reflector::store();
    let (resources_synced, _) = watch::channel(false);
    let changes = cluster_watch::resources(&client, &scope, store_writer, resources_synced);
    let (owned_synced, owned_listed) = watch::channel(false);
    let (_facts_sender, facts) = watch::channel(Arc::new(ClusterFacts::default()));
    let tasks = [
        tokio::spawn(cluster_watch::keep_owned(client.clone(), scope, owned, waker, owned_synced)),
        tokio::spawn({
            let (feeds, leading) = (feeds, leadership.receiver());
            async move { feeds.run(leading).await }
        }),
        tokio::spawn({
            let (names, leading) = (names, leadership.receiver());
            async move { names.run(leading).await }
        }),
    ];

    let inputs = Inputs { store, changes, woken, facts, leading: leadership.receiver(), owned_synced: owned_listed };
    controller::run(Arc::new(context), inputs, stop).await;
    for task in tasks {
        task.abort();
    }
    lease_stop.cancel();
    if let Some(task) = lease_task {
        let _ = task.await;
    }
    tracing::info!("stopped");
    Ok(())
}

fn feeds(arguments: &RunArguments, clock: Clock, waker: Waker) -> anyhow::Result<Feeds> {
    let extra_ca = match &arguments.feed.extra_ca_file {
        Some(path) => {
            Some(std::fs::read(path).with_context(|| format!("--extra-ca-file {} cannot be read", path.display()))?)
        }
        None => None,
    };
    let client = HttpClient::new(&ClientSettings { extra_ca, ..ClientSettings::default() })?;
    let store = Arc::new(MemoryStore::default());
    let settings = arguments.feed.settings();
    Ok(Feeds::new(settings, clock, waker, store, Arc::new(client), Arc::new(NoObserver)))
}

fn names(arguments: &RunArguments, clock: Clock, waker: Waker, guard: Guard) -> anyhow::Result<Names> {
    let settings = NamesSettings {
        min_ttl: arguments.names.dns_min_ttl,
        max_ttl: arguments.names.dns_max_ttl,
        max_stale: arguments.names.max_stale,
        ..NamesSettings::new(guard)
    };
    let lookup = HickoryLookup::new(settings.timeout).context("DNS cannot be set up")?;
    let names = Names::new(&settings, clock, waker, Arc::new(lookup), Arc::new(()));
    names.set_servers(arguments.names.dns_server.clone());
    Ok(names)
}

/// The operator's own pod, so that no resource may isolate it. Outside a pod there is none to protect.
async fn own_pod(client: &Client, namespace: &str) -> Option<OwnPod> {
    let name = std::env::var("POD_NAME").ok()?;
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    match deadline(OWN_POD_DEADLINE, api.get(&name)).await {
        Ok(pod) => {
            let labels = pod.metadata.labels.unwrap_or_default();
            Some(OwnPod { namespace: namespace.to_owned(), labels })
        }
        Err(error) => {
            tracing::warn!(pod = name, %error, "own labels are not known: a selector that matches them is not refused");
            None
        }
    }
}

fn log(format: LogFormat) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
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
