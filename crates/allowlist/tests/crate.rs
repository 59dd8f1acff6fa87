//! The example of the README, and the library's dependencies.

#[path = "../examples/fetch.rs"]
#[expect(dead_code, reason = "its `main` asks the real API")]
mod example;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

const README: &str = include_str!("../README.md");

#[test]
fn the_readme_shows_the_example() {
    let example = include_str!("../examples/fetch.rs");
    let code = &example[example.find("use ").expect("code")..];
    assert!(README.contains(code), "README.md has to hold examples/fetch.rs from its first `use` on");
}

#[tokio::test]
async fn the_example_fetches_a_list() {
    let list = include_str!("../../../tests/fixtures/allowlist.json");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let base = format!("http://{}/connectivity", listener.local_addr().expect("an address"));
    let server = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().expect("a connection");
        let mut request = [0; 4096];
        let length = peer.read(&mut request).expect("a request");
        write!(peer, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{list}", list.len()).expect("an answer");
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    let list = example::fetch(&base, "acme").await.expect("a list");
    assert!(list.entries.len() > 10 && list.problems.is_empty(), "{:?}", list.problems);
    let request = server.join().expect("a server").to_lowercase();
    assert!(request.starts_with("get /connectivity/v2/allowlist?customerid=acme&format=json&"), "{request}");
    assert!(request.contains(&format!("user-agent: connectivity-allowlist/{}\r\n", env!("CARGO_PKG_VERSION"))));
}

/// The packages that the library is built from, by the workspace's `Cargo.lock`, including those of its tests.
fn dependencies() -> Vec<String> {
    let lock = include_str!("../../../Cargo.lock");
    let mut reached = vec!["connectivity-allowlist".to_owned()];
    let mut next = 0;
    while let Some(name) = reached.get(next).cloned() {
        let package = lock.split("[[package]]").find(|package| package.contains(&format!("name = \"{name}\"\n")));
        let listed = package.and_then(|package| package.split_once("dependencies = [")).map_or("", |(_, rest)| rest);
        for line in listed.lines().filter_map(|line| line.trim().strip_prefix('"')) {
            let name = line.split(['"', ' ']).next().unwrap_or_default().to_owned();
            if !reached.contains(&name) {
                reached.push(name);
            }
        }
        next += 1;
    }
    reached
}

#[test]
fn nothing_of_kubernetes_is_among_the_dependencies() {
    let reached = dependencies();
    assert!(reached.contains(&"reqwest".to_owned()) && reached.contains(&"ring".to_owned()), "{reached:?}");
    let foreign = |name: &&String| name.starts_with("kube") || name.starts_with("k8s") || name.starts_with("citrix-");
    assert_eq!(reached.iter().find(foreign), None);
}
