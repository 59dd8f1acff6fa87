//! What a resource asks of the feed, and the entry of the shared table that answers it. Pure.

use super::document::Form;
use super::settings::FeedSettings;
use crate::crd::{CitrixAllowlistSpec, CloudChoice, DirectionChoice, GeoChoice};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// One of the vendor's clouds, each with an API of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Cloud {
    /// `api.cloud.com`: United States, European Union, Asia Pacific South.
    Global,
    /// `api.citrixcloud.jp`
    Japan,
}

impl Cloud {
    /// The cloud that a spec means: `Auto` is Japan's for geo `jp`, the global one for every other.
    #[must_use]
    pub const fn chosen(choice: CloudChoice, geo: GeoChoice) -> Self {
        match (choice, geo) {
            (CloudChoice::Japan, _) | (CloudChoice::Auto, GeoChoice::Jp) => Self::Japan,
            (CloudChoice::Global | CloudChoice::Auto, _) => Self::Global,
        }
    }

    /// `Global` or `Japan`, as status has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Global => "Global",
            Self::Japan => "Japan",
        }
    }
}

impl fmt::Display for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a resource asks of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedRequest {
    /// The cloud whose list it wants.
    pub cloud: Cloud,
    /// The customer's id.
    pub customer: Arc<str>,
    /// The region; matters to what is asked only for `format=zscaler`.
    pub geo: GeoChoice,
    /// The direction; matters to what is asked only for `format=zscaler`.
    pub direction: DirectionChoice,
    /// The shortest time between two fetches.
    pub min_interval: Duration,
    /// The longest time between two fetches.
    pub max_interval: Duration,
}

impl FeedRequest {
    /// What a spec asks.
    #[must_use]
    pub fn from_spec(spec: &CitrixAllowlistSpec) -> Self {
        Self {
            cloud: Cloud::chosen(spec.cloud, spec.geo),
            customer: spec.customer_id.as_str().into(),
            geo: spec.geo,
            direction: spec.direction,
            min_interval: spec.refresh.min_interval.duration(),
            max_interval: spec.refresh.max_interval.duration(),
        }
    }

    /// Whether the customer's id is one that the API takes: 1 to 12 letters and digits. The schema asks for it too, but
    /// what goes into a URL and a file's name is looked at where it does.
    #[must_use]
    pub fn has_usable_customer(&self) -> bool {
        (1..=12).contains(&self.customer.len()) && self.customer.bytes().all(|b| b.is_ascii_alphanumeric())
    }
}

/// An entry of the shared table: what one request of the vendor's brings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeedKey {
    /// The cloud that is asked.
    pub cloud: Cloud,
    /// The form that is asked for.
    pub form: Form,
    /// The customer; `None` where one document serves every customer.
    pub customer: Option<Arc<str>>,
    /// The geo and direction asked for, where the form needs them: `format=zscaler`.
    pub scope: Option<(GeoChoice, DirectionChoice)>,
}

impl FeedKey {
    /// The entry that answers a request.
    #[must_use]
    pub fn for_request(request: &FeedRequest, settings: &FeedSettings) -> Self {
        let customer = Some(request.customer.clone());
        let cloud = request.cloud;
        if settings.feed_dir.is_some() {
            // The directory holds documents of any form; each says itself which.
            return Self { cloud, form: Form::Json, customer, scope: None };
        }
        if settings.static_list_urls.contains_key(&cloud) {
            return Self { cloud, form: Form::StaticList, customer: None, scope: None };
        }
        let customer = customer.filter(|_| !settings.shared_template);
        match settings.format {
            Format::Json => Self { cloud, form: Form::Json, customer, scope: None },
            Format::Zscaler => {
                Self { cloud, form: Form::Zscaler, customer, scope: Some((request.geo, request.direction)) }
            }
        }
    }
}

impl fmt::Display for FeedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.cloud, self.customer.as_deref().unwrap_or("*"), self.form.as_str())?;
        match self.scope {
            Some((geo, direction)) => write!(f, "/{}/{}", geo_text(geo), direction_text(direction)),
            None => Ok(()),
        }
    }
}

/// What the API is asked for (`--format`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `format=json`, once for all geos and directions of a customer.
    #[default]
    Json,
    /// `format=zscaler`, once for each geo and direction of a customer.
    Zscaler,
}

/// A geo as the API writes it.
#[must_use]
pub const fn geo_text(geo: GeoChoice) -> &'static str {
    match geo {
        GeoChoice::Us => "us",
        GeoChoice::Eu => "eu",
        GeoChoice::ApS => "ap-s",
        GeoChoice::Jp => "jp",
        GeoChoice::All => "all",
    }
}

/// A direction as the API writes it.
#[must_use]
pub const fn direction_text(direction: DirectionChoice) -> &'static str {
    match direction {
        DirectionChoice::Inbound => "inbound",
        DirectionChoice::Outbound => "outbound",
        DirectionChoice::All => "all",
    }
}
