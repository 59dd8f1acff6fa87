//! `forwarder config`: the configuration that makes a platform's DNS forward the zones in use to the forwarder.

use crate::cluster::client::{CALL_TIMEOUT, CallError, pages};
use crate::crd::{ALLOWLIST_LABEL, CitrixAllowlist};
use crate::facts::DNS_PORT;
use crate::names::zones::zones_of;
use crate::operator::{dns_server, suffix};
use crate::platforms::{Fallback, ForwardedZones, Platform, zones_in_use};
use crate::preview::connection::ConnectionArguments;
use crate::text::output::{print, warn};
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use connectivity_allowlist::net::DomainName;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};

/// Objects in one page of a list: a ConfigMap may have 1 MiB.
const PAGE: u32 = 20;
/// The label of every object of the chart.
const CHART_LABEL: &str = "app.kubernetes.io/part-of=citrix-allowlist-operator";
/// The end of the name of the forwarder's Service.
const SERVICE_SUFFIX: &str = "-dns";

#[derive(Debug, Args)]
pub(super) struct ForwarderArguments {
    #[command(subcommand)]
    action: ForwarderAction,
}

#[derive(Debug, Subcommand)]
enum ForwarderAction {
    /// Print the configuration of a platform's DNS, which forwards the zones in use to the operator
    Config(ConfigArguments),
}

#[derive(Debug, Args)]
struct ConfigArguments {
    /// What answers the names that pods ask for
    #[arg(long = "for", value_name = "PLATFORM", value_enum)]
    platform: Platform,
    /// Zone to forward, instead of those of every CitrixAllowlist of the cluster; may be repeated
    #[arg(long, value_name = "ZONE", value_parser = suffix, value_delimiter = ',')]
    zone: Vec<DomainName>,
    /// Address of the forwarder, instead of that of the chart's Service
    #[arg(long, value_name = "IP[:PORT]", value_parser = dns_server)]
    address: Option<SocketAddr>,
    /// DNS server that answers while the operator is away, instead of those of /etc/resolv.conf; may be repeated; none: nothing
    /// answers, for gke only
    #[arg(long, value_name = "IP[:PORT]|none", value_parser = fallback, value_delimiter = ',')]
    fallback: Vec<FallbackValue>,
    /// Namespace of the forwarder's Service, instead of looking for it in all
    #[arg(long, value_name = "NS")]
    operator_namespace: Option<String>,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// One value of `--fallback`.
#[derive(Clone, Copy, Debug)]
enum FallbackValue {
    Server(SocketAddr),
    Nobody,
}

fn fallback(text: &str) -> Result<FallbackValue, String> {
    if text == "none" { Ok(FallbackValue::Nobody) } else { dns_server(text).map(FallbackValue::Server) }
}

pub(super) fn run(arguments: &ForwarderArguments) -> anyhow::Result<()> {
    let ForwarderAction::Config(arguments) = &arguments.action;
    let fallback = chosen(&arguments.fallback)?;
    let zones = zones_of(arguments.zone.iter(), std::iter::empty());
    let unknown = SocketAddr::new(IpAddr::from([0; 4]), DNS_PORT);
    let given = ForwardedZones { zones, forwarder: arguments.address.unwrap_or(unknown), fallback };
    // Before the cluster is asked: flags that cannot go together need no cluster.
    given.check(arguments.platform).map_err(anyhow::Error::msg)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let forwarded = runtime.block_on(complete(given, arguments))?;
    print(forwarded.configuration(arguments.platform).map_err(anyhow::Error::msg)?)
}

fn chosen(values: &[FallbackValue]) -> anyhow::Result<Fallback> {
    let servers = values.iter().filter_map(|value| match value {
        FallbackValue::Server(server) => Some(*server),
        FallbackValue::Nobody => None,
    });
    let servers: Vec<SocketAddr> = servers.collect();
    match (values.len(), servers.len()) {
        (0, _) => Ok(Fallback::ResolvConf),
        (_, 0) => Ok(Fallback::Nobody),
        (all, some) if all == some => Ok(Fallback::Servers(servers)),
        _ => bail!("--fallback none stands alone: it is allowed without an address beside it"),
    }
}

/// Reads from the cluster what is not given by flags.
async fn complete(given: ForwardedZones, arguments: &ConfigArguments) -> anyhow::Result<ForwardedZones> {
    let mut forwarded = given;
    if arguments.address.is_some() && !forwarded.zones.is_empty() {
        return Ok(forwarded);
    }
    let client = arguments.connection.connect(None).await?.client;
    if arguments.address.is_none() {
        forwarded.forwarder = of_service(&client, arguments.operator_namespace.as_deref()).await?;
    }
    if forwarded.zones.is_empty() {
        forwarded.zones = in_use(&client).await?;
    }
    Ok(forwarded)
}

/// The address of the only Service that looks like the forwarder's.
async fn of_service(client: &Client, namespace: Option<&str>) -> anyhow::Result<SocketAddr> {
    let services: Vec<Service> = list(client, namespace, CHART_LABEL).await.context(
        "services cannot be listed, to find the forwarder's; --operator-namespace narrows it to one namespace, --address IP names its address",
    )?;
    let mut found: Vec<(String, IpAddr)> = services.iter().filter_map(forwarder).collect();
    found.sort();
    let place = namespace.map(|namespace| format!(" in namespace {namespace}")).unwrap_or_default();
    match &*found {
        [(name, address)] => {
            warn(&format!("note: the forwarder is Service {name} ({address})"));
            Ok(SocketAddr::new(*address, DNS_PORT))
        }
        [] => bail!(
            "no Service of the forwarder is{}: set forwarder.enabled in the chart's values, or give --address IP",
            if place.is_empty() { " in the cluster".to_owned() } else { place }
        ),
        several => {
            let names =
                several.iter().map(|(name, address)| format!("{name} ({address})")).collect::<Vec<_>>().join(", ");
            bail!(
                "{} Services look like the forwarder's: {names}; --address IP names the one that is meant",
                several.len()
            )
        }
    }
}

/// Name and address of a Service, if it is the forwarder's: it has no selector, since the operator that leads points it at itself.
fn forwarder(service: &Service) -> Option<(String, IpAddr)> {
    let spec = service.spec.as_ref()?;
    let is_one = service.name_any().ends_with(SERVICE_SUFFIX)
        && spec.selector.as_ref().is_none_or(BTreeMap::is_empty)
        && spec.ports.iter().flatten().any(|port| port.port == i32::from(DNS_PORT));
    let name = format!("{}/{}", service.namespace().unwrap_or_default(), service.name_any());
    Some((name, spec.cluster_ip.as_deref()?.parse().ok()?)).filter(|_| is_one)
}

/// The zones in use in the whole cluster; what may be missing is printed on standard error.
async fn in_use(client: &Client) -> anyhow::Result<BTreeSet<DomainName>> {
    let otherwise = "--zone ZONE names zones instead";
    let (resources, maps) = futures::try_join!(
        async {
            let listed = list::<CitrixAllowlist>(client, None, "").await;
            listed.with_context(|| format!("citrixallowlists of all namespaces cannot be listed; {otherwise}"))
        },
        async {
            let listed = list::<ConfigMap>(client, None, ALLOWLIST_LABEL).await;
            listed.with_context(|| format!("configmaps of all namespaces cannot be listed; {otherwise}"))
        }
    )?;
    let found = zones_in_use(&resources, &maps);
    found.notes.iter().for_each(|note| warn(&format!("note: {note}")));
    if found.zones.is_empty() {
        bail!("no CitrixAllowlist of the cluster has a name or a wildcard of the vendor's list; {otherwise}");
    }
    Ok(found.zones)
}

async fn list<K>(client: &Client, namespace: Option<&str>, labels: &str) -> Result<Vec<K>, CallError>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let mut found = Vec::new();
    pages(&api, ListParams::default().labels(labels).limit(PAGE), CALL_TIMEOUT, |object| found.push(object)).await?;
    Ok(found)
}
