//! `run`: the controller, put together from its rooms.

use super::debug_state::pieces;
use super::feed_reports::FeedReports;
use super::run_arguments::{FeedArguments, RunArguments};
use crate::clock::Clock;
use crate::cluster::access::Reviews;
use crate::cluster::apply::Writer;
use crate::cluster::client::{ConnectOptions, Connected, connect, deadline};
use crate::cluster::facts::{Facts, FactsSettings};
use crate::cluster::lease::election::Timing;
use crate::cluster::lease::{self, Leadership, LeaseSettings};
use crate::cluster::owned::OwnedObjects;
use crate::cluster::pod::Pod;
use crate::cluster::pods::PodLister;
use crate::cluster::report::StatusWriter;
use crate::cluster::resources::{self, ResourceStore};
use crate::cluster::saved_lists::SavedLists;
use crate::cluster::scope::Scope;
use crate::cluster::watch::keep_owned;
use crate::controller::{self, Context, Inputs, OwnPod, Settings};
use crate::facts::ClusterFacts;
use crate::feed::Feeds;
use crate::feed::settings::client_settings;
use crate::guard::Guard;
use crate::memory::{Pressure, cgroup};
use crate::names::servers::{nameservers, servers_to_ask};
use crate::names::{HickoryLookup, Names};
use crate::pipeline::OWN_POD_RETRY;
use crate::server::{Authorizer, Content, Health, Server};
use crate::subscriber::Waker;
use crate::telemetry::{Metrics, Traces, logging};
use anyhow::Context as _;
use connectivity_allowlist::HttpClient;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::api::Api;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Where a pod is told its nameservers.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// How long the main loop may stand still before a restart would help: six of its heartbeats.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the question for the operator's own pod may take.
const OWN_POD_DEADLINE: Duration = Duration::from_secs(5);

pub(super) fn run(arguments: RunArguments) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(arguments))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(arguments: RunArguments) -> anyhow::Result<()> {
    let traces = Traces::from_environment()?;
    logging::init(arguments.process.log_format, std::env::var("RUST_LOG").ok().as_deref(), traces.as_ref())?;
    let stop = stop_on_signal()?;
    let clock = Clock::System;
    let metrics = Arc::new(Metrics::default());
    metrics.limited_to(arguments.feed.requests_per_minute);
    let server = Server::bind("--listen", arguments.process.listen).await?;
    let probe_server = match arguments.process.probe_listen {
        Some(address) => Some(Server::bind("--probe-listen", address).await?),
        None => None,
    };
    let Connected { client, namespace, in_cluster, api_server } = connect(&ConnectOptions::default()).await?;
    let namespace = std::env::var("POD_NAMESPACE").unwrap_or(namespace);

    // The Lease is released only after the last write: its task stops by a token of its own.
    let lease_stop = CancellationToken::new();
    let (leadership, lease_task) = if arguments.process.no_leader_election {
        (Leadership::always(), None)
    } else {
        let pod = std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME")).unwrap_or_else(|_| "local".into());
        let settings = LeaseSettings {
            namespace: namespace.clone(),
            name: lease::NAME.to_owned(),
            identity: lease::identity(&pod),
            timing: Timing::default(),
        };
        let (leadership, task) = lease::start(client.clone(), settings, lease_stop.clone());
        (leadership, Some(task))
    };

    let (wake, woken) = mpsc::unbounded_channel();
    let waker = Waker::new(wake);
    let guard = Guard::new(arguments.guard.settings(), &ClusterFacts::default());
    let store = SavedLists::new(client.clone(), &namespace, leadership.clone());
    let (reports, warnings) = FeedReports::new(Arc::clone(&metrics));
    let feeds = feeds(&arguments.feed, clock, waker.clone(), store, reports)?;
    // What is lost by a kill is everybody's: so load is shed before.
    let pressure = Pressure::default();
    pressure.note(cgroup::read());
    feeds.put_off_under(pressure.clone());
    let names = names(&arguments, clock, waker.clone(), guard, &metrics)?;

    let owned = Arc::new(OwnedObjects::default());
    let observer = Arc::clone(&metrics);
    let writer = Writer::new(client.clone(), leadership.clone(), Arc::clone(&owned), observer);
    let instance = std::env::var("POD_NAME").ok();
    let observer = Arc::clone(&metrics);
    let reporter = StatusWriter::new(client.clone(), leadership.clone(), instance, observer);
    let pod = std::env::var("POD_NAME").ok();
    let unknown = pod.as_ref().map_or(OwnPod::None, |_| OwnPod::Unknown { namespace: namespace.clone() });
    let (own_pod_sender, own_pod) = watch::channel(unknown);
    let mut helpers = JoinSet::new();
    if let Some(pod) = &pod {
        helpers.spawn(learn_own_pod(client.clone(), namespace.clone(), pod.clone(), own_pod_sender));
    }
    let reference = pod.map(|name| ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: Some(name),
        namespace: Some(namespace.clone()),
        ..ObjectReference::default()
    });
    let settings = Settings {
        first_policy_wait: arguments.names.first_policy_wait,
        protected_namespaces: arguments.cluster.protected_namespace.clone(),
        limits: arguments.cluster.limits(),
        own_pod,
        guard: arguments.guard.settings(),
        concurrency: arguments.cluster.concurrency.into(),
        pressure: pressure.clone(),
    };
    let resources = Arc::new(ResourceStore::default());
    let context = Context::new(
        Arc::clone(&resources),
        feeds.clone(),
        names.clone(),
        Arc::clone(&owned),
        PodLister::new(client.clone()),
        writer,
        reporter.clone(),
        metrics.clone(),
        settings,
        clock,
    );
    let context = Arc::new(context);

    let scope = Scope::of(arguments.cluster.watch_namespace.clone());
    let changes = resources::follow(&client, &scope, Arc::clone(&resources));
    // Outside a cluster the machine's resolv.conf is not what pods are given.
    let resolv_conf =
        if in_cluster { nameservers(&std::fs::read_to_string(RESOLV_CONF).unwrap_or_default()) } else { vec![] };
    let facts = Facts::start(client.clone(), facts_settings(&arguments, resolv_conf.clone(), api_server));
    let health = Health::new(clock, PATIENCE, ["resources", "objects", "cluster facts"]);
    let serving = CancellationToken::new();
    let content = Content {
        health: health.clone(),
        metrics: Arc::new({
            let (metrics, feeds, names) = (Arc::clone(&metrics), feeds.clone(), names.clone());
            let (leadership, pressure) = (leadership.clone(), pressure.clone());
            move || {
                let (mut lists, mut known) = (feeds.snapshot(), names.snapshot());
                if !leadership.is_leading() {
                    // Nobody keeps a standby's tables current: they would tell of lists that grow old.
                    lists.clear();
                    known.names.clear();
                }
                metrics.feeds_are(&lists, clock.now());
                metrics.names_are(&known);
                metrics.memory_is(&pressure);
                metrics.render()
            }
        }),
        state: Arc::new({
            let (feeds, names, leadership) = (feeds.clone(), names.clone(), leadership.clone());
            move || {
                let names = names.clone();
                let known = names.held().into_iter().filter_map(move |name| names.known(&name));
                pieces(leadership.is_leading(), feeds.snapshot(), known)
            }
        }),
        authorizer: arguments
            .process
            .authorize_debug_state
            .then(|| Arc::new(Reviews::new(client.clone(), namespace.clone())) as Arc<dyn Authorizer>),
    };
    let probes = probe_server.map(|probes| tokio::spawn(probes.run_probes(health.clone(), serving.clone())));
    let server = tokio::spawn(server.run(content, serving.clone()));
    helpers.spawn(ask_servers(names.clone(), facts.receiver(), resolv_conf, arguments.names.dns_server.clone()));
    helpers.spawn(cgroup::watch(pressure));
    helpers.spawn(warnings.publish(reporter, reference));
    helpers.spawn(tell_readiness(health.clone(), "resources", resources.listed()));
    helpers.spawn(tell_readiness(health.clone(), "objects", owned.listed()));
    helpers.spawn(tell_readiness(health.clone(), "cluster facts", facts.completion()));
    // These never end by themselves: where one does, the process is of no more use.
    let mut vital = JoinSet::new();
    vital.spawn(keep_owned(client.clone(), scope, owned, waker));
    vital.spawn({
        let (feeds, leading) = (feeds, leadership.receiver());
        async move { feeds.run(leading).await }
    });
    vital.spawn({
        let (names, leading) = (names, leadership.receiver());
        async move { names.run(leading).await }
    });

    let inputs = Inputs {
        changes,
        woken,
        facts: facts.receiver(),
        leading: leadership.receiver(),
        facts_complete: facts.completion(),
        health,
    };
    let mut controlling = std::pin::pin!(controller::run(context, inputs, stop.clone()));
    let broken = tokio::select! {
        ended = &mut controlling => ended.is_err(),
        Some(_) = vital.join_next() => {
            stop.cancel();
            // That it is broken is known already.
            let _ = controlling.await;
            true
        }
    };
    if broken {
        tracing::error!("a part that never ends has ended: the process leaves, to be started again");
    }
    vital.shutdown().await;
    helpers.shutdown().await;
    lease_stop.cancel();
    if let Some(task) = lease_task {
        let _ = task.await;
    }
    serving.cancel();
    let _ = server.await;
    if let Some(probes) = probes {
        let _ = probes.await;
    }
    if let Some(traces) = traces {
        traces.flush().await;
    }
    anyhow::ensure!(!broken, "a part of the operator ended by itself");
    tracing::info!("stopped");
    Ok(())
}

/// Has `names` ask whom the pods ask, as the cluster's DNS comes and goes.
async fn ask_servers(
    names: Names,
    mut facts: watch::Receiver<Arc<ClusterFacts>>,
    resolv_conf: Vec<IpAddr>,
    flags: Vec<SocketAddr>,
) {
    loop {
        let servers = servers_to_ask(&resolv_conf, &facts.borrow_and_update(), &flags);
        names.set_servers(servers);
        if facts.changed().await.is_err() {
            return;
        }
    }
}

async fn tell_readiness(health: Health, what: &'static str, mut synced: watch::Receiver<bool>) {
    // An error means that the watch itself is gone, and the process with it.
    if synced.wait_for(|synced| *synced).await.is_ok() {
        health.synced(what);
    }
}

fn facts_settings(arguments: &RunArguments, nameservers: Vec<IpAddr>, api_server: Option<IpAddr>) -> FactsSettings {
    FactsSettings {
        nameservers,
        service_networks: arguments.cluster.service_cidr.clone(),
        pod_networks: arguments.cluster.pod_cidr.clone(),
        nat64_prefix: arguments.cluster.nat64_prefix,
        api_server,
    }
}

fn feeds(
    arguments: &FeedArguments,
    clock: Clock,
    waker: Waker,
    store: SavedLists,
    reports: FeedReports,
) -> anyhow::Result<Feeds> {
    let extra_ca = match &arguments.extra_ca_file {
        Some(path) => {
            Some(std::fs::read(path).with_context(|| format!("--extra-ca-file {} cannot be read", path.display()))?)
        }
        None => None,
    };
    let client = HttpClient::new(&client_settings(extra_ca))?;
    Ok(Feeds::new(arguments.settings(), clock, waker, Arc::new(store), Arc::new(client), Arc::new(reports)))
}

fn names(
    arguments: &RunArguments,
    clock: Clock,
    waker: Waker,
    guard: Guard,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<Names> {
    let settings = arguments.names.settings(guard);
    let lookup = HickoryLookup::new(settings.timeout).context("DNS cannot be set up")?;
    Ok(Names::new(&settings, clock, waker, Arc::new(lookup), Arc::<Metrics>::clone(metrics)))
}

/// Finds out the operator's own labels, so that no resource may isolate it; tries until the API server has answered.
async fn learn_own_pod(client: Client, namespace: String, name: String, own: watch::Sender<OwnPod>) {
    let api: Api<Pod> = Api::namespaced(client, &namespace);
    loop {
        match deadline(OWN_POD_DEADLINE, api.get(&name)).await {
            Ok(pod) => {
                let labels = pod.metadata.labels.unwrap_or_default();
                own.send_replace(OwnPod::Known { namespace, labels });
                return;
            }
            Err(error) if error.is_not_found() || error.is_forbidden() => {
                tracing::warn!(pod = name, %error, "own labels are not known: a selector that matches them is not refused");
                own.send_replace(OwnPod::None);
                return;
            }
            Err(error) => tracing::debug!(pod = name, %error, "own labels are not known yet"),
        }
        tokio::time::sleep(OWN_POD_RETRY).await;
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
