//! What a replica answers that does not lead: it knows no resource, and so no zone in use.

use crate::common::eventually;
use crate::property::leader_after;
use crate::{EXACT, Forwarding, PATTERN, SPEC, free_address, unseen};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use std::net::SocketAddr;
use std::time::Duration;
use test_support::operator::Operator;

/// A name in no zone of the list.
const OTHER: &str = "other.example.org";

struct Replicas {
    forwarding: Forwarding,
    standby: Operator,
    standby_address: SocketAddr,
}

impl Replicas {
    /// One that leads, with one resource, and one that does not, both with these zones of the flag.
    async fn start(zones: Option<&str>) -> Self {
        let (stage, addresses) = (Forwarding::stage().await, [free_address(), free_address()]);
        let config = |address: SocketAddr| {
            let mut config = Forwarding::config(&stage, address);
            config.arguments.retain(|argument| argument != "--no-leader-election");
            match zones {
                Some(zones) => config.flag("forward-zone", zones),
                None => config,
            }
        };
        stage.dns.default_to_fixture(5);
        let of_leader = config(addresses[0]);
        let operator = Operator::start_unready(&of_leader).expect("an operator");
        leader_after(&stage, None).await;
        let standby = Operator::start_unready(&config(addresses[1])).expect("an operator");
        stage.apply("daas", SPEC).await;
        stage.ready("daas").await;
        let forwarding = Forwarding { stage, operator, config: of_leader, address: addresses[0] };
        Self { forwarding, standby, standby_address: addresses[1] }
    }

    /// The reply of the replica that does not lead.
    async fn ask_standby(&self, name: &str) -> Message {
        let client = crate::client::Client::of(self.standby_address);
        let question = crate::client::Client::question(name, RecordType::A);
        let reply = eventually(Duration::from_secs(20), async || client.send(&question).await);
        reply.await.expect("a reply")
    }

    async fn code_of_leader(&self, name: &str) -> ResponseCode {
        self.forwarding.client().ask(name, RecordType::A).await.metadata.response_code
    }

    async fn answered_by_standby(&self, result: &str) -> f64 {
        let series = format!("citrix_allowlist_forwarded_questions_total{{result=\"{result}\"}}");
        self.standby.metric(&series).await.expect("metrics").unwrap_or_default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_without_zones_of_the_flag_answers_any_name() {
    let replicas = Replicas::start(None).await;
    for name in [&*unseen(0), OTHER] {
        let reply = replicas.ask_standby(name).await;
        assert_eq!(reply.metadata.response_code, ResponseCode::NoError, "{name}: DNS of pods goes on");
        assert!(!reply.answers.is_empty(), "{name}");
    }
    assert_eq!(replicas.answered_by_standby("standby").await, 2.0, "as the upstream answered, and counted so");
    replicas.forwarding.knows().await;
    assert_eq!(replicas.code_of_leader(OTHER).await, ResponseCode::Refused, "it knows the zones in use");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_zones_of_the_flag_every_replica_refuses_others() {
    let zone = PATTERN.trim_start_matches("*.");
    let replicas = Replicas::start(Some(zone)).await;
    // The list has `EXACT`, and the flag leaves it out.
    for name in [OTHER, EXACT, "example.net"] {
        let refused = (ResponseCode::Refused, ResponseCode::Refused);
        let standby = replicas.ask_standby(name).await.metadata.response_code;
        assert_eq!((standby, replicas.code_of_leader(name).await), refused, "{name}");
    }
    assert_eq!(replicas.ask_standby(&unseen(0)).await.metadata.response_code, ResponseCode::NoError);
    let addresses = replicas.forwarding.client().resolve(&unseen(0)).await;
    assert!(replicas.forwarding.allows(&addresses).await);
    let forwarder = replicas.forwarding.stage.status("daas").await.forwarder.expect("it is on");
    assert_eq!((forwarder.zones, forwarder.not_served), (vec![zone.to_owned()], vec![EXACT.to_owned()]));
}
