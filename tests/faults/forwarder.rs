//! Faults while pods ask through the cluster's DNS: every question gets an answer within a pod's patience, nothing that was allowed goes,
//! and nothing that the guard refuses is opened.

use super::common::client::Client;
use super::common::world::{unseen, unseen_openings};
use super::common::{eventually, holds};
use super::leaders::{handed_over, holder, replicas_on};
use super::matrix::Row;
use super::pods::{LEARNED, Pods};
use super::relay::{Mood, Relay};
use super::trial::{Closed, Cluster, Trial, seconds};
use hickory_proto::rr::RecordType;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::json;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use test_support::control_plane::Component;
use test_support::coredns::CoreDns;
use test_support::fault_proxy::{ApiFault, Which};
use test_support::free_port::free_port;
use test_support::{ControlPlane, shared_control_plane};

/// The chart's Service of the forwarder.
const SERVICE: &str = "citrix-allowlist-operator-dns";
/// No pod waits longer: CoreDNS turns to its next server after two seconds, and a busy machine takes its time.
const LONGEST_WAIT: Duration = Duration::from_secs(4);
/// How soon after an outage of eight seconds is applied what was asked for meanwhile: the back-off doubles with the time, and not with
/// the questions.
const APPLIED_WITHIN: Duration = Duration::from_secs(45);
/// What the operator is told to refuse.
const DENIED: &str = "20.99.0.0/16";
/// A public network of the cluster's pods.
const OF_PODS: &str = "20.98.7.0/24";
/// What no answer may open: private addresses, those that clouds answer on, what the operator is told to refuse, the cluster's own.
const LIES: [[u8; 4]; 8] = [
    [10, 1, 2, 3],
    [169, 254, 169, 254],
    [192, 168, 7, 7],
    [20, 99, 0, 1],
    [100, 100, 100, 200],
    [168, 63, 129, 16],
    [127, 0, 0, 1],
    [20, 98, 7, 9],
];

/// A trial whose cluster's DNS forwards to the operator, and pods that ask it.
struct Forwarding {
    trial: Trial,
    dns: CoreDns,
    /// The way of the operator's questions to its upstream.
    upstream: Relay,
    /// The Service of the forwarder, where there are several replicas.
    service: Option<Relay>,
    pods: Option<Pods>,
}

fn free_address() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().expect("a port")))
}

/// The block that the documentation gives; the second server is one that answers.
fn corefile(forwarder: SocketAddr, second: SocketAddr) -> String {
    format!(
        "example.com:{{port}} blob.example.net:{{port}} {{
            bind {{address}}
            errors
            cache 30
            forward . {forwarder} {second} {{
                policy sequential
                max_fails 1
                health_check 0.5s
            }}
        }}"
    )
}

/// A trial without an operator yet, whose operators have the chart's rights for a forwarder.
async fn bare(cluster: Cluster) -> (Trial, Relay) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let values = json!({ "forwarder": { "enabled": true, "upstreams": ["10.0.0.2"] } });
    let mut trial = Trial::with_values(cluster, &values).await;
    trial.world.add_wildcard();
    let upstream = Relay::to(trial.world.dns.addr()).await;
    (trial, upstream)
}

async fn shared() -> Cluster {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Cluster::Shared(shared_control_plane().await.expect("a control plane"))
}

impl Forwarding {
    /// With one operator, which the cluster's DNS asks at its address.
    async fn start(cluster: Cluster) -> Self {
        let ((mut trial, upstream), address) = (bare(cluster).await, free_address());
        let dns = CoreDns::start(&corefile(address, trial.world.dns.addr()), &[]).await.expect("CoreDNS");
        configure(&mut trial, &dns, &upstream);
        trial.configure(|config| config.flag("forward-listen", address).flag("deny-cidr", DENIED));
        trial.settle().await;
        Self::with(trial, dns, upstream, None).await
    }

    /// With two replicas, of which the cluster's DNS asks the one that the Service leads to.
    async fn start_two() -> Self {
        let (mut trial, upstream) = bare(shared().await).await;
        let places: BTreeMap<String, SocketAddr> =
            (0..2).map(|index| (format!("10.128.0.{}", index + 2), free_address())).collect();
        let (client, namespace) = (trial.client.clone(), trial.namespace.name());
        let service = Relay::of_service(client, namespace, SERVICE, places.clone()).await;
        let dns = CoreDns::start(&corefile(service.address(), trial.world.dns.addr()), &[]).await.expect("CoreDNS");
        configure(&mut trial, &dns, &upstream);
        trial.configure(|config| config.flag("forward-service", SERVICE));
        let places: Vec<_> = places.into_iter().collect();
        let trial = replicas_on(trial, 2, |index, config| {
            let (pod, place) = &places[index];
            config.flag("forward-listen", place).variable("POD_IP", pod)
        })
        .await;
        Self::with(trial, dns, upstream, Some(service)).await
    }

    /// Once some names are learned. From here on pods ask.
    async fn with(trial: Trial, dns: CoreDns, upstream: Relay, service: Option<Relay>) -> Self {
        trial.recorder.may_learn((0..LEARNED).flat_map(unseen_openings));
        let pods = Pods::start(dns.address(), &trial.recorder);
        let mut forwarding = Self { trial, dns, upstream, service, pods: Some(pods) };
        forwarding.learn_all().await;
        forwarding.trial.fault();
        forwarding
    }

    fn pods(&self) -> &Pods {
        self.pods.as_ref().expect("they ask until the end")
    }

    /// Whatever pods have asked for is learned, since they ask again.
    async fn learn_all(&mut self) {
        let learned = eventually(Duration::from_secs(60), async || {
            self.pods().ask_for_all().await;
            seconds(1).await;
            self.trial.recorder.has_learned_all().then_some(())
        });
        assert!(learned.await.is_some(), "not all names are learned\n{}", self.trial.logs());
    }

    /// How many questions the replicas answered so.
    async fn answered(&self, result: &str) -> f64 {
        let series = format!("citrix_allowlist_forwarded_questions_total{{result=\"{result}\"}}");
        let mut answered = 0.0;
        for operator in &self.trial.operators {
            answered += operator.metric(&series).await.ok().flatten().unwrap_or_default();
        }
        answered
    }

    async fn expect_answered(&self, result: &str) {
        let answered = self.answered(result).await;
        assert!(answered > 0.0, "no question was answered so: {result}\n{}", self.trial.logs());
    }

    /// Whether a name that nobody has asked for is allowed when its answer arrives.
    async fn protects(&self) -> bool {
        let addresses = self.pods().ask_for_a_new_name(&self.trial.recorder).await;
        let policies = self.trial.policies().list(&ListParams::default()).await.expect("policies").items;
        let is_allowed = |address: &IpAddr| policies.iter().any(|policy| holds(policy, *address));
        !addresses.is_empty() && addresses.iter().all(is_allowed)
    }

    /// The checks that every trial ends with, and those of pods' questions.
    async fn close(mut self, row: &Row) -> Closed {
        let since = Instant::now();
        let protects = eventually(Duration::from_secs(row.within), async || self.protects().await.then_some(()));
        assert!(protects.await.is_some(), "answers are not held again\n{}", self.trial.logs());
        let again = since.elapsed();
        let mut pods = self.pods.take().expect("they ask until the end");
        pods.stop().await;
        self.pods = Some(pods);
        self.learn_all().await;
        self.pods().read(|heard| {
            println!(
                "{}: {} questions for {} names, {} repeated, the longest wait {:?} for {}; answers held again after {again:?}",
                row.test, heard.questions, self.pods().asked(), heard.repeated, heard.longest, heard.longest_for
            );
            assert!(heard.unanswered.is_empty(), "{:#?}", heard.unanswered);
            assert!(heard.longest < LONGEST_WAIT, "{:?} for {}", heard.longest, heard.longest_for);
        });
        let Self { trial, dns, upstream, service, pods } = self;
        let closed = trial.close(row).await;
        drop((dns, upstream, service, pods));
        closed
    }
}

fn configure(trial: &mut Trial, dns: &CoreDns, upstream: &Relay) {
    let (dns, upstream) = (dns.address(), upstream.address());
    trial.configure(|mut config| {
        config.arguments.retain(|argument| !argument.starts_with("--dns-server="));
        config.flag("dns-server", dns).flag("forward-upstream", upstream)
    });
}

pub async fn forwarding_leader_leaves(row: &Row) -> Closed {
    let mut forwarding = Forwarding::start_two().await;
    let from = holder(&forwarding.trial).await.expect("a holder");
    let mut leader = forwarding.trial.operators.remove(0);
    leader.process().signal("TERM").expect("sent");
    handed_over(&forwarding.trial, &from, Duration::from_secs(10)).await;
    assert!(leader.process().wait(Duration::from_secs(10)).await.expect("it leaves").success());
    forwarding.trial.advance().await;
    forwarding.close(row).await
}

pub async fn forwarding_leader_dies(row: &Row) -> Closed {
    let mut forwarding = Forwarding::start_two().await;
    let from = holder(&forwarding.trial).await.expect("a holder");
    forwarding.trial.operators.remove(0).process().signal("KILL").expect("sent");
    forwarding.trial.advance().await;
    handed_over(&forwarding.trial, &from, Duration::from_secs(25)).await;
    forwarding.close(row).await
}

/// Waits until the Service leads elsewhere.
async fn leads_elsewhere(forwarding: &Forwarding, from: Option<SocketAddr>) -> Option<SocketAddr> {
    let service = forwarding.service.as_ref().expect("a Service");
    let target = eventually(Duration::from_secs(25), async || Some(service.target()).filter(|target| *target != from));
    target.await.expect("the Service follows the Lease")
}

pub async fn forwarding_leader_sleeps(row: &Row) -> Closed {
    let mut forwarding = Forwarding::start_two().await;
    let from = forwarding.service.as_ref().and_then(Relay::target);
    forwarding.trial.operators[0].process().signal("STOP").expect("sent");
    forwarding.trial.advance().await;
    let successor = leads_elsewhere(&forwarding, from).await;
    seconds(3).await;
    forwarding.trial.operators[0].process().signal("CONT").expect("sent");
    seconds(5).await;
    let now = forwarding.service.as_ref().and_then(Relay::target);
    assert_eq!(now, successor, "one that slept through its Lease takes no Service");
    forwarding.close(row).await
}

pub async fn forwarding_leader_cut_off(row: &Row) -> Closed {
    let mut forwarding = Forwarding::start_two().await;
    let from = forwarding.service.as_ref().and_then(Relay::target);
    forwarding.trial.ways[0].inject(Which::all(), ApiFault::Hang);
    forwarding.trial.ways[0].cut_watches();
    forwarding.trial.advance().await;
    let successor = leads_elsewhere(&forwarding, from).await;
    forwarding.expect_answered("early").await;
    // A node whose rules are late still leads to it: pods get what the upstream answers.
    let addresses = Client::of(from.expect("a leader")).ask_as_a_pod(&unseen(0), RecordType::A).await;
    assert!(addresses.is_some_and(|(_, reply)| !reply.answers.is_empty()), "it answers as a standby");
    forwarding.expect_answered("standby").await;
    forwarding.trial.ways[0].heal();
    seconds(5).await;
    assert_eq!(forwarding.service.as_ref().and_then(Relay::target), successor, "it takes no Service back");
    forwarding.close(row).await
}

pub async fn forwarding_without_api_server(row: &Row) -> Closed {
    let builder = ControlPlane::builder().workspace_definitions().expect("the definitions");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cluster = builder.start().await.expect("a control plane of its own");
    let mut forwarding = Forwarding::start(Cluster::Own(Box::new(cluster))).await;
    forwarding.trial.cluster.own().kill(Component::ApiServer).expect("killed");
    forwarding.trial.world.advance(&forwarding.trial.recorder);
    seconds(8).await;
    // After the second failure in a row nothing is waited for any more.
    forwarding.expect_answered("barred").await;
    // What they asked for meanwhile is applied soon, though they ask for nothing new.
    forwarding.pods().be_curious(false);
    forwarding.trial.cluster.own().start_again(Component::ApiServer).await.expect("back");
    let since = Instant::now();
    let learned = eventually(APPLIED_WITHIN, async || forwarding.trial.recorder.has_learned_all().then_some(()));
    assert!(learned.await.is_some(), "not applied within {APPLIED_WITHIN:?}\n{}", forwarding.trial.logs());
    println!("{}: what was asked for meanwhile is applied after {:?}", row.test, since.elapsed());
    forwarding.trial.ask().await;
    forwarding.trial.right(Duration::from_secs(row.within)).await;
    forwarding.pods().be_curious(true);
    forwarding.trial.cluster.own().freeze(Component::ApiServer).expect("frozen");
    seconds(8).await;
    // The first write that is not answered has not failed yet.
    forwarding.expect_answered("early").await;
    forwarding.trial.cluster.own().thaw(Component::ApiServer).expect("thawed");
    forwarding.trial.ask().await;
    forwarding.close(row).await
}

pub async fn upstream_dead(row: &Row) -> Closed {
    let mut forwarding = Forwarding::start(shared().await).await;
    forwarding.upstream.set(Mood::Dead);
    forwarding.trial.advance().await;
    seconds(10).await;
    forwarding.expect_answered("failed").await;
    forwarding.upstream.set(Mood::Honest);
    forwarding.close(row).await
}

pub async fn upstream_slow(row: &Row) -> Closed {
    let mut forwarding = Forwarding::start(shared().await).await;
    // In time for an answer, but not for a policy; and not in time at all.
    forwarding.upstream.set(Mood::Slow(Duration::from_millis(1400)));
    seconds(6).await;
    forwarding.expect_answered("early").await;
    forwarding.trial.advance().await;
    forwarding.upstream.set(Mood::Slow(Duration::from_millis(2500)));
    seconds(6).await;
    forwarding.expect_answered("failed").await;
    forwarding.upstream.set(Mood::Honest);
    forwarding.close(row).await
}

pub async fn upstream_lying(row: &Row) -> Closed {
    let mut forwarding = Forwarding::start(shared().await).await;
    let nodes = Api::<Node>::all(forwarding.trial.client.clone());
    let name = forwarding.trial.namespace.name().to_owned();
    let node = json!({ "metadata": { "name": name }, "spec": { "podCIDR": OF_PODS, "podCIDRs": [OF_PODS] } });
    let node = serde_json::from_value(node).expect("a node");
    nodes.create(&PostParams::default(), &node).await.expect("a node");
    let cluster_ip = ["get", "service", "kubernetes", "-n", "default", "-o", "jsonpath={.spec.clusterIP}"];
    let cluster_ip = forwarding.trial.cluster.kubectl(&cluster_ip).await.expect("the API server's Service");
    let lies = LIES.map(Ipv4Addr::from).into_iter().chain([cluster_ip.trim().parse().expect("an address")]);
    let lies: Vec<Ipv4Addr> = lies.collect();
    seconds(2).await;
    forwarding.upstream.set(Mood::Lying(lies.clone()));
    forwarding.trial.advance().await;
    seconds(12).await;
    forwarding.expect_answered("barred").await;
    forwarding.expect_answered("cut").await;
    let told =
        forwarding.pods().read(|heard| lies.iter().filter(|lie| heard.addresses.contains(&IpAddr::V4(**lie))).count());
    assert!(told > 0, "pods heard lies");
    forwarding.upstream.set(Mood::Honest);
    let closed = forwarding.close(row).await;
    nodes.delete(&name, &DeleteParams::default()).await.expect("deleted");
    closed
}

pub async fn upstream_truncating(row: &Row) -> Closed {
    let mut forwarding = Forwarding::start(shared().await).await;
    forwarding.upstream.set(Mood::Truncating);
    forwarding.trial.advance().await;
    seconds(8).await;
    let over_tcp = forwarding.pods().read(|heard| heard.over_tcp);
    assert!(over_tcp > 0, "pods asked again over TCP");
    // Over TCP nothing is truncated: answers are held as ever.
    let protects = eventually(Duration::from_secs(20), async || forwarding.protects().await.then_some(()));
    protects.await.expect("what is asked for over TCP is held as ever");
    forwarding.upstream.set(Mood::Honest);
    forwarding.close(row).await
}
