//! Why a request failed, in words without an address's query and without credentials.

use reqwest::{StatusCode, Url};
use std::error::Error;
use std::time::Duration;

/// The longest piece of an error's body that is quoted, in characters.
const LONGEST_QUOTE: usize = 120;

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// 400, 404 or 410: an equal request is useless.
    #[error("the API refuses the request with {status}{detail}")]
    Rejected {
        /// The status code.
        status: u16,
        /// The answer's own reason, as ` (...)`, or nothing.
        detail: String,
    },
    /// 429
    #[error("the API answers 429: too many requests from this address")]
    RateLimited {
        /// The requested pause.
        retry_after: Option<Duration>,
    },
    /// Anything that may pass by itself: no connection, 5xx, a timeout, an answer that breaks off.
    #[error("{detail}")]
    Unavailable {
        /// What happened.
        detail: String,
        /// The pause that a 503 requests.
        retry_after: Option<Duration>,
    },
    /// The server's certificate is of an unknown authority.
    /// [`ClientSettings::extra_ca`](super::ClientSettings::extra_ca) adds one.
    #[error("{host} shows a certificate of an unknown authority")]
    UnknownAuthority {
        /// The server.
        host: String,
    },
    /// An answer that cannot be a list: too large, broken compression.
    #[error("{detail}")]
    Malformed {
        /// What is wrong with it.
        detail: String,
    },
}

impl FetchError {
    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self::Unavailable { detail: detail.into(), retry_after: None }
    }
}

pub(super) fn host(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (host, _) => host.unwrap_or_default().to_owned(),
    }
}

pub(super) fn answered(url: &Url, status: StatusCode) -> String {
    let advice = if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        ": the proxy requires credentials; put them in HTTPS_PROXY"
    } else {
        ""
    };
    format!("{} answers {status}{advice}", host(url))
}

/// An error of the connection, without the address's query and without a proxy's credentials.
pub(super) fn transport(url: &Url, error: reqwest::Error) -> FetchError {
    let timeout = error.is_timeout();
    let connect = error.is_connect();
    let error = chain(&error.without_url());
    let host = host(url);
    let detail = if error.contains("UnknownIssuer") {
        return FetchError::UnknownAuthority { host };
    } else if error.contains("proxy authorization required") {
        format!("the proxy on the way to {host} requires credentials; put them in HTTPS_PROXY")
    } else if timeout && !connect {
        format!("{host} does not answer in time")
    } else if connect {
        format!("{host} cannot be reached ({error})")
    } else {
        format!("the answer of {host} breaks off ({error})")
    };
    FetchError::unavailable(detail)
}

/// An error and its causes in one line, each once.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut texts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !texts.iter().any(|known| known.contains(&text)) {
            texts.push(text);
        }
        cause = error.source();
    }
    without_credentials(&texts.join(": "))
}

/// Removes `user:password@` from every address in a text.
pub(super) fn without_credentials(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        clean.push_str(before);
        let end = after.find(['/', '?', '#', ' ', '"', ')', '\'']).unwrap_or(after.len());
        let authority = &after[..end];
        clean.push_str(authority.rsplit_once('@').map_or(authority, |(_, host)| host));
        rest = &after[end..];
    }
    clean.push_str(rest);
    clean
}

/// The reason in an error's body, in one short line.
pub(super) fn quote(body: &[u8]) -> String {
    let reason = serde_json::from_slice::<serde_json::Value>(body).ok().and_then(|value| {
        let fields = ["detail", "message", "title", "error", "type"];
        fields.iter().find_map(|field| value.get(field).and_then(|text| text.as_str()).map(str::to_owned))
    });
    let clean: String = reason.unwrap_or_default().chars().filter(|c| !c.is_control()).take(LONGEST_QUOTE).collect();
    if clean.is_empty() { clean } else { format!(" ({clean})") }
}
