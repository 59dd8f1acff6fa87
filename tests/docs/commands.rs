//! Every block of commands in a document is run by a test, or has a reason why not.
//!
//! [`BLOCKS`] names each by its page and its first line: a new block fails here until it is classified. Those that are
//! [`Class::Played`] are run in the order of their page, on a cluster of the page's own. A `text` block right after one is
//! what it prints, in the language of the transcripts; a `yaml` or `json` block whose first line is `# NAME.yaml` is that
//! file.

use super::markdown::{self, Block};
use super::root;
use super::scene::Scene;
use super::transcripts;
use std::collections::BTreeSet;
use test_support::fixture;
use tokio::sync::Semaphore;

/// What becomes of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Run by the test of its page, below.
    Played,
    /// The same, on a new cluster: another way to do what the page did before.
    PlayedAfresh,
    /// Run by another test.
    Elsewhere(&'static str),
    /// Not run, and why.
    NotRun(&'static str),
}

use Class::{Elsewhere, NotRun, Played, PlayedAfresh};

/// The languages of blocks that people run.
const LANGUAGES: [&str; 6] = ["sh", "bash", "shell", "console", "console cluster", "console kustomize"];

/// Programs that a block of another language may not start a line with: it would be a block of commands in disguise.
const PROGRAMS: [&str; 8] = ["kubectl ", "helm ", "citrix-allowlist ", "make ", "cargo ", "curl ", "jq ", "$ "];

/// The transcripts of the command line.
const TRANSCRIPTS: Class = Elsewhere("tests/cli.rs and tests/cli_cluster/");
/// What a checkout's own programs do.
const MAKE: Class = Elsewhere("continuous integration, and tests/support/tests/demo.rs for the demo");
/// What needs what a release has published.
const RELEASE: Class = NotRun("needs a published release, its registry and its signatures");

/// Every block, by its page, its first line, and what becomes of it.
const BLOCKS: &[(&str, &str, Class)] = &[
    ("README.md", "make demo", MAKE),
    ("README.md", "helm install citrix-allowlist-operator", Played),
    ("README.md", "kubectl -n citrix wait", Played),
    ("CONTRIBUTING.md", "make tools", MAKE),
    ("SECURITY.md", "identity=", RELEASE),
    ("charts/citrix-allowlist-operator/README.md", "helm install citrix-allowlist-operator", Played),
    ("docs/cli.md", "$ ", TRANSCRIPTS),
    ("docs/gitops.md", "kubectl -n argocd patch", Played),
    ("docs/gitops.md", "citrix-allowlist render", Played),
    ("docs/gitops.md", "$ ", TRANSCRIPTS),
    ("docs/gitops.md", "kpt fn eval", NotRun("needs kpt; tests/cli gives the same function its list")),
    ("docs/history.md", "kubectl apply", Played),
    ("docs/history.md", "kubectl -n citrix get configmap daas-us-history", Played),
    ("docs/install.md", "helm install", Played),
    (
        "docs/install.md",
        "helm test",
        NotRun("needs the network of Services and a CNI: the cluster job of continuous integration runs it"),
    ),
    ("docs/install.md", "kubectl apply --server-side -f", PlayedAfresh),
    ("docs/upgrade.md", "helm upgrade", Played),
    ("docs/upgrade.md", "kubectl apply --server-side --force-conflicts", Played),
    ("docs/upgrade.md", "helm rollback", Played),
    ("docs/upgrade.md", "helm uninstall", Played),
    ("docs/runbook.md", "kubectl get cal -A -o wide", Played),
    ("docs/runbook.md", "kubectl -n citrix-allowlist-operator logs", NotRun("needs a kubelet that keeps logs")),
    ("docs/quickstart.md", "helm install", Played),
    ("docs/quickstart.md", "kubectl", Played),
    ("docs/security.md", "kubectl", Played),
    ("docs/guides/forwarder-platforms.md", "$ ", TRANSCRIPTS),
    ("docs/guides/", "kubectl", Played),
    ("docs/guides/", "helm", Played),
    ("docs/guides/", "jq", Played),
    ("docs/guides/multi-tenant.md", "for attempt", Played),
];

impl Class {
    fn is_played(self) -> bool {
        matches!(self, Played | PlayedAfresh)
    }
}

fn is_commands(block: &Block) -> bool {
    LANGUAGES.contains(&block.language.as_str())
}

/// The page's name in [`BLOCKS`].
fn page_of(file: &std::path::Path) -> String {
    file.strip_prefix(root()).unwrap_or(file).display().to_string()
}

fn class_of(page: &str, block: &Block) -> Option<usize> {
    let first = block.text.lines().find(|line| !line.starts_with('#')).unwrap_or_default();
    let fits = |(of, start, _): &(&str, &str, Class)| {
        (page == *of || (of.ends_with('/') && page.starts_with(of))) && first.starts_with(start)
    };
    // The longest first line: `kubectl -n argocd` before `kubectl`.
    let found = BLOCKS.iter().enumerate().filter(|(_, entry)| fits(entry));
    found.max_by_key(|(_, (_, start, _))| start.len()).map(|(index, _)| index)
}

#[test]
fn every_block_of_commands_has_a_class() {
    let (mut used, mut without, mut disguised) = (BTreeSet::new(), Vec::new(), Vec::new());
    let (mut pages, mut played) = (BTreeSet::new(), BTreeSet::new());
    for file in markdown::files() {
        let page = page_of(&file);
        let text = std::fs::read_to_string(&file).expect("a readable file");
        // A reference shows how commands are written.
        let generated = text.starts_with("<!-- Generated");
        for block in markdown::blocks(&text).0 {
            let place = format!("{page}:{}", block.line);
            if is_commands(&block) {
                match class_of(&page, &block) {
                    Some(index) => {
                        used.insert(index);
                        if BLOCKS[index].2.is_played() {
                            pages.insert(page.clone());
                        }
                    }
                    None => without.push(place),
                }
            } else if !generated
                && block.text.lines().any(|line| PROGRAMS.iter().any(|program| line.starts_with(program)))
            {
                disguised.push(place);
            }
        }
    }
    assert!(without.is_empty(), "blocks of commands that BLOCKS does not name: {without:?}");
    assert!(disguised.is_empty(), "blocks that hold commands and do not say so: {disguised:?}");
    let unused: Vec<_> = BLOCKS.iter().enumerate().filter(|(index, _)| !used.contains(index)).collect();
    assert!(unused.is_empty(), "entries without a block: {unused:?}");
    played.extend(PAGES.iter().map(|page| (*page).to_owned()));
    assert_eq!(pages, played, "pages with blocks to play, and pages that are played");
    for (_, _, class) in BLOCKS {
        if let NotRun(reason) | Elsewhere(reason) = class {
            assert!(reason.len() > 10, "{reason}");
        }
    }
}

/// What is there before a page's first command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// A cluster.
    Nothing,
    /// The operator, and the namespace `citrix`.
    Installed,
    /// A cluster, and an answer of the API that somebody carried in.
    SavedLists,
    /// Argo CD's namespace and ConfigMap, and a folder of resources.
    ArgoCd,
}

const INSTALL: &str = "helm install citrix-allowlist-operator oci://ghcr.io/citrix-allowlist/charts/citrix-allowlist-operator \
                       --namespace citrix-allowlist-operator --create-namespace --wait --timeout 2m\nkubectl create namespace citrix";

const ARGO_CD: &str = "kubectl create namespace argocd\nkubectl -n argocd create configmap argocd-cm\n\
                       mkdir -p allowlists saved rendered\ncp examples/daas-us.yaml allowlists/";

/// One of the older static lists.
const OLD_LIST: &str = r#"{"DaaS": {"AllowList": ["accounts.cloud.com", "old.example.com"], "LatestChangeLog": ""}}"#;

/// So many clusters at a time: each is half a gigabyte.
static CLUSTERS: Semaphore = Semaphore::const_new(2);

/// A cluster with what a page takes to be there.
async fn prepared(before: Before) -> Scene {
    let scene = Scene::set().await;
    match before {
        Before::Nothing => {}
        Before::Installed => {
            drop(scene.run("before", INSTALL).await);
            scene.write("old-list.json", OLD_LIST);
            scene.write("fqdnallowlist-japan.json", fixture::STATIC_JAPAN);
        }
        Before::SavedLists => scene.write("global.json", fixture::ALLOWLIST),
        Before::ArgoCd => {
            drop(scene.run("before", ARGO_CD).await);
            for (name, file) in
                [("saved/global.json", "tests/cli/data/list.json"), ("saved/hosts", "tests/cli/data/hosts")]
            {
                scene.write(name, &std::fs::read_to_string(root().join(file)).expect("a file"));
            }
        }
    }
    scene
}

async fn play(page: &str, before: Before) {
    let _turn = CLUSTERS.acquire().await.expect("a turn");
    let text = std::fs::read_to_string(root().join(page)).expect("a readable page");
    let (blocks, _) = markdown::blocks(&text);
    let mut scene = prepared(before).await;
    let mut blocks = blocks.iter().peekable();
    let mut commands = 0;
    while let Some(block) = blocks.next() {
        if let Some(name) = file_name(block) {
            scene.write(name, &block.text);
        }
        let class = class_of(page, block).filter(|_| is_commands(block)).map(|index| BLOCKS[index].2);
        let Some(class) = class.filter(|class| class.is_played()) else { continue };
        if class == PlayedAfresh {
            scene = prepared(before).await;
        }
        commands += 1;
        let place = format!("{page}:{}", block.line);
        let found = scene.run(&place, &block.text).await;
        if let Some(expected) = blocks.next_if(|next| next.language == "text") {
            let expected: Vec<String> = expected.text.lines().map(str::to_owned).collect();
            assert!(
                transcripts::matches(&expected, &found),
                "{place}\n--- expected\n{}\n--- found\n{}",
                expected.join("\n"),
                found.join("\n")
            );
        }
    }
    assert!(commands > 0, "{page} has nothing to play");
}

/// The name of the file that a block shows, which its first line says.
fn file_name(block: &Block) -> Option<&str> {
    let name = block.text.lines().next()?.strip_prefix("# ")?;
    let is_file = name.ends_with(".yaml") && name.chars().all(|c| c.is_ascii_alphanumeric() || "-./".contains(c));
    (block.language == "yaml" && is_file).then_some(name)
}

macro_rules! pages {
    ($($name:ident: $page:literal, $before:ident;)*) => {
        /// Every page that is played.
        const PAGES: &[&str] = &[$($page),*];
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                play($page, Before::$before).await;
            }
        )*
    };
}

pages! {
    the_readme_is_true: "README.md", Nothing;
    the_charts_readme_is_true: "charts/citrix-allowlist-operator/README.md", Nothing;
    the_quickstart_is_true: "docs/quickstart.md", Nothing;
    installing_is_true: "docs/install.md", Nothing;
    upgrading_is_true: "docs/upgrade.md", Installed;
    gitops_is_true: "docs/gitops.md", ArgoCd;
    the_runbook_is_true: "docs/runbook.md", Installed;
    security_is_true: "docs/security.md", Installed;
    the_trail_is_true: "docs/history.md", Installed;
    japan_is_true: "docs/guides/japan.md", Installed;
    virtual_machines_are_true: "docs/guides/virtual-machines.md", Installed;
    web_proxies_are_true: "docs/guides/web-proxies.md", Installed;
    private_links_are_true: "docs/guides/private-links.md", Installed;
    air_gapped_is_true: "docs/guides/air-gapped.md", SavedLists;
    network_plugins_are_true: "docs/guides/cni.md", Installed;
    dual_stack_is_true: "docs/guides/dual-stack.md", Installed;
    inbound_is_true: "docs/guides/inbound.md", Installed;
    audit_to_enforce_is_true: "docs/guides/audit-to-enforce.md", Installed;
    tenants_are_true: "docs/guides/multi-tenant.md", Installed;
}
