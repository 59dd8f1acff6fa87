//! The forwarder on real parts: what a pod is answered is allowed by the policies in the cluster before the answer is there.

#[path = "../common/mod.rs"]
mod common;

mod askers;
mod asking;
mod cluster_dns;
mod connecting;
mod covered;
mod guessed;
mod held;
mod judge;
mod learned;
mod platforms;
mod plugin;
mod property;
mod replicas;
mod service;
mod signed;
mod watcher;

use common::Stage;
use common::client::{self, Client};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use test_support::dns::Behaviour;
use test_support::fixture;
use test_support::free_port::free_port;
use test_support::operator::{Operator, OperatorConfig};
use test_support::standin::{Document, Endpoint, Service, StandinCloud, StandinConfig, Validity};

/// An exact name of the list.
const EXACT: &str = "steady.example.com";
/// A wildcard of the list.
const PATTERN: &str = "*.blob.example.net";
/// A spec that wants everything of the list.
const SPEC: &str = "{ customerId: testcustomer, geo: us }";

fn list() -> Document {
    let mut document = fixture::document(StandinCloud::Global);
    let fqdns = vec![EXACT.to_owned(), PATTERN.to_owned()];
    let endpoint = Endpoint { geo: Some("us".to_owned()), fqdns, ..Endpoint::default() };
    document.services = vec![Service {
        name: "Storage".to_owned(),
        direction: Some("outbound".to_owned()),
        endpoints: vec![endpoint],
        tcp_ports: Some("443".to_owned()),
        required: Some(true),
        ..Service::default()
    }];
    document
}

/// A name under the wildcard that nobody has asked for.
fn unseen(number: usize) -> String {
    format!("account{number}.blob.example.net")
}

/// A cluster whose DNS forwards to an operator.
struct Forwarding {
    stage: Stage,
    operator: Operator,
    config: OperatorConfig,
    /// Where pods' questions arrive.
    address: SocketAddr,
}

impl Forwarding {
    /// With one resource, whose first policy is there. Every name under the wildcard has addresses, with a TTL of five seconds.
    async fn start() -> Self {
        let (stage, address) = (Self::stage().await, free_address());
        let config = Self::config(&stage, address);
        let operator = Operator::start(&config).await.expect("an operator");
        stage.apply("daas", SPEC).await;
        stage.ready("daas").await;
        Self { stage, operator, config, address }
    }

    /// A vendor with the list, and DNS that knows its names.
    async fn stage() -> Stage {
        let validity = Validity::Rolling(Duration::from_secs(3600));
        Stage::with(StandinConfig { validity, global: list(), ..StandinConfig::unlimited() }).await
    }

    /// An operator that is asked at `address`.
    fn config(stage: &Stage, address: SocketAddr) -> OperatorConfig {
        let config = stage.operator_config().flag("forward-listen", address);
        config.flag("forward-upstream", stage.dns.addr()).flag("dns-min-ttl", "1s")
    }

    fn client(&self) -> Client {
        Client::of(self.address)
    }

    /// How many questions were answered so.
    async fn answered(&self, result: &str) -> f64 {
        let series = format!("citrix_allowlist_forwarded_questions_total{{result=\"{result}\"}}");
        self.operator.metric(&series).await.expect("metrics").unwrap_or_default()
    }

    /// Whether the policies in the cluster, as the API server has them now, allow all of these.
    async fn allows(&self, addresses: &[IpAddr]) -> bool {
        let policies = self.stage.all_policies().await;
        addresses.iter().all(|address| policies.iter().any(|policy| common::holds(policy, *address)))
    }

    /// Waits until an operator that has just begun knows what the resource wants.
    async fn knows(&self) {
        let answered = async || {
            self.client().resolve(EXACT).await;
            (self.answered("passed").await > 0.0).then_some(())
        };
        common::eventually(Duration::from_secs(30), answered).await.expect("it reconciles");
    }

    /// Kills the operator.
    async fn kill(&mut self) {
        let process = self.operator.process();
        process.signal("KILL").expect("it runs");
        process.wait(Duration::from_secs(10)).await.expect("it ends");
    }
}

fn free_address() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().expect("a port")))
}

fn rotating(pool: usize, width: usize) -> Behaviour {
    Behaviour::rotating(&fixture::pool(EXACT, pool), width, 1)
}
