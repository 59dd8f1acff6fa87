//! kubectl, as a person would run it against the cluster.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, bail};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::tools::tool;

/// What a run of kubectl printed, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubectlOutput {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl KubectlOutput {
    /// Its standard output, when it succeeded.
    ///
    /// # Errors
    ///
    /// When it did not; with what it printed.
    pub fn success(self) -> anyhow::Result<String> {
        if self.code != Some(0) {
            bail!("kubectl failed ({:?}): {}{}", self.code, self.stderr, self.stdout);
        }
        Ok(self.stdout)
    }
}

/// Runs kubectl with a kubeconfig and, where given, text on its standard input. `cache` is where it remembers what it
/// discovered: by the server's address, which a later control plane may have again.
pub(super) async fn run(
    kubeconfig: &Path,
    cache: &Path,
    arguments: &[&str],
    input: Option<&str>,
) -> anyhow::Result<KubectlOutput> {
    let mut kubectl = Command::new(tool("kubectl")?)
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .arg("--cache-dir")
        .arg(cache)
        .args(arguments)
        .env_remove("KUBECONFIG")
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("start kubectl")?;
    let pipe = kubectl.stdin.take();
    let feed = async {
        if let (Some(mut pipe), Some(input)) = (pipe, input) {
            // It may end without reading all: its exit code says why.
            let _ = pipe.write_all(input.as_bytes()).await;
        }
    };
    let (output, ()) = tokio::join!(kubectl.wait_with_output(), feed);
    let output = output.context("wait for kubectl")?;
    Ok(KubectlOutput {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
