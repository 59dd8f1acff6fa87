//! From a request to an answer: routes, validation, rate limit, faults.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Query, Request, State as Extract};
use axum::http::{HeaderMap, Method, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::answer::{self, Answer};
use super::connection::{Connecting, Peer};
use super::fault::{Fault, Faults, RetryAfter};
use super::limit::Limiter;
use super::lists::{Published, StaticList, static_path, whole_seconds};
use super::record::Recorded;
use super::{Document, LimitHint, Source, StandinCloud, StandinConfig, Validity, lock};
use crate::fixture;

/// Where redirects of this host lead: the same lists, never struck by a fault.
pub(super) const MOVED: &str = "/moved";

/// What requests and tests share.
#[derive(Debug)]
pub(super) struct State {
    pub(super) inner: Mutex<Inner>,
    global_path: String,
    japan_path: String,
    limit_hint: LimitHint,
    update_interval: u32,
    admin: bool,
}

/// What tests change.
#[derive(Debug)]
pub(super) struct Inner {
    global: Published,
    japan: Published,
    static_commercial: StaticList,
    static_japan: StaticList,
    pub(super) requests_per_minute: Option<u32>,
    pub(super) limiter: Limiter,
    pub(super) cache_control: Option<String>,
    etag: bool,
    pub(super) unknown_customers: BTreeSet<String>,
    pub(super) faults: Faults,
    pub(super) recorded: Vec<Recorded>,
}

impl Inner {
    pub(super) fn published(&mut self, cloud: StandinCloud) -> &mut Published {
        match cloud {
            StandinCloud::Global => &mut self.global,
            StandinCloud::Japan => &mut self.japan,
        }
    }

    pub(super) fn static_list(&mut self, cloud: StandinCloud) -> &mut StaticList {
        match cloud {
            StandinCloud::Global => &mut self.static_commercial,
            StandinCloud::Japan => &mut self.static_japan,
        }
    }
}

impl State {
    pub(super) fn new(config: StandinConfig) -> Result<Self> {
        let now = Timestamp::now();
        let static_list = |text| -> Result<StaticList> {
            let document = serde_json::from_str(text).context("the static list's fixture")?;
            Ok(StaticList { document, modified: whole_seconds(now) })
        };
        Ok(Self {
            inner: Mutex::new(Inner {
                global: Published::new(config.global, config.validity, now),
                japan: Published::new(config.japan, config.validity, now),
                static_commercial: static_list(fixture::STATIC_COMMERCIAL)?,
                static_japan: static_list(fixture::STATIC_JAPAN)?,
                requests_per_minute: config.requests_per_minute,
                limiter: Limiter::default(),
                cache_control: config.cache_control,
                etag: config.etag,
                unknown_customers: BTreeSet::new(),
                faults: Faults::default(),
                recorded: Vec::new(),
            }),
            global_path: format!("{}/v2/allowlist", config.global_path.trim_end_matches('/')),
            japan_path: format!("{}/v2/allowlist", config.japan_path.trim_end_matches('/')),
            limit_hint: config.limit_hint,
            update_interval: config.update_interval,
            admin: config.admin,
        })
    }

    fn source(&self, path: &str) -> Option<Source> {
        if path == self.global_path {
            return Some(Source::Global);
        }
        if path == self.japan_path {
            return Some(Source::Japan);
        }
        [Source::StaticCommercial, Source::StaticJapan].into_iter().find(|source| static_path(*source) == Some(path))
    }
}

/// Serves until the task is aborted.
pub(super) fn spawn(state: Arc<State>, connecting: Connecting) -> JoinHandle<()> {
    let mut router = Router::new();
    if state.admin {
        router = router.route("/admin/publish", post(publish)).route("/admin/valid-for", post(valid_for));
    }
    let service = router.fallback(respond).with_state(state).into_make_service_with_connect_info::<Peer>();
    tokio::spawn(async move {
        // axum's server has no error: it ends by being aborted.
        let _never = axum::serve(connecting, service).await;
    })
}

type Parameters = Vec<(String, String)>;

fn parameter<'a>(parameters: &'a Parameters, name: &str) -> Option<&'a str> {
    parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

async fn respond(
    Extract(state): Extract<Arc<State>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
) -> Response {
    let (parts, _body) = request.into_parts();
    let parameters = Query::<Parameters>::try_from_uri(&parts.uri).map(|Query(query)| query).unwrap_or_default();
    let (answer, fault, index) =
        decide(&state, &parts.method, &parts.uri, &parts.headers, parameters, peer.address.ip());
    let host = parts.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
    let response = match fault {
        None => answer.into_response(&parts.headers),
        Some(fault) => answer::faulty(fault, answer, &parts.headers, &parts.uri, host, &peer.switch).await,
    };
    if let Some(recorded) = lock(&state.inner).recorded.get_mut(index) {
        recorded.status = Some(response.status().as_u16());
    }
    response
}

/// What to answer if nothing goes wrong, what goes wrong, and where the request is recorded.
fn decide(
    state: &State,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    query: Parameters,
    client: IpAddr,
) -> (Answer, Option<Fault>, usize) {
    let now = Timestamp::now();
    let path = uri.path();
    let moved = path.strip_prefix(MOVED).filter(|rest| rest.starts_with('/'));
    let source = state.source(moved.unwrap_or(path));
    let customer = parameter(&query, "customerId").map(str::to_owned);
    let mut inner = lock(&state.inner);
    let (answer, fault) = match source {
        None => (Answer::error(404, "notFound", "there is nothing here", None), None),
        Some(_) if method != Method::GET && method != Method::HEAD => {
            (Answer::error(405, "methodNotAllowed", "only GET is served", None), None)
        }
        Some(source) => match over_limit(&mut inner, state.limit_hint, source, client, now) {
            Some(refusal) => (refusal, None),
            None => {
                let fault = if moved.is_some() { None } else { inner.faults.take(source, customer.as_deref()) };
                // What a fault spoils is a whole answer: "not modified" has nothing to spoil.
                let whole = HeaderMap::new();
                let conditions = if matches!(fault, None | Some(Fault::Delay(_))) { headers } else { &whole };
                (list(&mut inner, state.update_interval, source, &query, conditions, now), fault)
            }
        },
    };
    let index = inner.recorded.len();
    inner.recorded.push(Recorded {
        at: now,
        instant: Instant::now(),
        method: method.to_string(),
        path: path.to_owned(),
        query,
        headers: headers.clone(),
        source,
        status: None,
        fault: fault.is_some(),
        client,
        customer,
        transaction_id: headers.get("citrix-transactionid").and_then(|id| id.to_str().ok()).map(str::to_owned),
    });
    (answer, fault, index)
}

fn over_limit(inner: &mut Inner, hint: LimitHint, source: Source, client: IpAddr, now: Timestamp) -> Option<Answer> {
    let cloud = match source {
        Source::Global => StandinCloud::Global,
        Source::Japan => StandinCloud::Japan,
        // The static lists are files in a storage account: nobody counts.
        Source::StaticCommercial | Source::StaticJapan => return None,
    };
    let limit = inner.requests_per_minute?;
    let wait = inner.limiter.admit(cloud, client, limit, Instant::now()).err()?;
    let answer = Answer::error(429, "tooManyRequests", "the rate limit of your address is exceeded", None);
    let seconds = wait.as_millis().div_ceil(1000).max(1) as u64;
    Some(match hint {
        LimitHint::None => answer,
        LimitHint::Seconds => answer.retry_after(RetryAfter::Seconds(seconds), now),
        LimitHint::Date => answer.retry_after(RetryAfter::Date(std::time::Duration::from_secs(seconds)), now),
    })
}

fn list(
    inner: &mut Inner,
    update_interval: u32,
    source: Source,
    query: &Parameters,
    headers: &HeaderMap,
    now: Timestamp,
) -> Answer {
    let cache_control = inner.cache_control.clone();
    let (body, modified) = match source {
        Source::StaticCommercial => (inner.static_commercial.document.clone(), inner.static_commercial.modified),
        Source::StaticJapan => (inner.static_japan.document.clone(), inner.static_japan.modified),
        Source::Global | Source::Japan => {
            let cloud = if source == Source::Global { StandinCloud::Global } else { StandinCloud::Japan };
            let asked = match Asked::read(query) {
                Ok(asked) => asked,
                Err(refusal) => return refusal,
            };
            if asked.customer.is_some_and(|customer| inner.unknown_customers.contains(customer)) {
                return Answer::error(404, "notFound", "there is no such customer", Some("customerId"));
            }
            let (document, modified) = inner.published(cloud).current(now);
            (asked.body(&document, update_interval), modified)
        }
    };
    Answer::list(body, modified, cache_control, inner.etag, headers)
}

/// A question's parameters, checked and with their defaults.
struct Asked<'a> {
    customer: Option<&'a str>,
    zscaler: bool,
    geo: &'a str,
    direction: &'a str,
}

impl<'a> Asked<'a> {
    fn read(query: &'a Parameters) -> Result<Self, Answer> {
        let one_of = |name: &'static str, allowed: &[&str], default: &'static str| {
            let value = parameter(query, name).unwrap_or(default);
            if allowed.contains(&value) {
                return Ok(value);
            }
            let detail = format!("{name} must be one of {}", allowed.join(", "));
            Err(Answer::error(400, "invalidParameter", &detail, Some(name)))
        };
        let zscaler = one_of("format", &["json", "zscaler"], "json")? == "zscaler";
        let geo = one_of("geo", &["us", "eu", "ap-s", "jp", "all"], "all")?;
        let direction = one_of("direction", &["inbound", "outbound", "all"], "all")?;
        let customer = parameter(query, "customerId");
        match customer {
            None if zscaler => {}
            None => {
                let detail = "customerId is required with format=json";
                return Err(Answer::error(400, "missingParameter", detail, Some("customerId")));
            }
            Some(id) if (1..=12).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {}
            Some(_) => {
                let detail = "customerId must match ^[a-zA-Z0-9]{1,12}$";
                return Err(Answer::error(400, "invalidParameter", detail, Some("customerId")));
            }
        }
        Ok(Self { customer, zscaler, geo, direction })
    }

    fn body(&self, document: &Document, update_interval: u32) -> Value {
        let document =
            document.filtered(self.geo, self.direction).substituted("CUSTOMER_ID", self.customer.unwrap_or("*"));
        if self.zscaler {
            return document.zscaler(update_interval);
        }
        json!(document)
    }
}

async fn publish(Extract(state): Extract<Arc<State>>, Query(query): Query<Parameters>, body: Bytes) -> Response {
    let cloud = match parameter(&query, "cloud") {
        None | Some("global") => StandinCloud::Global,
        Some("japan") => StandinCloud::Japan,
        Some(_) => return refused("cloud must be global or japan"),
    };
    let document: Document = match serde_json::from_slice(&body) {
        Ok(document) => document,
        Err(error) => return refused(&format!("the body is not a document: {error}")),
    };
    let mut inner = lock(&state.inner);
    let published = inner.published(cloud);
    published.publish(document, Timestamp::now());
    done(&json!({ "version": published.document().meta.version }))
}

async fn valid_for(Extract(state): Extract<Arc<State>>, body: String) -> Response {
    let validity = match body.trim().parse() {
        Ok(0) => Validity::AsPublished,
        Ok(seconds) => Validity::Rolling(std::time::Duration::from_secs(seconds)),
        Err(_) => return refused("the body must be a number of seconds; 0 serves the documents' own validUntil"),
    };
    let mut inner = lock(&state.inner);
    for cloud in [StandinCloud::Global, StandinCloud::Japan] {
        inner.published(cloud).set_validity(validity, Timestamp::now());
    }
    let (document, _) = inner.published(StandinCloud::Global).current(Timestamp::now());
    done(&json!({ "validUntil": document.meta.valid_until }))
}

fn done(body: &Value) -> Response {
    ([("content-type", "application/json")], body.to_string()).into_response()
}

fn refused(why: &str) -> Response {
    Answer::error(400, "invalidParameter", why, None).into_response(&HeaderMap::new())
}
