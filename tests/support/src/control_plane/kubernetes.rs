//! Which of the pinned Kubernetes a control plane is of.

use anyhow::{Context, bail};

use super::launch::Component;
use crate::tools::workspace_root;

/// The variable that chooses for a run: `newest`, which is also taken where it is unset or empty, or `oldest`.
const CHOICE: &str = "CITRIX_ALLOWLIST_TEST_KUBERNETES";

/// A Kubernetes whose programs are pinned and built by `tests/build-tools.sh`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kubernetes {
    /// The newest, of `tests/controlplane`, which brings etcd and kubectl for both.
    Newest,
    /// The oldest that the operator serves, of `tests/controlplane-oldest`.
    Oldest,
}

impl Kubernetes {
    /// The one that the environment asks for by `CITRIX_ALLOWLIST_TEST_KUBERNETES`: the newest unless it says `oldest`.
    ///
    /// # Errors
    ///
    /// When the variable holds another word.
    pub fn chosen() -> anyhow::Result<Self> {
        Self::named(&std::env::var(CHOICE).unwrap_or_default())
    }

    fn named(word: &str) -> anyhow::Result<Self> {
        match word {
            "" | "newest" => Ok(Self::Newest),
            "oldest" => Ok(Self::Oldest),
            other => bail!("{CHOICE} is {other:?}: newest and oldest are allowed"),
        }
    }

    /// The name under which `tests/build-tools.sh` builds a program. There is one etcd.
    pub fn program(self, component: Component) -> &'static str {
        match (self, component) {
            (Self::Newest, component) => component.name(),
            (Self::Oldest, Component::Etcd) => Component::Etcd.name(),
            (Self::Oldest, Component::ApiServer) => "kube-apiserver-oldest",
            (Self::Oldest, Component::ControllerManager) => "kube-controller-manager-oldest",
        }
    }

    /// The version that is pinned, such as `v1.36.3`.
    ///
    /// # Errors
    ///
    /// When its module cannot be read or requires no `k8s.io/kubernetes`.
    pub fn version(self) -> anyhow::Result<String> {
        let folder = match self {
            Self::Newest => "tests/controlplane",
            Self::Oldest => "tests/controlplane-oldest",
        };
        let file = workspace_root().join(folder).join("go.mod");
        let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let version = text.lines().find_map(|line| {
            let mut words = line.split_whitespace().skip_while(|word| *word == "require");
            (words.next()? == "k8s.io/kubernetes").then(|| words.next().map(str::to_owned))?
        });
        version.with_context(|| format!("{} requires no k8s.io/kubernetes", file.display()))
    }

    /// The second number of [`Self::version`]: 36 of `v1.36.3`.
    ///
    /// # Errors
    ///
    /// As [`Self::version`], or when it is no version.
    pub fn minor(self) -> anyhow::Result<u32> {
        let version = self.version()?;
        let minor = version.strip_prefix("v1.").and_then(|rest| rest.split('.').next()?.parse().ok());
        minor.with_context(|| format!("{version} is no version of Kubernetes 1"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_chooses_among_two() {
        assert_eq!(Kubernetes::named("").expect("a choice"), Kubernetes::Newest);
        assert_eq!(Kubernetes::named("newest").expect("a choice"), Kubernetes::Newest);
        assert_eq!(Kubernetes::named("oldest").expect("a choice"), Kubernetes::Oldest);
        let error = Kubernetes::named("1.31").expect_err("no such choice").to_string();
        assert_eq!(error, r#"CITRIX_ALLOWLIST_TEST_KUBERNETES is "1.31": newest and oldest are allowed"#);
    }

    #[test]
    fn each_is_pinned_and_they_are_two() {
        let minor = |kubernetes: Kubernetes| kubernetes.minor().expect("a pin");
        assert!(minor(Kubernetes::Oldest) < minor(Kubernetes::Newest));
        assert!(Kubernetes::Oldest.version().expect("a pin").starts_with("v1."));
    }
}
