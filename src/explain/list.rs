//! Which resources there are, where none is named.

use super::{ExplainArguments, Explanation, SCHEMA, tree};
use crate::cluster::client::{CALL_TIMEOUT, deadline};
use crate::crd::CitrixAllowlist;
use crate::text::output::{Form, Printer};
use anyhow::{Context as _, bail};
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use std::process::ExitCode;

/// The most names in an error.
const MOST_NAMES: usize = 5;

/// Whether something is asked about a resource.
pub(super) fn asks(arguments: &ExplainArguments) -> bool {
    !(arguments.to.is_empty() && arguments.from.is_empty() && arguments.pod.is_none())
}

async fn listed(api: &Api<CitrixAllowlist>) -> anyhow::Result<Vec<CitrixAllowlist>> {
    let found = deadline(CALL_TIMEOUT, api.list(&ListParams::default())).await;
    Ok(found.context("citrixallowlists cannot be listed")?.items)
}

/// The only resource of a namespace.
///
/// # Errors
/// Where there is none, or another one.
pub(super) async fn only(api: &Api<CitrixAllowlist>, namespace: &str) -> anyhow::Result<CitrixAllowlist> {
    let mut resources = listed(api).await?;
    match (resources.pop(), resources.len()) {
        (Some(resource), 0) => Ok(resource),
        (Some(last), others) => {
            let names = resources.iter().chain([&last]).take(MOST_NAMES).map(ResourceExt::name_any);
            let names = names.collect::<Vec<_>>().join(", ");
            let count = others + 1;
            let more = if count > MOST_NAMES { ", ..." } else { "" };
            bail!("{count} CitrixAllowlists are in {namespace}, a question needs the NAME of one: {names}{more}");
        }
        (None, _) => bail!("no CitrixAllowlist is in {namespace}: `explain -A` lists those there are"),
    }
}

/// Prints every resource of the namespace, or of all, with its state.
pub(super) fn all(arguments: &ExplainArguments) -> anyhow::Result<ExitCode> {
    if asks(arguments) {
        bail!("-A lists what there is: a question is about one CitrixAllowlist, by its NAME and -n");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let resources = runtime.block_on(async {
        let connected = arguments.connection.connect(arguments.namespace.namespace.as_deref()).await?;
        let api: Api<CitrixAllowlist> = if arguments.all_namespaces {
            Api::all(connected.client.clone())
        } else {
            Api::namespaced(connected.client.clone(), &connected.namespace)
        };
        listed(&api).await
    })?;
    let mut printer = Printer::new(std::io::stdout().lock(), arguments.output.unwrap_or(Form::Yaml));
    if arguments.output.is_some() {
        for resource in resources {
            printer.value(&Explanation {
                schema: SCHEMA,
                namespace: resource.namespace(),
                name: resource.name_any(),
                pod: None,
                pod_selected: None,
                policies: resource.status.as_ref().map(|status| status.policies.clone()).unwrap_or_default(),
                status: resource.status.unwrap_or_default(),
                operator: None,
                answers: Vec::new(),
            })?;
        }
    } else if resources.is_empty() {
        printer.people("No CitrixAllowlist is there.\n")?;
    } else {
        printer.people(&tree::overview(&resources))?;
    }
    printer.finish()?;
    Ok(ExitCode::SUCCESS)
}
