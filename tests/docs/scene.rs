//! A cluster on which the commands of a page are run as they stand there: the real control plane, a node that runs the
//! operator's pods as processes, the real Helm and kubectl, and the vendor and DNS as stand-ins.

use super::root;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use test_support::ControlPlane;
use test_support::dns::DnsServer;
use test_support::node::Node;
use test_support::standin::{Standin, StandinConfig};

/// How long the commands of one block may take together.
const PATIENCE: Duration = Duration::from_secs(180);

/// What stands in a document for what a release publishes, and what is taken of this repository instead.
const PUBLISHED: [(&str, &str); 4] = [
    ("oci://ghcr.io/citrix-allowlist/charts/citrix-allowlist-operator", "charts/citrix-allowlist-operator"),
    (
        "https://github.com/citrix-allowlist/citrix-allowlist-operator/releases/latest/download/install.yaml",
        "deploy/install.yaml",
    ),
    (
        "https://github.com/citrix-allowlist/citrix-allowlist-operator/releases/latest/download/crds.yaml",
        "crds/citrixallowlists.yaml",
    ),
    ("https://raw.githubusercontent.com/citrix-allowlist/citrix-allowlist-operator/v0.1.0/", ""),
];

/// The cluster of one page, and the folder that its commands run in.
pub struct Scene {
    node: Node,
    cluster: Arc<ControlPlane>,
    _standin: Standin,
    _dns: DnsServer,
    folder: tempfile::TempDir,
}

impl Scene {
    /// Starts it; nothing is installed.
    pub async fn set() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let cluster = Arc::new(ControlPlane::start().await.expect("a control plane"));
        let dns = DnsServer::start().await.expect("a DNS server");
        dns.default_to_fixture(30);
        let standin = Standin::start(StandinConfig::unlimited()).await.expect("the stand-in");
        let binary = PathBuf::from(env!("CARGO_BIN_EXE_citrix-allowlist"));
        // Where Citrix and DNS are; everything else is as the page has it.
        let around = vec![
            ("CITRIX_ALLOWLIST_GLOBAL_URL".to_owned(), standin.base_url_global()),
            ("CITRIX_ALLOWLIST_JAPAN_URL".to_owned(), standin.base_url_japan()),
            ("CITRIX_ALLOWLIST_DNS_SERVER".to_owned(), dns.addr().to_string()),
        ];
        let node = Node::start(cluster.clone(), &binary, around).await.expect("a node");
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["charts", "crds", "deploy", "examples"] {
            symlink(root().join(name), folder.path().join(name)).expect("a link");
        }
        let programs = folder.path().join(".bin");
        std::fs::create_dir(&programs).expect("a folder");
        for name in ["citrix-allowlist", "kubectl-citrix_allowlist"] {
            symlink(&binary, programs.join(name)).expect("a link");
        }
        symlink(test_support::tool("jq").expect("jq"), programs.join("jq")).expect("a link");
        for name in ["helm", "kubectl"] {
            let path = programs.join(name);
            std::fs::write(&path, wrapper(&test_support::tool(name).expect("a tool"))).expect("a program");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a program");
        }
        Self { node, cluster, _standin: standin, _dns: dns, folder }
    }

    /// Writes a file that a page shows.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }

    /// Runs commands of a page, and gives what they print, standard error included.
    ///
    /// # Panics
    /// With what was printed and logged, where a command fails.
    pub async fn run(&self, place: &str, commands: &str) -> Vec<String> {
        let path =
            format!("{}:{}", self.folder.path().join(".bin").display(), std::env::var("PATH").unwrap_or_default());
        let child = tokio::process::Command::new("bash")
            .args(["-e", "-o", "pipefail", "-c", &format!("{{ {commands}\n}} 2>&1")])
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.folder.path())
            .env("LC_ALL", "C.UTF-8")
            .env("KUBECONFIG", self.cluster.kubeconfig_path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("bash");
        let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
        let Ok(output) = output else {
            panic!("{place}: not done after {PATIENCE:?}\n{commands}\n{}", self.node.logs())
        };
        let output = output.expect("its output");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let state = self.cluster.kubectl(&["get", "pods,cal,events", "-A"]).await.unwrap_or_default();
            panic!(
                "{place}: {}\n{commands}\n--- printed\n{printed}\n--- then\n{state}\n{}",
                output.status,
                self.node.logs()
            );
        }
        printed.lines().map(str::to_owned).collect()
    }
}

/// A program that takes this repository's files for what a release publishes, and is otherwise the real one.
fn wrapper(program: &Path) -> String {
    let replaced = PUBLISHED.map(|(published, here)| {
        let (published, here) = (published.replace('/', "\\/"), root().join(here).display().to_string());
        format!("    argument=\"${{argument/#{published}/{here}}}\"\n")
    });
    let cases = replaced.concat();
    format!(
        "#!/usr/bin/env bash\nset -e\narguments=()\nfor argument in \"$@\"; do\n{cases}    arguments+=(\"$argument\")\ndone\nexec '{}' \"${{arguments[@]}}\"\n",
        program.display()
    )
}
