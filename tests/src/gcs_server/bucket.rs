//! What the server holds: objects by bucket and name, and uploads in parts that are not complete.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

/// Seconds since 1970 of the first generation: 2026-01-01. Each further one is a second later, so
/// that times differ and no clock is read.
const EPOCH_SECONDS: i64 = 1_767_225_600;

/// An object as it was written.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) bytes: Bytes,
    pub(super) generation: u64,
    /// `Content-Type` and `x-goog-meta-…` of the write.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
}

impl Object {
    pub(super) fn etag(&self) -> String {
        format!("\"{:x}\"", self.generation)
    }

    pub(super) fn written(&self) -> chrono::DateTime<chrono::Utc> {
        let seconds = EPOCH_SECONDS.saturating_add_unsigned(self.generation);
        chrono::DateTime::from_timestamp(seconds, 0).unwrap_or_default()
    }
}

/// Bucket and name.
pub(super) type Key = (String, String);

#[derive(Debug)]
struct Upload {
    parts: BTreeMap<u32, Bytes>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// One page of a list.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) objects: Vec<(String, Object)>,
    pub(super) prefixes: BTreeSet<String>,
    /// What to ask the next page with; none on the last.
    pub(super) next: Option<String>,
}

/// What is to be listed.
#[derive(Debug, Default)]
pub(super) struct Query<'a> {
    pub(super) prefix: &'a str,
    pub(super) delimiter: &'a str,
    /// Names after this only.
    pub(super) start_after: &'a str,
    /// The last entry of the page before.
    pub(super) token: &'a str,
    pub(super) entries_max: usize,
}

/// Why a write was not done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The generation is not the one that the request expects.
    Precondition,
    NoSuchUpload,
    /// A part that was not uploaded is to be joined.
    InvalidPart,
}

/// Everything.
#[derive(Debug)]
pub(super) struct Buckets {
    pub(super) page_entries_max: usize,
    objects: BTreeMap<Key, Object>,
    uploads: BTreeMap<String, Upload>,
    /// Of the last write.
    generation: u64,
}

impl Default for Buckets {
    fn default() -> Self {
        Self {
            page_entries_max: 1000,
            objects: BTreeMap::new(),
            uploads: BTreeMap::new(),
            generation: 0,
        }
    }
}

impl Buckets {
    pub(super) fn objects(&self, bucket: &str) -> BTreeMap<String, Bytes> {
        let all = self.objects.iter();
        all.filter(|((of, _), _)| of == bucket)
            .map(|((_, name), object)| (name.clone(), object.bytes.clone()))
            .collect()
    }

    pub(super) fn uploads(&self) -> usize {
        self.uploads.len()
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Object> {
        self.objects.get(key)
    }

    /// Whether the object has that generation; 0 is that of one that is not there.
    fn has_generation(&self, key: &Key, expected: Option<u64>) -> bool {
        let now = self.objects.get(key).map_or(0, |object| object.generation);
        expected.is_none_or(|expected| expected == now)
    }

    pub(super) fn put(
        &mut self,
        key: Key,
        bytes: Bytes,
        headers: Vec<(HeaderName, HeaderValue)>,
        expected: Option<u64>,
    ) -> Result<Object, Refusal> {
        if !self.has_generation(&key, expected) {
            return Err(Refusal::Precondition);
        }
        self.generation += 1;
        let object = Object {
            bytes,
            generation: self.generation,
            headers,
        };
        self.objects.insert(key, object.clone());
        Ok(object)
    }

    /// Whether it was there.
    pub(super) fn delete(&mut self, key: &Key) -> bool {
        self.objects.remove(key).is_some()
    }

    pub(super) fn begin(&mut self, headers: Vec<(HeaderName, HeaderValue)>) -> String {
        self.generation += 1;
        let id = format!("upload-{}", self.generation);
        let upload = Upload {
            parts: BTreeMap::new(),
            headers,
        };
        self.uploads.insert(id.clone(), upload);
        id
    }

    pub(super) fn put_part(&mut self, id: &str, part: u32, bytes: Bytes) -> Result<(), Refusal> {
        let upload = self.uploads.get_mut(id).ok_or(Refusal::NoSuchUpload)?;
        upload.parts.insert(part, bytes);
        Ok(())
    }

    pub(super) fn complete(
        &mut self,
        key: Key,
        id: &str,
        parts: &[u32],
        expected: Option<u64>,
    ) -> Result<Object, Refusal> {
        let upload = self.uploads.get(id).ok_or(Refusal::NoSuchUpload)?;
        if !self.has_generation(&key, expected) {
            return Err(Refusal::Precondition);
        }
        let mut bytes = Vec::new();
        for part in parts {
            bytes.extend_from_slice(upload.parts.get(part).ok_or(Refusal::InvalidPart)?);
        }
        let headers = upload.headers.clone();
        self.uploads.remove(id);
        self.put(key, bytes.into(), headers, expected)
    }

    pub(super) fn abort(&mut self, id: &str) {
        self.uploads.remove(id);
    }

    pub(super) fn list(&self, bucket: &str, query: &Query<'_>) -> Page {
        let entries_max = query.entries_max.min(self.page_entries_max);
        let from = (bucket.to_owned(), query.prefix.to_owned());
        let mut page = Page::default();
        let mut last = String::new();
        for ((of, name), object) in self.objects.range(from..) {
            let Some(rest) = name.strip_prefix(query.prefix).filter(|_| of == bucket) else {
                break;
            };
            let folder = match query.delimiter {
                "" => None,
                delimiter => rest.find(delimiter).map(|at| {
                    let end = query.prefix.len() + at + delimiter.len();
                    name[..end].to_owned()
                }),
            };
            let entry = folder.as_ref().unwrap_or(name);
            // The token may be a folder: then all that is in it was told.
            if name.as_str() <= query.start_after || entry.as_str() <= query.token {
                continue;
            }
            if folder
                .as_ref()
                .is_some_and(|known| page.prefixes.contains(known))
            {
                continue;
            }
            if page.objects.len() + page.prefixes.len() == entries_max {
                page.next = Some(last);
                break;
            }
            last.clone_from(entry);
            match folder {
                Some(folder) => drop(page.prefixes.insert(folder)),
                None => page.objects.push((name.clone(), object.clone())),
            }
        }
        page
    }

    /// The headers of a write that its object keeps.
    pub(super) fn kept(headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
        let keep = |name: &HeaderName| {
            *name == hyper::header::CONTENT_TYPE || name.as_str().starts_with("x-goog-meta-")
        };
        let pairs = headers.iter().filter(|(name, _)| keep(name));
        pairs
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }
}
