//! The operator's rights as the chart gives them: its ServiceAccount, its roles and the policy that confines it, put on a control plane, and a verb
//! taken out of them for a while.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::control_plane::ControlPlane;
use crate::tools::{tool, workspace_root};

/// What of the chart this is about.
const KINDS: [&str; 7] = [
    "ServiceAccount",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
];
/// How long roles may take to be in force: the API server watches its own.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(60);
/// The release's name, which names of objects begin with.
const RELEASE: &str = "citrix-allowlist-operator";

/// The rights of one release.
pub struct ChartRights {
    namespace: String,
    objects: Vec<Value>,
    kubeconfig: PathBuf,
    client: Client,
}

impl ChartRights {
    /// Gives a release in `namespace` what the chart gives it with these values, and no more.
    ///
    /// # Errors
    /// Where Helm or the API server refuses.
    pub async fn grant(cluster: &ControlPlane, namespace: &str, values: &Value) -> anyhow::Result<Self> {
        let mut objects = rendered(namespace, values).await?;
        objects.retain(|object| object["kind"].as_str().is_some_and(|kind| KINDS.contains(&kind)));
        let own = cluster.kubectl(&["get", "namespace", namespace, "-o", "jsonpath={.metadata.uid}"]).await?;
        for object in &mut objects {
            // What belongs to no namespace goes with this one, be it in a cluster that was there before.
            if object["metadata"]["namespace"].is_null() {
                object["metadata"]["ownerReferences"] =
                    json!([{ "apiVersion": "v1", "kind": "Namespace", "name": namespace, "uid": own }]);
            }
        }
        apply(cluster, &objects).await?;
        let mut accounts = objects.iter().filter(|object| object["kind"] == "ServiceAccount");
        let mut names = accounts.by_ref().filter_map(|account| account["metadata"]["name"].as_str());
        // The other one's tokens are for readers of the operator's tables.
        let account = names.find(|name| !name.ends_with("-explain")).context("an account")?;
        let kubeconfig = cluster.kubeconfig_for_service_account(namespace, account).await?;
        let client = cluster.client_for(&kubeconfig).await?;
        let rights = Self { namespace: namespace.to_owned(), objects, kubeconfig, client };
        rights.wait_for("citrixallowlists", "list", true).await?;
        rights.wait_for("leases", "create", true).await?;
        rights.wait_for_the_policy().await?;
        Ok(rights)
    }

    /// Waits until the policy of the account is enforced, where the values make one.
    async fn wait_for_the_policy(&self) -> anyhow::Result<()> {
        if !self.objects.iter().any(|object| object["kind"] == "ValidatingAdmissionPolicyBinding") {
            return Ok(());
        }
        let api = Api::<ConfigMap>::namespaced(self.client.clone(), &self.namespace);
        let forbidden: ConfigMap =
            serde_json::from_value(json!({ "metadata": { "name": "nothing-of-the-operators" } }))?;
        let parameters = PostParams { dry_run: true, ..PostParams::default() };
        let deadline = Instant::now() + IN_FORCE_WITHIN;
        while api.create(&parameters, &forbidden).await.is_ok() {
            ensure!(Instant::now() < deadline, "the policy of the account is not in force within {IN_FORCE_WITHIN:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Who has these rights.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Takes verbs on resources out of the roles; returns when that is in force.
    ///
    /// # Errors
    /// Where the chart does not give them, or the API server refuses.
    pub async fn take_away(&self, cluster: &ControlPlane, taken: &[(&str, &str)]) -> anyhow::Result<()> {
        let mut objects = self.objects.clone();
        for (resource, verb) in taken {
            let mut found = false;
            for rule in objects.iter_mut().filter_map(rules).flatten() {
                if list(&rule["resources"]).any(|named| named == *resource)
                    && let Some(verbs) = rule["verbs"].as_array_mut()
                {
                    let before = verbs.len();
                    verbs.retain(|known| known != verb);
                    found |= verbs.len() < before;
                }
            }
            ensure!(found, "the chart does not give {verb} on {resource}");
        }
        for rules in objects.iter_mut().filter_map(rules) {
            rules.retain(|rule| list(&rule["verbs"]).next().is_some());
        }
        apply(cluster, &objects).await?;
        for (resource, verb) in taken {
            self.wait_for(resource, verb, false).await?;
        }
        Ok(())
    }

    /// Gives everything back; returns when these are in force again.
    ///
    /// # Errors
    /// Where the API server refuses.
    pub async fn give_back(&self, cluster: &ControlPlane, taken: &[(&str, &str)]) -> anyhow::Result<()> {
        apply(cluster, &self.objects).await?;
        for (resource, verb) in taken {
            self.wait_for(resource, verb, true).await?;
        }
        Ok(())
    }

    /// Waits until the account may, or may not, do something in its own namespace.
    async fn wait_for(&self, resource: &str, verb: &str, expected: bool) -> anyhow::Result<()> {
        let rules = self.objects.iter().flat_map(|object| object["rules"].as_array().into_iter().flatten());
        let rule = rules.into_iter().find(|rule| list(&rule["resources"]).any(|named| named == resource));
        let group = rule.and_then(|rule| list(&rule["apiGroups"]).next()).with_context(|| format!("no {resource}"))?;
        let (resource, subresource) = match resource.split_once('/') {
            Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
            None => (resource, None),
        };
        let attributes = ResourceAttributes {
            group: Some(group.to_owned()),
            resource: Some(resource.to_owned()),
            subresource,
            verb: Some(verb.to_owned()),
            namespace: Some(self.namespace.clone()),
            ..ResourceAttributes::default()
        };
        let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
        let review = SelfSubjectAccessReview { spec, ..Default::default() };
        let api = Api::<SelfSubjectAccessReview>::all(self.client.clone());
        let deadline = Instant::now() + IN_FORCE_WITHIN;
        loop {
            let answer = api.create(&PostParams::default(), &review).await;
            if answer.is_ok_and(|answer| answer.status.is_some_and(|status| status.allowed == expected)) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{verb} on {resource} is not {expected} within {IN_FORCE_WITHIN:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The rules of a role.
fn rules(object: &mut Value) -> Option<&mut Vec<Value>> {
    object.get_mut("rules")?.as_array_mut()
}

/// The texts of a list.
fn list(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

async fn apply(cluster: &ControlPlane, objects: &[Value]) -> anyhow::Result<()> {
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    cluster.apply(&list.to_string()).await.map(drop)
}

/// What the chart renders for a release in `namespace`.
async fn rendered(namespace: &str, values: &Value) -> anyhow::Result<Vec<Value>> {
    let home = tempfile::tempdir()?;
    let file = home.path().join("values.json");
    std::fs::write(&file, values.to_string())?;
    let output = tokio::process::Command::new(tool("helm")?)
        .args(["template", RELEASE])
        .arg(workspace_root().join("charts/citrix-allowlist-operator"))
        .args(["--no-hooks", "-n", namespace, "-f"])
        .arg(&file)
        .env_remove("KUBECONFIG")
        .env("HELM_CACHE_HOME", home.path().join("cache"))
        .env("HELM_CONFIG_HOME", home.path().join("config"))
        .env("HELM_DATA_HOME", home.path().join("data"))
        .output()
        .await?;
    ensure!(output.status.success(), "helm template: {}", String::from_utf8_lossy(&output.stderr));
    let documents: Vec<Value> = serde_saphyr::from_multiple(std::str::from_utf8(&output.stdout)?)?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}
