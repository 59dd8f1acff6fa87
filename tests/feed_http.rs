//! The feed against the stand-in over real HTTP: for everything that can go wrong on the way, what resources see, and
//! that the last good list stays.

use citrix_allowlist::clock::Clock;
use citrix_allowlist::feed::{
    CompletedFetch, FeedObserver, FeedRequest, FeedSettings, FeedView, Feeds, Format, MemoryStore, settings,
};
use citrix_allowlist::reason::Reason;
use citrix_allowlist::resource_ref::{ResourceRef, Waker};
use connectivity_allowlist::client::ProxyChoice;
use connectivity_allowlist::{Allowlist, ClientSettings, Cloud, Directions, Geo, HttpClient};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use test_support::standin::{
    ConnectProxy, Fault, ProxyConfig, RetryAfter, Source, Standin, StandinCloud, StandinConfig, TestAuthority, Validity,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// How long anything may take that is expected to happen at once.
const SOON: Duration = Duration::from_secs(60);

/// What the observer heard of completed fetches: metric and event come from it.
#[derive(Default)]
struct Heard(Mutex<Vec<(Reason, bool)>>);

impl FeedObserver for Heard {
    fn fetched(&self, fetch: &CompletedFetch<'_>) {
        self.0.lock().expect("unpoisoned").push((fetch.reason, fetch.changed));
    }
}

struct Operator {
    feeds: Feeds,
    woken: mpsc::UnboundedReceiver<ResourceRef>,
    heard: Arc<Heard>,
    me: ResourceRef,
    _leading: watch::Sender<bool>,
    running: JoinHandle<()>,
    refreshes: u32,
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.running.abort();
    }
}

fn client_settings() -> ClientSettings {
    ClientSettings {
        idle_timeout: Duration::from_millis(500),
        total_timeout: Duration::from_millis(1500),
        largest_document: 1 << 20,
        proxy: ProxyChoice::Direct,
        ..settings::client_settings(None)
    }
}

fn feed_settings(standin: &Standin) -> FeedSettings {
    FeedSettings {
        global_url: standin.base_url_global(),
        japan_url: standin.base_url_japan(),
        requests_per_minute: NonZeroU32::new(1000).expect("not zero"),
        ..FeedSettings::default()
    }
}

fn request() -> FeedRequest {
    FeedRequest {
        cloud: Cloud::Global,
        customer: "kitsune1".into(),
        geo: Geo::Us,
        directions: Directions::Outbound,
        min_interval: Duration::from_secs(300),
        max_interval: Duration::from_secs(3600),
    }
}

impl Operator {
    fn start(settings: FeedSettings, client: &ClientSettings) -> Self {
        let client = Arc::new(HttpClient::new(client).expect("a client"));
        let (sender, woken) = mpsc::unbounded_channel();
        let heard = Arc::new(Heard::default());
        let store = Arc::new(MemoryStore::default());
        let feeds = Feeds::new(settings, Clock::System, Waker::new(sender), store, client, heard.clone());
        let (leading, is_leading) = watch::channel(true);
        let running = {
            let feeds = feeds.clone();
            tokio::spawn(async move { feeds.run(is_leading).await })
        };
        let me = ResourceRef::new("citrix", "me");
        feeds.watch(&me, request());
        Self { feeds, woken, heard, me, _leading: leading, running, refreshes: 0 }
    }

    /// An operator that has a good list already.
    async fn with_list(standin: &Standin) -> (Self, Arc<Allowlist>) {
        let mut operator = Self::start(feed_settings(standin), &client_settings());
        let view = operator.completed().await;
        assert_eq!((view.reason, view.current), (Reason::Fetched, true), "{}", view.message);
        let list = view.allowlist.expect("a list");
        assert!(list.entries.len() > 10 && list.valid_until.is_some());
        (operator, list)
    }

    /// Waits for the next completed fetch.
    async fn completed(&mut self) -> FeedView {
        let woken = tokio::time::timeout(SOON, self.woken.recv()).await.expect("a completed fetch");
        assert_eq!(woken.as_ref(), Some(&self.me));
        self.feeds.view(&self.me).expect("a view")
    }

    /// Asks for one more fetch and waits for it.
    async fn refresh(&mut self) -> FeedView {
        self.refreshes += 1;
        self.feeds.refresh(&self.me, &self.refreshes.to_string());
        self.completed().await
    }

    fn heard(&self) -> Vec<(Reason, bool)> {
        self.heard.0.lock().expect("unpoisoned").clone()
    }
}

/// Lists that are valid for years: the fixture's own validity may be long past.
fn unlimited() -> StandinConfig {
    let years = Duration::from_secs(20 * 365 * 86_400);
    StandinConfig { validity: Validity::Rolling(years), ..StandinConfig::unlimited() }
}

async fn standin() -> Standin {
    Standin::start(unlimited()).await.expect("the stand-in")
}

/// Switches a fault on and shows that the list stays, why, and that a later good answer mends it.
async fn survives(fault: Fault, reason: Reason, message: &str) {
    let standin = standin().await;
    let (mut operator, good) = Operator::with_list(&standin).await;
    standin.fail(fault.clone());
    let view = operator.refresh().await;
    assert_eq!((view.reason, view.current), (reason, false), "{fault:?}: {}", view.message);
    assert!(view.message.contains(message), "{fault:?}: {} does not hold {message}", view.message);
    assert!(view.message.contains("stays in use"), "{}", view.message);
    assert!(Arc::ptr_eq(&view.allowlist.expect("the last good list"), &good), "{fault:?}");
    assert_eq!(operator.heard(), [(Reason::Fetched, true), (reason, false)]);
    standin.clear_faults();
    let view = operator.refresh().await;
    assert_eq!((view.reason, view.current), (Reason::Fetched, true), "{fault:?}: {}", view.message);
}

#[tokio::test]
async fn not_modified_and_gzip() {
    let standin = standin().await;
    let (mut operator, good) = Operator::with_list(&standin).await;
    let view = operator.refresh().await;
    assert_eq!((view.reason, view.confirmations), (Reason::Fetched, 2));
    assert!(Arc::ptr_eq(&view.allowlist.expect("the list"), &good));
    let requests = standin.requests();
    assert_eq!(requests.len(), 2);
    let printed = format!("{requests:?}");
    assert!(
        printed.contains("304") && printed.contains("gzip") && printed.contains("citrix-allowlist-operator/"),
        "{printed}"
    );
    assert!(view.transaction_id.is_some_and(|id| printed.contains(&id)));
}

#[tokio::test]
async fn a_tag_is_sent_back_beside_the_time() {
    let standin = Standin::start(StandinConfig { etag: true, ..unlimited() }).await.expect("the stand-in");
    let (mut operator, good) = Operator::with_list(&standin).await;
    let view = operator.refresh().await;
    assert!(Arc::ptr_eq(&view.allowlist.expect("the list"), &good));
    let requests = standin.requests();
    let sent = |name: &str| requests[1].header(name).map(str::to_owned);
    assert_eq!(requests[1].status, Some(304));
    assert!(sent("if-none-match").is_some_and(|tag| tag.starts_with("W/\"")) && sent("if-modified-since").is_some());
    // Within a second `Last-Modified` would say nothing; the tag does.
    standin.edit(StandinCloud::Global, |document| document.services[0].notes = Some("changed".into()));
    assert_eq!(operator.refresh().await.confirmations, 1);
}

#[tokio::test]
async fn a_validity_that_moves_on_silently_ends_the_expiry() {
    let validity = Validity::RollingUnannounced(Duration::from_secs(3));
    let config = StandinConfig { validity, ..StandinConfig::unlimited() };
    let standin = Standin::start(config).await.expect("the stand-in");
    let mut operator = Operator::start(feed_settings(&standin), &client_settings());
    operator.completed().await;
    let mut unconditional = 0;
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(3100)).await;
        let view = operator.refresh().await;
        // The answer of a window's last moment is past its validity when it arrives on a busy machine.
        assert!(matches!(view.reason, Reason::Fetched | Reason::FeedExpired), "{}", view.message);
        unconditional += usize::from(standin.requests().last().and_then(|last| last.status) == Some(200));
    }
    assert_eq!(unconditional, 4, "past its validUntil it comes whole");
    let list = operator.feeds.view(&operator.me).and_then(|view| view.allowlist).expect("a list");
    let left = list.valid_until.expect("validUntil").duration_since(jiff::Timestamp::now());
    assert!(left.as_secs() > -60 && left.as_secs() <= 3, "the newest window's: {left}");
}

#[tokio::test]
async fn a_new_list_is_used_at_once_and_one_that_shrank_is_not() {
    let standin = standin().await;
    let (mut operator, good) = Operator::with_list(&standin).await;
    // `Last-Modified` counts whole seconds.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    standin.edit(StandinCloud::Global, |document| document.services[0].notes = Some("changed".into()));
    let view = operator.refresh().await;
    assert_eq!((view.reason, view.confirmations), (Reason::Fetched, 1), "{}", view.message);
    assert!(view.previous.is_some_and(|previous| Arc::ptr_eq(&previous, &good)));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    standin.edit(StandinCloud::Global, |document| document.services.truncate(1));
    let view = operator.refresh().await;
    assert_eq!(view.reason, Reason::FeedShrank, "{}", view.message);
    assert_eq!(view.allowlist.map(|list| list.entries.len()), Some(good.entries.len()));
    let view = operator.refresh().await;
    assert_eq!((view.reason, view.confirmations), (Reason::Fetched, 2), "{}", view.message);
    assert!(view.allowlist.is_some_and(|list| list.entries.len() < good.entries.len()));
}

#[tokio::test]
async fn statuses() {
    survives(Fault::status(500), Reason::FeedUnavailable, "answers 500").await;
    survives(Fault::status(503), Reason::FeedUnavailable, "answers 503").await;
    survives(Fault::status(403), Reason::FeedUnavailable, "answers 403").await;
    survives(Fault::status(400), Reason::FeedRejected, "refuses the request with 400 (something went wrong").await;
    survives(Fault::status(404), Reason::FeedRejected, "check spec.customerId").await;
}

/// A pause that the API asks for holds whatever else is asked, and is over when it said.
async fn pauses(fault: Fault, reason: Reason, pause: Option<Duration>) {
    let standin = standin().await;
    let (mut operator, good) = Operator::with_list(&standin).await;
    standin.fail_times(1, fault);
    let view = operator.refresh().await;
    assert_eq!(view.reason, reason, "{}", view.message);
    assert!(view.allowlist.is_some_and(|list| Arc::ptr_eq(&list, &good)));
    let asked = standin.requests().len();
    operator.feeds.refresh(&operator.me, "while paused");
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(standin.requests().len(), asked, "nothing is sent while the host asked for a pause");
    match pause {
        Some(pause) => {
            let view = tokio::time::timeout(pause + SOON, operator.completed()).await.expect("the pause ends");
            assert_eq!(view.reason, Reason::Fetched, "{}", view.message);
        }
        None => {
            let wait = view.next_fetch.map(|at| at.as_second() - jiff::Timestamp::now().as_second());
            assert!(wait.is_some_and(|seconds| (50..=60).contains(&seconds)), "{wait:?}");
        }
    }
}

#[tokio::test]
async fn rate_limits() {
    let asked = |status, retry_after| Fault::Status { status, retry_after };
    let two = Duration::from_secs(2);
    pauses(asked(429, Some(RetryAfter::Seconds(2))), Reason::RateLimited, Some(two)).await;
    pauses(asked(429, Some(RetryAfter::Date(two))), Reason::RateLimited, Some(two)).await;
    pauses(asked(503, Some(RetryAfter::Seconds(2))), Reason::FeedUnavailable, Some(two)).await;
    pauses(asked(429, None), Reason::RateLimited, None).await;
}

#[tokio::test]
async fn answers_that_take_too_long_or_break_off() {
    survives(Fault::Silence, Reason::FeedUnavailable, "does not answer in time").await;
    survives(Fault::SlowBody { interval: Duration::from_millis(50) }, Reason::FeedUnavailable, "in time").await;
    survives(Fault::TruncatedBody, Reason::FeedUnavailable, "breaks off").await;
    survives(Fault::Reset, Reason::FeedUnavailable, "127.0.0.1").await;
}

#[tokio::test]
async fn bodies_that_are_no_list() {
    survives(Fault::HtmlPage, Reason::FeedMalformed, "sent as text/html; charset=utf-8, is not usable").await;
    survives(Fault::MalformedJson, Reason::FeedMalformed, "it is not JSON").await;
    survives(Fault::EmptyServices, Reason::FeedMalformed, "holds nothing, where the last one was full").await;
    survives(Fault::json("{\"error\": \"later\"}"), Reason::FeedMalformed, "the fields [error]").await;
    survives(Fault::json("{\"services\": [17]}"), Reason::FeedMalformed, "no service of 1").await;
    survives(Fault::OversizedBody { padding: 2 << 20 }, Reason::FeedMalformed, "larger than 1048576 bytes").await;
    survives(Fault::GzipBomb { padding: 4 << 20 }, Reason::FeedMalformed, "holds more than 1048576 bytes").await;
    survives(Fault::WrongContentEncoding, Reason::FeedMalformed, "gzip data is broken").await;
}

#[tokio::test]
async fn redirects() {
    survives(Fault::RedirectOtherHost, Reason::FeedUnavailable, "redirects to localhost:").await;
    survives(Fault::Redirect("https://127.0.0.1/".into()), Reason::FeedUnavailable, "another host").await;
    let standin = standin().await;
    let (mut operator, _) = Operator::with_list(&standin).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    standin.edit(StandinCloud::Global, |document| document.services[0].notes = Some("moved".into()));
    standin.fail_times(1, Fault::RedirectSameHost);
    let view = operator.refresh().await;
    assert_eq!((view.reason, view.confirmations), (Reason::Fetched, 1), "{}", view.message);
}

#[tokio::test]
async fn an_api_that_is_down() {
    let mut standin = standin().await;
    let (mut operator, good) = Operator::with_list(&standin).await;
    standin.stop().await;
    let view = operator.refresh().await;
    assert_eq!(view.reason, Reason::FeedUnavailable);
    assert!(view.message.contains("cannot be reached"), "{}", view.message);
    assert!(view.allowlist.is_some_and(|list| Arc::ptr_eq(&list, &good)));
    standin.restart().await.expect("the stand-in again");
    assert_eq!(operator.refresh().await.reason, Reason::Fetched);
}

#[tokio::test]
async fn an_authority_is_unknown_until_it_is_trusted() {
    let authority = TestAuthority::new().expect("an authority");
    let config = StandinConfig { authority: Some(authority.clone()), ..unlimited() };
    let standin = Standin::start(config).await.expect("the stand-in");
    let mut operator = Operator::start(feed_settings(&standin), &client_settings());
    let view = operator.completed().await;
    assert_eq!(view.reason, Reason::FeedUnavailable);
    assert!(
        view.message.contains("certificate of an unknown authority") && view.message.contains("--extra-ca-file"),
        "{}",
        view.message
    );
    assert!(view.message.contains("there is no earlier list"), "{}", view.message);
    let trusting = ClientSettings { extra_ca: Some(authority.pem().as_bytes().to_vec()), ..client_settings() };
    let mut operator = Operator::start(feed_settings(&standin), &trusting);
    let view = operator.completed().await;
    assert_eq!(view.reason, Reason::Fetched, "{}", view.message);
}

#[tokio::test]
async fn through_a_proxy_that_asks_for_credentials() {
    let authority = TestAuthority::new().expect("an authority");
    let config = StandinConfig { authority: Some(authority.clone()), ..unlimited() };
    let standin = Standin::start(config).await.expect("the stand-in");
    let credentials = Some(("operator".to_owned(), "hunter2".to_owned()));
    let routes = [("api.cloud.com:443".to_owned(), standin.addr())].into_iter().collect();
    let proxy = ConnectProxy::start(ProxyConfig { credentials, routes }).await.expect("a proxy");
    let settings = FeedSettings {
        global_url: standin.base_url_global().replace(&standin.origin(), "https://api.cloud.com"),
        ..feed_settings(&standin)
    };
    let through = |url: String| ClientSettings {
        extra_ca: Some(authority.pem().as_bytes().to_vec()),
        proxy: ProxyChoice::Always(url),
        ..client_settings()
    };
    let mut operator = Operator::start(settings.clone(), &through(proxy.url_with("operator", "hunter2")));
    let view = operator.completed().await;
    assert_eq!(view.reason, Reason::Fetched, "{}", view.message);
    assert_eq!(proxy.requests()[0].method, "CONNECT");
    let mut operator = Operator::start(settings, &through(proxy.url_with("operator", "wrong-hunter3")));
    let view = operator.completed().await;
    assert_eq!(view.reason, Reason::FeedUnavailable, "{}", view.message);
    assert!(!view.message.contains("hunter"), "{}", view.message);
}

#[tokio::test]
async fn the_other_forms_over_http() {
    let standin = standin().await;
    let zscaler = FeedSettings { format: Format::Zscaler, ..feed_settings(&standin) };
    let mut operator = Operator::start(zscaler, &client_settings());
    let view = operator.completed().await;
    let list = view.allowlist.expect("a list");
    assert_eq!(view.reason, Reason::Fetched, "{}", view.message);
    assert!(list.valid_until.is_some() && list.entries.len() > 5);
    assert_eq!(list.problems, []);
    let static_list_urls = [(Cloud::Global, standin.url(Source::StaticCommercial))].into_iter().collect();
    let mut operator =
        Operator::start(FeedSettings { static_list_urls, ..feed_settings(&standin) }, &client_settings());
    let view = operator.completed().await;
    let list = view.allowlist.expect("a list");
    assert!(list.entries.iter().any(|entry| entry.names.iter().any(|name| name.as_str() == "kitsune1.xendesktop.net")));
    assert_eq!(list.problems, []);
}

#[tokio::test]
async fn documents_from_a_directory() {
    let standin = standin().await;
    let directory = tempfile::tempdir().expect("a directory");
    let settings = FeedSettings {
        feed_dir: Some(directory.path().to_owned()),
        feed_dir_interval: Duration::from_millis(50),
        ..feed_settings(&standin)
    };
    let mut operator = Operator::start(settings, &client_settings());
    let view = operator.completed().await;
    assert_eq!(view.reason, Reason::FeedUnavailable);
    assert!(view.message.contains("holds neither global-kitsune1.json nor global.json"), "{}", view.message);
    let write = |name: &str, services: usize| {
        let mut document = standin.document(StandinCloud::Global).substituted("CUSTOMER_ID", "kitsune1");
        document.services.truncate(services);
        std::fs::write(directory.path().join(name), serde_json::to_vec(&document).expect("JSON")).expect("a file");
    };
    write("global.json", 100);
    let full = operator.completed().await.allowlist.expect("a list").entries.len();
    write("global-kitsune1.json", 1);
    let view = operator.completed().await;
    assert_eq!(view.reason, Reason::FeedShrank, "{}", view.message);
    let view = operator.completed().await;
    assert!(view.allowlist.is_some_and(|list| list.entries.len() < full), "{}", view.message);
    assert_eq!(view.next_fetch, None);
    assert!(standin.requests().is_empty());
}
