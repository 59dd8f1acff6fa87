//! Asks the cluster's DNS, and the upstream, questions that only the forwarder can answer: so it is known whether the zones in use are
//! forwarded here, and whether the upstream leads back.

use super::exchange::{Exchange, QuestionTransport};
use crate::lock::lock;
use crate::names::Names;
use crate::names::probes::ProbeOutcome;
use connectivity_allowlist::net::DomainName;
use futures::future::{BoxFuture, join_all};
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// The first label of a probe's name begins so; what follows is random, so that no cache answers it.
pub const PROBE_LABEL: &str = "_citrix-allowlist-";
/// How long a server may take to answer a probe: CoreDNS turns to its next server after two seconds.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How far apart zones that are due are looked for.
const TICK: Duration = Duration::from_secs(1);

/// Probes the zones in use.
pub struct Prober {
    names: Names,
    upstreams: Vec<SocketAddr>,
    exchange: Arc<dyn Exchange>,
    /// The zones that loop, for one log line each.
    looping: Mutex<Vec<DomainName>>,
}

/// What a server answered to a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    /// It came to the forwarder of this process.
    Ours,
    /// Something else.
    Other,
    /// Nothing, or that it fails.
    Nothing,
}

impl Prober {
    /// One for the zones of `names`, for which the forwarder asks `upstreams`.
    #[must_use]
    pub fn new(names: Names, upstreams: Vec<SocketAddr>, exchange: Arc<dyn Exchange>) -> Self {
        Self { names, upstreams, exchange, looping: Mutex::default() }
    }

    /// Probes while `leading` is true, for as long as it is polled. Ends when the sender of `leading` is gone.
    pub async fn run(self, mut leading: watch::Receiver<bool>) {
        while leading.wait_for(|leads| *leads).await.is_ok() {
            join_all(self.names.zones_due().into_iter().map(|zone| self.probe(zone))).await;
            tokio::time::sleep(TICK).await;
        }
    }

    async fn probe(&self, zone: DomainName) {
        let servers = self.names.servers();
        let (cluster, upstream) = futures::join!(self.ask_all(&servers, &zone), self.ask_all(&self.upstreams, &zone));
        let is_looping = upstream.contains(&Reply::Ours);
        self.say(&zone, is_looping);
        let outcome = if is_looping {
            ProbeOutcome::Loop
        } else if cluster.contains(&Reply::Other) {
            ProbeOutcome::Elsewhere
        } else if cluster.contains(&Reply::Ours) {
            ProbeOutcome::Here
        } else {
            ProbeOutcome::Silent
        };
        self.names.zone_probed(&zone, outcome);
    }

    /// Logs that a zone's upstream leads back here, and that it no longer does.
    fn say(&self, zone: &DomainName, is_looping: bool) {
        let mut looping = lock(&self.looping);
        match (looping.iter().position(|known| known == zone), is_looping) {
            (None, true) => {
                looping.push(zone.clone());
                tracing::warn!(%zone, "an upstream of --forward-upstream forwards this zone back to the operator: its questions are not answered here, and the cluster's DNS asks its next server");
            }
            (Some(position), false) => {
                looping.swap_remove(position);
                tracing::info!(%zone, "the upstream no longer leads back to the operator");
            }
            _ => {}
        }
    }

    fn ask_all<'a>(&'a self, servers: &'a [SocketAddr], zone: &'a DomainName) -> BoxFuture<'a, Vec<Reply>> {
        Box::pin(join_all(servers.iter().map(|server| self.ask(*server, zone))))
    }

    async fn ask(&self, server: SocketAddr, zone: &DomainName) -> Reply {
        let Some((label, message)) = probe(zone) else { return Reply::Nothing };
        self.names.probe_sent(&label);
        let asking = self.exchange.exchange(server, message, QuestionTransport::Udp);
        let reply = timeout(TIMEOUT, asking).await;
        // Another installation's forwarder may have answered it: what counts is whether it came here.
        if self.names.probe_ended(&label) {
            return Reply::Ours;
        }
        match reply {
            Ok(Ok(reply)) => judge(&reply),
            _ => Reply::Nothing,
        }
    }
}

/// A question that no cache has an answer to, with its first label.
fn probe(zone: &DomainName) -> Option<(String, Message)> {
    let mut message = Message::query();
    // The library's ids are random; two of them are as many bits as a cache is ever asked for.
    let random = [(); 2].map(|()| format!("{:04x}", Message::query().metadata.id)).concat();
    let label = format!("{PROBE_LABEL}{random}");
    let name = Name::from_ascii(format!("{label}.{zone}.")).ok()?;
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, RecordType::TXT));
    Some((label, message))
}

/// What the reply to a question says that did not come here.
fn judge(reply: &Message) -> Reply {
    match reply.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain | ResponseCode::Refused => Reply::Other,
        _ => Reply::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_new_each_time_and_a_failure_says_nothing() {
        let zone = DomainName::parse("blob.example.com").expect("a name");
        let (label, question) = probe(&zone).expect("a question");
        assert_eq!(question.queries[0].name().to_string(), format!("{label}.blob.example.com."));
        assert!(label.starts_with(PROBE_LABEL) && probe(&zone).expect("a question").0 != label, "no cache has it");
        let reply = |code: ResponseCode| {
            let mut reply = question.clone();
            reply.metadata.response_code = code;
            judge(&reply)
        };
        assert_eq!((reply(ResponseCode::NoError), reply(ResponseCode::NXDomain)), (Reply::Other, Reply::Other));
        assert_eq!(reply(ResponseCode::ServFail), Reply::Nothing, "a server that fails says nothing");
    }
}
