use super::*;
use crate::clock::Clock;
use crate::telemetry::Metrics;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;

struct Running {
    address: SocketAddr,
    probes: SocketAddr,
    health: Health,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

async fn running(timeout: Duration, state: StateSource) -> Running {
    running_for(timeout, state, None).await
}

async fn running_for(timeout: Duration, state: StateSource, authorizer: Option<Arc<dyn Authorizer>>) -> Running {
    let health = Health::new(Clock::System, timeout, ["resources", "facts"]);
    let metrics = Arc::new(Metrics::default());
    let scraped = metrics.clone();
    let content = Content { health: health.clone(), metrics: Arc::new(move || scraped.render()), state, authorizer };
    let bound = async || Server::bind("--listen", SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port");
    let (server, probe_server, stop) = (bound().await, bound().await, CancellationToken::new());
    let (address, probes) = (server.address(), probe_server.address());
    tokio::spawn(probe_server.run_probes(health.clone(), stop.clone()));
    let task = tokio::spawn(server.run(content, stop.clone()));
    Running { address, probes, health, metrics, stop, task }
}

/// A server with a timeout that no test reaches, and tables without content.
async fn idle() -> Running {
    running(Duration::from_secs(60), of("null")).await
}

fn of(text: &'static str) -> StateSource {
    Arc::new(move || Box::new(std::iter::once(text.as_bytes().to_vec())))
}

async fn get(running: &Running, path: &str) -> (u16, String, String) {
    get_from(running.address, path, None).await
}

async fn get_from(address: SocketAddr, path: &str, token: Option<&str>) -> (u16, String, String) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let mut request = client.get(format!("http://{address}{path}"));
    if let Some(token) = token {
        request = request.header(TOKEN_HEADER, token);
    }
    let answer = request.send().await.expect("an answer");
    let kind = answer.headers().get("content-type").map(|kind| kind.to_str().expect("text").to_owned());
    (answer.status().as_u16(), kind.unwrap_or_default(), answer.text().await.expect("a body"))
}

/// Sends bytes and reads until the server closes.
async fn exchange(running: &Running, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(running.address).await.expect("a connection");
    // The server may refuse and close before everything is sent.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn ready_names_what_it_waits_for() {
    let running = idle().await;
    let (status, _, text) = get(&running, "/readyz").await;
    assert_eq!((status, text.as_str()), (503, "waiting for facts, resources\n"));
    assert_eq!(get(&running, "/livez").await.0, 200);
    running.health.synced("facts");
    assert_eq!(get(&running, "/readyz").await.2, "waiting for resources\n");
    running.health.synced("resources");
    let (status, _, text) = get(&running, "/readyz").await;
    assert_eq!((status, text.as_str()), (200, "ok\n"));
}

#[tokio::test]
async fn live_ends_with_the_heartbeat_and_comes_back_with_it() {
    let running = running(Duration::from_millis(100), of("null")).await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    let (status, _, text) = get(&running, "/livez").await;
    assert_eq!((status, text.as_str()), (503, "the main loop has been standing still for 0 s\n"));
    running.health.beat();
    assert_eq!(running.health.live(), Ok(()));
}

#[tokio::test]
async fn metrics_and_tables_come_in_their_media_types() {
    let running = running(Duration::from_secs(60), of(r#"{"names":["accounts.citrixcloud.jp"]}"#)).await;
    running.metrics.leading(true);
    let (status, kind, text) = get(&running, "/metrics").await;
    assert_eq!((status, kind.as_str()), (200, CONTENT_TYPE));
    assert!(text.contains("\ncitrix_allowlist_leader 1\n"), "{text}");
    let (status, kind, text) = get(&running, "/debug/state").await;
    assert_eq!((status, kind.as_str()), (200, "application/json"));
    assert_eq!(text, r#"{"names":["accounts.citrixcloud.jp"]}"#);
}

#[tokio::test]
async fn nothing_else_is_answered() {
    let running = idle().await;
    assert_eq!(get(&running, "/").await.0, 404);
    let long = "y".repeat(64 * 1024);
    let fields: String = (0..100).map(|number| format!("x-{number}: y\r\n")).collect();
    for (request, status, end) in [
        ("POST /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(), "405", ""),
        ("HEAD /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(), "200", "\r\n\r\n"),
        (format!("GET /livez HTTP/1.1\r\n{fields}\r\n"), "431", ""),
    ] {
        let answer = exchange(&running, request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.ends_with(end), "{answer}");
    }
    let answer = exchange(&running, format!("GET /livez HTTP/1.1\r\nx: {long}\r\n\r\n").as_bytes()).await;
    assert!(!answer.contains(" 200 "), "{answer}");
    assert_eq!(get(&running, "/livez").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_finishes_requests_in_flight_and_waits_for_no_other() {
    let (entered, mut enters) = tokio::sync::mpsc::unbounded_channel();
    let slow: StateSource = Arc::new(move || {
        let _ = entered.send(());
        std::thread::sleep(Duration::from_millis(300));
        Box::new(std::iter::once(br#""finished""#.to_vec()))
    });
    let running = Arc::new(running(Duration::from_secs(60), slow).await);
    let reader = running.clone();
    let answer = tokio::spawn(async move { get(&reader, "/debug/state").await });
    let mut idle = TcpStream::connect(running.address).await.expect("a connection");
    idle.write_all(b"GET /livez HT").await.expect("half a request");
    enters.recv().await.expect("a request in flight");
    let started = Instant::now();
    running.stop.cancel();
    assert_eq!(answer.await.expect("answered").2, r#""finished""#);
    let running = Arc::into_inner(running).expect("the last one");
    running.task.await.expect("ended");
    assert!(started.elapsed() < GRACE_PERIOD + Duration::from_secs(1), "{:?}", started.elapsed());
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let running = idle().await;
    let error = Server::bind("--listen", running.address).await.expect_err("taken").to_string();
    assert!(error.starts_with(&format!("--listen {}: ", running.address)), "{error}");
}

/// Connects from another address of this machine, like another pod.
async fn connect_from(source: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from((source, 0))).expect("an address");
    socket.connect(to).await.expect("a connection")
}

/// Formerly 300 silent connections took the 256 places of the probes' port: `/livez` failed ten of ten times in 90 s, and six
/// failures are a restart.
#[tokio::test]
async fn three_hundred_idle_connections_keep_no_probe_waiting() {
    let running = idle().await;
    let mut idle = Vec::new();
    for number in 1..=300_u16 {
        let [high, low] = number.to_be_bytes();
        idle.push(connect_from([127, 1, high, low], running.address).await);
    }
    for address in [running.probes, running.address] {
        // Behind one of them, it would wait for as long as a head may take.
        let probed = tokio::time::timeout(HEAD_LIMIT, get_from(address, "/livez", None)).await;
        assert_eq!(probed.expect("an answer before any of them is closed").0, 200, "{address}");
    }
}

/// Formerly a silent connection kept its place for 30 s.
#[tokio::test]
async fn an_incomplete_head_ends_its_connection() {
    let running = idle().await;
    for sent in ["", "GET /livez HT"] {
        let mut idle = TcpStream::connect(running.address).await.expect("a connection");
        idle.write_all(sent.as_bytes()).await.expect("sent");
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(6), idle.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "still open after {sent:?}");
    }
}

#[tokio::test]
async fn the_port_of_probes_serves_nothing_else() {
    let running = idle().await;
    assert_eq!(get_from(running.probes, "/livez", None).await.0, 200);
    assert_eq!(get_from(running.probes, "/readyz", None).await.2, "waiting for facts, resources\n");
    for path in ["/metrics", "/debug/state", "/"] {
        assert_eq!(get_from(running.probes, path, None).await.0, 404, "{path}");
    }
}

/// Endless tables, and how many answers and pieces of them were made.
fn endless() -> (StateSource, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (answers, pieces) = (Arc::<AtomicUsize>::default(), Arc::default());
    let (begun, made): (Arc<AtomicUsize>, Arc<AtomicUsize>) = (Arc::clone(&answers), Arc::clone(&pieces));
    let source: StateSource = Arc::new(move || {
        begun.fetch_add(1, SeqCst);
        let made = Arc::clone(&made);
        Box::new(std::iter::repeat_with(move || {
            made.fetch_add(1, SeqCst);
            vec![b' '; 64 * 1024]
        }))
    });
    (source, answers, pieces)
}

/// Requests the tables from another address, and reads nothing.
async fn reader(last: u8, to: SocketAddr) -> TcpStream {
    let mut reader = connect_from([127, 2, 0, last], to).await;
    reader.write_all(b"GET /debug/state HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
    reader
}

async fn head(reader: &mut TcpStream) -> String {
    let mut head = [0; 12];
    reader.read_exact(&mut head).await.expect("an answer");
    String::from_utf8_lossy(&head).into_owned()
}

/// Formerly each of 100 readers that do not read cost an answer of 9.6 MB in memory: 710 MiB.
#[tokio::test]
async fn one_of_a_hundred_slow_readers_is_answered() {
    let (source, answers, pieces) = endless();
    let running = running(Duration::from_secs(60), source).await;
    let mut readers = Vec::new();
    for last in 1..=100 {
        readers.push(reader(last, running.address).await);
    }
    let (mut answered, mut refused) = (0, 0);
    for reader in &mut readers {
        match &*head(reader).await {
            "HTTP/1.1 200" => answered += 1,
            "HTTP/1.1 503" => refused += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!((answered, refused), (1, 99));
    assert_eq!(answers.load(SeqCst), 1, "answers begun");
    // The pieces made so far wait in the sockets' buffers, of some megabytes at most, and not in the process's memory.
    let made = pieces.load(SeqCst);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(pieces.load(SeqCst), made, "pieces are made for a client that does not read");
    assert!(made < 1000, "{made} pieces");
    // The place is free when that reader leaves.
    drop(readers);
    assert_eq!(head(&mut reader(101, running.address).await).await, "HTTP/1.1 200");
}

/// Knows one token, and one without the right.
struct Door;

impl Authorizer for Door {
    fn judge<'a>(&'a self, token: Option<&'a str>) -> futures::future::BoxFuture<'a, Access> {
        let access = match token {
            Some("good") => Access::Granted,
            Some("other") => Access::Denied("other may not".to_owned()),
            Some("late") => Access::Undecided("nobody answers".to_owned()),
            Some(_) => Access::Unknown("who?".to_owned()),
            None => Access::Unknown("a token is needed".to_owned()),
        };
        Box::pin(std::future::ready(access))
    }
}

/// Formerly every client of the port could read every namespace's customer ids and names.
#[tokio::test]
async fn a_client_without_the_right_is_refused_with_the_reason() {
    let running = running_for(Duration::from_secs(60), of("{}"), Some(Arc::new(Door))).await;
    for (token, expected) in [
        (None, (401, "a token is needed\n")),
        (Some("forged"), (401, "who?\n")),
        (Some("other"), (403, "other may not\n")),
        (Some("late"), (503, "nobody answers\n")),
        (Some("good"), (200, "{}")),
    ] {
        let (status, _, text) = get_from(running.address, "/debug/state", token).await;
        assert_eq!((status, text.as_str()), expected, "{token:?}");
    }
    // Dashboards and probes need no token.
    for path in ["/metrics", "/livez"] {
        assert_eq!(get(&running, path).await.0, 200, "{path}");
    }
}
