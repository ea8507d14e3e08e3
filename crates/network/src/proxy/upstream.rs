//! One worker's connections to pods.
//!
//! An HTTP/1 connection is driven by who waits for its answer ([`Driver::Here`]): no other task and no wake-up stands between a
//! client's connection and its pod's. Two exceptions have a task ([`Driver::Task`]): a request with a body, which must go on to the pod
//! while the client does not take the answer that has begun, and an upgrade. Kept connections are watched by [`Pool::reap`], one task for
//! all.
use super::body::Outgoing;
use super::socket::Socket;
use super::table::Protocol;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::net::TcpStream;

/// Connections kept per pod and worker: those of as many clients at once, more are closed after use.
const KEPT: usize = 256;

type Connection = http1::Connection<Socket, Outgoing>;
pub type Http2 = http2::SendRequest<Outgoing>;

/// A way to send a request to a pod.
pub enum Upstream {
    /// `kept`: it has carried a request before, and may have ended since.
    Http1 {
        http1: Http1,
        kept: bool,
    },
    Http2(Http2),
}

/// An HTTP/1 connection to a pod.
pub struct Http1 {
    sender: http1::SendRequest<Outgoing>,
    driver: Driver,
}

/// Who moves a connection on.
///
/// ## Here => Task (a request with a body) | Ended; Task => Task
enum Driver {
    /// Whoever holds it, by [`Driver::drive`].
    Here(Box<Connection>),
    Task,
    Ended,
}

impl Driver {
    /// Moves the connection on as far as it goes now. What it waits for wakes `cx`.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Self::Here(connection) = self
            && let Poll::Ready(ended) = Pin::new(connection.as_mut()).poll(cx)
        {
            log(&ended);
            // Dropped, so that a request it has not begun with comes back.
            *self = Self::Ended;
        }
    }

    /// Gives the connection a task of its own.
    fn spawn(&mut self) {
        match std::mem::replace(self, Self::Task) {
            Self::Here(connection) => drop(tokio::spawn(async move { log(&connection.await) })),
            other => *self = other,
        }
    }
}

fn log(ended: &hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "connection to pod ended");
    }
}

impl Http1 {
    /// Whether it moves on by [`Driver::drive`] only. If not, it wakes who waits for it by itself.
    fn is_driven_here(&self) -> bool {
        !matches!(self.driver, Driver::Task)
    }

    pub async fn send(
        &mut self,
        request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Outgoing>>> {
        if !matches!(request.body(), Outgoing::None) {
            self.driver.spawn();
        }
        // Unconstrained: a poll put off for the sake of other tasks would wake nobody (below).
        let mut answer = pin!(tokio::task::unconstrained(self.sender.try_send_request(request)));
        if !self.is_driven_here() {
            return answer.await;
        }
        poll_fn(|cx| {
            self.driver.drive(cx);
            // Nothing but the connection brings it on, so nobody has to be woken.
            answer.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        })
        .await
    }

    /// Brings it to rest after an answer; what comes now wakes `watcher`. Says whether it can carry another request.
    fn rests(&mut self, watcher: &Waker) -> bool {
        self.driver.drive(&mut Context::from_waker(watcher));
        if self.is_driven_here() { self.sender.is_ready() } else { !self.sender.is_closed() }
    }
}

/// A connection that is in use and will be free again.
pub struct Lease {
    pool: Arc<Pool>,
    address: SocketAddr,
    http1: Http1,
}

impl Lease {
    pub fn new(pool: &Arc<Pool>, address: SocketAddr, http1: Http1) -> Self {
        Self { pool: Arc::clone(pool), address, http1 }
    }

    /// Whether the answer moves on by [`Lease::drive`] only.
    pub fn is_driven_here(&self) -> bool {
        self.http1.is_driven_here()
    }

    /// Moves the answer on as far as it goes now. What it waits for wakes `cx`.
    pub fn drive(&mut self, cx: &mut Context<'_>) {
        self.http1.driver.drive(cx);
    }

    pub fn give_back(mut self) {
        if !self.pool.live.lock().contains(&self.address) || !self.http1.rests(&self.pool.watcher.lock()) {
            return;
        }
        let mut kept = self.pool.http1.lock();
        let own = kept.entry(self.address).or_default();
        if own.len() < KEPT {
            own.push(self.http1);
        }
    }
}

/// Idle HTTP/1 connections, and the one HTTP/2 connection, by pod.
pub struct Pool {
    http1: Mutex<HashMap<SocketAddr, Vec<Http1>>>,
    http2: Mutex<HashMap<SocketAddr, Http2>>,
    /// Pods that take requests. Others' connections are not kept.
    live: Mutex<Arc<HashSet<SocketAddr>>>,
    /// Of the task that watches kept connections.
    watcher: Mutex<Waker>,
}

impl Default for Pool {
    fn default() -> Self {
        let watcher = Mutex::new(Waker::noop().clone());
        Self { http1: Mutex::default(), http2: Mutex::default(), live: Mutex::default(), watcher }
    }
}

impl Pool {
    /// Closes what is kept to pods that take no requests any more. HTTP/2 streams under way go on to their end.
    pub fn keep_only(&self, live: Arc<HashSet<SocketAddr>>) {
        self.http1.lock().retain(|address, _| live.contains(address));
        self.http2.lock().retain(|address, _| live.contains(address));
        *self.live.lock() = live;
    }

    /// Closes kept connections that pods close. Never ends.
    pub async fn reap(&self) {
        poll_fn(|cx| {
            self.watcher.lock().clone_from(cx.waker());
            let mut kept = self.http1.lock();
            kept.values_mut().for_each(|own| own.retain_mut(|http1| http1.rests(cx.waker())));
            kept.retain(|_, own| !own.is_empty());
            Poll::<()>::Pending
        })
        .await;
    }

    pub async fn get(&self, address: SocketAddr, protocol: Protocol, patience: Duration) -> io::Result<Upstream> {
        match protocol {
            Protocol::Http => {
                while let Some(mut http1) = self.idle(address) {
                    // Its own task may not have put it in order yet, though the answer's last byte is known here.
                    if http1.is_driven_here() || http1.sender.ready().await.is_ok() {
                        return Ok(Upstream::Http1 { http1, kept: true });
                    }
                }
                Ok(Upstream::Http1 { http1: connect1(address, patience).await?, kept: false })
            }
            Protocol::H2c => {
                let known = self.http2.lock().get(&address).filter(|s| !s.is_closed()).cloned();
                if let Some(mut sender) = known
                    && sender.ready().await.is_ok()
                {
                    return Ok(Upstream::Http2(sender));
                }
                let sender = connect2(address, patience).await?;
                if self.live.lock().contains(&address) {
                    self.http2.lock().insert(address, sender.clone());
                }
                Ok(Upstream::Http2(sender))
            }
        }
    }

    /// The one used last: it is the least likely to have timed out.
    fn idle(&self, address: SocketAddr) -> Option<Http1> {
        self.http1.lock().get_mut(&address)?.pop()
    }
}

async fn connect(address: SocketAddr, patience: Duration) -> io::Result<Socket> {
    let stream = tokio::time::timeout(patience, TcpStream::connect(address)).await??;
    stream.set_nodelay(true)?;
    Ok(Socket::new(stream))
}

async fn connect1(address: SocketAddr, patience: Duration) -> io::Result<Http1> {
    let io = connect(address, patience).await?;
    let (sender, connection) = http1::Builder::new().handshake(io).await.map_err(io::Error::other)?;
    Ok(Http1 { sender, driver: Driver::Here(Box::new(connection)) })
}

/// A connection of its own, which can become something else than HTTP.
pub async fn connect_for_upgrade(address: SocketAddr, patience: Duration) -> io::Result<Http1> {
    let io = connect(address, patience).await?;
    let (sender, connection) = http1::Builder::new().handshake(io).await.map_err(io::Error::other)?;
    tokio::spawn(async move { log(&connection.with_upgrades().await) });
    Ok(Http1 { sender, driver: Driver::Task })
}

async fn connect2(address: SocketAddr, patience: Duration) -> io::Result<Http2> {
    let io = connect(address, patience).await?;
    let builder = http2::Builder::new(TokioExecutor::new()).timer(TokioTimer::new()).adaptive_window(true).to_owned();
    let (sender, connection) = builder.handshake(io).await.map_err(io::Error::other)?;
    tokio::spawn(async move { log(&connection.await) });
    Ok(sender)
}
