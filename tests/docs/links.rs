//! Relative links and anchors.

use super::{markdown, root};
use std::collections::BTreeSet;
use std::path::PathBuf;

#[test]
fn every_relative_link_leads_somewhere() {
    let files = markdown::files();
    assert!(files.iter().any(|file| file.ends_with("README.md")), "the README is among {files:?}");
    let (mut checked, mut dead) = (0, Vec::new());
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a readable file");
        for link in markdown::links(&text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            checked += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if path.is_empty() { file.clone() } else { file.parent().expect("a folder").join(path) };
            let found = match std::fs::read_to_string(&target) {
                Ok(text) => anchor.is_empty() || markdown::anchors(&text).iter().any(|known| known == anchor),
                Err(_) => target.is_dir() && anchor.is_empty(),
            };
            if !found {
                dead.push(format!("{}: {link}", file.strip_prefix(root()).unwrap_or(&file).display()));
            }
        }
    }
    assert!(dead.is_empty(), "dead links:\n{}", dead.join("\n"));
    assert!(checked > 10, "only {checked} links were found");
}

/// Links out of this repository. Tests reach nobody: a person who adds one here has looked at it.
const EXTERNAL: [&str; 2] = ["https://keepachangelog.com/en/1.1.0/", "https://semver.org/spec/v2.0.0.html"];

#[test]
fn links_to_elsewhere_are_known() {
    let mut found = BTreeSet::new();
    for file in markdown::files() {
        let text = std::fs::read_to_string(&file).expect("a readable file");
        found.extend(markdown::links(&text).into_iter().filter(|link| link.contains("://")));
    }
    assert_eq!(found, EXTERNAL.map(str::to_owned).into());
}

/// Where files of this repository are published.
const PUBLISHED: [&str; 3] = [
    "https://github.com/citrix-allowlist/citrix-allowlist-operator/blob/main/",
    "https://raw.githubusercontent.com/citrix-allowlist/citrix-allowlist-operator/main/",
    concat!(
        "https://raw.githubusercontent.com/citrix-allowlist/citrix-allowlist-operator/v",
        env!("CARGO_PKG_VERSION"),
        "/"
    ),
];
/// Where what a release makes is published.
const RELEASED: &str = "https://github.com/citrix-allowlist/citrix-allowlist-operator/releases/latest/download/";

#[test]
fn addresses_of_this_project_lead_to_what_is_there() {
    let release = std::fs::read_to_string(root().join(".github/workflows/release.yaml")).expect("the workflow");
    let (mut checked, mut dead) = (0, Vec::new());
    let upto = |text: &str| text.split(|c: char| c.is_whitespace() || "`)\"'#".contains(c)).next().map(str::to_owned);
    for file in markdown::files() {
        let text = std::fs::read_to_string(&file).expect("a readable file");
        for base in PUBLISHED {
            for path in text.split(base).skip(1).filter_map(upto) {
                checked += 1;
                if !root().join(&path).is_file() {
                    dead.push(format!("{}: {base}{path}", file.display()));
                }
            }
        }
        for name in text.split(RELEASED).skip(1).filter_map(upto) {
            checked += 1;
            if !release.contains(&name) {
                dead.push(format!("{}: {RELEASED}{name}", file.display()));
            }
        }
    }
    assert!(dead.is_empty(), "{}", dead.join("\n"));
    assert!(checked >= 4, "only {checked} addresses were found");
}

#[test]
fn every_picture_is_small_shown_and_described() {
    let mut shown = BTreeSet::new();
    for file in markdown::files() {
        let text = std::fs::read_to_string(&file).expect("a readable file");
        shown.extend(
            markdown::links(&text)
                .iter()
                .filter_map(|link| link.rsplit_once("pictures/").map(|(_, name)| name.to_owned())),
        );
    }
    let entries = std::fs::read_dir(root().join("docs/pictures")).expect("the pictures");
    let mut there = BTreeSet::new();
    for entry in entries {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("an SVG");
        assert!(text.len() < 200_000, "{} has {} bytes", path.display(), text.len());
        let opening = text.split('>').next().unwrap_or_default();
        assert!(opening.starts_with("<svg ") && opening.contains(" aria-label=\""), "{}", path.display());
        there.insert(path.file_name().expect("a name").to_string_lossy().into_owned());
    }
    assert_eq!(shown, there, "pictures that documents show, and those there are");
}

#[test]
fn the_cast_is_the_demos() {
    let cast = std::fs::read_to_string(root().join("docs/pictures/demo.svg")).expect("the cast");
    let at = |text: &str| cast.find(text).unwrap_or_else(|| panic!("{text}: draw it again, as CONTRIBUTING.md says"));
    // What tests/support/tests/demo.rs finds in the demo's words, in this order.
    let found = [
        "Starting a Kubernetes control plane",
        "daas-us created",
        "daas-us-egress: ",
        "explain daas-us",
        "until the policies allow it",
        "+ 104.46.20.7/32 ",
        "TCP 443,9100",
        "Done",
    ]
    .map(at);
    assert!(found.is_sorted(), "{found:?}");
    assert!(!cast.contains("/tmp/."), "a folder of the machine that drew it");
}

#[test]
fn the_index_names_every_page() {
    let index = root().join("docs/README.md");
    let text = std::fs::read_to_string(&index).expect("the index");
    let named: BTreeSet<PathBuf> = markdown::links(&text)
        .iter()
        .filter_map(|link| root().join("docs").join(link.split('#').next()?).canonicalize().ok())
        .collect();
    let pages = markdown::files().into_iter().filter(|file| file.starts_with(root().join("docs")) && *file != index);
    let left_out: Vec<PathBuf> = pages.filter(|page| !named.contains(&page.canonicalize().expect("a page"))).collect();
    assert!(left_out.is_empty(), "docs/README.md does not name {left_out:?}");
}

#[test]
fn links_are_found_outside_code_only() {
    let text = "See [one](a.md#x) and ![two](b.svg \"title\"), not `[three](c.md)`.\n\n```sh\n[four](d.md)\n```\n";
    assert_eq!(markdown::links(text), ["a.md#x", "b.svg"]);
    assert_eq!(markdown::anchors("# A `b`: c, d\n\ntext\n## E-f\n"), ["a-b-c-d", "e-f"]);
}
