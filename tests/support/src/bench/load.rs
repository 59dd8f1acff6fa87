//! Questions at a fixed rate, each sent when it is due, whether or not earlier ones are answered (an open loop): an answer counts
//! from the time at which its question was due. So a server that stalls is charged with every question that it keeps waiting.

use super::figures::{Sample, milliseconds};
use anyhow::Context as _;
use hickory_proto::op::{Edns, Message, Query};
use hickory_proto::rr::{Name, RecordType};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How long an answer is waited for after the last question: so long waits CoreDNS (plugin `forward`). A question without an
/// answer counts as one that was answered after this time.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// How long the sockets and threads have before the first question is due.
const LEAD: Duration = Duration::from_millis(20);
/// Bytes of a header.
const HEADER: usize = 12;

/// Questions as CoreDNS forwards them, ready to be sent.
#[derive(Clone, Debug)]
pub struct Questions(Arc<[Vec<u8>]>);

impl Questions {
    /// One for the IPv4 addresses of each name.
    ///
    /// # Errors
    /// Where one is no name.
    pub fn of(names: impl IntoIterator<Item = String>) -> anyhow::Result<Self> {
        let question = |name: String| {
            let mut message = Message::query();
            message.metadata.recursion_desired = true;
            message.add_query(Query::query(Name::from_ascii(format!("{name}.")).context("a name")?, RecordType::A));
            let mut edns = Edns::new();
            edns.set_max_payload(1232);
            message.set_edns(edns);
            message.to_vec().context("a question")
        };
        Ok(Self(names.into_iter().map(question).collect::<anyhow::Result<_>>()?))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// What came of questions.
#[derive(Clone, Debug, Default)]
pub struct LoadAnswer {
    /// From when a question was due to its answer, in milliseconds.
    pub times: Sample,
    /// From when a question was due until it was sent, in milliseconds: the client's own part of these times.
    pub late: Sample,
    /// How many got no answer with addresses.
    pub lost: usize,
}

/// Sends `count` questions to `server`, `per_second` in a second; the first again after the last.
///
/// # Errors
/// Where there is no socket, or there are more questions than ids.
pub async fn ask(
    server: SocketAddr,
    questions: &Questions,
    count: usize,
    per_second: f64,
) -> anyhow::Result<LoadAnswer> {
    let questions = questions.clone();
    // Threads of its own: the runtime's are woken too coarsely.
    tokio::task::spawn_blocking(move || ask_now(server, &questions.0, count, per_second)).await?
}

fn ask_now(server: SocketAddr, questions: &[Vec<u8>], count: usize, per_second: f64) -> anyhow::Result<LoadAnswer> {
    anyhow::ensure!(!questions.is_empty() && count <= usize::from(u16::MAX), "each question has an id of its own");
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect(server)?;
    let receiving = socket.try_clone()?;
    receiving.set_read_timeout(Some(Duration::from_millis(100)))?;
    let began = Instant::now() + LEAD;
    let due = move |number: usize| began + Duration::from_secs_f64(number as f64 / per_second);
    let receiver = thread::spawn(move || receive(&receiving, count, due));
    wake_exactly();
    let mut late = Sample::default();
    for number in 0..count {
        let mut message = questions[number % questions.len()].clone();
        message[..2].copy_from_slice(&(number as u16).to_be_bytes());
        thread::sleep(due(number).saturating_duration_since(Instant::now()));
        late.add_time(due(number).elapsed());
        // A server that is gone shows as questions without an answer.
        let _ = socket.send(&message);
    }
    let answered = receiver.join().map_err(|_| anyhow::anyhow!("the receiver panicked"))?;
    let mut asked = LoadAnswer { late, ..LoadAnswer::default() };
    for time in answered {
        asked.times.add(milliseconds(time.unwrap_or(PATIENCE)));
        asked.lost += usize::from(time.is_none());
    }
    Ok(asked)
}

/// How long each answer took; nothing where none with addresses came.
fn receive(socket: &UdpSocket, count: usize, due: impl Fn(usize) -> Instant) -> Vec<Option<Duration>> {
    let (mut times, mut open, mut buffer) = (vec![None; count], count, [0; 4096]);
    let deadline = due(count) + PATIENCE;
    while open > 0 && Instant::now() < deadline {
        let length = match socket.recv(&mut buffer) {
            Ok(length) => length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            // The server is not there (yet).
            Err(_) => continue,
        };
        let now = Instant::now();
        let Some(header) = buffer[..length].first_chunk::<HEADER>() else { continue };
        let number = usize::from(u16::from_be_bytes([header[0], header[1]]));
        let has_addresses = header[3] & 0x0f == 0 && (header[6], header[7]) != (0, 0);
        if let Some(time @ None) = times.get_mut(number).filter(|_| has_addresses) {
            *time = Some(now.saturating_duration_since(due(number)));
            open -= 1;
        }
    }
    times
}

/// The kernel wakes a thread up to 50 µs late, to wake several at once; this one not. Where that is not granted, the questions
/// are so much later, and it is part of [`LoadAnswer::late`].
fn wake_exactly() {
    let Ok(this) = std::fs::read_link("/proc/thread-self") else { return };
    let Some(number) = this.file_name() else { return };
    let _ = std::fs::write(std::path::Path::new("/proc").join(number).join("timerslack_ns"), "1");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Behaviour, DnsServer};

    #[tokio::test(flavor = "multi_thread")]
    async fn each_answer_counts_from_when_its_question_was_due() {
        let server = DnsServer::start().await.expect("a server");
        server.default_to_fixture(30);
        let address = fixture("slow.example.com");
        server.set("slow.example.com", Behaviour::addresses(&address, 30).delayed(Duration::from_millis(300)));
        server.set("none.example.com", Behaviour::nxdomain());
        let names = ["quick.example.com", "slow.example.com", "none.example.com"].map(str::to_owned);
        let asked = ask(server.addr(), &Questions::of(names).expect("names"), 6, 100.0).await.expect("answers");
        assert_eq!((asked.times.count(), asked.late.count(), asked.lost), (6, 6, 2));
        assert!(asked.times.percentile(50) >= 300.0, "{:?}", asked.times);
        assert_eq!(asked.times.percentile(99), milliseconds(PATIENCE));
        assert_eq!(server.count("quick.example.com", RecordType::A), 2, "the first again after the last");
    }

    fn fixture(name: &str) -> Vec<std::net::IpAddr> {
        crate::fixture::pool(name, 1)
    }
}
