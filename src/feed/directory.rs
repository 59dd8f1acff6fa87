//! Reads documents from a directory, for clusters without access to the vendor.

use super::entry::{Answer, ResponseMetadata};
use super::request::FeedKey;
use super::subscriptions::refreshes_sent;
use super::table::Feeds;
use crate::reason::Reason;
use connectivity_allowlist::Validators;
use connectivity_allowlist::client::LARGEST_DOCUMENT;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Identifies a version of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    path: PathBuf,
    modified: Option<SystemTime>,
    length: u64,
}

impl Feeds {
    /// Reads each needed document at first, and again whenever its file changes.
    pub(super) async fn follow_directory(&self) {
        let Some(directory) = self.0.settings.feed_dir.clone() else { return };
        let mut seen: BTreeMap<FeedKey, Option<Mark>> = BTreeMap::new();
        loop {
            let needed: Vec<FeedKey> = {
                let table = self.0.lock();
                let needed = table.entries.iter().filter(|(_, entry)| !entry.subscribers.is_empty());
                needed.map(|(key, _)| key.clone()).collect()
            };
            seen.retain(|key, _| needed.contains(key));
            for key in needed {
                let mark = find(&directory, &key).await;
                // A list that is held back is confirmed by reading it once more.
                let is_requested = |entry: &super::entry::Entry| entry.urgent.is_some() || entry.held_back.is_some();
                let is_requested = self.0.lock().entries.get(&key).is_some_and(is_requested);
                if seen.get(&key) == Some(&mark) && !is_requested {
                    continue;
                }
                let answer = self.read_file(&directory, &key, mark.as_ref()).await;
                // A file that cannot be read is tried again, but reported only once.
                seen.insert(key.clone(), mark);
                self.take_file(&key, answer);
            }
            self.forget_unneeded();
            self.0.wake_first_with_room(&mut self.0.lock());
            tokio::select! {
                () = self.0.changed.notified() => {}
                () = tokio::time::sleep(self.0.settings.feed_dir_interval) => {}
            }
        }
    }

    async fn read_file(&self, directory: &Path, key: &FeedKey, mark: Option<&Mark>) -> Answer {
        let Some(mark) = mark else {
            let [own, shared] = file_names(key);
            let detail = format!("{} holds neither {own} nor {shared}", directory.display());
            return Answer::failed(Reason::FeedUnavailable, detail);
        };
        if mark.length > u64::try_from(LARGEST_DOCUMENT).unwrap_or(u64::MAX) {
            let detail = format!("{} is larger than {LARGEST_DOCUMENT} bytes", mark.path.display());
            return Answer::failed(Reason::FeedMalformed, detail);
        }
        match tokio::fs::read(&mark.path).await {
            Ok(bytes) => self.read(key, &bytes, Validators::default(), None),
            Err(error) => {
                let detail = format!("{} cannot be read ({error})", mark.path.display());
                Answer::failed(Reason::FeedUnavailable, detail)
            }
        }
    }

    fn take_file(&self, key: &FeedKey, answer: Answer) {
        let shared = &*self.0;
        let (now, wall) = (shared.clock.instant(), shared.clock.now());
        let mut guard = shared.lock();
        let table = &mut *guard;
        let Some(entry) = table.entries.get(key) else { return };
        refreshes_sent(entry, &mut table.subscriptions);
        let arrival = ResponseMetadata { at: wall, instant: now, transaction_id: None, fraction: 0.0, from_api: false };
        self.take(table, key, answer, &arrival, Duration::ZERO);
    }
}

/// The possible files of an entry's document, the customer's own first.
fn file_names(key: &FeedKey) -> [String; 2] {
    let cloud = key.cloud.as_str().to_ascii_lowercase();
    let customer = key.customer.as_deref().unwrap_or_default();
    [format!("{cloud}-{customer}.json"), format!("{cloud}.json")]
}

async fn find(directory: &Path, key: &FeedKey) -> Option<Mark> {
    for name in file_names(key) {
        let path = directory.join(name);
        if let Ok(metadata) = tokio::fs::metadata(&path).await
            && metadata.is_file()
        {
            return Some(Mark { path, modified: metadata.modified().ok(), length: metadata.len() });
        }
    }
    None
}
