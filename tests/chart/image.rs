//! The image's binary against a real API server; tests/image.sh builds the image and says where its root is.

use std::path::PathBuf;
use std::process::Command;

use test_support::ControlPlane;

use crate::helm::run;

/// The user of the image.
const USER: &str = "65532:65532";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "tests/image.sh runs it, with the root of an image"]
async fn the_images_binary_works_from_its_root() {
    let root = PathBuf::from(std::env::var_os("CITRIX_ALLOWLIST_IMAGE_ROOT").expect("run by tests/image.sh"));
    let cluster = ControlPlane::start().await.unwrap();
    let kubeconfig = root.join("kubeconfig");
    // Without a reference to any file that is not in the image.
    let flat = cluster.kubectl(&["config", "view", "--raw", "--flatten", "--minify"]).await.unwrap();
    std::fs::write(&kubeconfig, flat).unwrap();
    run(Command::new("chown").arg(USER).arg(&kubeconfig)).success();
    let output = run(Command::new("chroot")
        .arg(format!("--userspec={USER}"))
        .arg(&root)
        .args(["/usr/bin/citrix-allowlist", "crd", "--apply"])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("KUBECONFIG", "/kubeconfig"));
    std::fs::remove_file(&kubeconfig).unwrap();
    output.success();
    let wait = ["wait", "--for=condition=Established", "crd/citrixallowlists.citrix-allowlist.io"];
    cluster.kubectl(&wait).await.unwrap();
}
