//! Pods that ask the cluster's DNS all along, and how they were answered.

use super::common::client::{Client, addresses};
use super::common::recorder::Recorder;
use super::common::world::{STEADY, unseen, unseen_openings};
use citrix_allowlist::forward::QuestionTransport;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::{JoinHandle, JoinSet};

/// How far apart questions for known names are.
const PAUSE: Duration = Duration::from_millis(150);
/// One question in so many is for a name that nobody has asked for.
const FIRST_SEEN: usize = 5;
/// Names that are learned before the fault, and asked for all along.
pub const LEARNED: u16 = 8;
/// A pod's resolver asks so often before it gives up (resolv.conf(5), `attempts`).
const ATTEMPTS: usize = 2;

/// What pods got.
#[derive(Debug, Default)]
pub struct Heard {
    /// Questions.
    pub questions: usize,
    /// Those that a pod had to repeat.
    pub repeated: usize,
    /// Usable answers that came over TCP.
    pub over_tcp: usize,
    /// The longest that a pod waited for a usable answer.
    pub longest: Duration,
    /// Whose answer that was.
    pub longest_for: String,
    /// Questions that had no usable answer in the end, and what was answered.
    pub unanswered: Vec<String>,
    /// Every address that was answered.
    pub addresses: Vec<IpAddr>,
}

/// Pods that ask.
pub struct Pods {
    dns: SocketAddr,
    heard: Arc<Mutex<Heard>>,
    stop: Arc<AtomicBool>,
    /// Whether they ask for new names.
    curious: Arc<AtomicBool>,
    asked: Arc<Mutex<u16>>,
    task: Option<JoinHandle<()>>,
}

impl Pods {
    /// Pods that begin to ask this server: for a name of the list, for names that were learned, and for new ones.
    pub fn start(dns: SocketAddr, recorder: &Arc<Recorder>) -> Self {
        let (heard, stop, asked) = (Arc::default(), Arc::default(), Arc::new(Mutex::new(LEARNED)));
        let curious = Arc::new(AtomicBool::new(true));
        let mut pods = Self { dns, heard, stop, curious, asked, task: None };
        let (heard, stop, asked) = (Arc::clone(&pods.heard), Arc::clone(&pods.stop), Arc::clone(&pods.asked));
        let (curious, recorder) = (Arc::clone(&pods.curious), Arc::clone(recorder));
        let task = tokio::spawn(async move {
            let mut open = JoinSet::new();
            for turn in 0.. {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                // Two names in turn whose answers CoreDNS may have, and now and then one that it cannot have.
                let name = match turn % FIRST_SEEN {
                    0 if curious.load(Ordering::SeqCst) => unseen(next(&asked, &recorder)),
                    0 | 1 | 3 => STEADY.to_owned(),
                    _ => unseen((turn / 2) as u16 % LEARNED),
                };
                open.spawn(ask(dns, name, Arc::clone(&heard)));
                tokio::time::sleep(PAUSE).await;
            }
            open.join_all().await;
        });
        pods.task = Some(task);
        pods
    }

    /// Whether they ask for new names from here on.
    pub fn be_curious(&self, curious: bool) {
        self.curious.store(curious, Ordering::SeqCst);
    }

    /// A pod asks for a name that nobody has asked for. Its addresses.
    pub async fn ask_for_a_new_name(&self, recorder: &Recorder) -> Vec<IpAddr> {
        let name = unseen(next(&self.asked, recorder));
        ask(self.dns, name, Arc::clone(&self.heard)).await
    }

    /// Pods ask again for every name that they have asked for.
    pub async fn ask_for_all(&self) {
        let asked = *lock(&self.asked);
        let asking: JoinSet<_> =
            (0..asked).map(|number| ask(self.dns, unseen(number), Arc::clone(&self.heard))).collect();
        asking.join_all().await;
    }

    /// How many names they have asked for.
    pub fn asked(&self) -> u16 {
        *lock(&self.asked)
    }

    /// They stop, once every question is answered. What they heard.
    ///
    /// # Panics
    /// Where a question had no usable answer.
    pub async fn stop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(task) = self.task.take() {
            task.await.expect("they ask to the end");
        }
        let heard = lock(&self.heard);
        assert!(
            heard.unanswered.is_empty(),
            "{} of {}: {:#?}",
            heard.unanswered.len(),
            heard.questions,
            heard.unanswered
        );
    }

    /// What they have heard so far.
    pub fn read<T>(&self, of: impl FnOnce(&Heard) -> T) -> T {
        of(&lock(&self.heard))
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        self.task.iter().for_each(JoinHandle::abort);
    }
}

/// The next name that nobody has asked for, of which the recorder is told before anybody can hear of it.
fn next(asked: &Mutex<u16>, recorder: &Recorder) -> u16 {
    let mut asked = lock(asked);
    let number = *asked;
    *asked += 1;
    recorder.may_learn(unseen_openings(number));
    number
}

/// A pod's question, asked again where its answer is of no use.
async fn ask(dns: SocketAddr, name: String, heard: Arc<Mutex<Heard>>) -> Vec<IpAddr> {
    let (began, mut answers) = (Instant::now(), Vec::new());
    for attempt in 0..ATTEMPTS {
        let reply = Client::of(dns).ask_as_a_pod(&name, RecordType::A).await;
        let code = reply.as_ref().map(|(_, reply)| reply.metadata.response_code);
        let (transport, found) =
            reply.map_or((QuestionTransport::Udp, vec![]), |(transport, reply)| (transport, addresses(&reply)));
        let took = began.elapsed();
        if code == Some(ResponseCode::NoError) && !found.is_empty() {
            let mut heard = lock(&heard);
            heard.questions += 1;
            heard.repeated += attempt;
            heard.over_tcp += usize::from(transport == QuestionTransport::Tcp);
            heard.addresses.extend(&found);
            if took > heard.longest {
                (heard.longest, heard.longest_for) = (took, name);
            }
            return found;
        }
        answers.push(format!("{code:?} after {took:?}"));
    }
    let mut heard = lock(&heard);
    heard.questions += 1;
    heard.unanswered.push(format!("{name}: {answers:?}"));
    Vec::new()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
