//! Between hickory's server and the zone.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use hickory_proto::op::{Edns, Header, HeaderCounts, Metadata, ResponseCode};
use hickory_proto::rr::{Record, RecordType};
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use jiff::Timestamp;

use super::behaviour::{Content, Truncation};
use super::{DnsTransport, ReceivedQuery, Shared, zone};

/// The largest datagram sent, whatever the client offers: what passes every path unfragmented (DNS flag day 2020).
const LARGEST_DATAGRAM: u16 = 1232;

/// Answers the questions of one socket.
pub(super) struct Handler {
    shared: Arc<Shared>,
    transport: DnsTransport,
}

impl Handler {
    pub(super) fn new(shared: Arc<Shared>, transport: DnsTransport) -> Self {
        Self { shared, transport }
    }

    fn record(&self, question: ReceivedQuery) {
        self.shared.questions.lock().unwrap_or_else(PoisonError::into_inner).push(question);
    }
}

fn option_codes(edns: &Edns) -> Vec<u16> {
    edns.options().as_ref().iter().map(|(code, _)| u16::from(*code)).collect()
}

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut response: R) -> ResponseInfo {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.recursion_available = true;
        let unsent = ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() });
        let [asked] = request.queries.queries() else {
            let answer = MessageResponseBuilder::from_message_request(request)
                .error_msg(&request.metadata, ResponseCode::FormErr);
            return response.send_response(answer).await.unwrap_or(unsent);
        };
        // The name as it was written: clients that mix its case look for that in the answer.
        let (name, record_type) = (asked.original().name(), asked.query_type());
        self.record(ReceivedQuery {
            at: Timestamp::now(),
            instant: Instant::now(),
            name: zone::canonical(&name.to_ascii()),
            spelled: name.to_ascii().trim_end_matches('.').to_owned(),
            number: request.metadata.id,
            record_type,
            transport: self.transport,
            edns_payload: request.edns.as_ref().map(Edns::max_payload),
            edns_options: request.edns.as_ref().map(option_codes).unwrap_or_default(),
            client: request.src(),
        });
        let outcome = self.shared.zone.ask(name, record_type);
        if self.shared.silent.load(Ordering::SeqCst) {
            return unsent;
        }
        if !outcome.delay.is_zero() {
            tokio::time::sleep(outcome.delay).await;
        }
        let Some(Content { code, mut answers, soa }) = outcome.content else { return unsent };
        metadata.response_code = code;
        if self.transport == DnsTransport::Udp && outcome.truncation != Truncation::WhenLarge {
            metadata.truncation = true;
            answers.truncate(if outcome.truncation == Truncation::Always { answers.len() / 2 } else { 0 });
        }
        let wants_signatures = request.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
        if !wants_signatures && record_type != RecordType::RRSIG {
            answers.retain(|record| record.record_type() != RecordType::RRSIG);
        }
        let edns = request.edns.as_ref().map(|_| {
            let mut edns = Edns::new();
            edns.set_dnssec_ok(wants_signatures);
            // The encoder cuts datagrams by this.
            edns.set_max_payload(request.max_payload().min(LARGEST_DATAGRAM));
            edns
        });
        let none: [Record; 0] = [];
        let mut builder = MessageResponseBuilder::from_message_request(request);
        if let Some(edns) = &edns {
            builder.edns(edns);
        }
        let answer = builder.build(metadata, answers.iter(), none.iter(), soa.iter(), none.iter());
        // A client that is gone misses nothing.
        response.send_response(answer).await.unwrap_or(unsent)
    }
}
