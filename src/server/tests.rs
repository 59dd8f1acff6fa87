use super::*;
use crate::clock::Clock;
use crate::telemetry::Metrics;
use std::time::Instant;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;

struct Running {
    address: SocketAddr,
    health: Health,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

async fn running(patience: Duration, state: StateSource) -> Running {
    let health = Health::new(Clock::System, patience, ["resources", "facts"]);
    let metrics = Arc::new(Metrics::new());
    let scraped = metrics.clone();
    let content = Content { health: health.clone(), metrics: Arc::new(move || scraped.render()), state };
    let server = Server::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port");
    let (address, stop) = (server.address(), CancellationToken::new());
    let task = tokio::spawn(server.run(content, stop.clone()));
    Running { address, health, metrics, stop, task }
}

fn nothing() -> StateSource {
    Arc::new(|| serde_json::Value::Null)
}

async fn get(running: &Running, path: &str) -> (u16, String, String) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let answer = client.get(format!("http://{}{path}", running.address)).send().await.expect("an answer");
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
    let running = running(Duration::from_secs(60), nothing()).await;
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
    let running = running(Duration::from_millis(100), nothing()).await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    let (status, _, text) = get(&running, "/livez").await;
    assert_eq!((status, text.as_str()), (503, "the main loop has been standing still for 0 s\n"));
    running.health.beat();
    assert_eq!(running.health.live(), Ok(()));
}

#[tokio::test]
async fn metrics_and_tables_come_in_their_media_types() {
    let state: StateSource = Arc::new(|| serde_json::json!({"names": ["accounts.citrixcloud.jp"]}));
    let running = running(Duration::from_secs(60), state).await;
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
    let running = running(Duration::from_secs(60), nothing()).await;
    assert_eq!(get(&running, "/").await.0, 404);
    let answer = exchange(&running, b"POST /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    let answer = exchange(&running, b"HEAD /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    let fields: String = (0..100).map(|number| format!("x-{number}: y\r\n")).collect();
    let answer = exchange(&running, format!("GET /livez HTTP/1.1\r\n{fields}\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let long = "y".repeat(64 * 1024);
    let answer = exchange(&running, format!("GET /livez HTTP/1.1\r\nx: {long}\r\n\r\n").as_bytes()).await;
    assert!(!answer.contains(" 200 "), "{answer}");
    assert_eq!(get(&running, "/livez").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_finishes_what_is_in_hand_and_waits_for_nobody_else() {
    let (entered, mut enters) = tokio::sync::mpsc::unbounded_channel();
    let slow: StateSource = Arc::new(move || {
        let _ = entered.send(());
        std::thread::sleep(Duration::from_millis(300));
        serde_json::json!("finished")
    });
    let running = Arc::new(running(Duration::from_secs(60), slow).await);
    let asking = running.clone();
    let asked = tokio::spawn(async move { get(&asking, "/debug/state").await });
    let mut idle = TcpStream::connect(running.address).await.expect("a connection");
    idle.write_all(b"GET /livez HT").await.expect("half a request");
    enters.recv().await.expect("in hand");
    let started = Instant::now();
    running.stop.cancel();
    assert_eq!(asked.await.expect("answered").2, r#""finished""#);
    let running = Arc::into_inner(running).expect("the last one");
    running.task.await.expect("ended");
    assert!(started.elapsed() < FAREWELL + Duration::from_secs(1), "{:?}", started.elapsed());
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let running = running(Duration::from_secs(60), nothing()).await;
    let error = Server::bind(running.address).await.expect_err("taken").to_string();
    assert!(error.starts_with(&format!("--listen {}: ", running.address)), "{error}");
}
