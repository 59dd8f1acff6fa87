//! Digests of the fields that the operator owns in an object. With them a desired object is compared with the one in the
//! cluster, and neither is kept in memory. Pure.
//!
//! Only owned fields count: another manager may add a label or a `spec.ingress`. No apply removes it, and it must not make
//! the operator write for ever.

use super::kind::Kind;
use crate::crd::{ALLOWLIST_LABEL, MANAGED_BY_LABEL};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde::Serialize;
use std::collections::hash_map::{DefaultHasher, RandomState};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Write as _};
use std::sync::LazyLock;

/// A digest within one process: its key is random, so that no client can make two different objects with the same digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest(u64, u64);

static KEYS: LazyLock<(RandomState, RandomState)> = LazyLock::new(|| (RandomState::new(), RandomState::new()));

/// How many bytes go to the hashers at a time.
const BUFFER: usize = 4096;

struct Sink(DefaultHasher, DefaultHasher);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes);
        self.1.write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Digest {
    /// The digest of anything that serialises; `None` where it does not.
    pub fn of(value: &impl Serialize) -> Option<Self> {
        Self::over(|sink| Ok(serde_json::to_writer(sink, value)?))
    }

    /// The digest of texts, each with its length. Texts are not JSON-escaped, which takes long for a large one.
    pub fn of_texts<'a>(texts: impl Iterator<Item = &'a str>) -> Option<Self> {
        Self::over(|sink| {
            for text in texts {
                sink.write_all(&text.len().to_le_bytes())?;
                sink.write_all(text.as_bytes())?;
            }
            Ok(())
        })
    }

    /// The digest of what `write` writes.
    fn over(write: impl FnOnce(&mut io::BufWriter<Sink>) -> io::Result<()>) -> Option<Self> {
        // A serialiser writes a few bytes at a time, and each call of a hasher costs more than the bytes.
        let sink = Sink(KEYS.0.build_hasher(), KEYS.1.build_hasher());
        let mut buffered = io::BufWriter::with_capacity(BUFFER, sink);
        write(&mut buffered).ok()?;
        let sink = buffered.into_inner().ok()?;
        Some(Self(sink.0.finish(), sink.1.finish()))
    }
}

/// The owner reference that marks an object's controller.
#[must_use]
pub fn controller_of(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// The digest of the fields that the operator owns in an object: in its metadata and, by the digest given, in its body.
#[must_use]
pub fn of_object(kind: &Kind, metadata: &ObjectMeta, body: Option<Digest>) -> Option<Digest> {
    let label = |key| metadata.labels.as_ref().and_then(|labels| labels.get(key));
    let annotations = kind.annotations.iter().map(|key| metadata.annotations.as_ref()?.get(*key));
    let annotations: Vec<Option<&String>> = annotations.collect();
    let body = body.map(|Digest(first, second)| (first, second));
    Digest::of(&(label(MANAGED_BY_LABEL), label(ALLOWLIST_LABEL), controller_of(metadata), annotations, body))
}
