//! No tenant and no pod keeps another tenant's changes from being followed, on a real control plane: each kind of attack for
//! some seconds, and with `LONG=1` all kinds at once for twenty minutes, where the times are held too.

mod crowd;
mod kinds;
mod names;
mod port;
mod quarrel;
mod victim;

use crate::common::Stage;
use crate::common::group::Group;
use kinds::{Ground, KINDS, Kind};
use kube::api::{DeleteParams, ListParams};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use test_support::control_plane::TestNamespace;
use test_support::free_port::free_port;
use test_support::operator::{Operator, OperatorConfig};
use tokio::task::JoinHandle;
use victim::{Probes, Victim};

/// How long an attack has before the first change that it is to hinder: the first questions have timed out by then.
const HEAD_START: Duration = Duration::from_secs(2);
/// How long the attacks of `LONG=1` go on.
const LONG: Duration = Duration::from_secs(20 * 60);

/// The namespaces, and two replicas, each in a memory cgroup of the chart's size where the machine lets one be made.
struct Siege {
    stage: Stage,
    grounds: Vec<(&'static Kind, Ground, TestNamespace)>,
    replicas: Vec<(Operator, Option<Group>)>,
    probes: Probes,
}

/// An attack that goes on until it is dropped.
struct Attack(JoinHandle<()>);

impl Drop for Attack {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Siege {
    async fn set(is_long: bool) -> Self {
        let stage = Stage::set().await;
        names::answer(&stage.dns, victim::ttl(is_long));
        let mut namespaces = Vec::new();
        for kind in KINDS {
            namespaces.push(stage.cluster.fresh_namespace(kind.name).await.expect("a namespace"));
        }
        let mut config = stage.operator_config();
        config.arguments.retain(|argument| argument != "--no-leader-election");
        // Times are promised of what is optimised.
        config.binary = std::env::var_os("SOAK_OPERATOR").map_or(config.binary, PathBuf::from);
        for namespace in &namespaces {
            config = config.flag("watch-namespace", namespace.name());
        }
        if !is_long {
            // Bounds that are met within seconds, on a machine that runs other tests beside.
            config = config.flag("dns-min-ttl", "2s").flag("dns-questions-per-second", 200);
        }
        let (mut replicas, mut ports, mut probed) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..2 {
            let probe = SocketAddr::from(([127, 0, 0, 1], free_port().expect("a port")));
            let config = config.clone().variable("HOSTNAME", format!("replica-{number}")).flag("probe-listen", probe);
            let (operator, group) = replica(&config).await;
            ports.push(SocketAddr::from(([127, 0, 0, 1], operator.port())));
            replicas.push((operator, group));
            probed.push(probe);
        }
        let ground = |namespace: &TestNamespace| Ground {
            client: stage.client.clone(),
            namespace: namespace.name().to_owned(),
            ports: ports.clone(),
            is_long,
        };
        let grounds = KINDS.iter().zip(namespaces).map(|(kind, space)| (kind, ground(&space), space)).collect();
        Self { stage, grounds, replicas, probes: Probes::start(probed) }
    }

    /// What all this must not come to: a replica that ends, or whose probes would have it restarted.
    fn stands(&mut self) {
        for (operator, _) in &mut self.replicas {
            operator.process().expect_running().expect("no restart");
        }
        self.probes.verdict();
        let peaks = self.replicas.iter().filter_map(|(_, group)| group.as_ref()?.peak());
        let peaks: Vec<String> = peaks.map(|peak| format!("{} MiB", peak >> 20)).collect();
        println!("{}; memory at most: {}", self.probes, peaks.join(", "));
    }
}

async fn replica(config: &OperatorConfig) -> (Operator, Option<Group>) {
    let group = Group::make();
    let config = group.as_ref().map_or_else(|| config.clone(), |group| group.around(config.clone()));
    (Operator::start(&config).await.expect("a replica"), group)
}

fn attack(kind: &Kind, ground: &Ground) -> Attack {
    Attack(tokio::spawn((kind.attack)(ground.clone())))
}

/// Each kind by itself. Times are only printed: other tests run beside, and the operator is not optimised.
#[tokio::test(flavor = "multi_thread")]
async fn no_kind_of_hostile_tenant_keeps_another_waiting() {
    if is_long() {
        return;
    }
    let mut siege = Siege::set(false).await;
    let mut victim = Victim::settle(&siege.stage, false).await;
    for (kind, ground, _) in &siege.grounds {
        let began = Instant::now();
        let at_work = attack(kind, ground);
        tokio::time::sleep(HEAD_START).await;
        let times = victim.turn(&siege.stage).await;
        kind.is_told(ground).await;
        drop(at_work);
        ground.resources().delete_collection(&DeleteParams::default(), &ListParams::default()).await.expect("deleted");
        println!("{}: {times}, {:?} in all", kind.name, began.elapsed());
    }
    siege.stands();
}

/// All kinds at once, for twenty minutes; or those that `KINDS` names, apart by commas.
#[tokio::test(flavor = "multi_thread")]
async fn all_kinds_of_hostile_tenants_at_once_keep_no_other_waiting() {
    if !is_long() {
        return;
    }
    let mut siege = Siege::set(true).await;
    let mut victim = Victim::settle(&siege.stage, true).await;
    let chosen = std::env::var("KINDS").ok();
    let is_chosen = |kind: &Kind| chosen.as_ref().is_none_or(|kinds| kinds.split(',').any(|name| name == kind.name));
    siege.grounds.retain(|(kind, ..)| is_chosen(kind));
    let attacks: Vec<Attack> = siege.grounds.iter().map(|(kind, ground, _)| attack(kind, ground)).collect();
    tokio::time::sleep(HEAD_START).await;
    let (started, mut worst) = (Instant::now(), victim::Times::default());
    // A bound may be met at one time and not at another: each is told at some time.
    let (mut untold, mut asked): (Vec<_>, _) =
        (siege.grounds.iter().map(|(kind, ground, _)| (*kind, ground.clone())).collect(), started);
    while started.elapsed() < LONG {
        if asked.elapsed() > Duration::from_secs(60) {
            asked = Instant::now();
            for (kind, ground) in std::mem::take(&mut untold) {
                if !kind.is_told_now(&ground, false).await {
                    untold.push((kind, ground));
                }
            }
        }
        let times = victim.turn(&siege.stage).await;
        worst = worst.max(times);
        println!("{:>4} s: {times}", started.elapsed().as_secs());
        siege.stage.dns.clear_questions();
        for (operator, _) in &mut siege.replicas {
            operator.process().expect_running().expect("no restart");
        }
    }
    println!("at worst: {worst}");
    let untold: Vec<&str> = untold.iter().map(|(kind, _)| kind.name).collect();
    assert_eq!(untold, Vec::<&str>::new(), "a bound that was never reported");
    drop(attacks);
    siege.stands();
    worst.hold();
}

fn is_long() -> bool {
    std::env::var_os("LONG").is_some_and(|value| value != "0")
}
