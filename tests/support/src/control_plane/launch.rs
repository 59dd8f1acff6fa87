//! The programs of a control plane: their flags, their files, and their order.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use kube::Client;
use serde_json::json;

use super::keys::write_signing_keys;
use super::kubeconfig;
use super::kubernetes::Kubernetes;
use super::options::ControlPlaneBuilder;
use crate::free_port::free_port;
use crate::process::Process;
use crate::tools::tool;

/// How long a program may take to be ready: they take 3 s together on two idle cores.
const READY_LIMIT: Duration = Duration::from_secs(120);

/// How long between two looks at whether something is ready.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A program of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// etcd, which holds the data.
    Etcd,
    /// kube-apiserver.
    ApiServer,
    /// kube-controller-manager: garbage collection, ServiceAccounts, the deletion of namespaces.
    ControllerManager,
}

impl Component {
    /// The program's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
        }
    }
}

/// What stays the same however often a program is stopped and started: programs, ports and files.
#[derive(Debug)]
pub(super) struct Layout {
    folder: PathBuf,
    etcd: PathBuf,
    api_server: PathBuf,
    controller_manager: Option<PathBuf>,
    etcd_port: u16,
    etcd_peer_port: u16,
    api_server_port: u16,
    controller_manager_port: u16,
    options: ControlPlaneBuilder,
}

impl Layout {
    /// Finds the programs and ports, and writes the keys, tokens and kubeconfig.
    pub(super) fn prepare(folder: &Path, options: ControlPlaneBuilder) -> anyhow::Result<Self> {
        let kubernetes = Kubernetes::chosen()?;
        let controller_manager = match tool(kubernetes.program(Component::ControllerManager)) {
            _ if !options.controller_manager => None,
            Ok(program) => Some(program),
            // envtest's binaries come without one.
            Err(_) if kubernetes == Kubernetes::Newest && std::env::var_os("KUBEBUILDER_ASSETS").is_some() => None,
            Err(error) => return Err(error),
        };
        let layout = Self {
            folder: folder.to_path_buf(),
            etcd: tool(kubernetes.program(Component::Etcd))?,
            api_server: tool(kubernetes.program(Component::ApiServer))?,
            controller_manager,
            etcd_port: options.etcd_port.map_or_else(free_port, Ok)?,
            etcd_peer_port: free_port()?,
            api_server_port: options.api_server_port.map_or_else(free_port, Ok)?,
            controller_manager_port: free_port()?,
            options,
        };
        write_signing_keys(&layout.file("service-account.key"), &layout.file("service-account.pub"))?;
        let token: String = std::iter::repeat_with(fastrand::alphanumeric).take(32).collect();
        std::fs::write(layout.file("tokens.csv"), format!("{token},admin,admin,system:masters\n"))?;
        kubeconfig::write(&layout.kubeconfig(), &layout.url(), &layout.ca_file(), &token)?;
        if let Some(level) = &layout.options.pod_security {
            std::fs::write(layout.file("admission.json"), pod_security_configuration(level))?;
        }
        Ok(layout)
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.file("kubeconfig")
    }

    pub(super) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.api_server_port)
    }

    /// Where etcd is asked.
    pub(super) fn etcd_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.etcd_port)
    }

    /// The API server's own certificate and the authority that it made for it.
    pub(super) fn ca_file(&self) -> PathBuf {
        self.file("certificates/apiserver.crt")
    }

    pub(super) fn log(&self, component: Component) -> PathBuf {
        self.file(&format!("{}.log", component.name()))
    }

    pub(super) fn has_controller_manager(&self) -> bool {
        self.controller_manager.is_some()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Starts one program; it is not ready yet.
    pub(super) fn start(&self, component: Component) -> anyhow::Result<Process> {
        let (program, flags) = match component {
            Component::Etcd => (&self.etcd, self.etcd_flags()),
            Component::ApiServer => (&self.api_server, self.api_server_flags()),
            Component::ControllerManager => (
                self.controller_manager.as_ref().context("this control plane has no kube-controller-manager")?,
                self.controller_manager_flags(),
            ),
        };
        Process::start(component.name(), program, flags, &self.log(component))
    }

    /// Waits until the API server says that it is ready, itself and etcd behind it.
    pub(super) async fn wait_for_api_server(
        &self,
        api_server: &mut Process,
        etcd: Option<&mut Process>,
    ) -> anyhow::Result<Client> {
        let deadline = Instant::now() + READY_LIMIT;
        let mut etcd = etcd;
        loop {
            if let Some(etcd) = etcd.as_deref_mut() {
                etcd.expect_running()?;
            }
            api_server.expect_running()?;
            // Its certificate exists only once it has started for the first time.
            let reason = match self.ask_for_readiness().await {
                Ok(client) => return Ok(client),
                Err(reason) => reason,
            };
            if Instant::now() >= deadline {
                bail!("kube-apiserver is not ready after {READY_LIMIT:?}: {reason:#}\n{}", api_server.log_tail());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn ask_for_readiness(&self) -> anyhow::Result<Client> {
        let client = kubeconfig::client(&self.kubeconfig(), false).await?;
        let request = http_get("/readyz")?;
        let answer = tokio::time::timeout(Duration::from_secs(5), client.request_text(request)).await??;
        if answer != "ok" {
            bail!("/readyz answers {answer:?}");
        }
        Ok(client)
    }

    fn etcd_flags(&self) -> Vec<String> {
        let client = self.etcd_url();
        let peer = format!("http://127.0.0.1:{}", self.etcd_peer_port);
        let mut flags = vec![
            format!("--data-dir={}", self.file("etcd").display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
            // A test's data need not survive the machine.
            "--unsafe-no-fsync".to_owned(),
            "--log-level=warn".to_owned(),
        ];
        flags.extend(self.options.etcd_flags.iter().cloned());
        flags
    }

    fn api_server_flags(&self) -> Vec<String> {
        let mut flags = vec![
            format!("--etcd-servers={}", self.etcd_url()),
            format!("--cert-dir={}", self.file("certificates").display()),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", self.api_server_port),
            format!("--advertise-address={}", self.options.service_networks.advertised_address()),
            // Loopback addresses cannot be published as the endpoints of the Service `kubernetes`.
            "--endpoint-reconciler-type=none".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", self.file("service-account.pub").display()),
            format!("--service-account-signing-key-file={}", self.file("service-account.key").display()),
            format!("--token-auth-file={}", self.file("tokens.csv").display()),
            "--authorization-mode=RBAC".to_owned(),
            format!("--service-cluster-ip-range={}", self.options.service_networks.range()),
            // What strict clusters (OpenShift by default) have on: without `update` on an owner's finalizers, nobody may
            // make an object that blocks its deletion.
            "--enable-admission-plugins=OwnerReferencesPermissionEnforcement".to_owned(),
            "--allow-privileged=true".to_owned(),
        ];
        if self.options.pod_security.is_some() {
            flags.push(format!("--admission-control-config-file={}", self.file("admission.json").display()));
        }
        flags.extend(self.options.api_server_flags.iter().cloned());
        flags
    }

    fn controller_manager_flags(&self) -> Vec<String> {
        let kubeconfig = self.kubeconfig().display().to_string();
        vec![
            format!("--kubeconfig={kubeconfig}"),
            format!("--authentication-kubeconfig={kubeconfig}"),
            format!("--authorization-kubeconfig={kubeconfig}"),
            format!("--service-account-private-key-file={}", self.file("service-account.key").display()),
            format!("--root-ca-file={}", self.ca_file().display()),
            format!("--cert-dir={}", self.file("controller-manager").display()),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", self.controller_manager_port),
            "--leader-elect=false".to_owned(),
            // Its own limit of 20 requests a second is too low where a test deletes a thousand objects.
            "--kube-api-qps=500".to_owned(),
            "--kube-api-burst=1000".to_owned(),
        ]
    }
}

/// A GET request for `path`.
fn http_get(path: &str) -> anyhow::Result<http::Request<Vec<u8>>> {
    Ok(http::Request::get(path).body(Vec::new())?)
}

fn pod_security_configuration(level: &str) -> String {
    json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AdmissionConfiguration",
        "plugins": [{
            "name": "PodSecurity",
            "configuration": {
                "apiVersion": "pod-security.admission.config.k8s.io/v1",
                "kind": "PodSecurityConfiguration",
                "defaults": { "enforce": level, "enforce-version": "latest" },
                "exemptions": { "namespaces": ["kube-system"] },
            },
        }],
    })
    .to_string()
}

/// Asks until the answer is `Some`.
pub(super) async fn eventually<T, F>(what: &str, mut ask: F) -> anyhow::Result<T>
where
    F: AsyncFnMut() -> anyhow::Result<Option<T>>,
{
    let deadline = Instant::now() + READY_LIMIT;
    loop {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        if Instant::now() >= deadline {
            bail!("{what}: not after {READY_LIMIT:?}");
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
