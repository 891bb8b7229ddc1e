//! Google Cloud Storage for the tests, within the process and in memory: the part of the XML
//! interface that object_store speaks, and faults at will. Every bucket exists. It does not check
//! who asks.

mod answer;
mod bucket;
mod faults;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use hyper::Method;
use hyper::http::request::Parts;

use self::answer::{Answer, failure};
use self::bucket::Buckets;
use self::faults::Faults;
use crate::http_server::HttpServer;

/// A running server on loopback; it ends with this.
#[derive(Debug)]
pub struct GcsServer {
    shared: Arc<Shared>,
    server: HttpServer,
}

#[derive(Debug, Default)]
struct Shared {
    buckets: Mutex<Buckets>,
    faults: Mutex<Faults>,
}

impl GcsServer {
    /// Starts it on a free port, with nothing in it.
    ///
    /// # Panics
    /// When there is no port or no thread to be had.
    pub fn start() -> Self {
        let shared = Arc::<Shared>::default();
        let served = Arc::clone(&shared);
        let respond = move |head, body| respond(Arc::clone(&served), head, body).boxed();
        Self {
            shared,
            server: HttpServer::start("GCS server", Arc::new(respond)),
        }
    }

    /// Its address: `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// The service account's key that leads object_store here (`service_account_key`).
    pub fn service_account_key(&self) -> String {
        let endpoint = self.endpoint();
        format!(
            r#"{{"gcs_base_url":"{endpoint}","disable_oauth":true,"client_email":"","private_key":"","private_key_id":""}}"#
        )
    }

    /// What a bucket holds, by name.
    pub fn objects(&self, bucket: &str) -> BTreeMap<String, Bytes> {
        lock(&self.shared.buckets).objects(bucket)
    }

    /// How many multipart uploads were begun and neither completed nor given up.
    pub fn uploads(&self) -> usize {
        lock(&self.shared.buckets).uploads()
    }

    /// The requests answered or lost since the start, refused ones included.
    pub fn requests(&self) -> u64 {
        lock(&self.shared.faults).requests
    }

    /// While on, every request is refused with status 503.
    pub fn refuse(&self, on: bool) {
        lock(&self.shared.faults).refuse = on;
    }

    /// The next `requests` are refused with status 429.
    pub fn throttle(&self, requests: u32) {
        lock(&self.shared.faults).throttle = requests;
    }

    /// The next `writes` (puts, parts, completions, deletes) are executed, but the connection is
    /// cut before the answer.
    pub fn lose_answers(&self, writes: u32) {
        self.lose_answers_of("", writes);
    }

    /// As [`GcsServer::lose_answers`], of the next `writes` whose path has `part` in it.
    pub fn lose_answers_of(&self, part: &str, writes: u32) {
        let mut faults = lock(&self.shared.faults);
        faults.lose = writes;
        part.clone_into(&mut faults.lose_of);
    }

    /// How many answers are yet to be lost.
    pub fn to_be_lost(&self) -> u32 {
        lock(&self.shared.faults).lose
    }

    /// After so many requests all are refused with status 503, until [`GcsServer::heal`]; with `lose`,
    /// the last of those before is executed and not answered.
    pub fn cut_after(&self, requests: u32, lose: bool) {
        lock(&self.shared.faults).cut = Some((requests, lose));
    }

    /// Ends [`GcsServer::cut_after`].
    pub fn heal(&self) {
        lock(&self.shared.faults).cut = None;
    }

    /// Every request is executed this much later.
    pub fn delay(&self, delay: Duration) {
        lock(&self.shared.faults).delay = delay;
    }

    /// A list's page holds no more entries than this; 1000 unless told.
    pub fn limit_pages(&self, entries: usize) {
        lock(&self.shared.buckets).page_entries_max = entries.max(1);
    }

    /// Ends it and cuts all connections. What it holds stays for [`GcsServer::resume`].
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// Starts it again after [`GcsServer::stop`], on the same port and with all that it held.
    ///
    /// # Panics
    /// When the port is taken or there is no thread to be had.
    pub fn resume(&mut self) {
        self.server.resume();
    }
}

/// Executes a request; an error cuts the connection.
async fn respond(shared: Arc<Shared>, head: Parts, body: Bytes) -> io::Result<Answer> {
    let writes = matches!(head.method, Method::PUT | Method::POST | Method::DELETE);
    let path = percent_encoding::percent_decode_str(head.uri.path()).decode_utf8_lossy();
    let fate = lock(&shared.faults).next(writes, &path);
    if !fate.delay.is_zero() {
        tokio::time::sleep(fate.delay).await;
    }
    if let Some((status, code)) = fate.refusal {
        return Ok(failure(status, code));
    }
    let answer = answer::execute(&mut lock(&shared.buckets), &head, body);
    match fate.lose {
        true => Err(io::Error::other("the answer is to be lost")),
        false => Ok(answer),
    }
}

/// A panic elsewhere leaves nothing half done here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
