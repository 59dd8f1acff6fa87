use super::*;
use std::io::Write as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

fn kubeconfig(server: &str, proxy: Option<&str>) -> tempfile::NamedTempFile {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    let proxy = proxy.map(|proxy| format!("    proxy-url: {proxy}\n")).unwrap_or_default();
    write!(
        file,
        "apiVersion: v1\nkind: Config\ncurrent-context: first\n\
         clusters:\n- name: one\n  cluster:\n    server: {server}\n{proxy}\
         - name: two\n  cluster:\n    server: http://127.0.0.1:2\n\
         contexts:\n- name: first\n  context: {{cluster: one, user: somebody, namespace: citrix}}\n\
         - name: second\n  context: {{cluster: two, user: somebody}}\n\
         users:\n- name: somebody\n  user: {{token: secret}}\n"
    )
    .expect("written");
    file
}

fn options(file: &tempfile::NamedTempFile) -> ConnectOptions {
    ConnectOptions { kubeconfig: Some(file.path().to_owned()), ..ConnectOptions::default() }
}

/// Answers every connection's first request with `answer`, or keeps silent if it is empty.
async fn answering(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                if answer.is_empty() {
                    std::future::pending::<()>().await;
                }
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    format!("http://{address}")
}

async fn client(server: &str, proxy: Option<&str>) -> Client {
    connect(&options(&kubeconfig(server, proxy))).await.expect("connected").client
}

#[tokio::test]
async fn context_and_namespace_are_chosen_as_kubectl_chooses_them() {
    let file = kubeconfig("http://127.0.0.1:1", None);
    let connected = connect(&options(&file)).await.expect("connected");
    assert_eq!((connected.namespace.as_str(), connected.in_cluster), ("citrix", false));

    let second = ConnectOptions { context: Some("second".to_owned()), ..options(&file) };
    assert_eq!(connect(&second).await.expect("connected").namespace, "default");

    let named = ConnectOptions { namespace: Some("elsewhere".to_owned()), ..options(&file) };
    assert_eq!(connect(&named).await.expect("connected").namespace, "elsewhere");
}

#[tokio::test]
async fn a_kubeconfig_that_cannot_be_used_is_an_error_not_a_detour() {
    let file = kubeconfig("http://127.0.0.1:1", None);
    let unknown = ConnectOptions { context: Some("third".to_owned()), ..options(&file) };
    let error = connect(&unknown).await.err().expect("refused").to_string();
    assert!(error.contains("third"), "{error}");

    let missing = ConnectOptions { kubeconfig: Some("/nonexistent/config".into()), ..ConnectOptions::default() };
    assert!(matches!(connect(&missing).await.err(), Some(ClientError::Kubeconfig(_))));
}

#[tokio::test]
async fn a_silent_server_runs_into_the_deadline() {
    let client = client(&answering("").await, None).await;
    let limit = Duration::from_millis(200);
    let error = deadline(limit, client.apiserver_version()).await.expect_err("no answer");
    assert!(matches!(error, CallError::Deadline(waited) if waited == limit), "{error}");
    assert_eq!(error.to_string(), "the API server did not answer within 0.2 s");
}

#[tokio::test]
async fn a_failure_is_reported_at_once_in_the_servers_words() {
    let body = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: 109\r\n\r\n\
                {\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":\"Failure\",\"message\":\"etcd is away\",\"reason\":\"Timeout\",\"code\":503} ";
    let client = client(&answering(body).await, None).await;
    let started = std::time::Instant::now();
    let error = deadline(CALL_TIMEOUT, client.apiserver_version()).await.expect_err("a failure");
    assert_eq!((error.code(), error.to_string().as_str()), (Some(503), "etcd is away (503)"));
    assert!(started.elapsed() < Duration::from_secs(2), "kube's own retries are off");
}

#[tokio::test]
async fn a_closed_port_is_reported_by_its_cause() {
    let client = client("http://127.0.0.1:1", None).await;
    let error = deadline(CALL_TIMEOUT, client.apiserver_version()).await.expect_err("refused").to_string();
    assert!(error.starts_with("the API server cannot be reached: ") && error.contains("refused"), "{error}");
}

#[tokio::test]
async fn the_clusters_own_proxy_is_used_even_for_this_machine() {
    let proxy = answering("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
    let client = client("http://127.0.0.1:1", Some(&proxy)).await;
    let error = deadline(CALL_TIMEOUT, client.apiserver_version()).await.expect_err("refused").to_string();
    assert!(error.contains("proxy"), "{error}");
}

#[test]
fn the_environment_gives_a_proxy_to_a_pods_client_too() {
    let config = |url: &str| Config::new(url.parse().expect("a URL"));
    let environment = ProxyEnvironment {
        https: Some("http://proxy.example.com:3128".to_owned()),
        http: None,
        bypass: Some("10.96.0.0/12,.svc".to_owned()),
    };
    let proxy = |url: &str| environment_proxy(&config(url), &environment);
    assert_eq!(proxy("https://10.96.0.1"), None);
    assert_eq!(proxy("https://kubernetes.default.svc"), None);
    assert_eq!(proxy("https://api.example.com:6443").as_deref(), Some("http://proxy.example.com:3128"));
}

#[test]
fn nothing_is_left_unbounded_and_idle_watches_survive() {
    let mut config = Config::new("https://api.example.com".parse().expect("a URL"));
    bound(&mut config);
    assert!(!config.default_retry && config.reset_reader_on_write);
    assert_eq!((config.connect_timeout, config.write_timeout), (Some(CONNECT_TIMEOUT), Some(WRITE_TIMEOUT)));
    assert!(config.read_timeout.is_some_and(|timeout| timeout > Duration::from_secs(295)));
}
