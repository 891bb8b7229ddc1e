//! Google Cloud Storage for the tests, within the process and in memory: the part of the XML
//! interface that object_store speaks, and faults at will. Every bucket exists. It does not check
//! who asks.

mod answer;
mod bucket;
mod faults;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use self::answer::{Answer, failure};
use self::bucket::Buckets;
use self::faults::Faults;

/// A running server on loopback; it ends with this.
#[derive(Debug)]
pub struct GcsServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    stop: oneshot::Sender<Infallible>,
    thread: JoinHandle<()>,
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
        let mut server = Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            shared: Arc::default(),
            running: None,
        };
        server.resume();
        server
    }

    /// Its address: `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
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
        if let Some(Running { stop, thread }) = self.running.take() {
            drop(stop);
            // A panic over there has been printed, and the test fails for want of an answer.
            drop(thread.join());
        }
    }

    /// Starts it again after [`GcsServer::stop`], on the same port and with all that it held.
    ///
    /// # Panics
    /// When the port is taken or there is no thread to be had.
    pub fn resume(&mut self) {
        self.stop();
        let (running, address) = launch(self.address, self.shared.clone())
            .unwrap_or_else(|error| panic!("GCS server on {}: {error}", self.address));
        self.address = address;
        self.running = Some(running);
    }
}

impl Drop for GcsServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A thread and runtime of its own: it answers no matter what the test's runtime is busy with, and
/// dropping the runtime cuts all connections.
fn launch(address: SocketAddr, shared: Arc<Shared>) -> io::Result<(Running, SocketAddr)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // Not tokio's, which would need to be in the runtime: the caller may be in one of its own.
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("gcs-server".into())
        .spawn(move || {
            let served = runtime.block_on(async {
                let listener = TcpListener::from_std(listener)?;
                tokio::select! {
                    error = accept(listener, shared) => error,
                    _ = stopped => Ok(()),
                }
            });
            if let Err(error) = served {
                panic!("GCS server on {address}: {error}");
            }
        })?;
    Ok((Running { stop, thread }, address))
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let shared = shared.clone();
        let serve = service_fn(move |request| respond(shared.clone(), request));
        tokio::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), serve);
            // Fails when the client goes away, and when an answer is to be lost.
            drop(connection.await);
        });
    }
}

/// Executes a request; an error cuts the connection.
async fn respond(shared: Arc<Shared>, request: Request<Incoming>) -> io::Result<Answer> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
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
