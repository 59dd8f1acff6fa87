//! Pods that ask for names through the cluster's DNS, which forwards the lists' zones to a replica.

use super::calls::Calls;
use super::history::History;
use super::laws::Law;
use super::watcher::Watcher;
use super::{Size, customer_of, name_of};
use citrix_allowlist::forward::{Forwarded, ForwardedAnswer, Forwarder, QuestionTransport};
use citrix_allowlist::lock::lock;
use fastrand::Rng;
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Where the cluster's DNS asks the forwarder from.
const CLUSTER_DNS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 0, 9));
/// How many names under each wildcard pods ask for.
pub const HIDDEN: usize = 8;
/// How far apart questions of pods are, at most.
const PAUSE: Duration = Duration::from_secs(8);

/// The bit of a header's third byte that says that there is more.
const TRUNCATED: u8 = 2;

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
        // The Service may turn late.
        let (any, is_late) = (state.random.usize(..size.replicas), state.random.u8(..10) == 0);
        let (account, forwarder) = self.turned_to(&state, any, is_late)?;
        state.is_asking.then_some((name, account, forwarder))
    }

    /// The forwarder that the Service points at: the one that leads, and `any` other where none does or it turns late.
    fn turned_to(&self, state: &State, any: usize, is_late: bool) -> Option<(String, Forwarder)> {
        let holder = self.0.watcher.holder();
        let leads = |account: &str| holder.as_deref().is_some_and(|holder| holder == account) && !is_late;
        let live = || state.forwarders.iter().filter(|(account, _)| self.0.calls.lives(account));
        let (account, forwarder) = live().find(|(account, _)| leads(account)).or_else(|| live().nth(any))?;
        Some((account.clone(), forwarder.clone()))
    }

    /// What the forwarder replies to a question that the cluster's DNS sends on; `None` where none lives, or it is silent.
    pub async fn reply(&self, question: &[u8]) -> Option<Vec<u8>> {
        let (account, forwarder) = self.turned_to(&lock(&self.0.state), 0, false)?;
        let answer = forwarder.answer(question, CLUSTER_DNS, QuestionTransport::Udp).await;
        answer.reply.filter(|_| self.0.calls.lives(&account))
    }

    async fn ask_one(self, name: String, account: String, forwarder: Forwarder) {
        let mut question = Message::query();
        question.metadata.recursion_desired = true;
        let Ok(queried) = Name::from_ascii(format!("{name}.")) else { return };
        question.add_query(Query::query(queried, RecordType::A));
        let Ok(bytes) = question.to_vec() else { return };
        let mut answer = forwarder.answer(&bytes, CLUSTER_DNS, QuestionTransport::Udp).await;
        if answer.reply.as_ref().is_some_and(|reply| reply[2] & TRUNCATED != 0) {
            answer = forwarder.answer(&bytes, CLUSTER_DNS, QuestionTransport::Tcp).await;
        }
        let ForwardedAnswer { reply, how } = answer;
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
