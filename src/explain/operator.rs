//! Reads the operator's `/debug/state`, by address, or through the API server from the pod that leads.

use crate::cluster::access::{AUDIENCE, reader_of};
use crate::cluster::client::{CallError, deadline, describe};
use crate::cluster::lease;
use crate::cluster::pod::Pod;
use crate::manifests::validate::metadata::is_subdomain;
use crate::operator::debug_state::{DebugState, VERSION};
use crate::server::TOKEN_HEADER;
use clap::Args;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, ResourceExt as _};
use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

/// The time limit of the whole read: a person waits for it.
const LIMIT: Duration = Duration::from_secs(5);
/// The time limit of one address, or of one call to the API server.
const CALL_LIMIT: Duration = Duration::from_secs(3);
/// The namespace of the documented installation: searched where the others may not be.
const USUAL_NAMESPACE: &str = "citrix-allowlist-operator";
/// The pods of the chart and of the plain manifests.
const POD_LABELS: &str = "app.kubernetes.io/component=operator,app.kubernetes.io/name=citrix-allowlist-operator";
/// The name of the pods' HTTP port.
const PORT_NAME: &str = "http";
/// The requested path.
const PATH: &str = "/debug/state";
/// The default ServiceAccount of the operator: the chart's and the plain manifests'.
const USUAL_ACCOUNT: &str = "citrix-allowlist-operator";
/// The lifetime of a token, in seconds: the API server's minimum.
const TOKEN_SECONDS: i64 = 600;
/// The most pods that are tried: replicas of a few operators.
const MOST_PODS: usize = 6;

/// Where the operator is found.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "The operator's own memory: when DNS gave what, what is asked next")]
pub(crate) struct OperatorArguments {
    /// Where the operator serves it, instead of through the API server to the pod that leads; `none` does without
    #[arg(long, value_name = "URL|none")]
    pub operator: Option<Address>,
    /// Namespace that the operator runs in, instead of looking for it
    #[arg(long, value_name = "NS")]
    pub operator_namespace: Option<String>,
    /// ServiceAccount whose token is shown to the operator where it asks for one, instead of its pod's with `-explain` behind
    #[arg(long, value_name = "NAME")]
    pub operator_reader: Option<String>,
}

/// The value of `--operator`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// A base URL.
    Url(String),
    /// `none`: the operator is not read.
    Nowhere,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::Nowhere);
        }
        match text.parse::<reqwest::Url>() {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.host().is_some() => {
                Ok(Self::Url(text.trim_end_matches('/').trim_end_matches(PATH).to_owned()))
            }
            _ => Err(format!("`{text}` is no address of the operator: http://HOST:PORT, or none, is allowed")),
        }
    }
}

/// The state, and its source.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// `pod NAMESPACE/NAME`, or the given address.
    pub source: String,
    /// The tables.
    pub state: DebugState,
}

/// Reads the operator's state; if there are several operators, that of the one that is `wanted`. It takes at most five
/// seconds. The error is one sentence; `None` where the state is not to be read.
pub(crate) async fn read(
    client: &Client,
    arguments: &OperatorArguments,
    wanted: impl Fn(&DebugState) -> bool,
) -> Option<Result<Found, String>> {
    let reading = async {
        match &arguments.operator {
            Some(Address::Url(url)) => Some(by_address(client, url, arguments).await),
            Some(Address::Nowhere) => None,
            None => {
                let read = through_the_api_server(client, arguments, wanted).await;
                let way = "--operator URL names another way to it, such as a port-forward";
                Some(read.map_err(|error| format!("{error}; {way}")))
            }
        }
    };
    let read = tokio::time::timeout(LIMIT, reading).await;
    read.unwrap_or_else(|_| Some(Err(format!("no answer within {} s; --operator none does without", LIMIT.as_secs()))))
}

async fn by_address(cluster: &Client, url: &str, arguments: &OperatorArguments) -> Result<Found, String> {
    // The operator is in the user's own network, or behind a port-forward: no proxy is on the way.
    let client = reqwest::Client::builder().no_proxy().timeout(CALL_LIMIT).build().map_err(|error| reason(&error))?;
    let failed = |error: reqwest::Error| format!("{url}{PATH}: {}", reason(&error));
    let request = || client.get(format!("{url}{PATH}"));
    let mut answer = request().send().await.map_err(failed)?;
    if answer.status() == reqwest::StatusCode::UNAUTHORIZED {
        let namespace = arguments.operator_namespace.as_deref().unwrap_or(USUAL_NAMESPACE);
        let reader = arguments.operator_reader.clone().unwrap_or_else(|| reader_of(USUAL_ACCOUNT));
        let token = token(cluster, namespace, &reader).await?;
        answer = request().header(TOKEN_HEADER, token).send().await.map_err(failed)?;
    }
    let status = answer.status();
    let text = answer.text().await.map_err(failed)?;
    if !status.is_success() {
        let reason = refusal(&text).map(|reason| format!(": {reason}")).unwrap_or_default();
        return Err(format!("{url}{PATH} answers {status}{reason}"));
    }
    Ok(Found { source: url.to_owned(), state: parsed(&text).map_err(|error| format!("{url}{PATH}: {error}"))? })
}

/// The reason of an operator's refusal, in one line. Any server may be behind an address: its page is no reason.
fn refusal(text: &str) -> Option<String> {
    let line = text.trim();
    let plain = !line.is_empty() && line.len() <= 300 && line.chars().all(|character| (' '..='~').contains(&character));
    (plain && !line.starts_with('<')).then(|| line.to_owned())
}

/// A token for the operator alone, of the account that may only read its state. The user needs the right to create one.
async fn token(client: &Client, namespace: &str, reader: &str) -> Result<String, String> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let spec = TokenRequestSpec {
        audiences: Some(vec![AUDIENCE.to_owned()]),
        expiration_seconds: Some(TOKEN_SECONDS),
        bound_object_ref: None,
    };
    let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let parameters = PostParams::default();
    let created = accounts.create_token_request(reader, &parameters, &request);
    let failed = |why: String| {
        format!(
            "the operator asks for a token, and none is given: {why}; it takes the right to create serviceaccounts/token of \
             {reader} in namespace {namespace}"
        )
    };
    let answer = deadline(CALL_LIMIT, created).await.map_err(|error| failed(error.to_string()))?;
    let token = answer.status.and_then(|status| status.token).filter(|token| !token.is_empty());
    token.ok_or_else(|| failed("the answer holds none".to_owned()))
}

/// An error's innermost cause: the others name the same address again.
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} s", CALL_LIMIT.as_secs());
    }
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

fn parsed(text: &str) -> Result<DebugState, String> {
    let wrong = |error: serde_json::Error| format!("this is not the operator's memory ({error})");
    let state: DebugState = serde_json::from_str(text).map_err(wrong)?;
    if state.version == VERSION {
        Ok(state.made_visible())
    } else {
        Err(format!("this program reads version {VERSION} of the memory, the operator has version {}", state.version))
    }
}

async fn through_the_api_server(
    client: &Client,
    arguments: &OperatorArguments,
    wanted: impl Fn(&DebugState) -> bool,
) -> Result<Found, String> {
    let mut standby = None;
    let mut failure = None;
    let found = pods(client, arguments.operator_namespace.as_deref()).await?;
    for (namespace, pod) in found.into_iter().take(MOST_PODS) {
        match of_pod(client, &namespace, &pod, arguments.operator_reader.as_deref()).await {
            Ok(found) if found.state.leading && wanted(&found.state) => return Ok(found),
            Ok(found) if found.state.leading => {
                failure.get_or_insert(format!("{} does not know the resource", found.source));
            }
            Ok(found) => standby = standby.or(Some(format!("{} does not lead", found.source))),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    Err(failure
        .or(standby)
        .unwrap_or_else(|| "no running operator was found, --operator-namespace says where it is".to_owned()))
}

/// The pods to try, as namespace and name: those that hold the Lease, else those with the operator's labels.
async fn pods(client: &Client, namespace: Option<&str>) -> Result<Vec<(String, String)>, String> {
    let named = ListParams::default().fields(&format!("metadata.name={}", lease::NAME));
    let leases = match list::<Lease>(client, namespace, &named).await {
        // A user who may not list all namespaces may list the usual one.
        Err(error) if namespace.is_none() && error.is_forbidden() => {
            list::<Lease>(client, Some(USUAL_NAMESPACE), &named).await
        }
        found => found,
    };
    let leases = leases.map_err(|error| error.to_string())?;
    let holder = |lease: &Lease| {
        let holder = lease.spec.as_ref()?.holder_identity.as_deref()?;
        // It becomes part of a path, and others may write the Lease.
        let pod = lease::pod_of(holder).filter(|pod| is_subdomain(pod))?;
        Some((lease.namespace()?, pod.to_owned()))
    };
    let mut found: Vec<_> = leases.iter().filter_map(holder).collect();
    if found.is_empty() {
        let labelled = ListParams::default().labels(POD_LABELS);
        let pods = list::<Pod>(client, namespace, &labelled).await.map_err(|error| error.to_string())?;
        let running = pods.iter().filter(|pod| pod.status.phase == "Running");
        found.extend(running.filter_map(|pod| Some((pod.namespace()?, pod.name_any()))));
    }
    of_one_namespace(found)
}

/// Any tenant may create a Lease of that name, or a pod with those labels. So if there are several namespaces, only that of
/// the documented installation counts; otherwise the user has to choose.
fn of_one_namespace(mut found: Vec<(String, String)>) -> Result<Vec<(String, String)>, String> {
    if found.iter().any(|(namespace, _)| namespace == USUAL_NAMESPACE) {
        found.retain(|(namespace, _)| namespace == USUAL_NAMESPACE);
    }
    let namespaces: BTreeSet<&str> = found.iter().map(|(namespace, _)| namespace.as_str()).collect();
    if namespaces.len() > 1 {
        let list = namespaces.into_iter().collect::<Vec<_>>().join(", ");
        return Err(format!(
            "something that looks like the operator is in {list}: --operator-namespace says which is it"
        ));
    }
    Ok(found)
}

async fn list<K>(client: &Client, namespace: Option<&str>, parameters: &ListParams) -> Result<Vec<K>, CallError>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    Ok(deadline(CALL_LIMIT, api.list(parameters)).await?.items)
}

async fn of_pod(client: &Client, namespace: &str, pod: &str, reader: Option<&str>) -> Result<Found, String> {
    let source = format!("pod {namespace}/{pod}");
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let (port, account) = match deadline(CALL_LIMIT, api.get(pod)).await {
        Ok(found) => (port(&found), found.spec.service_account_name),
        // A user who may not read the pod may still reach it: then the API server takes its first port.
        Err(error) if error.is_forbidden() => (None, None),
        Err(error) => return Err(format!("{source}: {error}")),
    };
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}{port}/proxy{PATH}");
    let request = async |token: Option<&str>| {
        let mut request = hyper::Request::get(&path);
        if let Some(token) = token {
            request = request.header(TOKEN_HEADER, token);
        }
        let request = request.body(Vec::new()).map_err(|error| format!("{source}: {error}"))?;
        let answer = tokio::time::timeout(CALL_LIMIT, client.request_text(request)).await;
        answer.map_err(|_| format!("{source}: no answer within {} s", CALL_LIMIT.as_secs()))
    };
    let mut answer = request(None).await?;
    if matches!(&answer, Err(kube::Error::Api(status)) if status.code == 401) {
        let usual = || reader_of(account.as_deref().unwrap_or(USUAL_ACCOUNT));
        let reader = reader.map_or_else(usual, str::to_owned);
        let token = token(client, namespace, &reader).await.map_err(|error| format!("{source}: {error}"))?;
        answer = request(Some(&token)).await?;
    }
    let text = answer.map_err(|error| format!("{source}: {}", describe(&error)))?;
    let state = parsed(&text).map_err(|error| format!("{source}: {error}"))?;
    Ok(Found { source, state })
}

/// The port that a pod serves its state on.
fn port(pod: &Pod) -> Option<i32> {
    let mut ports = pod.spec.containers.iter().flat_map(|container| &container.ports);
    ports.find(|port| port.name.as_deref() == Some(PORT_NAME)).map(|port| port.container_port)
}

#[cfg(test)]
mod tests;
