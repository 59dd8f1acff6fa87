//! Helm as a person runs it, and what it renders.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use test_support::tools::workspace_root;

/// Both Helms that the chart is made for.
pub const HELMS: [&str; 2] = ["helm", "helm3"];

/// The chart's folder.
pub fn chart() -> PathBuf {
    workspace_root().join("charts/citrix-allowlist-operator")
}

/// What a program printed, and whether it succeeded.
#[derive(Debug)]
pub struct Output {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// Its standard output, when it succeeded.
    pub fn success(self) -> String {
        assert!(self.success, "{}{}", self.stderr, self.stdout);
        self.stdout
    }

    /// What it said against the request, when it failed.
    pub fn failure(self) -> String {
        assert!(!self.success, "succeeded:\n{}", self.stdout);
        self.stderr
    }
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    Output {
        success: output.status.success(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A command of one of [`HELMS`], with folders of its own, so that nothing of the machine's user has a say.
pub fn helm(program: &str, home: &Path) -> Command {
    let mut command = Command::new(test_support::tool(program).unwrap());
    command
        .env_remove("KUBECONFIG")
        .env("HELM_CACHE_HOME", home.join("cache"))
        .env("HELM_CONFIG_HOME", home.join("config"))
        .env("HELM_DATA_HOME", home.join("data"));
    command
}

/// `helm template` of release `release` in namespace `citrix`, with values as JSON, and more arguments.
pub fn template(program: &str, values: &Value, arguments: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("values.json");
    std::fs::write(&file, values.to_string()).unwrap();
    let mut command = helm(program, home.path());
    run(command.args(["template", "release"]).arg(chart()).args(["-n", "citrix", "-f"]).arg(file).args(arguments))
}

/// The objects of a manifest.
pub fn objects(manifest: &str) -> Vec<Value> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(manifest).unwrap_or_else(|error| panic!("{error}\n{manifest}"));
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

/// The one object of a kind, or of a kind and a name's ending.
pub fn object<'a>(objects: &'a [Value], kind: &str, ending: &str) -> &'a Value {
    let mut found = objects.iter().filter(|object| {
        object["kind"] == kind && object["metadata"]["name"].as_str().is_some_and(|name| name.ends_with(ending))
    });
    let first = found.next().unwrap_or_else(|| panic!("no {kind} *{ending}"));
    assert!(found.next().is_none(), "more than one {kind} *{ending}");
    first
}
