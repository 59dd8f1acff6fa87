//! One control plane for all tests of a test binary.

use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;
use tokio::sync::OnceCell;

use super::ControlPlane;
use crate::tools::tool;

static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();

/// The control plane that all tests of this binary share, started by the first caller, with the definitions of the
/// workspace's `crds/` installed; or the existing cluster that the environment names. Tests keep to namespaces of their
/// own ([`ControlPlane::fresh_namespace`]). It ends with the process.
///
/// # Errors
///
/// As [`super::ControlPlaneBuilder::start_or_existing`].
pub async fn shared_control_plane() -> anyhow::Result<&'static ControlPlane> {
    SHARED.get_or_try_init(async || ControlPlane::builder().workspace_definitions()?.start_or_existing().await).await
}

/// A namespace of a test's own; reads as its name.
#[derive(Debug)]
pub struct TestNamespace {
    name: String,
    /// Where it is to be deleted at the end: an existing cluster outlives the tests.
    existing: Option<PathBuf>,
}

impl TestNamespace {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Deref for TestNamespace {
    type Target = str;

    fn deref(&self) -> &str {
        &self.name
    }
}

impl Drop for TestNamespace {
    fn drop(&mut self) {
        if let (Some(kubeconfig), Ok(kubectl)) = (&self.existing, tool("kubectl")) {
            let result = Command::new(kubectl)
                .arg("--kubeconfig")
                .arg(kubeconfig)
                .args(["delete", "namespace", &self.name, "--wait=false"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .status();
            if !result.is_ok_and(|status| status.success()) {
                eprintln!("namespace {} could not be deleted", self.name);
            }
        }
    }
}

impl ControlPlane {
    /// A new namespace called `prefix` and a random ending. In an existing cluster it is deleted on drop.
    ///
    /// # Errors
    ///
    /// When the API server refuses it.
    pub async fn fresh_namespace(&self, prefix: &str) -> anyhow::Result<TestNamespace> {
        let wanted = Namespace {
            metadata: ObjectMeta { generate_name: Some(format!("{prefix}-")), ..Default::default() },
            ..Default::default()
        };
        let made = Api::<Namespace>::all(self.client().await?).create(&PostParams::default(), &wanted).await?;
        let name = made.metadata.name.unwrap_or_default();
        let existing = (!self.is_own()).then(|| self.kubeconfig_path().to_path_buf());
        Ok(TestNamespace { name, existing })
    }
}
