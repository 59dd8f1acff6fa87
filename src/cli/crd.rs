//! `crd`: the CustomResourceDefinition, printed or applied.

use crate::cluster::client::{ConnectOptions, connect, deadline};
use crate::crd::{self, FIELD_MANAGER};
use anyhow::Context as _;
use clap::Args;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams};
use std::process::ExitCode;
use std::time::Duration;

/// How long applying may take.
const APPLY_DEADLINE: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub(super) struct CrdArguments {
    /// Apply it to the cluster instead of printing it
    #[arg(long)]
    apply: bool,
}

pub(super) fn run(arguments: &CrdArguments) -> anyhow::Result<ExitCode> {
    if arguments.apply {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(apply())?;
    } else {
        print!("{}", crd::yaml()?);
    }
    Ok(ExitCode::SUCCESS)
}

async fn apply() -> anyhow::Result<()> {
    let connected = connect(&ConnectOptions::default()).await?;
    let definition = crd::definition();
    let name = definition.metadata.name.clone().unwrap_or_default();
    let api: Api<CustomResourceDefinition> = Api::all(connected.client);
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    deadline(APPLY_DEADLINE, api.patch(&name, &parameters, &Patch::Apply(&definition)))
        .await
        .with_context(|| format!("CustomResourceDefinition {name} could not be applied"))?;
    println!("customresourcedefinition.apiextensions.k8s.io/{name} applied");
    Ok(())
}
