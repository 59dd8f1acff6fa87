use super::*;
use futures::future::BoxFuture;
use hickory_proto::op::{DnsResponse, MessageType};
use hickory_proto::rr::{Name, RecordType};
use std::collections::VecDeque;
use tokio::time::Instant;

/// What a server does with a question.
#[derive(Clone, Copy)]
enum Does {
    /// Answers with this code, and the question as it was spelled.
    Answer(ResponseCode),
    /// Answers with the question in small letters, as a forger would who cannot see it.
    Forge,
    Nothing,
}

/// Servers that do one after the other.
struct Script(Mutex<HashMap<SocketAddr, VecDeque<Does>>>);

impl Exchange for Script {
    fn exchange(
        &self,
        server: SocketAddr,
        mut question: Message,
        _: QuestionTransport,
    ) -> BoxFuture<'static, Result<DnsResponse, ExchangeError>> {
        let does = lock(&self.0).get_mut(&server).and_then(VecDeque::pop_front).expect("it is in the script");
        Box::pin(async move {
            question.metadata.message_type = MessageType::Response;
            match does {
                Does::Answer(code) => question.metadata.response_code = code,
                Does::Forge => question.queries.iter_mut().for_each(|query| query.name = query.name.to_lowercase()),
                Does::Nothing => std::future::pending().await,
            }
            DnsResponse::from_message(question).map_err(|_| ExchangeError::Malformed("unwritable"))
        })
    }
}

const OK: Does = Does::Answer(ResponseCode::NoError);

fn server(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 53))
}

fn upstream(scripts: &[&[Does]]) -> Upstream {
    let scripts = scripts.iter().enumerate();
    let scripts: HashMap<_, _> = scripts.map(|(at, does)| (server(at as u8), does.iter().copied().collect())).collect();
    let mut servers: Vec<SocketAddr> = scripts.keys().copied().collect();
    servers.sort();
    Upstream::new(servers, Arc::new(Script(Mutex::new(scripts))))
}

/// Long enough that random case is never all small by chance.
fn question() -> ForwardedQuestion {
    let mut message = Message::query();
    let name = "abcdefghijklmnopqrstuvwxyz.abcdefghijklmnopqrstuvwxyz.example.com.";
    message.add_query(Query::query(Name::from_ascii(name).expect("a name"), RecordType::A));
    ForwardedQuestion::read(&message.to_vec().expect("bytes")).expect("a question")
}

/// Who answered, with which code.
async fn ask(upstream: &Upstream) -> Option<(SocketAddr, ResponseCode)> {
    let (server, reply) = upstream.ask(&question(), QuestionTransport::Udp).await?;
    Some((server, Message::from_vec(&reply).expect("a reply").metadata.response_code))
}

#[tokio::test(start_paused = true)]
async fn a_reply_in_another_case_is_no_reply_of_the_upstream() {
    let upstream = upstream(&[&[OK, Does::Forge, OK]]);
    assert!(ask(&upstream).await.is_some(), "since then it is known to keep the case");
    assert_eq!(ask(&upstream).await, None);
    assert!(ask(&upstream).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn the_next_server_answers_where_one_is_silent_or_fails() {
    let fails = Does::Answer(ResponseCode::ServFail);
    let upstream = upstream(&[&[Does::Nothing, fails, fails], &[OK, OK, OK, fails]]);
    let began = Instant::now();
    assert_eq!(ask(&upstream).await, Some((server(1), ResponseCode::NoError)));
    assert_eq!(began.elapsed(), ONE_SERVER_TIMEOUT);
    assert_eq!(ask(&upstream).await, Some((server(1), ResponseCode::NoError)), "the one that answered is asked first");
    upstream.first.store(0, Ordering::Relaxed);
    assert_eq!(ask(&upstream).await, Some((server(1), ResponseCode::NoError)));
    assert_eq!(ask(&upstream).await, Some((server(0), ResponseCode::ServFail)), "a failure where none does better");
}

#[tokio::test(start_paused = true)]
async fn all_servers_together_answer_before_coredns_turns_away() {
    let upstream = upstream(&[&[Does::Nothing], &[Does::Nothing], &[Does::Nothing], &[Does::Nothing]]);
    let began = Instant::now();
    assert_eq!(ask(&upstream).await, None);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}
