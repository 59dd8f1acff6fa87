//! Pods that ask for names through the cluster's DNS, which forwards the lists' zones to a replica.

use super::calls::Calls;
use super::dns::Dns;
use super::history::History;
use super::laws::Law;
use super::watcher::Watcher;
use super::{Size, customer_of, name_of};
use citrix_allowlist::forward::{Exchange, ExchangeError, Forwarded, ForwardedAnswer, Forwarder, QuestionTransport};
use citrix_allowlist::lock::lock;
use citrix_allowlist::names::{Answer, Family};
use connectivity_allowlist::net::DomainName;
use fastrand::Rng;
use futures::future::BoxFuture;
use hickory_proto::op::{DnsResponse, Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The servers that the forwarder asks: the same ones as [`super::SERVERS`], under other addresses.
pub const UPSTREAMS: [&str; 2] = ["10.96.1.10:53", "10.96.1.11:53"];
/// How many names under each wildcard pods ask for.
pub const HIDDEN: usize = 8;
/// How far apart questions of pods are, at most.
const PAUSE: Duration = Duration::from_secs(8);

impl Exchange for Dns {
    fn exchange(
        &self,
        server: SocketAddr,
        question: Message,
        _: QuestionTransport,
    ) -> BoxFuture<'static, Result<DnsResponse, ExchangeError>> {
        let dns = self.clone();
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(2)).await;
            match reply(&dns, server, question) {
                Some(reply) => DnsResponse::from_message(reply)
                    .map_err(|_| ExchangeError::Malformed("a reply that cannot be written")),
                None => std::future::pending().await,
            }
        })
    }
}

/// The reply of a server; `None` where it is silent.
fn reply(dns: &Dns, server: SocketAddr, mut message: Message) -> Option<Message> {
    let query = message.queries.first()?.clone();
    message.metadata.message_type = MessageType::Response;
    message.metadata.recursion_available = true;
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

/// The pods of all tenants together. Clones are the same.
#[derive(Clone)]
pub struct Pods(Arc<Inner>);

struct Inner {
    size: Size,
    history: History,
    watcher: Watcher,
    calls: Calls,
    state: Mutex<State>,
}

struct State {
    random: Rng,
    /// Whether they ask.
    is_asking: bool,
    /// The forwarder of each live process.
    forwarders: BTreeMap<String, Forwarder>,
    /// How many answers were made in each way.
    counts: BTreeMap<&'static str, usize>,
}

impl Pods {
    pub fn new(seed: u64, size: Size, history: History, watcher: Watcher, calls: Calls) -> Self {
        let random = Rng::with_seed(seed ^ 0x7061_6473);
        let state = State { random, is_asking: true, forwarders: BTreeMap::new(), counts: BTreeMap::new() };
        Self(Arc::new(Inner { size, history, watcher, calls, state: Mutex::new(state) }))
    }

    /// A process began.
    pub fn began(&self, account: &str, forwarder: Forwarder) {
        lock(&self.0.state).forwarders.insert(account.to_owned(), forwarder);
    }

    /// A process is gone: nobody gets an answer of it.
    pub fn killed(&self, account: &str) {
        lock(&self.0.state).forwarders.remove(account);
    }

    /// In a quiet time nothing new is asked for.
    pub fn set_asking(&self, is_asking: bool) {
        lock(&self.0.state).is_asking = is_asking;
    }

    /// How many answers were made in each way.
    pub fn counts(&self) -> String {
        let counts = lock(&self.0.state).counts.clone();
        counts.into_iter().map(|(how, count)| format!(" {how} {count}")).collect()
    }

    /// Asks, for as long as it is polled.
    pub async fn ask(self) {
        loop {
            let pause = lock(&self.0.state).random.u64(1..PAUSE.as_millis() as u64);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            // An answer that is held delays no other.
            if let Some((name, account, forwarder)) = self.pick() {
                tokio::spawn(self.clone().ask_one(name, account, forwarder));
            }
        }
    }

    fn pick(&self) -> Option<(String, String, Forwarder)> {
        let size = self.0.size;
        let mut state = lock(&self.0.state);
        let customer = state.random.usize(..size.customers);
        let name = match state.random.bool() {
            true => name_of(customer, state.random.usize(..size.names)),
            false => hidden_of(customer, state.random.usize(..HIDDEN)),
        };
        // Mostly the one that leads; the Service may turn late.
        let holder = self.0.watcher.holder();
        let (any, is_late) = (state.random.usize(..size.replicas), state.random.u8(..10) == 0);
        let leads = |account: &str| holder.as_deref().is_some_and(|holder| holder == account) && !is_late;
        let live = || state.forwarders.iter().filter(|(account, _)| self.0.calls.lives(account));
        let (account, forwarder) = live().find(|(account, _)| leads(account)).or_else(|| live().nth(any))?;
        state.is_asking.then(|| (name, account.clone(), forwarder.clone()))
    }

    async fn ask_one(self, name: String, account: String, forwarder: Forwarder) {
        let mut question = Message::query();
        question.metadata.recursion_desired = true;
        let Ok(queried) = Name::from_ascii(format!("{name}.")) else { return };
        question.add_query(Query::query(queried, RecordType::A));
        let Ok(bytes) = question.to_vec() else { return };
        let ForwardedAnswer { reply, how } =
            forwarder.answer(&bytes, IpAddr::from([10, 244, 0, 9]), QuestionTransport::Udp).await;
        if !self.0.calls.lives(&account) {
            return;
        }
        *lock(&self.0.state).counts.entry(how.label()).or_default() += 1;
        let reply = reply.and_then(|bytes| Message::from_vec(&bytes).ok());
        let addresses: Vec<IpAddr> = reply.iter().flat_map(|reply| &reply.answers).filter_map(address).collect();
        if !matches!(how, Forwarded::Passed) {
            self.0.history.note(&format!("{account} answers {name} with {addresses:?}: {}", how.label()));
        }
        if matches!(how, Forwarded::Passed | Forwarded::Cut | Forwarded::Waited) {
            let wrong = self.0.watcher.not_in_force(&name, &addresses);
            for (resource, address) in wrong {
                let what = format!(
                    "{account} answers {name} with {address} ({}), which {}/{} does not allow",
                    how.label(),
                    resource.0,
                    resource.1
                );
                self.0.history.violated(Law::InForce, &what);
            }
        }
    }
}

fn address(record: &Record) -> Option<IpAddr> {
    match &record.data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        _ => None,
    }
}

/// The wildcard of a customer's list where the operator forwards.
pub fn wildcard_of(customer: &str) -> String {
    format!("*.w{}.example.com", customer.trim_start_matches("customer"))
}

/// Whether a name is under a customer's wildcard.
pub fn is_hidden(name: &str, customer: &str) -> bool {
    name.ends_with(&wildcard_of(customer)[1..])
}

/// A name under a customer's wildcard, which no list has.
pub fn hidden_of(customer: usize, number: usize) -> String {
    format!("p{number}{}", &wildcard_of(&customer_of(customer))[1..])
}
