//! A real Kubernetes control plane on loopback: etcd, kube-apiserver and kube-controller-manager, without nodes.

mod folder;
mod keys;
mod kubeconfig;
mod kubectl;
mod kubernetes;
mod launch;
mod options;
mod shared;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Config, ResourceExt};

use self::folder::Folder;
pub use self::kubectl::KubectlOutput;
pub use self::kubernetes::Kubernetes;
pub use self::launch::Component;
use self::launch::{Layout, eventually};
pub use self::options::{ControlPlaneBuilder, ServiceNetworks};
pub use self::shared::{TestNamespace, shared_control_plane};
use crate::process::Process;

/// How long a program may take to obey a request to stop before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// How long a ServiceAccount's token is good for, in seconds: longer than any test.
const TOKEN_SECONDS: i64 = 24 * 60 * 60;

/// A control plane that this process started and that ends with it, or a cluster that was there before.
#[derive(Debug)]
pub struct ControlPlane {
    kubeconfig: PathBuf,
    url: String,
    ca_file: Option<PathBuf>,
    /// The programs; none of an existing cluster's. Dropped before the folder that they write to.
    own: Option<Programs>,
    folder: Folder,
}

/// Declared in the order in which they are to end.
#[derive(Debug)]
struct Programs {
    controller_manager: Option<Process>,
    api_server: Option<Process>,
    etcd: Option<Process>,
    layout: Layout,
}

impl Programs {
    fn slot(&mut self, component: Component) -> &mut Option<Process> {
        match component {
            Component::Etcd => &mut self.etcd,
            Component::ApiServer => &mut self.api_server,
            Component::ControllerManager => &mut self.controller_manager,
        }
    }

    fn running(&mut self, component: Component) -> anyhow::Result<&mut Process> {
        self.slot(component).as_mut().with_context(|| format!("{} is not running", component.name()))
    }
}

impl ControlPlane {
    /// Starts one of its own with every default: IPv4 Services, RBAC, `OwnerReferencesPermissionEnforcement`.
    ///
    /// # Errors
    ///
    /// As [`ControlPlaneBuilder::start`].
    pub async fn start() -> anyhow::Result<Self> {
        Self::builder().start().await
    }

    /// Options for one of its own.
    pub fn builder() -> ControlPlaneBuilder {
        ControlPlaneBuilder::default()
    }

    /// The kubeconfig of an existing cluster that tests are to use: `CITRIX_ALLOWLIST_TEST_KUBECONFIG`, or `KUBECONFIG`.
    /// `None` where the environment asks for the oldest Kubernetes, which such a cluster need not be.
    pub fn existing_kubeconfig() -> Option<PathBuf> {
        if !matches!(Kubernetes::chosen(), Ok(Kubernetes::Newest)) {
            return None;
        }
        ["CITRIX_ALLOWLIST_TEST_KUBECONFIG", "KUBECONFIG"]
            .into_iter()
            .find_map(|variable| std::env::var_os(variable).filter(|value| !value.is_empty()))
            .map(PathBuf::from)
    }

    /// The cluster of a kubeconfig's current context. It is shared with others: tests keep to namespaces of their own.
    ///
    /// # Errors
    ///
    /// When the kubeconfig cannot be read or the API server does not answer.
    pub async fn from_existing_kubeconfig(file: &Path) -> anyhow::Result<Self> {
        let folder = Folder::new()?;
        let kubeconfig = folder.path().join("kubeconfig");
        let view = ["config", "view", "--raw", "--flatten", "--minify", "-o", "json"];
        let text = kubectl::run(file, &folder.path().join("kubectl-cache"), &view, None).await?.success()?;
        std::fs::write(&kubeconfig, text)?;
        let ca_file = folder.path().join("ca.crt");
        let ca_file = kubeconfig::write_ca(&ca_file, &kubeconfig)?.then_some(ca_file);
        let url = kubeconfig::server_of(&kubeconfig)?;
        let cluster = Self { kubeconfig, url, ca_file, own: None, folder };
        let version = cluster.client().await?.apiserver_version().await;
        version.with_context(|| format!("the cluster of {} does not answer", file.display()))?;
        Ok(cluster)
    }

    async fn launch(options: ControlPlaneBuilder) -> anyhow::Result<Self> {
        let folder = Folder::new()?;
        let definitions = options.definitions.clone();
        let layout = Layout::prepare(folder.path(), options)?;
        let etcd = layout.start(Component::Etcd)?;
        let mut own = Programs { controller_manager: None, api_server: None, etcd: Some(etcd), layout };
        let mut api_server = own.layout.start(Component::ApiServer)?;
        own.layout.wait_for_api_server(&mut api_server, own.etcd.as_mut()).await?;
        own.api_server = Some(api_server);

        let mut control_plane = Self {
            kubeconfig: own.layout.kubeconfig(),
            url: own.layout.url(),
            ca_file: Some(own.layout.ca_file()),
            own: Some(own),
            folder,
        };
        control_plane.install(&definitions).await?;
        control_plane.start_controller_manager()?;
        control_plane.wait_for_defaults().await?;
        Ok(control_plane)
    }

    fn start_controller_manager(&mut self) -> anyhow::Result<()> {
        if let Some(own) = &mut self.own
            && own.layout.has_controller_manager()
        {
            own.controller_manager = Some(own.layout.start(Component::ControllerManager)?);
        }
        Ok(())
    }

    async fn wait_for_defaults(&mut self) -> anyhow::Result<()> {
        let client = self.client().await?;
        let namespaces = Api::<Namespace>::all(client.clone());
        let accounts = Api::<ServiceAccount>::namespaced(client, "default");
        let mut controller_manager = self.own.as_mut().and_then(|own| own.controller_manager.as_mut());
        eventually("the default namespace and its ServiceAccount exist", async || {
            if let Some(controller_manager) = controller_manager.as_deref_mut() {
                controller_manager.expect_running()?;
                if accounts.get_opt("default").await?.is_none() {
                    return Ok(None);
                }
            }
            Ok(namespaces.get_opt("default").await?.map(drop))
        })
        .await
    }

    /// Applies definitions and waits until the API server serves them.
    ///
    /// # Errors
    ///
    /// When the API server refuses one, with its reason.
    pub async fn install(&self, definitions: &[CustomResourceDefinition]) -> anyhow::Result<()> {
        let api = Api::<CustomResourceDefinition>::all(self.client().await?);
        let parameters = PatchParams::apply("citrix-allowlist-tests").force();
        for definition in definitions {
            let name = definition.name_any();
            api.patch(&name, &parameters, &Patch::Apply(definition)).await.with_context(|| format!("apply {name}"))?;
        }
        for definition in definitions {
            let name = definition.name_any();
            eventually(&format!("{name} is established"), async || {
                let conditions = api.get(&name).await?.status.and_then(|status| status.conditions).unwrap_or_default();
                let established = |kind: &str| conditions.iter().any(|it| it.type_ == kind && it.status == "True");
                Ok(established("Established").then_some(()))
            })
            .await?;
        }
        Ok(())
    }

    /// Whether this is one of our own, whose programs can be stopped.
    pub fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Whether objects whose owner is deleted are collected: always in an existing cluster, and in one of our own that
    /// has a kube-controller-manager.
    pub fn collects_garbage(&self) -> bool {
        self.own.as_ref().is_none_or(|own| own.layout.has_controller_manager())
    }

    /// Whether the API server serves a kind in a group and version, such as `networking.k8s.io/v1`.
    ///
    /// # Errors
    ///
    /// When it cannot be asked.
    pub async fn serves(&self, group_version: &str, kind: &str) -> anyhow::Result<bool> {
        match self.client().await?.list_api_group_resources(group_version).await {
            Ok(served) => Ok(served.resources.iter().any(|resource| resource.kind == kind)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The kubeconfig of the administrator.
    pub fn kubeconfig_path(&self) -> &Path {
        &self.kubeconfig
    }

    /// The address of the API server.
    pub fn api_server_url(&self) -> &str {
        &self.url
    }

    /// A PEM file with the authority that the API server's certificate is to be checked against; `None` for an existing
    /// cluster whose certificate is a public one.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// A folder for files that are to go with the control plane.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A new client of the administrator, bound to the calling runtime. It does not repeat failed requests.
    ///
    /// # Errors
    ///
    /// When the kubeconfig is gone.
    pub async fn client(&self) -> anyhow::Result<Client> {
        self.client_for(&self.kubeconfig).await
    }

    /// A new client for a kubeconfig, such as [`Self::kubeconfig_for_service_account`] gives.
    ///
    /// # Errors
    ///
    /// When the kubeconfig cannot be used.
    pub async fn client_for(&self, kubeconfig: &Path) -> anyhow::Result<Client> {
        kubeconfig::client(kubeconfig, !self.is_own()).await
    }

    /// What [`Self::client_for`] makes its client from, to be changed before use.
    ///
    /// # Errors
    ///
    /// When the kubeconfig cannot be used.
    pub async fn config_for(&self, kubeconfig: &Path) -> anyhow::Result<Config> {
        kubeconfig::config(kubeconfig, !self.is_own()).await
    }

    /// Writes a kubeconfig that may do what a ServiceAccount may do, and gives its path. The account must exist.
    ///
    /// # Errors
    ///
    /// When the API server gives no token for it.
    pub async fn kubeconfig_for_service_account(&self, namespace: &str, name: &str) -> anyhow::Result<PathBuf> {
        let accounts = Api::<ServiceAccount>::namespaced(self.client().await?, namespace);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec { expiration_seconds: Some(TOKEN_SECONDS), ..Default::default() }),
            ..Default::default()
        };
        let answer = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await
            .with_context(|| format!("ask for a token of ServiceAccount {namespace}/{name}"))?;
        let token = answer.status.and_then(|status| status.token).context("the API server gave no token")?;
        let file = tempfile::Builder::new()
            .prefix(&format!("kubeconfig-{namespace}-{name}-"))
            .tempfile_in(self.folder.path())?
            .into_temp_path()
            .keep()?;
        kubeconfig::write_like(&file, &self.kubeconfig, &token, namespace)?;
        Ok(file)
    }

    /// Runs kubectl as the administrator and gives its standard output.
    ///
    /// # Errors
    ///
    /// When it fails; with what it printed.
    pub async fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.kubectl_with(&self.kubeconfig, arguments, None).await?.success()
    }

    /// Applies a manifest (YAML or JSON, one or several documents) as the administrator, by server-side apply.
    ///
    /// # Errors
    ///
    /// When the API server refuses it; with its reason.
    pub async fn apply(&self, manifest: &str) -> anyhow::Result<String> {
        let arguments = ["apply", "--server-side", "-f", "-"];
        self.kubectl_with(&self.kubeconfig, &arguments, Some(manifest)).await?.success()
    }

    /// Runs kubectl with a kubeconfig and, where given, text on its standard input, however it ends.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub async fn kubectl_with(
        &self,
        kubeconfig: &Path,
        arguments: &[&str],
        input: Option<&str>,
    ) -> anyhow::Result<KubectlOutput> {
        kubectl::run(kubeconfig, &self.folder.path().join("kubectl-cache"), arguments, input).await
    }

    /// Asks etcd itself, by the JSON form of its API: `/v3/maintenance/status`. Returns its answer.
    ///
    /// # Errors
    ///
    /// When the cluster is not our own, or etcd does not answer with success.
    pub async fn ask_etcd(&self, path: &str, question: &serde_json::Value) -> anyhow::Result<serde_json::Value> {
        let own = self.own.as_ref().context("an existing cluster's etcd is not ours to ask")?;
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build()?;
        let url = format!("{}{path}", own.layout.etcd_url());
        let answer = client.post(&url).body(question.to_string()).send().await.context(url)?;
        let (status, text) = (answer.status(), answer.text().await?);
        anyhow::ensure!(status.is_success(), "etcd answers {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }

    /// Asks a program to end and waits until it has; where it does not obey within 30 s, it is killed.
    ///
    /// # Errors
    ///
    /// When the cluster is not our own, the program not running, or it had to be killed.
    pub async fn stop(&mut self, component: Component) -> anyhow::Result<()> {
        let process = self.own()?.slot(component).take();
        let process = process.with_context(|| format!("{} is not running", component.name()))?;
        process.stop(STOP_LIMIT).await?;
        Ok(())
    }

    /// Kills a program at once, as the loss of its machine would; what etcd was told stays.
    ///
    /// # Errors
    ///
    /// When the cluster is not our own or the program not running.
    pub fn kill(&mut self, component: Component) -> anyhow::Result<()> {
        let process = self.own()?.slot(component).take();
        process.with_context(|| format!("{} is not running", component.name()))?.kill();
        Ok(())
    }

    /// Freezes a program: connections to it stay open, and nothing is answered.
    ///
    /// # Errors
    ///
    /// When the cluster is not our own or the program not running.
    pub fn freeze(&mut self, component: Component) -> anyhow::Result<()> {
        self.own()?.running(component)?.signal("STOP")
    }

    /// Lets a frozen program go on.
    ///
    /// # Errors
    ///
    /// When the cluster is not our own or the program not running.
    pub fn thaw(&mut self, component: Component) -> anyhow::Result<()> {
        self.own()?.running(component)?.signal("CONT")
    }

    /// Starts a program again that was stopped or killed, with the same port and data. The API server is ready on
    /// return where etcd runs; where etcd does not, it is left to become ready.
    ///
    /// # Errors
    ///
    /// When the cluster is not our own, or the program runs already or does not come up.
    pub async fn start_again(&mut self, component: Component) -> anyhow::Result<()> {
        let own = self.own()?;
        anyhow::ensure!(own.slot(component).is_none(), "{} runs already", component.name());
        let mut process = own.layout.start(component)?;
        match component {
            Component::ApiServer if own.etcd.is_some() => {
                own.layout.wait_for_api_server(&mut process, own.etcd.as_mut()).await?;
            }
            Component::Etcd => {
                if let Some(api_server) = &mut own.api_server {
                    own.layout.wait_for_api_server(api_server, Some(&mut process)).await?;
                }
            }
            Component::ApiServer | Component::ControllerManager => {}
        }
        *own.slot(component) = Some(process);
        Ok(())
    }

    fn own(&mut self) -> anyhow::Result<&mut Programs> {
        self.own.as_mut().context("an existing cluster's programs are not ours to stop")
    }
}
