//! What the demo shows, in its order.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::Value;

use super::policies::{self, Opening};
use super::question;
use super::stage::{CUSTOMER, NEW_NAME, Stage, UNSEEN_NAME, VALIDITY};
use super::teller::Teller;
use super::zone;
use crate::standin::{Endpoint, Service, StandinCloud};
use crate::tools::workspace_root;

/// The example, and the resource in it.
const EXAMPLE: &str = "tests/fixtures/demo.yaml";
const RESOURCE: &str = "daas-us";
/// The name that one rule is explained by, and that moves.
const NAME: &str = "testcustomer.xendesktop.net";
/// Where it moves to: public, and of nobody in the fixture.
const NEW_ADDRESS: &str = "104.46.20.7";
/// How long any step may take before the demo fails.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked.
const PAUSE: Duration = Duration::from_millis(200);
/// How many lines of a policy are shown.
const POLICY_LINES: usize = 26;

/// Tells it all.
pub(super) async fn tell(teller: &Teller, stage: &mut Stage) -> anyhow::Result<()> {
    apply_example(teller, stage).await?;
    wait_until_ready(teller, stage).await?;
    let openings = show_policies(teller, stage).await?;
    explain(teller, stage).await?;
    let openings = ask_for_an_unseen_name(teller, stage, openings).await?;
    let openings = move_an_address(teller, stage, openings).await?;
    publish_a_list(teller, stage, openings).await?;
    show_events(teller, stage).await
}

async fn apply_example(teller: &Teller, stage: &Stage) -> anyhow::Result<()> {
    teller.step(&format!("Applying {EXAMPLE}"));
    let path = workspace_root().join(EXAMPLE);
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let shown = text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    teller.say(&shown);
    // The example's own namespace is not the demo's in a cluster of others.
    let mut resource: Value = serde_saphyr::from_str(&text).with_context(|| format!("{EXAMPLE} is no YAML"))?;
    resource["metadata"]["namespace"] = stage.namespace.as_str().into();
    let output = stage.kubectl(&["apply", "-f", "-"], Some(&resource.to_string())).await?;
    teller.command(&format!("kubectl apply -f {EXAMPLE}"), &output);
    Ok(())
}

async fn wait_until_ready(teller: &Teller, stage: &mut Stage) -> anyhow::Result<()> {
    teller.step("Watching it become Ready: the list is fetched, every name resolved, the policies applied");
    teller.say(&format!("$ kubectl get cal -n {} --watch", stage.namespace));
    let deadline = Instant::now() + PATIENCE;
    let mut shown = String::new();
    loop {
        stage.expect_running()?;
        let table = stage.kubectl(&["get", "cal", RESOURCE], None).await?;
        let row = table.lines().nth(1).unwrap_or_default();
        // Its age, the last column, is no news.
        let news = row.rsplit_once(' ').map_or(row, |(columns, _)| columns).trim_end();
        if news != shown {
            teller.say(&table);
            news.clone_into(&mut shown);
        }
        if row.split_whitespace().nth(4) == Some("True") {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let status = stage.kubectl(&["get", "cal", RESOURCE, "-o", "jsonpath={.status}"], None).await?;
            bail!("{RESOURCE} is not Ready after {PATIENCE:?}: {status}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn list_policies(stage: &Stage) -> anyhow::Result<Vec<NetworkPolicy>> {
    let api = Api::<NetworkPolicy>::namespaced(stage.client.clone(), &stage.namespace);
    let mut policies = api.list(&ListParams::default()).await.context("list the policies")?.items;
    policies.sort_by_key(ResourceExt::name_any);
    Ok(policies)
}

async fn show_policies(teller: &Teller, stage: &Stage) -> anyhow::Result<Vec<Opening>> {
    teller.step("What the policies allow");
    let policies = list_policies(stage).await?;
    for policy in &policies {
        teller.say(&policies::table(policy));
        teller.say(" ");
        let name = policy.name_any();
        let yaml = stage.kubectl(&["get", "netpol", &name, "-o", "yaml"], None).await?;
        let spec: Vec<&str> = yaml.lines().skip_while(|line| *line != "spec:").collect();
        let left = spec.len().saturating_sub(POLICY_LINES);
        let first = spec[..spec.len() - left].join("\n");
        let command = format!("kubectl get netpol {name} -n {} -o yaml", stage.namespace);
        teller.command(&command, &format!("{first}\n... {left} more lines"));
    }
    Ok(policies::openings(&policies))
}

/// Which service and name an address belongs to, and what its next port would get.
async fn explain(teller: &Teller, stage: &Stage) -> anyhow::Result<()> {
    let address = stage.zone.addresses(NAME).iter().find(|address| address.is_ipv4());
    let address = *address.with_context(|| format!("{NAME} has no IPv4 address in the zone"))?;
    teller.step(&format!("Why pods may reach {address} on port 443, and not on port 22"));
    let (allowed, refused) = (format!("{address}:443"), format!("{address}:22"));
    let arguments = ["explain", RESOURCE, "-n", &stage.namespace, "--to", &allowed, "--to", &refused];
    // One of the answers is no.
    let output = stage.operator_command(&arguments, 1).await?;
    ensure!(output.contains(NAME), "no word of {NAME}: {output}");
    teller.command(&format!("citrix-allowlist {}", arguments.join(" ")), &output);
    Ok(())
}

/// The operator is asked as the cluster's DNS asks it for a pod. What it answers is allowed by then.
async fn ask_for_an_unseen_name(teller: &Teller, stage: &Stage, before: Vec<Opening>) -> anyhow::Result<Vec<Opening>> {
    let zone = UNSEEN_NAME.split_once('.').map_or(UNSEEN_NAME, |(_, zone)| zone);
    teller.step(&format!("A pod asks for a name under *.{zone} for the first time: {UNSEEN_NAME}"));
    let in_zone = stage.zone.addresses(UNSEEN_NAME).iter().filter(|address| address.is_ipv4());
    for address in in_zone {
        ensure!(policies::allowing(&before, *address).is_empty(), "{address} is allowed already");
        teller.say(&format!("{address}, which DNS has for it, is in no policy"));
    }
    teller.say(&format!("The operator at {} is asked, as the cluster's DNS asks it for this zone", stage.forwarder));
    let (addresses, took) = question::ask(stage.forwarder, UNSEEN_NAME).await?;
    let after = policies::openings(&list_policies(stage).await?);
    let given = addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" and ");
    teller.say(&format!("It answers {given}, held for {:.2} s until the policies allow it:", took.as_secs_f32()));
    for address in &addresses {
        ensure!(!policies::allowing(&after, *address).is_empty(), "{address} was answered before a policy allowed it");
    }
    teller.say(&policies::difference(&before, &after));
    let (_, took) = question::ask(stage.forwarder, UNSEEN_NAME).await?;
    teller.say(&format!("The next pod's question takes {:.1} ms", took.as_secs_f32() * 1000.0));
    Ok(after)
}

/// Waits until what the policies open satisfies `done`, and shows what changed, and how long that took.
async fn follow(
    teller: &Teller,
    stage: &mut Stage,
    before: &[Opening],
    done: impl Fn(&[Opening]) -> bool,
) -> anyhow::Result<Vec<Opening>> {
    let started = Instant::now();
    loop {
        stage.expect_running()?;
        let after = policies::openings(&list_policies(stage).await?);
        if done(&after) {
            teller.say(&policies::difference(before, &after));
            teller.say(&format!("after {:.1} s", started.elapsed().as_secs_f32()));
            return Ok(after);
        }
        if started.elapsed() >= PATIENCE {
            bail!("the policies did not follow within {PATIENCE:?}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn move_an_address(teller: &Teller, stage: &mut Stage, before: Vec<Opening>) -> anyhow::Result<Vec<Opening>> {
    let address: IpAddr = NEW_ADDRESS.parse()?;
    teller.step(&format!("DNS answers differently: {NAME} moves to {address}"));
    teller.say(&format!("CoreDNS looks for a new zone each second, and answers are good for {} s", zone::TTL));
    stage.move_name(NAME, address)?;
    let after = follow(teller, stage, &before, |now| !policies::allowing(now, address).is_empty()).await?;
    teller.say("The old addresses stay for addressRetention (1m) from their last sighting: a pod may still hold them");
    Ok(after)
}

async fn publish_a_list(teller: &Teller, stage: &mut Stage, before: Vec<Opening>) -> anyhow::Result<()> {
    teller.step(&format!("Citrix publishes a new list: a service Print, {NEW_NAME} on TCP 443 and 9100"));
    teller.say(&format!("The list in use is asked for again when its validUntil comes, {VALIDITY:?} at most"));
    let Some(address) = stage.zone.addresses(NEW_NAME).iter().copied().find(IpAddr::is_ipv4) else {
        bail!("{NEW_NAME} has no IPv4 address in the zone");
    };
    stage.standin.edit(StandinCloud::Global, |document| {
        document.services.push(Service {
            name: "Print".to_owned(),
            direction: Some("outbound".to_owned()),
            endpoints: vec![Endpoint {
                geo: Some("all".to_owned()),
                fqdns: vec![NEW_NAME.to_owned()],
                ..Endpoint::default()
            }],
            tcp_ports: Some("443,9100".to_owned()),
            required: Some(false),
            ..Service::default()
        });
    });
    follow(teller, stage, &before, |now| {
        policies::allowing(now, address).iter().any(|opening| opening.ports.contains("9100"))
    })
    .await?;
    wait_until_all_resolved(stage).await
}

/// Waits for status, which is written after the policies.
async fn wait_until_all_resolved(stage: &mut Stage) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let path = "jsonpath={.status.summary.resolved}";
    loop {
        stage.expect_running()?;
        let resolved = stage.kubectl(&["get", "cal", RESOURCE, "-o", path], None).await?;
        if resolved.split_once('/').is_some_and(|(with_addresses, all)| with_addresses == all) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("only {resolved} names are resolved after {PATIENCE:?}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn show_events(teller: &Teller, stage: &Stage) -> anyhow::Result<()> {
    teller.step(&format!("What the operator says about {RESOURCE} of {CUSTOMER}"));
    let namespace = &stage.namespace;
    let wide = stage.kubectl(&["get", "cal", RESOURCE, "-o", "wide"], None).await?;
    teller.command(&format!("kubectl get cal -n {namespace} -o wide"), &wide);
    let columns = "custom-columns=TYPE:.type,REASON:.reason,MESSAGE:.message";
    let events =
        stage.kubectl(&["get", "events", "--sort-by=.metadata.creationTimestamp", "-o", columns], None).await?;
    teller.command(&format!("kubectl get events -n {namespace} -o {columns}"), &events);
    let log = stage.operator_log();
    let changes: Vec<&str> =
        log.lines().filter_map(|line| Some(line.split_once(" has changed ")?.1.split_once(" change=")?.0)).collect();
    teller.command(r"sed -n 's/.* has changed \(.*\) change=.*/\1/p' operator.log", &changes.join("\n"));
    Ok(())
}
