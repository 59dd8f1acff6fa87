//! `crd`: the CustomResourceDefinition, printed or applied.

use crate::cluster::client::{CALL_TIMEOUT, deadline};
use crate::crd::{self, FIELD_MANAGER};
use crate::preview::connection::ConnectionArguments;
use crate::text::output::{print, say};
use anyhow::{Context as _, bail};
use clap::Args;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams};

#[derive(Debug, Args)]
pub(super) struct CrdArguments {
    /// Apply it to the cluster instead of printing it
    #[arg(long)]
    apply: bool,
    #[command(flatten)]
    connection: ConnectionArguments,
}

pub(super) fn run(arguments: &CrdArguments) -> anyhow::Result<()> {
    if !arguments.apply {
        return print(crd::yaml()?);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(apply(&arguments.connection))
}

async fn apply(connection: &ConnectionArguments) -> anyhow::Result<()> {
    let connected = connection.connect(None).await?;
    let definition = crd::definition();
    let name = definition.metadata.name.clone().unwrap_or_default();
    let api: Api<CustomResourceDefinition> = Api::all(connected.client);
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let applied = deadline(CALL_TIMEOUT, api.patch(&name, &parameters, &Patch::Apply(&definition)))
        .await
        .with_context(|| format!("CustomResourceDefinition {name} could not be applied"))?;
    // The API server accepts a change of an object that is being deleted, and deletes it all the same.
    if let Some(since) = applied.metadata.deletion_timestamp.as_ref().map(|time| time.0) {
        bail!(
            "CustomResourceDefinition {name} is being deleted, since {since}: every CitrixAllowlist goes with it; apply it again once it is gone (`kubectl wait --for=delete crd/{name}`): `kubectl get cal -A` lists what it waits for, and a finalizer there holds it up"
        );
    }
    say(&format!("customresourcedefinition.apiextensions.k8s.io/{name} applied"))
}
