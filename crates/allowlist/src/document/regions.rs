//! Reads the regions of a part of the list: common to every form. Pure.

use super::{Problems, Scope};
use crate::list::EntryGeo;
use crate::visible::visible;
use serde_json::Value;

/// The most regions of one endpoint; the vendor has four.
const MOST_REGIONS: usize = 64;

/// The regions of an endpoint: one, or several in an array or between commas.
pub(super) fn read(value: Option<&Value>, scope: &Scope<'_>, problems: &mut Problems) -> Vec<EntryGeo> {
    let items = super::items(value);
    let mut geos = Vec::new();
    for item in items {
        match item {
            Value::String(text) => geos.extend(listed(text)),
            other => {
                let message = "geo is no text: the endpoint is used for no region by it";
                problems.malformed(scope, &super::quoted(other), message);
            }
        }
    }
    if geos.is_empty() && items.iter().all(Value::is_string) {
        return vec![EntryGeo::All];
    }
    bounded(geos, scope, problems)
}

/// The regions that a text names between commas, one more at most than are used. An empty part names none: a comma too many must not
/// open every region.
pub(super) fn listed(text: &str) -> Vec<EntryGeo> {
    text.split(',').filter(|part| !part.trim().is_empty()).take(MOST_REGIONS + 1).map(geo).collect()
}

/// The regions to use: in order, each once, no more than there may be. Every region includes each.
pub(super) fn bounded(mut geos: Vec<EntryGeo>, scope: &Scope<'_>, problems: &mut Problems) -> Vec<EntryGeo> {
    if geos.contains(&EntryGeo::All) {
        return vec![EntryGeo::All];
    }
    geos.sort();
    geos.dedup();
    if geos.len() > MOST_REGIONS {
        let message = format!("an endpoint of more than {MOST_REGIONS} regions: used for the first of them only");
        problems.malformed(scope, scope.service.unwrap_or("geo"), &message);
        geos.truncate(MOST_REGIONS);
    }
    geos
}

/// A region as entries have it: lower case, and safe to show; `all` means every one.
pub(super) fn geo(text: &str) -> EntryGeo {
    match text.trim().to_lowercase() {
        all if all == "all" => EntryGeo::All,
        region => EntryGeo::Region(visible(&region).into()),
    }
}
