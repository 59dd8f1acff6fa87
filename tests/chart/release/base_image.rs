//! The image that a release is built in, with a registry played by a script.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use test_support::tools::workspace_root;

use crate::helm::{Output, run};

/// What `docker buildx imagetools inspect --raw` prints, whose sum is the digest.
const RAW: &str = r#"{"schemaVersion":2}"#;
const RAW_DIGEST: &str = "sha256:bb8ef61d2d8ffbbf9e1a6e0ff0d0a8f7a9a0b6b8d86d0d2f5b6e1e2c3d4f5a6b";
const OTHER_DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000001";

/// The digest that [`RAW`] has.
fn digest() -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("raw");
    std::fs::write(&file, RAW).unwrap();
    let sum = run(Command::new("sha256sum").arg(&file)).success();
    format!("sha256:{}", sum.split(' ').next().unwrap())
}

fn index(digest: &str, architectures: &[&str]) -> Value {
    let manifests: Vec<Value> = architectures
        .iter()
        .map(|architecture| json!({"platform": {"os": "linux", "architecture": architecture}}))
        .collect();
    json!({"digest": digest, "manifests": manifests})
}

/// Runs the script beside a docker that answers this, for a Dockerfile that names this image.
fn base_image(folder: &Path, image: &str, manifest: &Value, arguments: &[&str], input: &str) -> Output {
    std::fs::write(folder.join("manifest"), manifest.to_string()).unwrap();
    std::fs::write(folder.join("raw"), RAW).unwrap();
    std::fs::write(folder.join("input"), input).unwrap();
    let dockerfile = format!("ARG RUST_IMAGE={image}\nFROM ${{RUST_IMAGE}} AS build\nFROM scratch\n");
    std::fs::write(folder.join("Dockerfile"), dockerfile).unwrap();
    let docker = folder.join("docker");
    let script = "#!/bin/sh\necho \"$*\" >>\"$0.log\"\ncase \"$*\" in\n*--raw*) cat \"${0%/*}/raw\" ;;\n*) cat \"${0%/*}/manifest\" ;;\nesac\n";
    std::fs::write(&docker, script).unwrap();
    std::fs::set_permissions(&docker, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut path = folder.as_os_str().to_owned();
    for more in [tools_path(), std::env::var_os("PATH").unwrap()] {
        path.push(":");
        path.push(more);
    }
    run(Command::new(workspace_root().join("deploy/release/base-image.sh"))
        .args(arguments)
        .env("PATH", path)
        .env("DOCKERFILE", folder.join("Dockerfile"))
        .stdin(Stdio::from(std::fs::File::open(folder.join("input")).unwrap())))
}

/// Where jq is, if only the tests have it.
fn tools_path() -> std::ffi::OsString {
    test_support::tool("jq").unwrap().parent().map(|folder| folder.as_os_str().to_owned()).unwrap_or_default()
}

/// The Dockerfile named `rust:1.95.0-alpine` and a release was built in whatever that was.
#[test]
fn a_release_is_built_in_the_digest_that_the_registry_has() {
    let folder = tempfile::tempdir().unwrap();
    let (image, digest) = ("docker.io/library/rust:1.95.0-alpine", digest());
    let resolve = |image: &str, manifest: &Value| base_image(folder.path(), image, manifest, &["resolve"], "");
    let both = ["amd64", "arm64"];
    let pinned = format!("{image}@{digest}");
    assert_eq!(resolve(image, &index(&digest, &both)).success().trim(), pinned);
    assert_eq!(resolve(&pinned, &index(&digest, &both)).success().trim(), pinned, "one that Renovate has pinned");
    let asked = std::fs::read_to_string(folder.path().join("docker.log")).unwrap();
    assert!(asked.contains(&format!("inspect --raw {pinned}")), "{asked}");

    for (image, manifest, complaint) in [
        (image.to_owned(), index("", &both), "gives no digest"),
        (image.to_owned(), index("sha256:short", &both), "gives no digest"),
        (image.to_owned(), index(OTHER_DIGEST, &both), "what it has there is"),
        (image.to_owned(), index(&digest, &["amd64"]), "has no linux/arm64"),
        (format!("{image}@{OTHER_DIGEST}"), index(&digest, &both), "the Dockerfile says"),
    ] {
        let error = resolve(&image, &manifest).failure();
        assert!(error.contains(complaint), "{error}");
    }
    // The repository's own, and a second image beside it.
    let script = workspace_root().join("deploy/release/base-image.sh");
    let name = run(Command::new(&script).arg("name")).success();
    assert!(name.starts_with("docker.io/library/rust:"), "{name}");
    let two = folder.path().join("two");
    std::fs::write(&two, format!("ARG RUST_IMAGE={image}\nFROM alpine AS other\n")).unwrap();
    let error = run(Command::new(&script).arg("name").env("DOCKERFILE", &two)).failure();
    assert!(error.contains("builds from something else too: FROM alpine AS other"), "{error}");
}

#[test]
fn provenance_has_to_name_the_image_that_was_resolved() {
    let folder = tempfile::tempdir().unwrap();
    let reference = format!("docker.io/library/rust:1.95.0-alpine@{RAW_DIGEST}");
    let verify = |provenance: &Value| {
        base_image(folder.path(), "rust:1", &json!({}), &["verify", &reference], &provenance.to_string())
    };
    let material = |digest: &str| {
        let uri = format!("pkg:docker/rust@1.95.0-alpine?digest={digest}&platform=linux%2Famd64");
        json!({"uri": uri, "digest": {"sha256": digest.trim_start_matches("sha256:")}})
    };
    let other = json!({"uri": "pkg:docker/docker/buildkit-syft-scanner@stable-1", "digest": {"sha256": "1"}});
    let old = |materials: Value| json!({"SLSA": {"materials": materials}});
    verify(&old(json!([material(RAW_DIGEST), other]))).success();
    let new = json!({"SLSA": {"buildDefinition": {"resolvedDependencies": [material(RAW_DIGEST)]}}});
    verify(&new).success();
    for (provenance, complaint) in [
        (old(json!([material(OTHER_DIGEST)])), "and not in"),
        (old(json!([material(RAW_DIGEST), material(OTHER_DIGEST)])), "and not in"),
        (old(json!([other])), "names no image rust"),
        (json!({}), "names no image rust"),
    ] {
        let error = verify(&provenance).failure();
        assert!(error.contains(complaint), "{error}");
    }
    let error = base_image(folder.path(), "rust:1", &json!({}), &["verify", "rust:1.95.0-alpine"], "{}").failure();
    assert!(error.contains("names no digest"), "{error}");
}
