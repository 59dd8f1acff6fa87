//! The older static lists: names by product, without ports, addresses, regions or expiry. Pure.

use super::endpoint::{ListedEndpoint, ServiceFields};
use super::{DocumentError, FormRules, ListForm, ParsedDocument, Problems, Reading, Scope, certificates};
use crate::list::EntryGeo;
use crate::net::Direction;
use crate::visible::visible;
use serde_json::{Map, Value};
use std::sync::Arc;

pub(super) const RULES: FormRules =
    FormRules { name: "static", in_words: "a static list", states_expiry: false, recognise, read };

/// Whether any value of the object is a product with names.
fn recognise(root: &Map<String, Value>) -> bool {
    !root.contains_key("services") && root.values().any(|product| product.get("AllowList").is_some())
}

fn read(root: &Map<String, Value>, reading: &Reading<'_>) -> Result<ParsedDocument, DocumentError> {
    let mut problems = Problems::default();
    let mut entries = Vec::new();
    for (name, product) in root {
        let name = &*visible(name.trim());
        let scope = Scope { service: Some(name), direction: Some(Direction::Outbound), geo: EntryGeo::All };
        let listed = match product.get("AllowList") {
            Some(Value::Array(names)) => names.as_slice(),
            other => {
                let message = other.map_or("the product has no AllowList".to_owned(), |other| {
                    format!("AllowList is an array of names; this is {}", super::kind_of(other))
                });
                problems.malformed(&scope, name, &message);
                continue;
            }
        };
        let common = ServiceFields {
            service: name.into(),
            directions: &[Direction::Outbound],
            ports: reading.static_list.ports.clone(),
            required: None,
            notes: super::remark(product.get("LatestChangeLog")).map(Arc::from),
        };
        let (certificates, others): (Vec<Value>, Vec<Value>) =
            listed.iter().cloned().partition(|item| certificates::are_checked_at(item, reading));
        let ports = certificates::ports(common.ports.as_ref());
        for (listed, common) in [(others, &common), (certificates, &ServiceFields { ports, ..common.clone() })] {
            let mut endpoint = ListedEndpoint::default();
            endpoint.names(&listed, reading, common, &scope, &mut problems);
            endpoint.into_entries(common, &scope.geo, &mut entries);
        }
    }
    let allowlist = problems.into_list(ListForm::StaticList, root.len(), entries)?;
    Ok(ParsedDocument { allowlist, lifetime: Some(reading.static_list.lifetime) })
}
