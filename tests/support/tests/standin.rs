//! The stand-in does what the vendor documents, and fails in every way a client may meet.

use std::collections::{BTreeSet, HashMap};
use std::io::Read;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;
use test_support::fixture;
use test_support::standin::{
    ConnectProxy, Document, Fault, Injection, LimitHint, ProxyConfig, RetryAfter, Source, Standin, StandinCloud,
    StandinConfig, TestAuthority, Validity, busiest,
};
use tokio::io::{AsyncBufReadExt, BufReader};

fn builder() -> reqwest::ClientBuilder {
    // Another test of this process may have been first.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().timeout(Duration::from_secs(10))
}

fn client() -> Client {
    builder().build().expect("a client")
}

async fn start() -> Standin {
    Standin::start(StandinConfig::unlimited()).await.expect("a stand-in")
}

async fn get(standin: &Standin, source: Source, query: &str) -> Response {
    client().get(format!("{}?{query}", standin.url(source))).send().await.expect("an answer")
}

async fn document(response: Response) -> Document {
    assert_eq!(response.status(), StatusCode::OK);
    response.json().await.expect("a document")
}

#[tokio::test]
async fn the_unfiltered_list_is_the_fixture_with_the_customer_in_it() {
    let standin = start().await;
    for (source, cloud) in [(Source::Global, StandinCloud::Global), (Source::Japan, StandinCloud::Japan)] {
        let served = document(get(&standin, source, "customerId=testcustomer").await).await;
        assert_eq!(served, fixture::document(cloud).substituted("CUSTOMER_ID", "testcustomer"));
        assert!(served.names().all(|name| !name.contains("CUSTOMER_ID")));
    }
    assert!(standin.base_url_global().ends_with("/global/connectivity"));
    assert_eq!(standin.url(Source::Japan), format!("{}/v2/allowlist", standin.base_url_japan()));
}

#[tokio::test]
async fn geo_and_direction_filter() {
    let standin = start().await;
    let served = document(get(&standin, Source::Global, "customerId=abc&geo=ap-s&direction=outbound").await).await;
    assert!(served.services.iter().all(|service| service.direction.as_deref() == Some("outbound")));
    let geos: BTreeSet<Option<&str>> =
        served.services.iter().flat_map(|service| &service.endpoints).map(|e| e.geo.as_deref()).collect();
    assert_eq!(geos, BTreeSet::from([None, Some("all"), Some("ap-s")]));
    assert!(served.services.iter().all(|service| !service.endpoints.is_empty()));
    let names: BTreeSet<String> = served.names().filter(|name| !name.contains('*')).map(str::to_owned).collect();
    let expected = fixture::exact_names_of(StandinCloud::Global, "abc", "ap-s", "outbound");
    assert_eq!(names.into_iter().collect::<Vec<_>>(), expected);
    let inbound = document(get(&standin, Source::Global, "customerId=abc&direction=inbound").await).await;
    assert!(!inbound.services.is_empty() && inbound.services.len() < served.services.len());
}

#[tokio::test]
async fn wrong_and_missing_parameters_are_named() {
    let standin = start().await;
    let cases = [
        ("", 400, "customerId"),
        ("customerId=", 400, "customerId"),
        ("customerId=with-dash", 400, "customerId"),
        ("customerId=thirteenchars", 400, "customerId"),
        ("customerId=abc&format=xml", 400, "format"),
        ("customerId=abc&geo=mars", 400, "geo"),
        ("customerId=abc&direction=up", 400, "direction"),
        ("format=zscaler&customerId=with-dash", 400, "customerId"),
    ];
    for (query, status, parameter) in cases {
        let response = get(&standin, Source::Global, query).await;
        assert_eq!(response.status(), status, "{query}");
        assert_eq!(response.headers()["content-type"], "application/json", "{query}");
        let body: Value = response.json().await.expect("JSON");
        assert_eq!(body["parameters"][0]["name"], parameter, "{query}");
    }
    for query in ["customerId=a", "customerId=twelvechars1", "customerId=abc&format=json&geo=all&direction=all"] {
        assert_eq!(get(&standin, Source::Global, query).await.status(), 200, "{query}");
    }
}

#[tokio::test]
async fn unknown_paths_and_customers_are_not_found() {
    let standin = start().await;
    let response = client().get(format!("{}/v1/allowlist", standin.base_url_global())).send().await.expect("an answer");
    assert_eq!(response.status(), 404);
    assert_eq!(response.json::<Value>().await.expect("JSON")["status"], 404);
    standin.forget_customer("gone");
    assert_eq!(get(&standin, Source::Global, "customerId=gone").await.status(), 404);
    assert_eq!(get(&standin, Source::Global, "customerId=other").await.status(), 200);
    standin.remember_customer("gone");
    assert_eq!(get(&standin, Source::Global, "customerId=gone").await.status(), 200);
    let posted = client().post(standin.url(Source::Global)).send().await.expect("an answer");
    assert_eq!(posted.status(), 405);
}

#[tokio::test]
async fn zscaler_has_its_own_shape() {
    let standin = start().await;
    let response = get(&standin, Source::Global, "format=zscaler&geo=us&direction=outbound").await;
    assert_eq!(response.status(), 200);
    let body: Value = response.json().await.expect("JSON");
    assert_eq!(body["usage"]["update_interval"], 84);
    let services = body["services"].as_array().expect("services");
    let daas = services.iter().find(|entry| entry["id"] == "daas-outbound-us-tcp-ipv4").expect("the overview's id");
    assert_eq!(daas["name"], "DaaS outbound us tcp ipv4");
    assert_eq!(daas["type"], "non-real-time");
    assert_eq!(daas["protocol"], "tcp");
    assert_eq!(daas["ports"], "80,443");
    assert_eq!(daas["domains"][0], "*.xendesktop.net", "without a customer, placeholders are wildcards");
    assert_eq!(daas["cidrs"][0], "13.107.6.152/31");
    let ipv6 = body["ipv6_services"].as_array().expect("ipv6_services");
    let daas = ipv6.iter().find(|entry| entry["id"] == "daas-outbound-us-tcp-ipv6").expect("an IPv6 entry");
    assert!(daas["cidrs"][0].as_str().expect("a CIDR").contains(':'));
    let ids: Vec<&str> = services.iter().chain(ipv6).filter_map(|entry| entry["id"].as_str()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "ids are unique");
    assert!(ids.iter().any(|id| id.contains("-udp-")));
    // With a customer the names are the customer's; without IPv6 networks there is no list of them.
    standin.edit(StandinCloud::Global, |document| {
        for endpoint in document.services.iter_mut().flat_map(|service| &mut service.endpoints) {
            endpoint.ips.retain(|ip| !ip.contains(':'));
        }
    });
    let response = get(&standin, Source::Global, "format=zscaler&customerId=abc").await;
    let body: Value = response.json().await.expect("JSON");
    assert!(body.get("ipv6_services").is_none());
    assert_eq!(body["services"][0]["domains"][0], "abc.xendesktop.net");
}

#[tokio::test]
async fn static_lists_are_served_beside() {
    let standin = start().await;
    let url = standin.url(Source::StaticCommercial);
    assert!(url.ends_with("/fqdnallowlist-commercial/allowlist.json"));
    let body: Value = client().get(&url).send().await.expect("an answer").json().await.expect("JSON");
    let products = body.as_object().expect("an object");
    let names: usize = products.values().filter_map(|product| product["AllowList"].as_array()).map(Vec::len).sum();
    assert!((50..=80).contains(&names), "{names}");
    assert!(products.values().all(|product| product.get("LatestChangeLog").is_some()));
    assert_eq!(body["DaaS"]["AllowList"][0], "<CUSTOMER_ID>.xendesktop.net");
    assert_eq!(client().get(standin.url(Source::StaticJapan)).send().await.expect("an answer").status(), 200);
    standin.publish_static(StandinCloud::Global, serde_json::json!({ "Only": { "AllowList": ["one.cloud.com"] } }));
    let body: Value = client().get(&url).send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(body["Only"]["AllowList"][0], "one.cloud.com");
}

#[tokio::test]
async fn five_requests_a_minute_from_an_address() {
    let config = StandinConfig { limit_hint: LimitHint::Seconds, ..StandinConfig::default() };
    let standin = Standin::start(config).await.expect("a stand-in");
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(get(&standin, Source::Global, "customerId=abc").await.status().as_u16());
    }
    assert_eq!(statuses, [200, 200, 200, 200, 200, 429]);
    let refused = get(&standin, Source::Global, "customerId=abc").await;
    let seconds: u64 = refused.headers()["retry-after"].to_str().expect("text").parse().expect("seconds");
    assert!((50..=60).contains(&seconds), "{seconds}");
    assert_eq!(refused.json::<Value>().await.expect("JSON")["status"], 429);
    // Another address, the other cloud and the static list are counted apart.
    let other = builder().local_address(Some([127, 0, 0, 2].into())).build().expect("a client");
    let url = format!("{}?customerId=abc", standin.url(Source::Global));
    assert_eq!(other.get(&url).send().await.expect("an answer").status(), 200);
    assert_eq!(get(&standin, Source::Japan, "customerId=abc").await.status(), 200);
    assert_eq!(get(&standin, Source::StaticCommercial, "").await.status(), 200);
    assert_eq!(standin.requests().last().map(|last| last.client), Some([127, 0, 0, 1].into()));
    standin.set_requests_per_minute(Some(1));
    assert_eq!(get(&standin, Source::Global, "customerId=abc").await.status(), 200);
    assert_eq!(get(&standin, Source::Global, "customerId=abc").await.status(), 429);
}

#[tokio::test]
async fn the_limit_says_nothing_of_itself_or_gives_a_date() {
    for (limit_hint, expected) in [(LimitHint::None, false), (LimitHint::Date, true)] {
        let config = StandinConfig { limit_hint, requests_per_minute: Some(1), ..StandinConfig::default() };
        let standin = Standin::start(config).await.expect("a stand-in");
        get(&standin, Source::Global, "customerId=abc").await;
        let refused = get(&standin, Source::Global, "customerId=abc").await;
        assert_eq!(refused.status(), 429);
        let value = refused.headers().get("retry-after").map(|value| value.to_str().expect("text").to_owned());
        assert_eq!(value.is_some(), expected, "{value:?}");
        if let Some(date) = value {
            assert!(date.ends_with("GMT"), "{date}");
        }
    }
}

#[tokio::test]
async fn gzip_only_where_it_is_accepted() {
    let standin = start().await;
    let url = format!("{}?customerId=abc", standin.url(Source::Global));
    let raw = builder().no_gzip().build().expect("a client");
    let plain = raw.get(&url).send().await.expect("an answer");
    assert!(plain.headers().get("content-encoding").is_none());
    let plain = plain.bytes().await.expect("a body");
    let packed = raw.get(&url).header("accept-encoding", "br, gzip;q=0.5").send().await.expect("an answer");
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    assert_eq!(packed.headers()["vary"], "Accept-Encoding");
    let packed = packed.bytes().await.expect("a body");
    assert!(packed.len() < plain.len() / 3);
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).expect("gzip");
    assert_eq!(unpacked, plain);
    let refused = raw.get(&url).header("accept-encoding", "gzip;q=0").send().await.expect("an answer");
    assert!(refused.headers().get("content-encoding").is_none());
}

#[tokio::test]
async fn unchanged_lists_are_not_sent_again() {
    let standin = start().await;
    let url = format!("{}?customerId=abc", standin.url(Source::Global));
    let first = client().get(&url).send().await.expect("an answer");
    assert_eq!(first.headers()["cache-control"], "public, max-age=3600");
    let modified = first.headers()["last-modified"].to_str().expect("text").to_owned();
    assert!(modified.ends_with("GMT"), "{modified}");
    let again = || client().get(&url).header("if-modified-since", &modified).send();
    let unchanged = again().await.expect("an answer");
    assert_eq!(unchanged.status(), 304);
    assert_eq!(unchanged.headers()["last-modified"], modified.as_str());
    assert!(unchanged.bytes().await.expect("no body").is_empty());
    standin.edit(StandinCloud::Global, |document| {
        document.services[0].endpoints[0].fqdns.push("new.cloud.com".to_owned());
    });
    let changed = document(again().await.expect("an answer")).await;
    assert!(changed.names().any(|name| name == "new.cloud.com"));
    assert!(changed.meta.version > fixture::document(StandinCloud::Global).meta.version);
    assert_eq!(get(&standin, Source::Japan, "customerId=abc").await.status(), 200);
    let garbage = client().get(&url).header("if-modified-since", "yesterday").send().await.expect("an answer");
    assert_eq!(garbage.status(), 200);
    standin.set_cache_control(None);
    assert!(get(&standin, Source::Global, "customerId=abc").await.headers().get("cache-control").is_none());
}

#[tokio::test]
async fn a_tag_is_compared_alone_and_before_the_time() {
    let standin = Standin::start(StandinConfig { etag: true, ..StandinConfig::unlimited() }).await.expect("a stand-in");
    let url = format!("{}?customerId=abc", standin.url(Source::Global));
    let first = client().get(&url).send().await.expect("an answer");
    let value = |name: &str| first.headers()[name].to_str().expect("text").to_owned();
    let (tag, modified) = (value("etag"), value("last-modified"));
    let asked = |conditions: &[(&str, &str)]| {
        let mut asked = client().get(&url);
        for (name, value) in conditions {
            asked = asked.header(*name, *value);
        }
        async { asked.send().await.expect("an answer").status().as_u16() }
    };
    assert_eq!(asked(&[("if-none-match", &tag)]).await, 304);
    assert_eq!(asked(&[("if-none-match", &format!("\"other\", {}", tag.trim_start_matches("W/")))]).await, 304);
    assert_eq!(asked(&[("if-none-match", "*")]).await, 304);
    assert_eq!(asked(&[("if-none-match", "\"other\""), ("if-modified-since", &modified)]).await, 200);
    assert_eq!(asked(&[("if-modified-since", &modified)]).await, 304);
    standin.edit(StandinCloud::Global, |document| document.services.truncate(1));
    assert_eq!(asked(&[("if-none-match", &tag)]).await, 200);
    let without = start().await;
    assert!(get(&without, Source::Global, "customerId=abc").await.headers().get("etag").is_none());
}

#[tokio::test]
async fn windows_that_are_not_announced_leave_last_modified_as_it_is() {
    let config =
        StandinConfig { validity: Validity::RollingUnannounced(Duration::from_secs(1)), ..StandinConfig::unlimited() };
    let standin = Standin::start(config).await.expect("a stand-in");
    let first = get(&standin, Source::Global, "customerId=abc").await;
    let modified = first.headers()["last-modified"].to_str().expect("text").to_owned();
    let until = document(first).await.meta.valid_until;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let url = format!("{}?customerId=abc", standin.url(Source::Global));
    let conditional = client().get(&url).header("if-modified-since", &modified).send().await.expect("an answer");
    assert_eq!(conditional.status(), 304, "nothing has changed, it says");
    assert_ne!(document(get(&standin, Source::Global, "customerId=abc").await).await.meta.valid_until, until);
}

#[tokio::test]
async fn rolling_validity_is_always_ahead() {
    let config = StandinConfig { validity: Validity::Rolling(Duration::from_secs(2)), ..StandinConfig::unlimited() };
    let standin = Standin::start(config).await.expect("a stand-in");
    for _ in 0..2 {
        let served = document(get(&standin, Source::Global, "customerId=abc").await).await;
        let until: Timestamp = served.meta.valid_until.expect("validUntil").parse().expect("RFC 3339");
        let left = until.duration_since(Timestamp::now());
        assert!(left.as_secs_f64() > -0.1 && left.as_secs_f64() <= 2.0, "{left}");
        tokio::time::sleep(Duration::from_millis(1200)).await;
    }
    standin.set_validity(Validity::AsPublished);
    let served = document(get(&standin, Source::Global, "customerId=abc").await).await;
    assert_eq!(served.meta.valid_until.as_deref(), Some("2026-06-04T12:00:00Z"));
}

#[tokio::test]
async fn requests_are_recorded() {
    let standin = start().await;
    let id = "0d0e4f0a-9d5c-4f52-9d0f-0123456789ab";
    let url = format!("{}?customerId=abc&geo=us", standin.url(Source::Global));
    client()
        .get(&url)
        .header("Citrix-TransactionId", id)
        .header("user-agent", "test/1")
        .send()
        .await
        .expect("an answer");
    let requests = standin.wait_for_requests(1, Duration::from_secs(30)).await.expect("a request");
    let request = &requests[0];
    assert_eq!(request.transaction_id.as_deref(), Some(id));
    assert_eq!(request.customer.as_deref(), Some("abc"));
    assert_eq!(request.parameter("geo"), Some("us"));
    assert_eq!(request.header("user-agent"), Some("test/1"));
    assert_eq!((request.status, request.fault, request.source), (Some(200), false, Some(Source::Global)));
    assert_eq!(request.path, "/global/connectivity/v2/allowlist");
    assert_eq!(busiest(&requests, Duration::from_secs(60)), 1);
    standin.clear_requests();
    assert!(standin.requests().is_empty());
    assert!(standin.wait_for_requests(1, Duration::from_millis(30)).await.is_err());
}

#[tokio::test]
async fn faults_strike_whom_they_are_meant_for() {
    let standin = start().await;
    standin.inject(Injection::always(Fault::status(500)).on(Source::Global).of("abc").times(2));
    assert_eq!(get(&standin, Source::Japan, "customerId=abc").await.status(), 200);
    assert_eq!(get(&standin, Source::Global, "customerId=other").await.status(), 200);
    for expected in [500, 500, 200] {
        assert_eq!(get(&standin, Source::Global, "customerId=abc").await.status(), expected);
    }
    standin.fail(Fault::status(502));
    for _ in 0..3 {
        assert_eq!(get(&standin, Source::StaticJapan, "").await.status(), 502);
    }
    assert!(standin.requests().last().is_some_and(|last| last.fault && last.status == Some(502)));
    standin.clear_faults();
    assert_eq!(get(&standin, Source::Global, "customerId=abc").await.status(), 200);
}

#[tokio::test]
async fn statuses_say_when_to_come_back() {
    let standin = start().await;
    standin.fail_times(1, Fault::Status { status: 503, retry_after: Some(RetryAfter::Seconds(7)) });
    let response = get(&standin, Source::Global, "customerId=abc").await;
    assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (503, &"7".parse().expect("a value")));
    let date = RetryAfter::Date(Duration::from_secs(90));
    standin.fail_times(1, Fault::Status { status: 429, retry_after: Some(date) });
    let response = get(&standin, Source::Global, "customerId=abc").await;
    let value = response.headers()["retry-after"].to_str().expect("text");
    let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).expect("an HTTP date");
    let ahead = at.duration_since(Timestamp::now()).as_secs();
    assert!((85..=90).contains(&ahead), "{ahead}");
    standin.fail_times(1, Fault::status(503));
    assert!(get(&standin, Source::Global, "customerId=abc").await.headers().get("retry-after").is_none());
}

#[tokio::test]
async fn answers_that_never_come_or_come_too_slowly() {
    let standin = start().await;
    let hasty = builder().timeout(Duration::from_millis(300)).build().expect("a client");
    let url = format!("{}?customerId=abc", standin.url(Source::Global));
    standin.fail_times(1, Fault::Silence);
    assert!(hasty.get(&url).send().await.expect_err("no answer").is_timeout());
    assert_eq!(standin.requests()[0].status, None);
    standin.fail_times(1, Fault::SlowBody { interval: Duration::from_millis(20) });
    let mut slow = hasty.get(&url).send().await.expect("headers come at once");
    assert_eq!(slow.status(), 200);
    let first = slow.chunk().await.expect("a byte").expect("a byte");
    assert!(first.len() < 10, "{first:?}");
    assert!(slow.bytes().await.expect_err("the rest takes minutes").is_timeout());
    standin.fail_times(1, Fault::Delay(Duration::from_millis(100)));
    let before = Instant::now();
    assert_eq!(hasty.get(&url).send().await.expect("an answer").status(), 200);
    assert!(before.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn connections_that_break() {
    let standin = start().await;
    let url = format!("{}?customerId=abc", standin.url(Source::Global));
    standin.fail_times(1, Fault::TruncatedBody);
    let response = client().get(&url).send().await.expect("headers");
    let promised = response.content_length().expect("a length");
    assert!(promised > 1000);
    let error = response.bytes().await.expect_err("the body is cut");
    assert!(error.is_body() || error.is_decode(), "{error:?}");
    standin.fail_times(1, Fault::Reset);
    let error = client().get(&url).send().await.expect_err("a reset");
    assert!(format!("{error:?}").contains("ConnectionReset"), "{error:?}");
    assert_eq!(get(&standin, Source::Global, "customerId=abc").await.status(), 200);
}

#[tokio::test]
async fn bodies_that_are_not_the_list() {
    let standin = start().await;
    standin.fail_times(1, Fault::HtmlPage);
    let page = get(&standin, Source::Global, "customerId=abc").await;
    assert_eq!(page.status(), 200);
    assert!(page.headers()["content-type"].to_str().expect("text").starts_with("text/html"));
    standin.fail_times(1, Fault::MalformedJson);
    let broken = get(&standin, Source::Global, "customerId=abc").await;
    assert!(broken.headers()["content-type"].to_str().expect("text").starts_with("application/json"));
    assert!(broken.json::<Value>().await.expect_err("half a document").is_decode());
    standin.fail_times(1, Fault::EmptyServices);
    let empty = document(get(&standin, Source::Global, "customerId=abc").await).await;
    assert!(empty.services.is_empty() && !empty.meta.version.is_empty());
    standin.fail_times(1, Fault::WrongContentEncoding);
    let wrong = get(&standin, Source::Global, "customerId=abc").await;
    assert!(wrong.bytes().await.expect_err("it is not gzip").is_decode());
    standin.fail_times(1, Fault::json("[1, 2]"));
    assert_eq!(get(&standin, Source::Global, "customerId=abc").await.text().await.expect("text"), "[1, 2]");
}

#[tokio::test]
async fn faults_strike_conditional_requests_too() {
    let standin = start().await;
    let url = format!("{}?customerId=abc", standin.url(Source::Global));
    let conditional = || client().get(&url).header("if-modified-since", "Fri, 01 Jan 2100 00:00:00 GMT").send();
    assert_eq!(conditional().await.expect("an answer").status(), 304);
    standin.fail_times(1, Fault::EmptyServices);
    assert!(document(conditional().await.expect("an answer")).await.services.is_empty());
    standin.fail_times(1, Fault::TruncatedBody);
    assert!(conditional().await.expect("headers").bytes().await.is_err());
}

#[tokio::test]
async fn bodies_that_are_too_large() {
    let standin = start().await;
    let padding = 5_000_001;
    standin.fail_times(1, Fault::OversizedBody { padding });
    let response = get(&standin, Source::Global, "customerId=abc").await;
    assert_eq!(response.content_length(), None);
    let body = response.bytes().await.expect("a body");
    assert!(body.len() > padding);
    serde_json::from_slice::<Document>(&body).expect("a document for a client without a cap");
    standin.fail_times(2, Fault::GzipBomb { padding: 50_000_000 });
    let raw = builder().no_gzip().build().expect("a client");
    let packed = raw.get(format!("{}?customerId=abc", standin.url(Source::Global))).send().await.expect("an answer");
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    assert!(packed.bytes().await.expect("a body").len() < 1_000_000);
    let unpacked = get(&standin, Source::Global, "customerId=abc").await.bytes().await.expect("a body");
    assert!(unpacked.len() > 50_000_000);
}

#[tokio::test]
async fn redirects_to_this_host_and_to_others() {
    let standin = start().await;
    standin.fail(Fault::RedirectSameHost);
    let here = get(&standin, Source::Global, "customerId=abc&geo=us").await;
    assert_eq!((here.status().as_u16(), here.url().host_str()), (200, Some("127.0.0.1")));
    assert!(here.url().path().starts_with("/moved/"));
    standin.clear_faults();
    standin.fail(Fault::RedirectOtherHost);
    let there = get(&standin, Source::Global, "customerId=abc").await;
    assert_eq!((there.status().as_u16(), there.url().host_str()), (200, Some("localhost")));
    standin.clear_faults();
    standin.fail(Fault::Redirect("https://elsewhere.invalid/list".to_owned()));
    let strict = builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
    let url = format!("{}?customerId=abc", standin.url(Source::Global));
    let response = strict.get(url).send().await.expect("an answer");
    assert_eq!(response.status(), 302);
    assert_eq!(response.headers()["location"], "https://elsewhere.invalid/list");
}

#[tokio::test]
async fn https_with_an_authority_of_its_own() {
    let authority = TestAuthority::new().expect("an authority");
    let config = StandinConfig { authority: Some(authority.clone()), ..StandinConfig::unlimited() };
    let standin = Standin::start(config).await.expect("a stand-in");
    let url = format!("{}?customerId=abc", standin.url(Source::Global));
    assert!(url.starts_with("https://127.0.0.1:"));
    assert!(client().get(&url).send().await.expect_err("nobody trusts it").is_connect());
    assert!(standin.requests().is_empty());
    let certificate = reqwest::Certificate::from_pem(standin.ca_pem().expect("PEM").as_bytes()).expect("a certificate");
    let trusting = builder().tls_certs_only([certificate]).build().expect("a client");
    assert_eq!(trusting.get(&url).send().await.expect("an answer").status(), 200);
    standin.fail_times(1, Fault::Reset);
    assert!(trusting.get(&url).send().await.is_err());
    standin.fail_times(1, Fault::RedirectOtherHost);
    let moved = trusting.get(&url).send().await.expect("an answer");
    assert_eq!(
        (moved.status().as_u16(), moved.url().scheme(), moved.url().host_str()),
        (200, "https", Some("localhost"))
    );
}

#[tokio::test]
async fn a_stopped_one_refuses_and_comes_back_at_the_same_port() {
    let mut standin = start().await;
    let client = client();
    let url = format!("{}?customerId=abc", standin.url(Source::Global));
    assert_eq!(client.get(&url).send().await.expect("an answer").status(), 200);
    standin.fail_times(1, Fault::Silence);
    let hanging = tokio::spawn(client.get(&url).send());
    standin.wait_for_requests(2, Duration::from_secs(30)).await.expect("the hanging request");
    let address = standin.addr();
    standin.stop().await;
    assert!(hanging.await.expect("the task").is_err(), "open connections are cut");
    assert!(client.get(&url).send().await.expect_err("nobody listens").is_connect());
    standin.restart().await.expect("the port is free");
    assert_eq!(standin.addr(), address);
    assert_eq!(client.get(&url).send().await.expect("an answer").status(), 200);
    assert_eq!(standin.requests().len(), 3);
}

#[tokio::test]
async fn the_proxy_tunnels_records_and_asks_for_credentials() {
    let authority = TestAuthority::new().expect("an authority");
    let config = StandinConfig { authority: Some(authority.clone()), ..StandinConfig::unlimited() };
    let standin = Standin::start(config).await.expect("a stand-in");
    let proxy = ConnectProxy::start(ProxyConfig {
        credentials: Some(("user".to_owned(), "secret".to_owned())),
        routes: HashMap::from([("api.cloud.com:443".to_owned(), standin.addr())]),
    })
    .await
    .expect("a proxy");
    let through = |url: String| {
        let certificate = reqwest::Certificate::from_pem(authority.pem().as_bytes()).expect("a certificate");
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let proxy = reqwest::Proxy::all(url).expect("a proxy");
        Client::builder().tls_certs_only([certificate]).proxy(proxy).build().expect("a client")
    };
    let list = "https://api.cloud.com/global/connectivity/v2/allowlist?customerId=abc";
    let response = through(proxy.url_with("user", "secret")).get(list).send().await.expect("an answer");
    assert_eq!(response.status(), 200);
    assert!(through(proxy.url()).get(list).send().await.is_err());
    let elsewhere = "https://elsewhere.invalid/";
    assert!(through(proxy.url_with("user", "secret")).get(elsewhere).send().await.is_err());
    let seen: Vec<(String, String, bool, Option<u16>)> =
        proxy.requests().into_iter().map(|r| (r.method, r.target, r.authorized, r.status)).collect();
    let connect =
        |target: &str, authorized, status| ("CONNECT".to_owned(), target.to_owned(), authorized, Some(status));
    assert_eq!(
        seen,
        [
            connect("api.cloud.com:443", true, 200),
            connect("api.cloud.com:443", false, 407),
            connect("elsewhere.invalid:443", true, 502),
        ]
    );
    assert_eq!(standin.requests().len(), 1);
}

#[tokio::test]
async fn the_proxy_passes_plain_requests_on() {
    let standin = start().await;
    let proxy = ConnectProxy::start(ProxyConfig::default()).await.expect("a proxy");
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().proxy(reqwest::Proxy::all(proxy.url()).expect("a proxy")).build().expect("a client");
    for _ in 0..2 {
        let url = format!("{}?customerId=abc", standin.url(Source::Global));
        assert_eq!(client.get(url).send().await.expect("an answer").status(), 200);
    }
    assert_eq!(proxy.requests().len(), 2);
    assert_eq!(proxy.requests()[0].method, "GET");
    assert_eq!(proxy.requests()[0].target, standin.addr().to_string());
}

#[tokio::test]
async fn a_shell_publishes_through_the_admin_paths() {
    let without = start().await;
    let posted = client().post(format!("{}/admin/publish", without.origin())).send().await.expect("an answer");
    assert_eq!(posted.status(), 404);
    let config = StandinConfig { admin: true, ..StandinConfig::unlimited() };
    let standin = Standin::start(config).await.expect("a stand-in");
    let mut changed = standin.document(StandinCloud::Japan);
    changed.services.truncate(1);
    let post = |path: &str, body: String| client().post(format!("{}{path}", standin.origin())).body(body).send();
    let body = serde_json::to_string(&changed).expect("JSON");
    let published = post("/admin/publish?cloud=japan", body).await.expect("an answer");
    assert_eq!(published.status(), 200);
    let version = published.json::<Value>().await.expect("JSON")["version"].as_str().expect("a version").to_owned();
    let served = document(get(&standin, Source::Japan, "customerId=abc").await).await;
    assert_eq!((served.services.len(), served.meta.version), (1, version));
    assert_eq!(post("/admin/valid-for", "30".to_owned()).await.expect("an answer").status(), 200);
    let served = document(get(&standin, Source::Global, "customerId=abc").await).await;
    let until: Timestamp = served.meta.valid_until.expect("validUntil").parse().expect("RFC 3339");
    assert!((28..=30).contains(&until.duration_since(Timestamp::now()).as_secs()));
    assert_eq!(post("/admin/valid-for", "soon".to_owned()).await.expect("an answer").status(), 400);
    assert_eq!(post("/admin/publish", "{}".to_owned()).await.expect("an answer").status(), 400);
}

/// The binary, killed when a test ends early.
fn binary(arguments: &[&str]) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_standin"));
    command
        .args(arguments)
        .kill_on_drop(true)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    command
}

#[tokio::test]
async fn the_binary_serves_what_its_flags_say() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("list.json");
    let mut changed = fixture::document(StandinCloud::Global);
    changed.services.truncate(2);
    std::fs::write(&file, serde_json::to_string(&changed).expect("JSON")).expect("a file");
    let fixture = file.to_str().expect("a path");
    let flags = ["--listen=127.0.0.1:0", "--valid-for", "60", "--fixture", fixture, "--requests-per-minute", "1"];
    let mut running = binary(&flags).spawn().expect("the binary");
    let mut lines = BufReader::new(running.stdout.take().expect("its output")).lines();
    let first = lines.next_line().await.expect("a line").expect("a line");
    let base = first.strip_prefix("global ").expect("the Global base first");
    let url = format!("{base}/v2/allowlist?customerId=abc");
    let served = document(client().get(&url).send().await.expect("an answer")).await;
    assert_eq!(served.services.len(), 2);
    let until: Timestamp = served.meta.valid_until.expect("validUntil").parse().expect("RFC 3339");
    assert!((50..=60).contains(&until.duration_since(Timestamp::now()).as_secs()));
    assert_eq!(client().get(&url).send().await.expect("an answer").status(), 429);
    let id = running.id().expect("it runs").to_string();
    let killed = tokio::process::Command::new("kill").arg(id).status().await.expect("kill");
    assert!(killed.success());
    let ended = tokio::time::timeout(Duration::from_secs(60), running.wait()).await.expect("it ends").expect("its end");
    assert!(ended.success(), "SIGTERM is a way to stop it: {ended}");
}

#[tokio::test]
async fn the_binary_refuses_wrong_flags_in_a_sentence() {
    let cases = [
        (vec!["--listen", "here"], "--listen here: must be ADDR:PORT"),
        (vec!["--valid-for", "soon"], "--valid-for soon: must be a whole number"),
        (vec!["--what", "1"], "--what: there is no such flag"),
        (vec!["--fixture"], "--fixture needs a value"),
        (vec!["--fixture", "/nowhere.json"], "/nowhere.json"),
    ];
    for (flags, said) in cases {
        let output = binary(&flags).output().await.expect("the binary");
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.starts_with(said), "{error}");
    }
    let help = binary(&["--help"]).output().await.expect("the binary");
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("--requests-per-minute"));
}
