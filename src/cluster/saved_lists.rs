//! Lists saved in the cluster: a ConfigMap for each, and one for the requests of the last minute, in the operator's namespace.
//! They outlive the process and its leadership, so that a restart requests nothing known from the vendor.

use super::client::{CallError, deadline, pages};
use super::lease::Leadership;
use crate::crd::FIELD_MANAGER;
use crate::feed::FeedKey;
use crate::feed::store::{ListStore, Saved, SavedList, SavedRequests, SavedState, StoreError};
use crate::objects::managed;
use futures::future::BoxFuture;
use http::header::DATE;
use jiff::fmt::rfc2822;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, Request};
use kube::client::Body;
use kube::{Api, Client};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

/// The label of every saved ConfigMap, with `list` or `requests`. It differs from that of a resource's objects: those are
/// watched, these are only read on start.
pub const SAVED_LABEL: &str = "citrix-allowlist.io/saved";
const LISTS: &str = "list";
const REQUESTS: &str = "requests";
const PREFIX: &str = "citrix-allowlist-feed";
const STATE: &str = "state.json";
const DOCUMENT: &str = "document.gz";
const PREVIOUS: &str = "previous.gz";
const REQUESTS_KEY: &str = "requests.json";
/// How many ConfigMaps one page contains: a list is some ten kilobytes.
const PAGE: u32 = 50;
/// The most bytes of compressed documents in one ConfigMap. The API server takes 1 MiB of data; the rest is for the
/// state and the object's own metadata.
pub const LARGEST_SAVED: usize = 900 << 10;

/// The longest that one call may take.
const CALL_LIMIT: Duration = Duration::from_secs(10);

/// The longest that the API server's time is waited for: everything is to be read within half a minute.
const TIME_LIMIT: Duration = Duration::from_secs(2);

/// By how much an age may be too high: times of objects are cut to seconds, two API servers may differ, and a request is sent a
/// moment after it was noted.
const MARGIN: SignedDuration = SignedDuration::from_secs(10);

/// Keeps lists in ConfigMaps of one namespace.
#[derive(Clone)]
pub struct SavedLists {
    client: Client,
    config_maps: Api<ConfigMap>,
    leadership: Leadership,
}

impl SavedLists {
    /// A store in this namespace, written only under `leadership`. It needs to list, create, patch and delete ConfigMaps there.
    #[must_use]
    pub fn new(client: Client, namespace: &str, leadership: Leadership) -> Self {
        Self { config_maps: Api::namespaced(client.clone(), namespace), client, leadership }
    }

    async fn write<T>(&self, request: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
        deadline(CALL_LIMIT.min(self.leadership.time_left()), request).await
    }

    async fn list(&self, kind: &str) -> Result<Vec<ConfigMap>, StoreError> {
        let mut found = Vec::new();
        let listed = pages(&self.config_maps, saved(kind).limit(PAGE), CALL_LIMIT, |map| found.push(map)).await;
        listed.map_err(|error| failure("listed", &error))?;
        Ok(found)
    }

    /// What the API server's clock says, to the second; `None` if it does not answer.
    async fn server_time(&self) -> Option<Timestamp> {
        let request = Request::new(self.config_maps.resource_url()).list(&saved(REQUESTS).limit(1)).ok()?;
        let answer = deadline(TIME_LIMIT, self.client.send(request.map(Body::from))).await.ok()?;
        let date = answer.headers().get(DATE)?.to_str().ok()?;
        rfc2822::parse(date).ok().map(|date| date.timestamp())
    }

    /// Writes an object. If another manager's fields stay in it, it is deleted and created again, or it would never be read.
    async fn apply(&self, config_map: ConfigMap) -> Result<(), StoreError> {
        let name = config_map.metadata.name.clone().unwrap_or_default();
        let applied = self.apply_once(&name, &config_map).await?;
        if only_ours(&applied).is_err() {
            self.delete(&name).await?;
            self.apply_once(&name, &config_map).await?;
        }
        Ok(())
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        match self.write(self.config_maps.delete(name, &DeleteParams::default())).await {
            Err(error) if !error.is_not_found() => Err(failure("deleted", &error)),
            _ => Ok(()),
        }
    }

    async fn apply_once(&self, name: &str, config_map: &ConfigMap) -> Result<ConfigMap, StoreError> {
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let applied = self.write(self.config_maps.patch(name, &parameters, &Patch::Apply(config_map))).await;
        applied.map_err(|error| failure("written", &error))
    }
}

impl ListStore for SavedLists {
    fn load(&self) -> BoxFuture<'_, Result<Saved, StoreError>> {
        Box::pin(async {
            let mut saved = Saved::default();
            for config_map in self.list(LISTS).await? {
                match read_list(&config_map) {
                    Ok(list) => saved.lists.push(list),
                    Err(error) => saved.warnings.push(ignored(&config_map, &error)),
                }
            }
            let of_requests = |map: &ConfigMap| map.metadata.name.as_deref() == Some(&*requests_name());
            for config_map in self.list(REQUESTS).await?.into_iter().filter(of_requests) {
                match read_requests(&config_map) {
                    Ok(requests) => {
                        let age = age(&config_map.metadata, self.server_time().await);
                        saved.requests_clock = requests.at.map(|at| at.saturating_add(age).unwrap_or(at));
                        saved.requests = requests;
                    }
                    Err(error) => saved.warnings.push(ignored(&config_map, &error)),
                }
            }
            Ok(saved)
        })
    }

    fn save(&self, list: SavedList) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.apply(list_object(list)?).await })
    }

    fn save_requests(&self, requests: SavedRequests) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.apply(requests_object(&requests)?).await })
    }

    fn retain(&self, keys: BTreeSet<FeedKey>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let names: BTreeSet<String> = keys.iter().map(object_name).collect();
            let found = deadline(CALL_LIMIT, self.config_maps.list_metadata(&saved(LISTS))).await;
            let found = found.map_err(|error| failure("listed", &error))?;
            let unneeded = found.items.into_iter().filter_map(|object| object.metadata.name);
            for name in unneeded.filter(|name| !names.contains(name)) {
                self.delete(&name).await?;
            }
            Ok(())
        })
    }
}

/// Which ConfigMaps are saved ones of a kind.
fn saved(kind: &str) -> ListParams {
    ListParams::default().labels(&format!("{SAVED_LABEL}={kind}"))
}

/// How long ago the operator wrote an object, at least, by the API server's clock; nothing where that is not known.
fn age(metadata: &ObjectMeta, server_time: Option<Timestamp>) -> SignedDuration {
    let age = server_time.zip(managed::written_at(metadata)).map(|(now, written)| now.duration_since(written) - MARGIN);
    age.unwrap_or_default().max(SignedDuration::ZERO)
}

fn failure(done: &str, error: &CallError) -> StoreError {
    StoreError(format!("ConfigMaps with saved lists cannot be {done}: {error}"))
}

fn ignored(config_map: &ConfigMap, error: &StoreError) -> String {
    let name = config_map.metadata.name.as_deref().unwrap_or_default();
    format!("the saved list in ConfigMap {name} is ignored, the vendor is asked again: {error}")
}

/// The name of a list's ConfigMap. The customer's id is in hexadecimal: it may contain capitals, names of objects may not, and
/// two ids that differ in case are two customers.
fn object_name(key: &FeedKey) -> String {
    let mut name = format!("{PREFIX}-{}-{}", key.cloud.as_str().to_ascii_lowercase(), key.form.as_str());
    match &key.customer {
        None => name.push_str("-shared"),
        Some(customer) => {
            name.push('-');
            for byte in customer.bytes() {
                // Writing to a String does not fail.
                let _ = write!(name, "{byte:02x}");
            }
        }
    }
    if let Some((geo, direction)) = key.scope {
        let _ = write!(name, "-{}-{}", geo.as_str(), direction.as_str());
    }
    name
}

/// A ConfigMap of this kind with one text, a value as JSON.
fn config_map(name: String, kind: &str, key: &str, value: &impl Serialize) -> Result<ConfigMap, StoreError> {
    let labels = BTreeMap::from([
        (SAVED_LABEL.to_owned(), kind.to_owned()),
        ("app.kubernetes.io/part-of".to_owned(), FIELD_MANAGER.to_owned()),
    ]);
    let metadata = ObjectMeta { name: Some(name), labels: Some(labels), ..ObjectMeta::default() };
    let text = serde_json::to_string(value).map_err(|error| StoreError(error.to_string()))?;
    Ok(ConfigMap { metadata, data: Some(BTreeMap::from([(key.to_owned(), text)])), ..ConfigMap::default() })
}

/// The ConfigMap of a list.
///
/// # Errors
/// The list is too large for one.
pub fn list_object(list: SavedList) -> Result<ConfigMap, StoreError> {
    if list.document.len() > LARGEST_SAVED {
        let size = list.document.len();
        return Err(StoreError(format!("the compressed list has {size} bytes, more than {LARGEST_SAVED}")));
    }
    let mut binary = BTreeMap::from([(DOCUMENT.to_owned(), ByteString(list.document.to_vec()))]);
    // If two lists do not fit together, the newer one is kept.
    if let Some(previous) = list.previous.filter(|previous| previous.len() + list.document.len() <= LARGEST_SAVED) {
        binary.insert(PREVIOUS.to_owned(), ByteString(previous.to_vec()));
    }
    let config_map = config_map(object_name(&list.key), LISTS, STATE, &list.state)?;
    Ok(ConfigMap { binary_data: Some(binary), ..config_map })
}

fn requests_name() -> String {
    format!("{PREFIX}-{REQUESTS}")
}

fn requests_object(requests: &SavedRequests) -> Result<ConfigMap, StoreError> {
    config_map(requests_name(), REQUESTS, REQUESTS_KEY, requests)
}

/// The list in a ConfigMap.
///
/// # Errors
/// It cannot be read, or another client has written to it.
pub fn read_list(config_map: &ConfigMap) -> Result<SavedList, StoreError> {
    only_ours(config_map)?;
    let state: SavedState = read_json(config_map, STATE)?;
    let key = state.list.key().ok_or_else(|| StoreError(format!("`{}` is no known form of list", state.list.form)))?;
    let name = config_map.metadata.name.as_deref().unwrap_or_default();
    if name != object_name(&key) {
        return Err(StoreError(format!("its name does not match its content, {key}")));
    }
    let binary = |name: &str| config_map.binary_data.as_ref().and_then(|data| data.get(name));
    let document = binary(DOCUMENT).ok_or_else(|| StoreError(format!("it has no {DOCUMENT}")))?;
    let previous = binary(PREVIOUS).map(|bytes| Arc::from(bytes.0.as_slice()));
    Ok(SavedList { key, state, document: Arc::from(document.0.as_slice()), previous })
}

/// The requests of the last minute in a ConfigMap.
///
/// # Errors
/// They cannot be read.
pub fn read_requests(config_map: &ConfigMap) -> Result<SavedRequests, StoreError> {
    read_json(config_map, REQUESTS_KEY)
}

fn read_json<T: serde::de::DeserializeOwned>(config_map: &ConfigMap, key: &str) -> Result<T, StoreError> {
    let text = config_map.data.as_ref().and_then(|data| data.get(key));
    let text = text.ok_or_else(|| StoreError(format!("it has no {key}")))?;
    serde_json::from_str(text).map_err(|error| StoreError(format!("{key}: {error}")))
}

/// Whether only the operator has written the content: another writer's content could open anything.
fn only_ours(config_map: &ConfigMap) -> Result<(), StoreError> {
    managed::only_ours(&config_map.metadata, &["data", "binaryData"]).map_err(StoreError)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::store::{SavedBegun, SavedKey};
    use connectivity_allowlist::{Cloud, Directions, Geo, ListForm};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};

    fn list() -> SavedList {
        let scope = Some((Geo::ApS, Directions::All));
        let key = FeedKey { cloud: Cloud::Japan, form: ListForm::Zscaler, customer: Some("Kitsune1".into()), scope };
        let state = SavedState {
            list: SavedKey::of(&key),
            url: "https://api.example/connectivity/v2/allowlist".into(),
            fetched_at: "2026-06-01T00:00:00Z".parse().expect("a time"),
            last_modified: Some("Mon, 01 Jun 2026 00:00:00 GMT".into()),
            etag: Some("W/\"7\"".into()),
            transaction_id: Some("b6f0f2c6-3a1d-4c07-9e7d-0d8f4a9f2f11".into()),
            confirmations: 1,
            stale_answers: 2,
            older_since: Some("2026-06-02T00:00:00Z".parse().expect("a time")),
        };
        SavedList { key, state, document: Arc::from(*b"document"), previous: Some(Arc::from(*b"previous")) }
    }

    fn written_by(mut config_map: ConfigMap, managers: &[(&str, &str)]) -> ConfigMap {
        let entry = |(manager, field): &(&str, &str)| ManagedFieldsEntry {
            manager: Some((*manager).to_owned()),
            fields_v1: Some(FieldsV1(serde_json::json!({ *field: {} }))),
            ..ManagedFieldsEntry::default()
        };
        config_map.metadata.managed_fields = Some(managers.iter().map(entry).collect());
        config_map
    }

    #[test]
    fn a_list_comes_back_as_it_was() {
        let object = list_object(list()).expect("an object");
        let name = "citrix-allowlist-feed-japan-zscaler-4b697473756e6531-ap-s-all";
        assert_eq!(object.metadata.name.as_deref(), Some(name));
        assert_eq!(read_list(&written_by(object, &[(FIELD_MANAGER, "f:binaryData")])), Ok(list()));
    }

    #[test]
    fn every_key_has_a_name_of_its_own() {
        let key = |customer: Option<&str>, form| {
            let customer = customer.map(Arc::from);
            object_name(&FeedKey { cloud: Cloud::Global, form, customer, scope: None })
        };
        let customers = [Some("acme"), Some("ACME"), None, Some("shared")];
        let mut names = BTreeSet::from(customers.map(|customer| key(customer, ListForm::Json)));
        names.insert(key(None, ListForm::StaticList));
        assert_eq!(names.len(), 5, "{names:?}");
    }

    #[test]
    fn a_list_with_another_writer_is_not_accepted() {
        let object = list_object(list()).expect("an object");
        let read = |managers: &[(&str, &str)]| read_list(&written_by(object.clone(), managers)).map(|_| ());
        let mixed = [(FIELD_MANAGER, "f:data"), ("kubectl-edit", "f:binaryData")];
        assert_eq!(read(&mixed), Err(StoreError("`kubectl-edit` has written to it".into())));
        assert_eq!(read(&[]), Err(StoreError("it is not the operator's own".into())));
        assert_eq!(read(&[(FIELD_MANAGER, "f:data"), ("argo", "f:metadata")]), Ok(()));
    }

    #[test]
    fn the_broken_part_of_a_list_is_named() {
        let object = written_by(list_object(list()).expect("an object"), &[(FIELD_MANAGER, "f:data")]);
        let mut without = object.clone();
        without.binary_data = None;
        assert_eq!(read_list(&without), Err(StoreError("it has no document.gz".into())));
        let mut garbled = object.clone();
        garbled.data = Some(BTreeMap::from([(STATE.to_owned(), "{".to_owned())]));
        assert!(read_list(&garbled).is_err_and(|error| error.0.starts_with("state.json: ")));
        let mut renamed = object;
        renamed.metadata.name = Some("citrix-allowlist-feed-global-json-00".into());
        assert!(read_list(&renamed).is_err_and(|error| error.0.contains("Japan/Kitsune1/zscaler/ap-s/all")));
    }

    #[test]
    fn two_lists_that_do_not_fit_together_leave_the_newer() {
        let large = SavedList { document: vec![1; LARGEST_SAVED - 4].into(), ..list() };
        let object = list_object(large).expect("an object");
        assert_eq!(object.binary_data.map(|data| data.len()), Some(1));
        let larger = SavedList { document: vec![1; LARGEST_SAVED + 1].into(), ..list() };
        assert!(list_object(larger).is_err_and(|error| error.0.contains("more than 921600")));
    }

    #[test]
    fn requests_come_back_as_they_were() {
        let mut requests = SavedRequests::default();
        let host = crate::feed::store::SavedHost {
            sent: vec!["2026-06-01T00:00:00.5Z".parse().expect("a time")],
            not_before: Some("2026-06-01T00:01:00Z".parse().expect("a time")),
        };
        requests.hosts.insert("https://api.example".into(), host);
        let at = "2026-06-01T00:00:01Z".parse().expect("a time");
        requests.begun.push(SavedBegun { list: SavedKey::of(&list().key), at, times: 3 });
        assert_eq!(requests.begun[0].list.key(), Some(list().key));
        let object = requests_object(&requests).expect("an object");
        assert_eq!(read_requests(&object), Ok(requests));
    }
}
