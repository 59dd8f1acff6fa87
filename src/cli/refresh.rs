//! `refresh`: requests a fetch now, by the annotation that the controller reads.

use crate::cluster::client::{CALL_TIMEOUT, deadline};
use crate::crd::{CitrixAllowlist, Period, REFRESH_ANNOTATION};
use crate::operator::period;
use crate::preview::connection::{ConnectionArguments, NamespaceArguments, not_found, resource_name};
use crate::reason::Reason;
use crate::text::output::{Progress, say};
use anyhow::bail;
use clap::Args;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, Patch, PatchParams};
use std::process::ExitCode;
use std::time::Duration;

/// The exit code if the fetch that was waited for failed.
const FAILED: u8 = 1;
/// How often status is read until the fetch has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(super) struct RefreshArguments {
    /// The CitrixAllowlist
    #[arg(value_name = "NAME", value_parser = resource_name)]
    name: String,
    /// Wait until a fetch has answered, this long at most
    #[arg(long, value_name = "TIME", value_parser = period, num_args = 0..=1, default_missing_value = "2m", require_equals = true)]
    wait: Option<Duration>,
    #[command(flatten)]
    namespace: NamespaceArguments,
    #[command(flatten)]
    connection: ConnectionArguments,
}

pub(super) fn run(arguments: &RefreshArguments) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(refresh(arguments))
}

async fn refresh(arguments: &RefreshArguments) -> anyhow::Result<ExitCode> {
    let connected = arguments.connection.connect(arguments.namespace.namespace.as_deref()).await?;
    let (name, namespace) = (&arguments.name, &connected.namespace);
    let api: Api<CitrixAllowlist> = Api::namespaced(connected.client.clone(), namespace);
    let token = jiff::Timestamp::now().to_string();
    let patch = serde_json::json!({ "metadata": { "annotations": { REFRESH_ANNOTATION: token } } });
    let patched = deadline(CALL_TIMEOUT, api.patch(name, &PatchParams::default(), &Patch::Merge(&patch))).await;
    let patched = patched.map_err(|error| not_found(error, namespace, name))?;
    if patched.spec.suspend {
        bail!("citrixallowlist {namespace}/{name} is suspended: the list is fetched once spec.suspend is false");
    }
    say(&format!("citrixallowlist.citrix-allowlist.io/{name} refresh requested"))?;
    let Some(longest) = arguments.wait else { return Ok(ExitCode::SUCCESS) };
    let handled = tokio::time::timeout(longest, handled(&api, namespace, name, &token)).await;
    let Ok(handled) = handled else {
        bail!(
            "citrixallowlist {namespace}/{name}: no fetch within {}; is the operator running, or its rate used up? `explain {name}` says",
            Period::new(longest)
        );
    };
    let (is_fetched, result) = handled?;
    say(&format!("citrixallowlist.citrix-allowlist.io/{name} {result}"))?;
    Ok(if is_fetched { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// Waits until the controller has handled the request. Returns whether it brought the newest list, and the result as a sentence.
async fn handled(
    api: &Api<CitrixAllowlist>,
    namespace: &str,
    name: &str,
    token: &str,
) -> anyhow::Result<(bool, String)> {
    let mut progress = Progress::new();
    loop {
        let resource =
            deadline(CALL_TIMEOUT, api.get(name)).await.map_err(|error| not_found(error, namespace, name))?;
        let status = resource.status.unwrap_or_default();
        if status.last_handled_refresh.as_deref() == Some(token) {
            let feed = status.conditions.into_iter().find(|condition| condition.type_ == "FeedCurrent");
            // A list past its validity, than which the vendor has none newer, was fetched all the same.
            let is_fetched = |feed: &Condition| feed.status == "True" || feed.reason == Reason::FeedExpired.as_str();
            let said = feed.map(|feed| (is_fetched(&feed), format!("{}: {}", feed.reason, feed.message)));
            return Ok(said.unwrap_or_else(|| (true, "fetched".to_owned())));
        }
        progress.say("waiting for the operator to fetch");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
