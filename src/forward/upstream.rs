//! Asks the upstream: each question from a port of its own, under an id of its own, in random case where the server repeats it.

use super::exchange::{Exchange, ExchangeError, QuestionTransport};
use super::question::ForwardedQuestion;
use crate::lock::lock;
use crate::names::spelling::{self, Spelling};
use hickory_proto::op::{Message, Query, ResponseCode};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::timeout;

/// How long all servers together may take: CoreDNS turns to its next upstream after two seconds.
const UPSTREAM_TIMEOUT: Duration = Duration::from_millis(1900);
/// How long one server may take while others are left.
const ONE_SERVER_TIMEOUT: Duration = Duration::from_millis(600);

/// The servers that are asked in place of the cluster's DNS.
pub struct Upstream {
    servers: Vec<SocketAddr>,
    exchange: Arc<dyn Exchange>,
    /// The server that answered last.
    first: AtomicUsize,
    spellings: Mutex<HashMap<SocketAddr, Spelling>>,
}

impl Upstream {
    /// Of these servers, in this order.
    #[must_use]
    pub fn new(servers: Vec<SocketAddr>, exchange: Arc<dyn Exchange>) -> Self {
        Self { servers, exchange, first: AtomicUsize::new(0), spellings: Mutex::default() }
    }

    /// The reply of the first server that has one, with the server. A failure counts only where no server does better.
    pub async fn ask(
        &self,
        question: &ForwardedQuestion,
        transport: QuestionTransport,
    ) -> Option<(SocketAddr, Vec<u8>)> {
        timeout(UPSTREAM_TIMEOUT, self.ask_each(question, transport)).await.ok().flatten()
    }

    async fn ask_each(
        &self,
        question: &ForwardedQuestion,
        transport: QuestionTransport,
    ) -> Option<(SocketAddr, Vec<u8>)> {
        let (first, count) = (self.first.load(Ordering::Relaxed), self.servers.len());
        let mut failure = None;
        for turn in 0..count {
            let index = (first + turn) % count;
            let server = *self.servers.get(index)?;
            let patience = if turn + 1 < count { ONE_SERVER_TIMEOUT } else { UPSTREAM_TIMEOUT };
            let reply = match timeout(patience, self.ask_one(server, question, transport)).await {
                Ok(reply) => reply,
                Err(_) => Err(ExchangeError::Timeout),
            };
            match reply {
                Ok((reply, is_failure)) if is_failure => failure = Some((server, reply)),
                Ok((reply, _)) => {
                    self.first.store(index, Ordering::Relaxed);
                    return Some((server, reply));
                }
                Err(error) => {
                    tracing::debug!(%server, name = %question.spelled, %error, "the upstream does not answer")
                }
            }
        }
        failure
    }

    /// One server's reply, and whether it is a failure of the server.
    async fn ask_one(
        &self,
        server: SocketAddr,
        question: &ForwardedQuestion,
        transport: QuestionTransport,
    ) -> Result<(Vec<u8>, bool), ExchangeError> {
        let spelling = lock(&self.spellings).get(&server).copied().unwrap_or_default();
        let mut query = question.message.clone();
        query.metadata.id = Message::query().metadata.id;
        let sent = spelling.spell(&question.spelled);
        for query in &mut query.queries {
            query.name = sent.clone();
        }
        let reply = self.exchange.exchange(server, query, transport).await?;
        let echo = spelling::echo(&sent, reply.queries.first().map(Query::name));
        let (after, is_accepted) = spelling.after(echo);
        lock(&self.spellings).insert(server, after);
        if !is_accepted {
            return Err(ExchangeError::Malformed("a reply that spells the question otherwise, as a forged one would"));
        }
        let is_failure = matches!(reply.metadata.response_code, ResponseCode::ServFail | ResponseCode::Refused);
        Ok((reply.into_buffer(), is_failure))
    }
}

#[cfg(test)]
mod tests;
