//! Everything that runs while the demo does, started together and ended together.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, ResourceExt};

use super::teller::Teller;
use super::zone::{self, Zone};
use crate::ControlPlane;
use crate::control_plane::TestNamespace;
use crate::coredns::CoreDns;
use crate::free_port::free_port;
use crate::operator::{Operator, OperatorConfig};
use crate::standin::{Standin, StandinConfig, Validity};
use crate::tools::{tool, workspace_root};

/// The customer of the example.
pub(super) const CUSTOMER: &str = "testcustomer";
/// The name that is new in the list that the demo publishes.
pub(super) const NEW_NAME: &str = "print.cloud.com";
/// A name under a wildcard of the list, which nobody has asked for.
pub(super) const UNSEEN_NAME: &str = "citrixdemo.blob.core.windows.net";
/// How long a list is valid: four requests a minute keep within the vendor's five.
pub(super) const VALIDITY: Duration = Duration::from_secs(15);
/// The namespace of the examples, and so of the demo on a control plane of its own.
const NAMESPACE: &str = "citrix";
/// The resource's definition.
const DEFINITION: &str = "citrixallowlists.citrix-allowlist.io";
/// The Lease of an operator that runs in a cluster.
const LEASE: &str = "citrix-allowlist-operator";

/// What runs, in the order in which it is to end.
pub(super) struct Stage {
    operator: Operator,
    /// In a cluster that was there before: deleted, with all that is in it.
    _own_namespace: Option<TestNamespace>,
    _own_definition: Option<OwnDefinition>,
    pub(super) standin: Standin,
    /// Where the operator is asked for names of the list's zones.
    pub(super) forwarder: SocketAddr,
    dns: CoreDns,
    pub(super) zone: Zone,
    pub(super) cluster: ControlPlane,
    pub(super) client: Client,
    pub(super) namespace: String,
}

impl Stage {
    /// Starts everything, with a step told for each part.
    pub(super) async fn set(teller: &Teller) -> anyhow::Result<Self> {
        // The first caller chooses; every choice here is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let zone = Zone::of(CUSTOMER, &[NEW_NAME, UNSEEN_NAME]);
        let text = zone.text();
        let zones = [(zone::FILE, text.as_str())];
        let standin = StandinConfig { validity: Validity::Rolling(VALIDITY), admin: true, ..StandinConfig::default() };

        let existing = ControlPlane::existing_kubeconfig();
        match &existing {
            None => teller.step("Starting a Kubernetes control plane, CoreDNS, and a stand-in for Citrix's API"),
            Some(file) => teller.step(&format!(
                "Using the cluster of {}; starting CoreDNS and a stand-in for Citrix's API",
                file.display()
            )),
        }
        let cluster = async {
            match &existing {
                None => ControlPlane::builder().workspace_definitions()?.start().await,
                Some(file) => ControlPlane::from_existing_kubeconfig(file).await,
            }
        };
        let (cluster, dns, standin) =
            tokio::try_join!(cluster, CoreDns::start(zone::COREFILE, &zones), Standin::start(standin))?;
        let client = cluster.client().await?;
        let version = client.apiserver_version().await.context("ask the API server for its version")?.git_version;
        teller.say(&format!("Kubernetes   {version} at {}", cluster.api_server_url()));
        teller.say(&format!("CoreDNS      {} with {} names, TTL {} s", dns.address(), zone.len(), zone::TTL));
        teller.say(&format!("Citrix's API {} (a list is valid for {VALIDITY:?})", standin.base_url_global()));

        teller.step("Installing the CitrixAllowlist resource and running the operator");
        let own_definition = if cluster.is_own() { None } else { prepare_existing(&cluster, &client, teller).await? };
        let (namespace, own_namespace) = make_namespace(&cluster, &client).await?;
        let forwarder = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), free_port()?);
        let operator = start_operator(&cluster, &namespace, &standin, &dns, forwarder).await?;
        teller.say(&format!("citrix-allowlist run   (logs to {})", operator.log_path().display()));
        Ok(Self {
            operator,
            _own_namespace: own_namespace,
            _own_definition: own_definition,
            standin,
            forwarder,
            dns,
            zone,
            cluster,
            client,
            namespace,
        })
    }

    /// Gives a name another address in DNS.
    pub(super) fn move_name(&mut self, name: &str, address: IpAddr) -> anyhow::Result<()> {
        self.zone.replace(name, address);
        self.dns.write_zone(zone::FILE, &self.zone.text())
    }

    /// Runs kubectl in the demo's namespace.
    pub(super) async fn kubectl(&self, arguments: &[&str], input: Option<&str>) -> anyhow::Result<String> {
        let arguments = [&["-n", self.namespace.as_str()], arguments].concat();
        self.cluster.kubectl_with(self.cluster.kubeconfig_path(), &arguments, input).await?.success()
    }

    /// Runs one of the commands for people, which talk to the cluster as kubectl does. It has to exit with `code`.
    pub(super) async fn operator_command(&self, arguments: &[&str], code: i32) -> anyhow::Result<String> {
        let output = tokio::process::Command::new(operator_binary()?)
            .args(arguments)
            .env("KUBECONFIG", self.cluster.kubeconfig_path())
            // It runs beside the cluster, and not as a pod of it, where the API server would lead to it.
            .env("CITRIX_ALLOWLIST_OPERATOR", self.operator.url())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(code), "citrix-allowlist {} failed: {errors}", arguments.join(" "));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// An error, with the end of its log, once one of the programs has ended.
    pub(super) fn expect_running(&mut self) -> anyhow::Result<()> {
        self.operator.process().expect_running()?;
        self.dns.process().expect_running()
    }

    /// What the programs logged last.
    pub(super) fn log_tails(&mut self) -> String {
        format!("{}\n{}", self.operator.process().log_tail(), self.dns.process().log_tail())
    }

    /// All that the operator has logged.
    pub(super) fn operator_log(&self) -> String {
        self.operator.log()
    }

    /// How a person goes on from here.
    pub(super) fn say_how_to_talk_to_it(&self, teller: &Teller) {
        teller.step("Everything keeps running until Ctrl-C. In another shell:");
        let kubectl = tool("kubectl").map_or_else(|_| "kubectl".to_owned(), |path| path.display().to_string());
        teller.say(&format!(
            "export KUBECONFIG={}\n{kubectl} -n {} get cal,netpol,cm,events\n\
             curl -s {}/metrics\n\
             export PATH={}:$PATH CITRIX_ALLOWLIST_OPERATOR={} CITRIX_ALLOWLIST_NAMESPACE={}\n\
             citrix-allowlist explain daas-us     # and render, diff, refresh: --help says what each does\n\
             curl -s '{}/v2/allowlist?customerId={CUSTOMER}&geo=us' >list.json    # change it, and publish it:\n\
             curl -s {}/admin/publish --data @list.json",
            self.cluster.kubeconfig_path().display(),
            self.namespace,
            self.operator.url(),
            operator_binary().ok().and_then(|path| Some(path.parent()?.display().to_string())).unwrap_or_default(),
            self.operator.url(),
            self.namespace,
            self.standin.base_url_global(),
            self.standin.origin(),
        ));
    }

    /// Returns when one of the programs ends by itself.
    pub(super) async fn watch(&mut self) -> anyhow::Result<()> {
        loop {
            self.expect_running()?;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

async fn start_operator(
    cluster: &ControlPlane,
    namespace: &str,
    standin: &Standin,
    dns: &CoreDns,
    forwarder: SocketAddr,
) -> anyhow::Result<Operator> {
    let config = OperatorConfig::new(operator_binary()?, cluster.kubeconfig_path())
        .flag("global-url", standin.base_url_global())
        .flag("japan-url", standin.base_url_japan())
        .flag("dns-server", dns.address())
        .flag("forward-listen", forwarder)
        .flag("forward-upstream", dns.address())
        .flag("min-refresh", "10s")
        .flag("watch-namespace", namespace)
        .switch("no-leader-election")
        .variable("POD_NAMESPACE", namespace);
    Operator::start(&config).await
}

/// The operator, built into the folder where the demo itself was.
fn operator_binary() -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("citrix-allowlist");
    ensure!(path.is_file(), "{} is missing: run `make demo`, or `cargo build --workspace --bins`", path.display());
    Ok(path)
}

/// The examples' namespace, or in a cluster of others one of our own that goes with the demo.
async fn make_namespace(cluster: &ControlPlane, client: &Client) -> anyhow::Result<(String, Option<TestNamespace>)> {
    if cluster.is_own() {
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some(NAMESPACE.to_owned());
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await?;
        return Ok((NAMESPACE.to_owned(), None));
    }
    let namespace = cluster.fresh_namespace("citrix-demo").await?;
    Ok((namespace.name().to_owned(), Some(namespace)))
}

/// Makes sure that nobody else acts on the demo's resource, and installs the definition where there is none. One that is
/// there is used as it is: it may be newer, and another's to change.
async fn prepare_existing(
    cluster: &ControlPlane,
    client: &Client,
    teller: &Teller,
) -> anyhow::Result<Option<OwnDefinition>> {
    let named = ListParams::default().fields(&format!("metadata.name={LEASE}"));
    for lease in Api::<Lease>::all(client.clone()).list(&named).await.context("look for a running operator")? {
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        ensure!(
            holder.is_empty(),
            "an operator runs in this cluster already: {holder} holds the Lease {LEASE} in namespace {}",
            lease.namespace().unwrap_or_default()
        );
    }
    if Api::<CustomResourceDefinition>::all(client.clone()).get_opt(DEFINITION).await?.is_some() {
        teller.say(&format!("{DEFINITION} is installed already and used as it is"));
        return Ok(None);
    }
    let text = std::fs::read_to_string(workspace_root().join("crds/citrixallowlists.yaml"))?;
    let own = OwnDefinition { kubeconfig: cluster.kubeconfig_path().to_path_buf() };
    cluster.install(&[serde_saphyr::from_str(&text)?]).await?;
    Ok(Some(own))
}

/// A definition that the demo brought into a cluster, deleted on drop unless somebody has used it meanwhile.
struct OwnDefinition {
    kubeconfig: PathBuf,
}

impl Drop for OwnDefinition {
    fn drop(&mut self) {
        let namespaces =
            ["get", "citrixallowlists", "-A", "-o", "jsonpath={range .items[*]}{.metadata.namespace}{\"\\n\"}{end}"];
        let used = kubectl(&self.kubeconfig, &namespaces);
        let foreign = used.as_deref().is_none_or(|used| used.lines().any(|line| !line.starts_with("citrix-demo-")));
        if foreign {
            eprintln!("the definition {DEFINITION} is left in the cluster: it is, or may be, in use");
        } else if kubectl(&self.kubeconfig, &["delete", "crd", DEFINITION, "--wait=false"]).is_none() {
            eprintln!("the definition {DEFINITION} could not be deleted");
        }
    }
}

/// Runs kubectl to its end and gives what it printed; `None` where it failed.
fn kubectl(kubeconfig: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(tool("kubectl").ok()?);
    let output = command.arg("--kubeconfig").arg(kubeconfig).args(arguments).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
