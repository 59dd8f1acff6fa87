//! What a resource wants of the feed, and its entry in the shared table. Pure.

use super::settings::FeedSettings;
use crate::crd::CitrixAllowlistSpec;
use connectivity_allowlist::{Cloud, Directions, Geo, ListForm};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What a resource wants of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedRequest {
    /// The cloud whose list it wants.
    pub cloud: Cloud,
    /// The customer's id.
    pub customer: Arc<str>,
    /// The region; only `format=zscaler` requests it.
    pub geo: Geo,
    /// The directions; only `format=zscaler` requests them.
    pub directions: Directions,
    /// The shortest time between two fetches.
    pub min_interval: Duration,
    /// The longest time between two fetches.
    pub max_interval: Duration,
}

impl FeedRequest {
    /// The request of a spec.
    #[must_use]
    pub fn from_spec(spec: &CitrixAllowlistSpec) -> Self {
        Self {
            cloud: spec.asked_cloud(),
            customer: spec.customer_id.as_str().into(),
            geo: spec.geo.into(),
            directions: spec.direction.into(),
            min_interval: spec.refresh.min_interval.duration(),
            max_interval: spec.refresh.max_interval.duration(),
        }
    }
}

/// An entry of the shared table: what one request to the vendor returns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeedKey {
    /// The cloud.
    pub cloud: Cloud,
    /// The requested form.
    pub form: ListForm,
    /// The customer; `None` if one document serves every customer.
    pub customer: Option<Arc<str>>,
    /// The requested geo and direction, if the form needs them: `format=zscaler`.
    pub scope: Option<(Geo, Directions)>,
}

impl FeedKey {
    /// The entry for a request.
    #[must_use]
    pub fn for_request(request: &FeedRequest, settings: &FeedSettings) -> Self {
        let (cloud, customer) = (request.cloud, Some(request.customer.clone()));
        if settings.feed_dir.is_some() {
            // The directory contains documents of any form; each says which.
            return Self { cloud, form: ListForm::Json, customer, scope: None };
        }
        if settings.static_list_urls.contains_key(&cloud) {
            return Self { cloud, form: ListForm::StaticList, customer: None, scope: None };
        }
        let customer = customer.filter(|_| !settings.shared_template);
        let (form, scope) = match settings.format {
            Format::Json => (ListForm::Json, None),
            Format::Zscaler => (ListForm::Zscaler, Some((request.geo, request.directions))),
        };
        Self { cloud, form, customer, scope }
    }
}

impl fmt::Display for FeedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.cloud, self.customer.as_deref().unwrap_or("*"), self.form.as_str())?;
        match self.scope {
            Some((geo, directions)) => write!(f, "/{}/{}", geo.as_str(), directions.as_str()),
            None => Ok(()),
        }
    }
}

/// The format requested of the API. Its variants are the values of `--format`, with their help.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One request for all geos and directions of a customer
    #[default]
    Json,
    /// One request for each geo and direction
    Zscaler,
}
