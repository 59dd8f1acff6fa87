//! Strips replies before the library reads them. It copies each additional address once per server of a referral: 64 KiB of
//! such a reply grew to five million records, over a gigabyte.

use futures::TryStreamExt as _;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use hickory_proto::op::{DnsRequest, DnsResponse};
use hickory_proto::rr::RecordType;
use hickory_resolver::config::ConnectionConfig;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsExchange, DnsHandle};
use hickory_resolver::{ConnectionProvider, PoolContext};
use std::net::IpAddr;

/// Keeps what an answer is read from: the question, the answers, the first SOA (how long an absence may be kept) and the first
/// NS (a referral). Pure.
pub fn lighten(response: &mut DnsResponse) {
    response.queries.truncate(1);
    response.additionals = Vec::new();
    let authorities = std::mem::take(&mut response.authorities);
    let first = |kind: RecordType| authorities.iter().find(|record| record.record_type() == kind);
    response.authorities = [RecordType::SOA, RecordType::NS].into_iter().filter_map(first).cloned().collect();
}

/// Connections as the library makes them, whose replies are light.
#[derive(Clone, Default)]
pub(super) struct Light(TokioRuntimeProvider);

/// One of these connections.
#[derive(Clone)]
pub(super) struct LightConnection(DnsExchange<TokioRuntimeProvider>);

impl ConnectionProvider for Light {
    type Conn = LightConnection;
    type FutureConn = BoxFuture<'static, Result<LightConnection, NetError>>;
    type RuntimeProvider = TokioRuntimeProvider;

    fn new_connection(
        &self,
        ip: IpAddr,
        config: &ConnectionConfig,
        context: &PoolContext,
    ) -> Result<Self::FutureConn, NetError> {
        let connection = self.0.new_connection(ip, config, context)?;
        Ok(Box::pin(async move { connection.await.map(LightConnection) }))
    }

    fn runtime_provider(&self) -> &Self::RuntimeProvider {
        &self.0
    }
}

impl DnsHandle for LightConnection {
    type Response = BoxStream<'static, Result<DnsResponse, NetError>>;
    type Runtime = TokioRuntimeProvider;

    fn send(&self, request: DnsRequest) -> Self::Response {
        let replies = self.0.send(request);
        Box::pin(replies.map_ok(|mut response| {
            lighten(&mut response);
            response
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::{Message, MessageType, OpCode, Query};
    use hickory_proto::rr::rdata::{A, NS, SOA};
    use hickory_proto::rr::{Name, RData, Record};
    use hickory_resolver::net::DnsError;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).expect("a name")
    }

    #[test]
    fn a_soa_is_kept_and_records_that_multiply_are_dropped() {
        let (zone, server) = (name("example.com."), name("ns.example.com."));
        let refers = Record::from_rdata(zone.clone(), 60, RData::NS(NS(server.clone())));
        let additional = Record::from_rdata(server.clone(), 60, RData::A(A::new(20, 1, 1, 1)));
        let soa = SOA::new(server.clone(), server, 1, 2, 3, 4, 20);
        let mut message = Message::new(1, MessageType::Response, OpCode::Query);
        message.queries = vec![Query::query(name("a.example.com."), RecordType::A); 3];
        message.authorities = vec![refers; 2000];
        message.authorities.push(Record::from_rdata(zone, 300, RData::SOA(soa)));
        message.additionals = vec![additional; 2000];
        let mut response = DnsResponse::from_message(message).expect("a reply");
        lighten(&mut response);
        assert_eq!((response.queries.len(), response.additionals.len(), response.authorities.len()), (1, 0, 2));
        assert_eq!(response.negative_ttl(), Some(20));
        let Err(DnsError::NoRecordsFound(empty)) = DnsError::from_response(response) else { panic!("it is empty") };
        assert_eq!((empty.negative_ttl, empty.ns.map(|servers| servers.len())), (Some(20), Some(1)));
    }
}
