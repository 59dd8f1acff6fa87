//! `crd`: the CustomResourceDefinition, printed or applied.

use super::connection::ConnectionArguments;
use super::output::print;
use crate::cluster::client::{CALL_TIMEOUT, deadline};
use crate::crd::{self, FIELD_MANAGER};
use anyhow::Context as _;
use clap::Args;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams};
use std::process::ExitCode;

#[derive(Debug, Args)]
pub(super) struct CrdArguments {
    /// Apply it to the cluster instead of printing it
    #[arg(long)]
    apply: bool,
    #[command(flatten)]
    connection: ConnectionArguments,
}

pub(super) fn run(arguments: &CrdArguments) -> anyhow::Result<ExitCode> {
    if arguments.apply {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(apply(&arguments.connection))?;
    } else {
        print(crd::yaml()?)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn apply(connection: &ConnectionArguments) -> anyhow::Result<()> {
    let connected = connection.connect(None).await?;
    let definition = crd::definition();
    let name = definition.metadata.name.clone().unwrap_or_default();
    let api: Api<CustomResourceDefinition> = Api::all(connected.client);
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    deadline(CALL_TIMEOUT, api.patch(&name, &parameters, &Patch::Apply(&definition)))
        .await
        .with_context(|| format!("CustomResourceDefinition {name} could not be applied"))?;
    print(format!("customresourcedefinition.apiextensions.k8s.io/{name} applied\n"))
}
