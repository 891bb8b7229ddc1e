//! An HTTP server within the process, on loopback: what servers of the tests' own stand on.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// What is sent back.
pub(crate) type Answer = Response<Full<Bytes>>;

/// Executes a request; an error cuts the connection.
pub(crate) type Respond =
    Arc<dyn Fn(Parts, Bytes) -> BoxFuture<'static, io::Result<Answer>> + Send + Sync>;

/// A running server; it ends with this.
pub(crate) struct HttpServer {
    name: &'static str,
    address: SocketAddr,
    respond: Respond,
    running: Option<Running>,
}

struct Running {
    stop: oneshot::Sender<Infallible>,
    thread: JoinHandle<()>,
}

impl std::fmt::Debug for HttpServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} on {}", self.name, self.address)
    }
}

impl HttpServer {
    /// Starts it on a free port.
    ///
    /// # Panics
    /// When there is no port or no thread to be had.
    pub(crate) fn start(name: &'static str, respond: Respond) -> Self {
        let mut server = Self {
            name,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            respond,
            running: None,
        };
        server.resume();
        server
    }

    /// Its address: `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it and cuts all connections.
    pub(crate) fn stop(&mut self) {
        if let Some(Running { stop, thread }) = self.running.take() {
            drop(stop);
            // A panic over there has been printed, and the test fails for want of an answer.
            drop(thread.join());
        }
    }

    /// Starts it again after [`HttpServer::stop`], on the same port.
    ///
    /// # Panics
    /// When the port is taken or there is no thread to be had.
    pub(crate) fn resume(&mut self) {
        self.stop();
        let (running, address) = launch(self.name, self.address, Arc::clone(&self.respond))
            .unwrap_or_else(|error| panic!("{} on {}: {error}", self.name, self.address));
        self.address = address;
        self.running = Some(running);
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A thread and runtime of its own: it answers no matter what the test's runtime is busy with, and
/// dropping the runtime cuts all connections.
fn launch(
    name: &'static str,
    address: SocketAddr,
    respond: Respond,
) -> io::Result<(Running, SocketAddr)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // Not tokio's, which would need to be in the runtime: the caller may be in one of its own.
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name(name.into())
        .spawn(move || {
            let served = runtime.block_on(async {
                let listener = TcpListener::from_std(listener)?;
                tokio::select! {
                    error = accept(listener, respond) => error,
                    _ = stopped => Ok(()),
                }
            });
            if let Err(error) = served {
                panic!("{name} on {address}: {error}");
            }
        })?;
    Ok((Running { stop, thread }, address))
}

async fn accept(listener: TcpListener, respond: Respond) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let respond = Arc::clone(&respond);
        let serve = service_fn(move |request: Request<Incoming>| {
            let respond = Arc::clone(&respond);
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
                respond(head, body).await
            }
        });
        tokio::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), serve);
            // Fails when the client goes away, and when an answer is to be lost.
            drop(connection.await);
        });
    }
}
