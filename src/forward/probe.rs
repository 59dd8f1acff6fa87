//! Asks the cluster's DNS, and the upstream, questions that only the forwarder can answer: so it is known whether the zones in use are
//! forwarded here, and whether the upstream leads back.

use super::exchange::{Exchange, QuestionTransport};
use crate::lock::lock;
use crate::names::Names;
use crate::names::probes::ProbeOutcome;
use connectivity_allowlist::net::DomainName;
use futures::future::{BoxFuture, join_all};
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
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
    identity: Arc<str>,
    exchange: Arc<dyn Exchange>,
    /// The zones that loop, for one log line each.
    looping: Mutex<Vec<DomainName>>,
}

/// What a server answered to a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    /// What only the forwarder of this operator answers.
    Ours,
    /// Something else.
    Other,
    /// Nothing, or that it fails.
    Nothing,
}

impl Prober {
    /// One for the zones of `names`, which the forwarder answers with `identity` and asks `upstreams` for.
    #[must_use]
    pub fn new(names: Names, upstreams: Vec<SocketAddr>, identity: Arc<str>, exchange: Arc<dyn Exchange>) -> Self {
        Self { names, upstreams, identity, exchange, looping: Mutex::default() }
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
        let Some(message) = probe(zone) else { return Reply::Nothing };
        let asking = self.exchange.exchange(server, message, QuestionTransport::Udp);
        match timeout(TIMEOUT, asking).await {
            Ok(Ok(reply)) => judge(&reply, &self.identity),
            _ => Reply::Nothing,
        }
    }
}

/// A question that no cache has an answer to.
fn probe(zone: &DomainName) -> Option<Message> {
    let mut message = Message::query();
    // The library's ids are random; two of them are as many bits as a cache is ever asked for.
    let random = [(); 2].map(|()| format!("{:04x}", Message::query().metadata.id)).concat();
    let name = Name::from_ascii(format!("{PROBE_LABEL}{random}.{zone}.")).ok()?;
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, RecordType::TXT));
    Some(message)
}

fn judge(reply: &Message, identity: &str) -> Reply {
    let is_ours = |data: &RData| matches!(data, RData::TXT(txt) if txt.to_string() == identity);
    match reply.metadata.response_code {
        _ if reply.answers.iter().any(|record| is_ours(&record.data)) => Reply::Ours,
        ResponseCode::NoError | ResponseCode::NXDomain | ResponseCode::Refused => Reply::Other,
        _ => Reply::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::TXT;

    #[test]
    fn only_this_operators_answer_shows_that_a_zone_is_forwarded() {
        let zone = DomainName::parse("blob.example.com").expect("a name");
        let question = probe(&zone).expect("a question");
        let name = question.queries[0].name().clone();
        assert!(name.to_string().starts_with(PROBE_LABEL) && name.to_string().ends_with(".blob.example.com."));
        assert_ne!(probe(&zone).expect("a question").queries[0].name(), &name, "no cache has it");

        let reply = |text: Option<&str>, code: ResponseCode| {
            let mut reply = question.clone();
            reply.metadata.response_code = code;
            let txt = text.map(|text| RData::TXT(TXT::new(vec![text.to_owned()])));
            reply.answers.extend(txt.map(|txt| Record::from_rdata(name.clone(), 0, txt)));
            judge(&reply, "citrix-system")
        };
        assert_eq!(reply(Some("citrix-system"), ResponseCode::NoError), Reply::Ours);
        assert_eq!(reply(Some("another"), ResponseCode::NoError), Reply::Other, "another installation's");
        assert_eq!(reply(None, ResponseCode::NXDomain), Reply::Other);
        assert_eq!(reply(None, ResponseCode::ServFail), Reply::Nothing, "a server that fails says nothing");
    }
}
