//! Servers as an operator's process asks them beside its lookups: the forwarder's upstreams, and the cluster's DNS, which sends the
//! questions for the lists' zones on to the forwarder.

use super::dns::Dns;
use super::pods::Pods;
use citrix_allowlist::forward::{Exchange, ExchangeError, QuestionTransport};
use citrix_allowlist::names::{Answer, Family};
use connectivity_allowlist::net::DomainName;
use futures::future::BoxFuture;
use hickory_proto::op::{DnsResponse, Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The servers that the forwarder asks: the same ones as [`super::SERVERS`], under other addresses.
pub const UPSTREAMS: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 96, 1, 10)), 53),
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 96, 1, 11)), 53),
];

/// The servers. Clones are the same.
#[derive(Clone)]
pub struct SimulatedDns {
    pub dns: Dns,
    /// Whose forwarders there are; none where the operator does not forward.
    pub pods: Option<Pods>,
}

impl Exchange for SimulatedDns {
    fn exchange(
        &self,
        server: SocketAddr,
        question: Message,
        transport: QuestionTransport,
    ) -> BoxFuture<'static, Result<DnsResponse, ExchangeError>> {
        let all = self.clone();
        Box::pin(async move {
            tokio::time::sleep(all.dns.way(server)).await;
            if let Some(pods) = all.pods.filter(|_| !UPSTREAMS.contains(&server)) {
                let bytes =
                    question.to_vec().map_err(|_| ExchangeError::Malformed("a question that cannot be written"))?;
                if let Some(reply) = pods.reply(&bytes).await {
                    return DnsResponse::from_buffer(reply)
                        .map_err(|_| ExchangeError::Malformed("a reply that cannot be read"));
                }
            }
            // The upstream itself, or the next server of a zone whose forwarder is silent.
            let is_truncated = transport == QuestionTransport::Udp && all.dns.truncates(server);
            match reply(&all.dns, server, question, is_truncated) {
                Some(reply) => DnsResponse::from_message(reply)
                    .map_err(|_| ExchangeError::Malformed("a reply that cannot be written")),
                None => std::future::pending().await,
            }
        })
    }
}

/// The reply of a server; `None` where it is silent.
fn reply(dns: &Dns, server: SocketAddr, mut message: Message, is_truncated: bool) -> Option<Message> {
    let query = message.queries.first()?.clone();
    message.metadata.message_type = MessageType::Response;
    message.metadata.recursion_available = true;
    if is_truncated {
        message.metadata.truncation = true;
        return Some(message);
    }
    let name = DomainName::parse(&query.name().to_ascii()).ok()?;
    match dns.reply(server, &name, Family::V4, false)? {
        Ok(Answer::Addresses { addresses, ttl }) => {
            let ttl = u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX);
            let record = |address: IpAddr| match address {
                IpAddr::V4(address) => Some(Record::from_rdata(query.name().clone(), ttl, RData::A(A(address)))),
                IpAddr::V6(_) => None,
            };
            message.answers.extend(addresses.into_iter().filter_map(record));
        }
        Ok(Answer::Absent { nxdomain: true, .. }) => message.metadata.response_code = ResponseCode::NXDomain,
        Ok(Answer::Absent { .. }) => {}
        Err(_) => message.metadata.response_code = ResponseCode::ServFail,
    }
    Some(message)
}
