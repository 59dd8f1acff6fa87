//! Lists: from a saved answer of the API, or from the API.

use super::{SourceArguments, read};
use crate::crd::{CitrixAllowlistSpec, Period};
use crate::feed::settings::{MOST_REDIRECTS, client_settings, in_words};
use crate::feed::{FeedKey, FeedRequest, FeedSettings};
use crate::text::output::Progress;
use anyhow::{Context as _, anyhow, bail};
use connectivity_allowlist::document::{self, Reading, StaticListDefaults};
use connectivity_allowlist::{Allowlist, Fetch as _, FetchError, FetchRequest, Fetched, HttpClient};
use std::collections::BTreeMap;
use std::time::Duration;

/// The remedy for every failure of the API.
const SAVED: &str = "--feed takes a saved list";
/// How long to wait if the API does not specify it: it counts requests by the minute.
const A_MINUTE: Duration = Duration::from_secs(60);

/// The remedy for a failed request.
fn remedy(error: &FetchError) -> String {
    let wait = match error {
        FetchError::Rejected { .. } => {
            return "are spec.customerId, spec.cloud and --global-url or --japan-url right?".to_owned();
        }
        FetchError::RateLimited { retry_after } => Some(retry_after.unwrap_or(A_MINUTE)),
        FetchError::Unavailable { retry_after, .. } => *retry_after,
        FetchError::UnknownAuthority { .. } | FetchError::Malformed { .. } => None,
    };
    wait.map_or_else(|| SAVED.to_owned(), |wait| format!("try again in {}, or {SAVED}", Period::new(wait)))
}

/// Gets lists, each once.
pub(crate) struct Lists {
    arguments: SourceArguments,
    saved: Option<Vec<u8>>,
    online: Option<Online>,
    fetched: BTreeMap<FeedKey, Vec<u8>>,
}

/// Started with the first request.
struct Online {
    runtime: tokio::runtime::Runtime,
    client: HttpClient,
}

impl Lists {
    pub fn new(arguments: &SourceArguments) -> anyhow::Result<Self> {
        let saved = arguments.feed.as_deref().map(|path| read(path, "--feed")).transpose()?;
        Ok(Self { arguments: arguments.clone(), saved, online: None, fetched: BTreeMap::new() })
    }

    /// The list that a spec asks for.
    pub fn allowlist(&mut self, spec: &CitrixAllowlistSpec) -> anyhow::Result<Allowlist> {
        let ports = Some(self.arguments.static_list_ports.clone());
        let reading = Reading {
            scope: Some((spec.geo.into(), spec.direction.into())),
            static_list: StaticListDefaults { ports, ..StaticListDefaults::default() },
            ..Reading::for_customer(&spec.customer_id)
        };
        let (bytes, origin) = match (&self.saved, &self.arguments.feed) {
            (Some(bytes), Some(path)) => (bytes, format!("--feed {}", path.display())),
            _ => {
                let settings = FeedSettings {
                    global_url: self.arguments.global_url.clone(),
                    japan_url: self.arguments.japan_url.clone(),
                    ..FeedSettings::default()
                };
                let key = FeedKey::for_request(&FeedRequest::from_spec(spec), &settings);
                let url = settings.url(&key);
                if !self.fetched.contains_key(&key) {
                    let bytes = self.fetch(&url)?;
                    self.fetched.insert(key.clone(), bytes);
                }
                (self.fetched.get(&key).context("a list that was fetched")?, url)
            }
        };
        let document = document::parse(bytes, &reading).map_err(|error| {
            let remedy = if self.saved.is_some() {
                "an answer of the API is needed, saved as it is"
            } else {
                "something else may answer in the API's place, such as a proxy's login page; --feed takes a saved list"
            };
            anyhow!("{origin} cannot be used: {error}; {remedy}")
        })?;
        Ok(document.received_at(jiff::Timestamp::now()))
    }

    fn fetch(&mut self, url: &str) -> anyhow::Result<Vec<u8>> {
        let online = match self.online.take() {
            Some(online) => online,
            None => {
                let extra_ca = self.arguments.extra_ca_file.as_deref();
                let extra_ca = extra_ca.map(|path| read(path, "--extra-ca-file")).transpose()?;
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                Online { runtime, client: HttpClient::new(&client_settings(extra_ca))? }
            }
        };
        let Online { runtime, client } = self.online.insert(online);
        let mut progress = Progress::new();
        progress.say(&format!("asking {url}"));
        let mut url = url.to_owned();
        runtime.block_on(async {
            for _ in 0..=MOST_REDIRECTS {
                let transaction_id = uuid::Uuid::new_v4().to_string();
                let request = FetchRequest::new(url.clone(), transaction_id.clone());
                let asked = format!("GET {url} (transaction id {transaction_id})");
                match client.fetch(request).await {
                    Ok(Fetched::Document { body, .. }) => return Ok(body),
                    Ok(Fetched::Moved { url: to }) => url = to,
                    Ok(Fetched::NotModified) => bail!(
                        "{asked}: the API answers 304, as if there were a list here already; a cache may answer in its \
                         place; {SAVED}"
                    ),
                    Err(error) => bail!("{asked}: {}; {}", in_words(&error), remedy(&error)),
                }
            }
            bail!("GET {url}: the API sends from one address to the next; {SAVED}")
        })
    }
}
