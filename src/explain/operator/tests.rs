use super::*;
use crate::cluster::client::{ConnectOptions, connect};
use serde_json::json;
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const STATE: &str = r#"{"version":1,"leading":true,"lists":[],"names":[]}"#;
const STANDBY: &str = r#"{"version":1,"leading":false,"lists":[],"names":[]}"#;

/// A server that answers by the path of the request, and logs the paths.
async fn serving(answer: fn(&str) -> (u16, String)) -> (String, Arc<Mutex<Vec<String>>>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let paths = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&paths);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !request.windows(4).any(|window| window == b"\r\n\r\n") {
                    let mut bytes = [0; 4096];
                    match stream.read(&mut bytes).await {
                        Ok(read) if read > 0 => request.extend_from_slice(&bytes[..read]),
                        _ => return,
                    }
                }
                let text = String::from_utf8_lossy(&request).into_owned();
                let mut path = text.split(' ').nth(1).unwrap_or_default().to_owned();
                // An answer may depend on the token.
                if let Some((_, rest)) = text.split_once("x-citrix-allowlist-token: ") {
                    path = format!("{path} with {}", rest.lines().next().unwrap_or_default());
                }
                log.lock().expect("a lock").push(path.clone());
                let (status, body) = answer(&path);
                let head = format!(
                    "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            });
        }
    });
    (format!("http://{address}"), paths)
}

async fn client(server: &str) -> Client {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    write!(
        file,
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters:\n- name: c\n  cluster: {{ server: {server} }}\n\
         contexts:\n- name: c\n  context: {{ cluster: c, user: u }}\nusers:\n- name: u\n  user: {{ token: secret }}\n"
    )
    .expect("written");
    let options = ConnectOptions { kubeconfig: Some(file.path().to_owned()), ..ConnectOptions::default() };
    connect(&options).await.expect("a client").client
}

fn arguments(operator: Option<&str>, namespace: Option<&str>) -> OperatorArguments {
    OperatorArguments {
        operator: operator.map(|text| text.parse().expect("an address")),
        operator_namespace: namespace.map(str::to_owned),
        operator_reader: None,
    }
}

fn forbidden(what: &str) -> (u16, String) {
    let message = format!("{what} is forbidden");
    let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": "Forbidden", "code": 403 });
    (403, status.to_string())
}

/// The list of the Lease in a namespace, which pod `operator-1` holds.
fn lease(namespace: &str) -> (u16, String) {
    let metadata = json!({ "name": "citrix-allowlist-operator", "namespace": namespace });
    let item = json!({ "metadata": metadata, "spec": { "holderIdentity": "operator-1_3f2a" } });
    (200, json!({ "metadata": {}, "items": [item] }).to_string())
}

fn pod(port: u16, account: Option<&str>) -> (u16, String) {
    let mesh = json!({ "name": "mesh", "ports": [{ "containerPort": 15090 }] });
    let operator = json!({ "name": "operator", "ports": [{ "name": "http", "containerPort": port }] });
    let spec = json!({ "containers": [mesh, operator], "serviceAccountName": account });
    (200, json!({ "metadata": { "name": "operator-1" }, "spec": spec }).to_string())
}

/// The result of reading through this API server, with these flags.
async fn read_any(server: &str, arguments: &OperatorArguments) -> Result<Found, String> {
    read(&client(server).await, arguments, |_| true).await.expect("it is to be read")
}

#[tokio::test]
async fn the_pod_that_holds_the_lease_is_read_on_its_port() {
    let (server, paths) = serving(|path| match path {
        path if path.starts_with("/apis/coordination.k8s.io/v1/leases?") => lease("ops"),
        "/api/v1/namespaces/ops/pods/operator-1" => pod(9090, None),
        "/api/v1/namespaces/ops/pods/operator-1:9090/proxy/debug/state" => (200, STATE.to_owned()),
        other => forbidden(other),
    })
    .await;
    let found = read_any(&server, &arguments(None, None)).await.expect("read");
    assert_eq!(found.source, "pod ops/operator-1");
    assert!(found.state.leading);
    assert_eq!(paths.lock().expect("a lock").len(), 3);
}

#[tokio::test]
async fn a_user_of_few_namespaces_finds_it_in_the_usual_one() {
    let (server, _) = serving(|path| match path {
        path if path.starts_with("/apis/coordination.k8s.io/v1/namespaces/citrix-allowlist-operator/leases?") => {
            lease("citrix-allowlist-operator")
        }
        "/api/v1/namespaces/citrix-allowlist-operator/pods/operator-1/proxy/debug/state" => (200, STATE.to_owned()),
        other => forbidden(other),
    })
    .await;
    let found = read_any(&server, &arguments(None, None)).await.expect("read");
    assert_eq!(found.source, "pod citrix-allowlist-operator/operator-1");
}

#[tokio::test]
async fn without_an_election_the_leader_is_found_by_its_labels() {
    let (server, _) = serving(|path| match path {
        path if path.starts_with("/apis/coordination.k8s.io/v1/namespaces/ops/leases?") => {
            (200, json!({ "metadata": {}, "items": [] }).to_string())
        }
        path if path.starts_with("/api/v1/namespaces/ops/pods?") => {
            let pods = [("gone", "Succeeded"), ("standby", "Running"), ("leader", "Running")].map(|(name, phase)| {
                let metadata = json!({ "name": name, "namespace": "ops" });
                json!({ "metadata": metadata, "spec": { "containers": [] }, "status": { "phase": phase } })
            });
            (200, json!({ "metadata": {}, "items": pods }).to_string())
        }
        "/api/v1/namespaces/ops/pods/standby/proxy/debug/state" => (200, STANDBY.to_owned()),
        "/api/v1/namespaces/ops/pods/leader/proxy/debug/state" => (200, STATE.to_owned()),
        other => forbidden(other),
    })
    .await;
    let found = read_any(&server, &arguments(None, Some("ops"))).await.expect("read");
    assert_eq!(found.source, "pod ops/leader");
}

#[tokio::test]
async fn why_there_is_no_memory_is_one_sentence() {
    let (server, _) = serving(|path| match path {
        path if path.starts_with("/apis/coordination.k8s.io/v1/namespaces/ops/leases?") => lease("ops"),
        "/api/v1/namespaces/ops/pods/operator-1" => pod(8080, None),
        path if path.contains("/leases?") => forbidden("leases.coordination.k8s.io"),
        "/api/v1/namespaces/ops/pods/operator-1:8080/proxy/debug/state" => forbidden("pods operator-1"),
        other => (404, other.to_owned()),
    })
    .await;
    let why = async |namespace| read_any(&server, &arguments(None, namespace)).await.expect_err("no memory");
    let hint = "; --operator URL names another way to it, such as a port-forward";
    assert_eq!(why(None).await, format!("leases.coordination.k8s.io is forbidden (403){hint}"));
    assert_eq!(why(Some("ops")).await, format!("pod ops/operator-1: pods operator-1 is forbidden (403){hint}"));
}

#[tokio::test]
async fn an_address_is_read_directly_and_its_errors_name_it() {
    let (server, _) = serving(|path| match path {
        "/debug/state" => (200, STATE.to_owned()),
        "/old/debug/state" => (200, r#"{"version":7}"#.to_owned()),
        "/other/debug/state" => (200, "hello".to_owned()),
        _ => (404, String::new()),
    })
    .await;
    let client = client("http://127.0.0.1:1").await;
    let read = async |arguments: OperatorArguments| read(&client, &arguments, |_| false).await;
    assert!(read(arguments(Some("none"), None)).await.is_none());
    let ask =
        async |url: &str| read(arguments(Some(url), None)).await.expect("it is to be read").map(|found| found.source);
    assert_eq!(ask(&format!("{server}/debug/state")).await, Ok(server.clone()));
    for (path, expected) in [
        ("old", "/debug/state: this program reads version 1 of the memory, the operator has version 7"),
        ("other", "/debug/state: this is not the operator's memory ("),
        ("missing", "/debug/state answers 404"),
    ] {
        let error = ask(&format!("{server}/{path}")).await.expect_err(path);
        assert!(error.starts_with(&format!("{server}/{path}{expected}")), "{error}");
    }
    let closed = ask("http://127.0.0.1:1").await.expect_err("no memory");
    assert!(closed.starts_with("http://127.0.0.1:1/debug/state: ") && closed.contains("refused"), "{closed}");
}

fn token_response() -> (u16, String) {
    let status = json!({ "token": "short-lived", "expirationTimestamp": "2099-01-01T00:00:00Z" });
    (201, json!({ "metadata": {}, "spec": { "audiences": [] }, "status": status }).to_string())
}

#[tokio::test]
async fn an_operator_that_demands_a_token_gets_one_that_may_read() {
    let (server, paths) = serving(|path| match path {
        path if path.contains("/namespaces/ops/leases?") => lease("ops"),
        "/api/v1/namespaces/ops/pods/operator-1" => pod(8080, Some("acts-as")),
        "/api/v1/namespaces/ops/pods/operator-1:8080/proxy/debug/state" => (401, "a token is needed".to_owned()),
        "/api/v1/namespaces/ops/pods/operator-1:8080/proxy/debug/state with short-lived" => (200, STATE.to_owned()),
        path if path.starts_with("/api/v1/namespaces/ops/serviceaccounts/acts-as-explain/token") => token_response(),
        path if path.contains("/citrix-allowlist-operator-explain/token") => token_response(),
        "/debug/state" => (401, "a token is needed".to_owned()),
        "/debug/state with short-lived" => (200, STATE.to_owned()),
        other => forbidden(other),
    })
    .await;
    let found = read_any(&server, &arguments(None, Some("ops"))).await.expect("read");
    assert_eq!(found.source, "pod ops/operator-1");
    let paths = paths.lock().expect("a lock").clone();
    assert!(!paths.iter().any(|path| path.contains("/token") && path.contains(" with ")), "{paths:?}");
    let found = read_any(&server, &arguments(Some(&server), Some("ops"))).await.expect("read");
    assert_eq!(found.source, server);
}

#[tokio::test]
async fn without_a_token_the_error_names_the_missing_right() {
    let (server, _) = serving(|path| match path {
        path if path.contains("/namespaces/ops/leases?") => lease("ops"),
        "/api/v1/namespaces/ops/pods/operator-1" => pod(8080, None),
        path if path.ends_with("/debug/state") => (401, "a token is needed".to_owned()),
        path if path.ends_with("/debug/state with short-lived") => (403, "reader may not get it".to_owned()),
        path if path.starts_with("/api/v1/namespaces/ops/serviceaccounts/citrix-allowlist-operator-explain/token") => {
            forbidden("serviceaccounts/token")
        }
        path if path.contains("/serviceaccounts/given/token") => token_response(),
        other => (404, other.to_owned()),
    })
    .await;
    let missing = "the operator asks for a token, and none is given: serviceaccounts/token is forbidden (403); it takes the \
                   right to create serviceaccounts/token of citrix-allowlist-operator-explain in namespace ops";
    let why = async |arguments: OperatorArguments| read_any(&server, &arguments).await.expect_err("no token");
    let through_pod = why(arguments(None, Some("ops"))).await;
    assert!(through_pod.starts_with(&format!("pod ops/operator-1: {missing}; ")), "{through_pod}");
    assert_eq!(why(arguments(Some(&server), Some("ops"))).await, missing);
    // If the token's rights do not suffice, the operator's own message counts.
    let given =
        |operator| OperatorArguments { operator_reader: Some("given".to_owned()), ..arguments(operator, Some("ops")) };
    let through_pod = why(given(None)).await;
    assert!(through_pod.starts_with("pod ops/operator-1: reader may not get it (403)"), "{through_pod}");
    let expected = format!("{server}/debug/state answers 403 Forbidden: reader may not get it");
    assert_eq!(why(given(Some(&server))).await, expected);
}

#[test]
fn an_unknown_server_writes_nothing_on_the_screen() {
    assert_eq!(refusal(" who?\n"), Some("who?".to_owned()));
    for text in ["", "\u{1b}[2Jallowed", "two\nlines", "<html>", "\u{202e}allowed"] {
        assert_eq!(refusal(text), None, "{text:?}");
    }
}

#[test]
fn only_addresses_are_addresses() {
    assert_eq!("none".parse(), Ok(Address::Nowhere));
    assert_eq!("http://10.0.0.1:8080/".parse(), Ok(Address::Url("http://10.0.0.1:8080".to_owned())));
    for bad in ["", "operator", "10.0.0.1:8080", "ftp://a"] {
        assert!(bad.parse::<Address>().is_err(), "{bad}");
    }
}

#[test]
fn nothing_that_a_tenant_may_make_is_taken_for_the_operator() {
    let pods = |namespaces: &[&str]| {
        of_one_namespace(namespaces.iter().map(|namespace| ((*namespace).to_owned(), "pod".to_owned())).collect())
    };
    assert_eq!(pods(&["aaa"]).expect("one").len(), 1);
    let usual = pods(&["aaa", USUAL_NAMESPACE, "zzz"]).expect("the usual one");
    assert_eq!(usual, [(USUAL_NAMESPACE.to_owned(), "pod".to_owned())]);
    assert_eq!(
        pods(&["zzz", "aaa", "zzz"]).expect_err("which?"),
        "something that looks like the operator is in aaa, zzz: --operator-namespace says which is it"
    );
    assert!(is_subdomain("operator-5b6f.1"));
    for name in ["", "x/proxy/etc", "x?y", "UPPER", "a:80", "a%2f"] {
        assert!(!is_subdomain(name), "{name}");
    }
}

/// Formerly such an answer was refused whole, and `explain` showed nothing of a list with such a character in its version.
#[test]
fn what_acts_on_a_terminal_is_escaped_and_the_rest_is_read() {
    let list = r#"{"key":"Global\u202e","cloud":"Global","resources":1,"reason":"Fetched","heldBack":false,"failures":0,
        "version":"\u001b[2J\u001b[32mallowed"}"#;
    let name = r#"{"name":"a.example.com","state":"failing","error":"\u009b31m\u0007","retentionSeconds":1,"evicted":0,
        "addresses":[]}"#;
    let text = format!(r#"{{"version":{VERSION},"leading":true,"lists":[{list}],"names":[{name}]}}"#);
    let state = parsed(&text).expect("it is read");
    assert_eq!(state.lists[0].key, "Global\\u{202e}");
    assert_eq!(state.lists[0].version.as_deref(), Some("\\x1b[2J\\x1b[32mallowed"));
    assert_eq!(state.names[0].error.as_deref(), Some("\\u{9b}31m\\x07"));
    let wrong = parsed(&text.replace("[{", "[\"\\u001b[2J\",{")).expect_err("a text is no list");
    assert!(!wrong.contains('\x1b'), "{wrong:?}");
}
