//! The image's binary against a real API server; tests/image.sh builds the image and says where its root is.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;
use test_support::ControlPlane;
use test_support::dns::DnsServer;
use test_support::operator::{Operator, OperatorConfig};
use test_support::standin::{Standin, StandinConfig};

use crate::helm::run;

/// The user of the image, and one that OpenShift gives: of its namespace's range, in the root group.
const USERS: [&str; 2] = ["65532:65532", "1000680000:0"];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "tests/image.sh runs it, with the root of an image"]
async fn the_images_binary_works_from_its_root() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let root = PathBuf::from(std::env::var_os("CITRIX_ALLOWLIST_IMAGE_ROOT").expect("run by tests/image.sh"));
    let cluster = ControlPlane::start().await.unwrap();
    let dns = DnsServer::start().await.unwrap();
    dns.default_to_fixture(5);
    let standin = Standin::start(StandinConfig::unlimited()).await.unwrap();
    // Without a reference to any file that is not in the image; a pod has its ServiceAccount's.
    let flat = cluster.kubectl(&["config", "view", "--raw", "--flatten", "--minify"]).await.unwrap();
    let kubeconfig = root.join("kubeconfig");
    std::fs::write(&kubeconfig, flat).unwrap();
    std::fs::set_permissions(&kubeconfig, std::fs::Permissions::from_mode(0o644)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (round, user) in USERS.into_iter().enumerate() {
        let file = folder.path().join(format!("run-{round}"));
        let script = format!(
            "#!/bin/sh\nexec chroot --userspec={user} --groups= '{}' /usr/bin/citrix-allowlist \"$@\"\n",
            root.display()
        );
        std::fs::write(&file, script).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        // What the upgrade hook does.
        run(Command::new(&file).args(["crd", "--apply"]).env("KUBECONFIG", "/kubeconfig")).success();
        cluster
            .kubectl(&["wait", "--for=condition=Established", "crd/citrixallowlists.citrix-allowlist.io"])
            .await
            .unwrap();
        // What the Deployment does.
        let config = OperatorConfig::new(&file, "/kubeconfig")
            .flag("global-url", standin.base_url_global())
            .flag("dns-server", dns.addr())
            .switch("no-leader-election");
        let operator = Operator::start(&config).await.unwrap();
        let name = format!("round-{round}");
        let resource = json!({"apiVersion": "citrix-allowlist.io/v1alpha1", "kind": "CitrixAllowlist",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"customerId": "testcustomer", "geo": "us", "podSelector": {"matchLabels": {"app": name}}}});
        cluster.apply(&resource.to_string()).await.unwrap();
        let wait = ["wait", "--for=condition=Ready", &format!("cal/{name}"), "--timeout=120s"];
        if let Err(error) = cluster.kubectl(&wait).await {
            panic!("{error}\n{}", operator.log());
        }
        // What `helm test` does.
        let port = operator.listen().rsplit(':').next().unwrap().to_owned();
        let ready = run(Command::new(&file).args(["probe", "ready", "127.0.0.1", &port])).success();
        assert!(ready.starts_with("ready: "), "{ready}");
    }
    std::fs::remove_file(&kubeconfig).unwrap();
}
