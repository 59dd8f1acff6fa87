//! `version`: the version of this program, and of its resources.

use crate::text::output::{Form, print, yaml};
use clap::Args;
use serde::Serialize;

#[derive(Debug, Args)]
pub(super) struct VersionArguments {
    /// Print it for programs
    #[arg(short, long, value_enum)]
    output: Option<Form>,
}

/// What `-o json|yaml` prints.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    version: &'static str,
    /// The API version of resources that are read.
    resource: &'static str,
    os: &'static str,
    architecture: &'static str,
}

const VERSION: Version = Version {
    version: env!("CARGO_PKG_VERSION"),
    resource: "citrix-allowlist.io/v1alpha1",
    os: std::env::consts::OS,
    architecture: std::env::consts::ARCH,
};

pub(super) fn run(arguments: &VersionArguments) -> anyhow::Result<()> {
    print(match arguments.output {
        None => format!("citrix-allowlist {} ({}/{})\n", VERSION.version, VERSION.os, VERSION.architecture),
        Some(Form::Json) => format!("{}\n", serde_json::to_string_pretty(&VERSION)?),
        Some(Form::Yaml) => yaml(&VERSION)?,
    })
}
