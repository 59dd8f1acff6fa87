//! A stand-in for a node: pods of the operator's image run as processes of this machine, with the arguments, the
//! environment, the mounted ConfigMaps and the ServiceAccount that their spec gives them, and are told ready as their
//! readiness is. Every other pod is called running and nothing is started for it.
//!
//! It is scheduler and kubelet in one, for a control plane that has neither: with it, `helm install --wait`,
//! `kubectl rollout status` and the chart's upgrade Job do what they do in a cluster.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use k8s_openapi::api::core::v1::{Binding, ConfigMap, Container, Node as NodeObject, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::ControlPlane;
use crate::free_port::free_port;
use crate::process::Process;

/// The node's name.
const NAME: &str = "node-1";
/// What the images of pods that are run have in their name.
const IMAGE: &str = "citrix-allowlist-operator";
/// How often pods are looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(150);
/// How often the node says that it lives: kube-controller-manager gives it 40 s.
const HEARTBEAT: Duration = Duration::from_secs(8);
/// How long a program may take to end when its pod is deleted.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A running node. Dropping it ends its programs.
#[derive(Debug)]
pub struct Node {
    task: JoinHandle<()>,
    folder: PathBuf,
}

/// What a node runs for a pod.
enum Running {
    /// A program, and where it says whether it is ready.
    Program { process: Process, port: u16, ready: bool },
    /// Nothing.
    Nothing,
}

struct Kubelet {
    cluster: Arc<ControlPlane>,
    client: Client,
    http: reqwest::Client,
    binary: PathBuf,
    environment: Vec<(String, String)>,
    folder: PathBuf,
    pods: BTreeMap<String, Running>,
    beaten: Option<Instant>,
}

impl Node {
    /// Starts it. Programs get `environment` beside their pod's: where the vendor and DNS are in this test.
    ///
    /// # Errors
    /// When the cluster cannot be reached.
    pub async fn start(
        cluster: Arc<ControlPlane>,
        binary: &Path,
        environment: Vec<(String, String)>,
    ) -> anyhow::Result<Self> {
        let client = cluster.client().await?;
        let folder = cluster.folder().join("node");
        std::fs::create_dir_all(&folder)?;
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build()?;
        let mut kubelet = Kubelet {
            cluster,
            client,
            http,
            binary: binary.to_path_buf(),
            environment,
            folder: folder.clone(),
            pods: BTreeMap::new(),
            beaten: None,
        };
        kubelet.live().await?;
        let task = tokio::spawn(async move {
            loop {
                // What fails once is tried again at the next look; what fails for ever shows as a pod that is not ready.
                if let Err(error) = kubelet.look().await {
                    let _ = std::fs::write(kubelet.folder.join("error"), format!("{error:#}\n"));
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        });
        Ok(Self { task, folder })
    }

    /// The logs of all programs so far, and the last error, for a test's own error message.
    pub fn logs(&self) -> String {
        let files = std::fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let texts = files.filter(|path| path.is_file()).filter_map(|path| {
            let text = std::fs::read_to_string(&path).ok()?;
            let lines: Vec<&str> = text.lines().collect();
            Some(format!("--- {}\n{}\n", path.display(), lines[lines.len().saturating_sub(30)..].join("\n")))
        });
        texts.collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Kubelet {
    /// Says that the node is there and well.
    async fn live(&mut self) -> anyhow::Result<()> {
        let nodes: Api<NodeObject> = Api::all(self.client.clone());
        if self.beaten.is_none() && nodes.get_opt(NAME).await?.is_none() {
            let node = serde_json::from_value(
                json!({ "metadata": { "name": NAME }, "spec": { "podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24"] } }),
            )?;
            nodes.create(&PostParams::default(), &node).await?;
        }
        let now = jiff::Timestamp::now().to_string();
        let ready = json!({ "type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": now });
        let status = json!({ "status": { "conditions": [ready] } });
        nodes.patch_status(NAME, &PatchParams::default(), &Patch::Strategic(status)).await?;
        self.beaten = Some(Instant::now());
        Ok(())
    }

    async fn look(&mut self) -> anyhow::Result<()> {
        if self.beaten.is_none_or(|beaten| beaten.elapsed() >= HEARTBEAT) {
            self.live().await?;
        }
        let pods = Api::<Pod>::all(self.client.clone()).list(&ListParams::default()).await?.items;
        let there: Vec<String> = pods.iter().filter_map(ResourceExt::uid).collect();
        self.pods.retain(|uid, _| there.contains(uid));
        for pod in pods {
            self.look_at(&pod).await.with_context(|| format!("pod {}", pod.name_any()))?;
        }
        Ok(())
    }

    async fn look_at(&mut self, pod: &Pod) -> anyhow::Result<()> {
        let name = pod.name_any();
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        let uid = pod.uid().unwrap_or_default();
        let spec = pod.spec.clone().unwrap_or_default();
        if pod.metadata.deletion_timestamp.is_some() {
            if let Some(Running::Program { process, .. }) = self.pods.remove(&uid) {
                process.stop(STOP_LIMIT).await?;
            }
            let now = DeleteParams::default().grace_period(0);
            return api.delete(&name, &now).await.map(drop).or_else(gone);
        }
        if spec.node_name.is_none() {
            let binding: Binding = serde_json::from_value(json!({
                "metadata": { "name": name },
                "target": { "apiVersion": "v1", "kind": "Node", "name": NAME },
            }))?;
            let bound: Result<Value, kube::Error> =
                api.create_subresource("binding", &name, &PostParams::default(), &binding).await;
            return bound.map(drop).or_else(gone);
        }
        let ended = matches!(phase(pod), "Succeeded" | "Failed");
        if ended {
            return Ok(());
        }
        if !self.pods.contains_key(&uid) {
            let container = spec.containers.first().context("a container")?;
            let running = if container.image.as_deref().is_some_and(|image| image.contains(IMAGE)) {
                self.run(pod, container).await?
            } else {
                Running::Nothing
            };
            self.pods.insert(uid.clone(), running);
        }
        let index = self.pods.len();
        let Some(running) = self.pods.get_mut(&uid) else { return Ok(()) };
        let (new_phase, ready) = match running {
            Running::Nothing => ("Running", true),
            Running::Program { process, port, ready } => match process.exit_status()? {
                Some(status) if status.success() => ("Succeeded", false),
                Some(_) => ("Failed", false),
                None => {
                    let asked = self.http.get(format!("http://127.0.0.1:{port}/readyz")).send().await;
                    *ready = asked.is_ok_and(|answer| answer.status().is_success());
                    ("Running", *ready)
                }
            },
        };
        if phase(pod) == new_phase && is_ready(pod) == ready {
            return Ok(());
        }
        let status =
            json!({ "status": status(&spec.containers, new_phase, ready, &format!("10.244.0.{}", 10 + index)) });
        api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await.map(drop).or_else(gone)
    }

    /// Starts a pod's first container as a process.
    async fn run(&self, pod: &Pod, container: &Container) -> anyhow::Result<Running> {
        let namespace = pod.namespace().unwrap_or_default();
        let spec = pod.spec.clone().unwrap_or_default();
        let account = spec.service_account_name.unwrap_or_else(|| "default".to_owned());
        let kubeconfig = self.cluster.kubeconfig_for_service_account(&namespace, &account).await?;
        let own = self.folder.join(pod.name_any() + ".files");
        let mut mounted = Vec::new();
        for volume in spec.volumes.into_iter().flatten() {
            let Some(source) = volume.config_map else { continue };
            let folder = own.join(&volume.name);
            std::fs::create_dir_all(&folder)?;
            let map = Api::<ConfigMap>::namespaced(self.client.clone(), &namespace).get(&source.name).await?;
            for (key, text) in map.data.into_iter().flatten() {
                std::fs::write(folder.join(key), text)?;
            }
            let mounts = container.volume_mounts.iter().flatten().filter(|mount| mount.name == volume.name);
            mounted.extend(mounts.map(|mount| (mount.mount_path.clone(), folder.display().to_string())));
        }
        // Pods have an address each; here all share one. Probes go where the pod has them go.
        let (listening, probed) = (free_port()?, free_port()?);
        let probes_apart = container.args.iter().flatten().any(|argument| argument.starts_with("--probe-listen="));
        let port = if probes_apart { probed } else { listening };
        let arguments = container.args.iter().flatten().map(|argument| {
            if argument.starts_with("--listen=") {
                return format!("--listen=127.0.0.1:{listening}");
            }
            if argument.starts_with("--probe-listen=") {
                return format!("--probe-listen=127.0.0.1:{probed}");
            }
            let mount = mounted.iter().find(|(path, _)| argument.contains(path.as_str()));
            mount.map_or_else(|| argument.clone(), |(path, folder)| argument.replace(path.as_str(), folder))
        });
        let mut environment = vec![("KUBECONFIG".to_owned(), kubeconfig.display().to_string())];
        for variable in container.env.iter().flatten() {
            let field =
                variable.value_from.as_ref().and_then(|from| Some(from.field_ref.as_ref()?.field_path.as_str()));
            let value = match field {
                Some("metadata.namespace") => namespace.clone(),
                Some("metadata.name") => pod.name_any(),
                Some(other) => anyhow::bail!("the node does not know the field {other}"),
                None => variable.value.clone().unwrap_or_default(),
            };
            environment.push((variable.name.clone(), value));
        }
        environment.extend(self.environment.iter().cloned());
        let log = self.folder.join(pod.name_any() + ".log");
        let process = Process::start_with_environment(&pod.name_any(), &self.binary, arguments, environment, &log)?;
        Ok(Running::Program { process, port, ready: false })
    }
}

/// Somebody else was faster: a deleted pod is no error.
fn gone(error: kube::Error) -> anyhow::Result<()> {
    match error {
        kube::Error::Api(status) if matches!(status.code, 404 | 409) => Ok(()),
        other => Err(other.into()),
    }
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.filter(|condition| condition.type_ == "Ready").any(|condition| condition.status == "True")
}

fn status(containers: &[Container], phase: &str, ready: bool, address: &str) -> Value {
    let now = jiff::Timestamp::now().to_string();
    let condition = |kind: &str, holds: bool| json!({ "type": kind, "status": if holds { "True" } else { "False" }, "lastTransitionTime": now });
    let state = match phase {
        "Running" => json!({ "running": { "startedAt": now } }),
        other => json!({ "terminated": { "exitCode": i32::from(other == "Failed"), "finishedAt": now } }),
    };
    let containers: Vec<Value> = containers
        .iter()
        .map(|container| {
            json!({ "name": container.name, "image": container.image, "imageID": "", "ready": ready, "restartCount": 0,
                "started": ready, "state": state })
        })
        .collect();
    json!({
        "phase": phase,
        "startTime": now,
        "podIP": address,
        "podIPs": [{ "ip": address }],
        "conditions": [condition("PodScheduled", true), condition("Initialized", true), condition("ContainersReady", ready), condition("Ready", ready)],
        "containerStatuses": containers,
    })
}
