//! One request to the API, over HTTP.
//!
//! No request is repeated here, and no redirect followed: each one counts against the vendor's rate, so the caller decides.

mod error;

pub use error::FetchError;

use crate::gzip::decompress;
use crate::validators::Validators;
use error::{answered, chain, host, quote, transport};
use futures::StreamExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, LAST_MODIFIED, LOCATION, RETRY_AFTER,
};
use reqwest::{Certificate, Client, Proxy, StatusCode, Url, redirect, tls};
use std::time::Duration;

/// The header that names a request to Citrix's support.
const TRANSACTION_ID: HeaderName = HeaderName::from_static("citrix-transactionid");
/// The largest body of an error that is read, in bytes: 16 KiB. An error is one short object; a larger one could take a hundred
/// times its size in memory.
const LARGEST_REASON: usize = 16 << 10;
/// The largest accepted document, in bytes, compressed or not: twenty times the longest known list.
pub const LARGEST_DOCUMENT: usize = 4 << 20;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRequest {
    /// The whole address.
    pub url: String,
    /// The `Citrix-TransactionId`: a UUID.
    pub transaction_id: String,
    /// The validators of the list in use, so that the server may answer that it has no other.
    pub validators: Validators,
}

impl FetchRequest {
    /// A request without condition.
    #[must_use]
    pub const fn new(url: String, transaction_id: String) -> Self {
        Self { url, transaction_id, validators: Validators { etag: None, last_modified: None } }
    }
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// A document, decompressed.
    Document {
        /// Its bytes.
        body: Vec<u8>,
        /// Its validators.
        validators: Validators,
        /// Its media type.
        content_type: Option<String>,
    },
    /// 304: the list in use is the newest.
    NotModified,
    /// The same host has it elsewhere. Not followed here, since the next request counts against the host's rate.
    Moved {
        /// Where.
        url: String,
    },
}

/// Answers requests: the vendor's API, or a test's replacement.
pub trait Fetch: Send + Sync {
    /// Sends one request.
    fn fetch(&self, request: FetchRequest) -> BoxFuture<'_, Result<Fetched, FetchError>>;
}

/// How requests reach the vendor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSettings {
    /// How long a connection may take to open: 10 seconds.
    pub connect_timeout: Duration,
    /// How long nothing may arrive: 10 seconds.
    pub idle_timeout: Duration,
    /// How long a request may take in all: 30 seconds.
    pub total_timeout: Duration,
    /// The largest answer, in bytes, both as sent and decompressed: 4 MiB.
    pub largest_document: usize,
    /// Certificates in PEM that are trusted in addition to the system's.
    pub extra_ca: Option<Vec<u8>>,
    /// The header `User-Agent`: the name and version of this library.
    pub user_agent: &'static str,
    /// The proxy.
    pub proxy: ProxyChoice,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(10),
            total_timeout: Duration::from_secs(30),
            largest_document: LARGEST_DOCUMENT,
            extra_ca: None,
            user_agent: concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")),
            proxy: ProxyChoice::default(),
        }
    }
}

/// The choice of a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ProxyChoice {
    /// `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`.
    #[default]
    Environment,
    /// None.
    Direct,
    /// This one for everything, as `http://user:password@host:port`.
    Always(String),
}

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientSetupError {
    /// The extra certificates cannot be read.
    #[error("the extra CA certificates cannot be read: PEM certificates are needed ({0})")]
    ExtraCa(String),
    /// The proxy's address cannot be read. It is not repeated: it may contain a password.
    #[error("the proxy's address is not a URL such as http://proxy:3128")]
    Proxy,
    /// TLS cannot be set up.
    #[error("the HTTPS client cannot be made ({0})")]
    Client(String),
}

/// Requests over HTTP.
#[derive(Clone, Debug)]
pub struct HttpClient {
    client: Client,
    largest: usize,
}

impl HttpClient {
    /// A client with these settings.
    ///
    /// # Errors
    /// Certificates or the proxy's address cannot be read, or TLS cannot be set up.
    pub fn new(settings: &ClientSettings) -> Result<Self, ClientSetupError> {
        // Only the process' first call has an effect: a program that chose another provider keeps it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .user_agent(settings.user_agent)
            .no_gzip()
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(settings.connect_timeout)
            .read_timeout(settings.idle_timeout)
            .timeout(settings.total_timeout)
            .tls_version_min(tls::Version::TLS_1_2);
        if let Some(pem) = &settings.extra_ca {
            let certificates =
                Certificate::from_pem_bundle(pem).map_err(|error| ClientSetupError::ExtraCa(chain(&error)))?;
            if certificates.is_empty() {
                return Err(ClientSetupError::ExtraCa("there is none in the file".to_owned()));
            }
            builder = builder.tls_certs_merge(certificates);
        }
        builder = match &settings.proxy {
            ProxyChoice::Environment => builder,
            ProxyChoice::Direct => builder.no_proxy(),
            ProxyChoice::Always(url) => builder.proxy(Proxy::all(url).map_err(|_| ClientSetupError::Proxy)?),
        };
        let client = builder.build().map_err(|error| ClientSetupError::Client(chain(&error)))?;
        Ok(Self { client, largest: settings.largest_document })
    }

    async fn send(&self, request: FetchRequest) -> Result<Fetched, FetchError> {
        let url: Url = request.url.parse().map_err(|_| FetchError::unavailable("the API's address is not a URL"))?;
        let mut sending = self
            .client
            .get(url.clone())
            .header(ACCEPT, "application/json")
            .header(ACCEPT_ENCODING, "gzip")
            .header(TRANSACTION_ID, &request.transaction_id);
        // Both, for a server that knows only one. One that knows both compares only the first (RFC 9110, section 13.1.3).
        let Validators { etag, last_modified } = &request.validators;
        for (name, value) in [(IF_NONE_MATCH, etag), (IF_MODIFIED_SINCE, last_modified)] {
            if let Some(value) = value {
                sending = sending.header(name, value);
            }
        }
        let response = sending.send().await.map_err(|error| transport(&url, error))?;
        let status = response.status();
        let headers = response.headers().clone();
        if status == StatusCode::NOT_MODIFIED {
            return Ok(Fetched::NotModified);
        }
        if status.is_redirection() {
            return moved(&url, &headers);
        }
        let retry_after = header(&headers, RETRY_AFTER).and_then(|text| retry_after(&text, Timestamp::now()));
        match status.as_u16() {
            200 => {
                let content_encoding = header(&headers, CONTENT_ENCODING);
                let body = self.body(&url, response, self.largest).await?;
                let body = decoded(body, content_encoding.as_deref(), self.largest)?;
                Ok(Fetched::Document {
                    body,
                    validators: Validators::new(header(&headers, ETAG), header(&headers, LAST_MODIFIED)),
                    content_type: header(&headers, CONTENT_TYPE),
                })
            }
            429 => Err(FetchError::RateLimited { retry_after }),
            400 | 404 | 410 => {
                let body = self.body(&url, response, LARGEST_REASON).await;
                let detail = body.map(|body| quote(&body)).unwrap_or_default();
                Err(FetchError::Rejected { status: status.as_u16(), detail })
            }
            503 => Err(FetchError::Unavailable { detail: answered(&url, status), retry_after }),
            _ => Err(FetchError::unavailable(answered(&url, status))),
        }
    }

    async fn body(&self, url: &Url, response: reqwest::Response, most: usize) -> Result<Vec<u8>, FetchError> {
        let mut body = Vec::new();
        let mut pieces = response.bytes_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|error| transport(url, error))?;
            if body.len() + piece.len() > most {
                return Err(FetchError::Malformed { detail: format!("the answer is larger than {most} bytes") });
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }
}

impl Fetch for HttpClient {
    fn fetch(&self, request: FetchRequest) -> BoxFuture<'_, Result<Fetched, FetchError>> {
        Box::pin(self.send(request))
    }
}

fn header(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// Scheme, host and port of an address, the scope of one limiter; the address itself if it cannot be read.
#[must_use]
pub fn origin(url: &str) -> String {
    url.parse::<Url>().map_or_else(|_| url.to_owned(), |url| url.origin().ascii_serialization())
}

/// A redirect on the same host. Any other is refused, since it could lead anywhere.
fn moved(url: &Url, headers: &HeaderMap) -> Result<Fetched, FetchError> {
    let place = header(headers, LOCATION).and_then(|place| url.join(&place).ok());
    match place {
        Some(place) if place.origin() == url.origin() => Ok(Fetched::Moved { url: place.into() }),
        Some(place) => Err(FetchError::unavailable(format!(
            "{} redirects to {}, another host, which is never followed: a proxy that asks for a login, or a URL that \
             moved",
            host(url),
            host(&place)
        ))),
        None => Err(FetchError::unavailable(format!("{} redirects to nowhere", host(url)))),
    }
}

fn decoded(body: Vec<u8>, encoding: Option<&str>, most: usize) -> Result<Vec<u8>, FetchError> {
    match encoding.map(|text| text.trim().to_ascii_lowercase()).as_deref() {
        None | Some("" | "identity") => Ok(body),
        Some("gzip" | "x-gzip") => {
            decompress(&body, most).map_err(|error| FetchError::Malformed { detail: format!("the answer: {error}") })
        }
        Some(other) => {
            let detail = format!("the answer is encoded as `{other}`, which was not asked for");
            Err(FetchError::Malformed { detail })
        }
    }
}

/// Reads `Retry-After`: seconds, or a time.
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests;
