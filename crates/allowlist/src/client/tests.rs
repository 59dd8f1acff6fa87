use super::error::without_credentials;
use super::*;
use crate::gzip::compress;

#[test]
fn retry_after_in_both_forms() {
    let now: Timestamp = "2026-06-01T00:00:00Z".parse().expect("a time");
    let read = |text: &str| retry_after(text, now).map(|pause| pause.as_secs());
    assert_eq!(read("120"), Some(120));
    assert_eq!(read(" 0 "), Some(0));
    assert_eq!(read("99999999999999999999999"), Some(u64::MAX));
    assert_eq!(read("Mon, 01 Jun 2026 00:02:00 GMT"), Some(120));
    assert_eq!(read("Sun, 31 May 2026 00:02:00 GMT"), Some(0), "a moment that has passed");
    for bad in ["", "-1", "soon", "1.5"] {
        assert_eq!(read(bad), None, "{bad}");
    }
}

#[test]
fn credentials_never_reach_a_message() {
    let proxied = "http://user:p@ss@proxy:3128/ failed for https://api.example/x?y=a@b";
    assert_eq!(without_credentials(proxied), "http://proxy:3128/ failed for https://api.example/x?y=a@b");
    assert_eq!(without_credentials("no address here: a@b"), "no address here: a@b");
    let settings = ClientSettings { proxy: ProxyChoice::Always("http://user:secret@".into()), ..Default::default() };
    let error = HttpClient::new(&settings).expect_err("no proxy");
    assert!(!format!("{error} {error:?}").contains("secret"));
}

#[test]
fn compression_is_undone_within_bounds() {
    let packed = compress(&[b' '; 5000]).to_vec();
    assert!(packed.len() < 100);
    assert_eq!(decoded(packed.clone(), Some("gzip"), 5000).map(|body| body.len()), Ok(5000));
    let malformed = |result: Result<Vec<u8>, FetchError>| result.expect_err("malformed").to_string();
    let too_large = malformed(decoded(packed.clone(), Some("x-gzip"), 4999));
    assert_eq!(too_large, "the answer: the gzip data holds more than 4999 bytes");
    assert!(malformed(decoded(packed[..20].to_vec(), Some("GZIP"), 5000)).contains("broken"));
    assert!(malformed(decoded(b"{}".to_vec(), Some("gzip"), 5000)).contains("broken"));
    assert!(malformed(decoded(b"{}".to_vec(), Some("br"), 5000)).contains("`br`"));
    assert_eq!(decoded(b"{}".to_vec(), None, 5000), Ok(b"{}".to_vec()));
}

#[test]
fn extra_certificates_are_read_or_refused() {
    let with = |pem: &[u8]| ClientSettings { extra_ca: Some(pem.to_vec()), ..ClientSettings::default() };
    assert!(matches!(HttpClient::new(&with(b"not a certificate")), Err(ClientSetupError::ExtraCa(_))));
    assert!(HttpClient::new(&ClientSettings::default()).is_ok());
}

#[test]
fn an_errors_own_words_are_quoted_shortly() {
    assert_eq!(quote(br#"{"status": 400, "detail": "customerId is\nmissing"}"#), " (customerId ismissing)");
    assert_eq!(quote(b"<html>"), "");
    assert!(quote(format!(r#"{{"message": "{}"}}"#, "x".repeat(500)).as_bytes()).len() < 130);
}

/// The reason read from an error whose body has this many bytes.
async fn reason_in(bytes: usize) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let body = format!("{:<bytes$}", r#"{"detail": "no such customer"}"#);
    tokio::spawn(async move {
        let (mut peer, _) = listener.accept().await.expect("a connection");
        let _ = peer.read(&mut [0; 4096]).await;
        let head = format!("HTTP/1.1 400 Bad Request\r\nContent-Length: {}\r\n\r\n", body.len());
        let _ = peer.write_all(format!("{head}{body}").as_bytes()).await;
    });
    let settings = ClientSettings { proxy: ProxyChoice::Direct, ..Default::default() };
    let client = HttpClient::new(&settings).expect("a client");
    let request = FetchRequest { url, transaction_id: String::new(), validators: Validators::default() };
    match client.fetch(request).await {
        Err(FetchError::Rejected { status: 400, detail }) => detail,
        other => panic!("{other:?}"),
    }
}

/// 4 MiB of small objects in an error, as in a list, took over 400 MiB.
#[tokio::test]
async fn a_large_error_is_not_read() {
    assert_eq!(reason_in(LARGEST_REASON).await, " (no such customer)");
    assert_eq!(reason_in(LARGEST_REASON + 1).await, "");
}

#[test]
fn hosts_differ_by_scheme_name_and_port() {
    assert_eq!(origin("https://API.example/a?b"), "https://api.example");
    assert_eq!(origin("https://api.example:443/c"), "https://api.example");
    assert_eq!(origin("http://127.0.0.1:8080/"), "http://127.0.0.1:8080");
    assert_eq!(origin("nonsense"), "nonsense");
}
