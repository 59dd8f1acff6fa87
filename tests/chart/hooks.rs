//! The hook that upgrades the CRD, where its Job fails.

use crate::cluster::{Cluster, RELEASE, in_background};
use crate::helm::{HELMS, chart};

/// Formerly read as staying behind, since its policy named success alone. Both of these Helms delete what succeeded before the
/// hook that failed; where making the rights fails itself, the policy has to name failure, too.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_hook_may_do_goes_when_its_job_fails() {
    for program in HELMS {
        let cluster = Cluster::start().await;
        let run = |arguments: &[&str]| {
            let mut command = cluster.helm(program);
            command.args(arguments).arg(chart()).args(["-n", RELEASE]);
            in_background(command)
        };
        run(&["install", "--create-namespace", RELEASE]).await.unwrap().success();
        let upgrade = run(&["upgrade", "--timeout", "60s", RELEASE]);
        let job = format!("{RELEASE}-crds");
        let rights = "serviceaccount,clusterrole,clusterrolebinding";
        let of_the_hook = ["-n", RELEASE, "-l", "app.kubernetes.io/component=crd-upgrade", "-o", "name"];
        let left = async || cluster.kubectl(&[&["get", rights], &of_the_hook[..]].concat()).await;
        cluster
            .eventually("the hook's Job", async || {
                let jobs = cluster.kubectl(&["-n", RELEASE, "get", "jobs", "-o", "name"]).await;
                jobs.contains(&job).then_some(())
            })
            .await;
        assert_eq!(left().await.lines().count(), 3, "{program}");
        let late = r#"{"spec":{"activeDeadlineSeconds":1}}"#;
        cluster.kubectl(&["-n", RELEASE, "patch", "job", &job, "--type=merge", "-p", late]).await;
        let error = upgrade.await.unwrap().failure();
        assert!(error.contains("pre-upgrade"), "{program}: {error}");
        assert_eq!(left().await, "", "{program}");
        let jobs = cluster.kubectl(&["-n", RELEASE, "get", "jobs", "-o", "name"]).await;
        assert!(jobs.contains(&job), "{program}: its log says why");
    }
}
