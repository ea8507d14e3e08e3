//! One worker's connections to pods.
use super::body::Outgoing;
use super::table::Protocol;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// Connections kept per pod and worker: those of as many clients at once, more are closed after use.
const KEPT: usize = 256;

pub type Http1 = http1::SendRequest<Outgoing>;
pub type Http2 = http2::SendRequest<Outgoing>;

/// A way to send a request to a pod.
pub enum Upstream {
    Http1(Http1),
    Http2(Http2),
}

/// Idle HTTP/1 connections, and the one HTTP/2 connection, by pod.
#[derive(Default)]
pub struct Pool {
    http1: Mutex<HashMap<SocketAddr, Vec<Http1>>>,
    http2: Mutex<HashMap<SocketAddr, Http2>>,
    /// Pods that take requests. Others' connections are not kept.
    live: Mutex<Arc<HashSet<SocketAddr>>>,
}

/// A connection that is in use and will be free again.
pub struct Lease {
    pool: Arc<Pool>,
    address: SocketAddr,
    sender: Http1,
}

impl Lease {
    pub fn new(pool: &Arc<Pool>, address: SocketAddr, sender: Http1) -> Self {
        Self { pool: Arc::clone(pool), address, sender }
    }

    pub fn give_back(self) {
        if self.sender.is_closed() || !self.pool.live.lock().contains(&self.address) {
            return;
        }
        let mut kept = self.pool.http1.lock();
        let own = kept.entry(self.address).or_default();
        if own.len() < KEPT {
            own.push(self.sender);
        }
    }
}

impl Pool {
    /// Closes what is kept to pods that take no requests any more. HTTP/2 streams under way go on to their end.
    pub fn keep_only(&self, live: Arc<HashSet<SocketAddr>>) {
        self.http1.lock().retain(|address, _| live.contains(address));
        self.http2.lock().retain(|address, _| live.contains(address));
        *self.live.lock() = live;
    }

    pub async fn get(&self, address: SocketAddr, protocol: Protocol, patience: Duration) -> io::Result<Upstream> {
        match protocol {
            Protocol::Http => {
                while let Some(mut sender) = self.idle(address) {
                    // The answer's last byte may be known here before the connection has put itself in order.
                    if sender.ready().await.is_ok() {
                        return Ok(Upstream::Http1(sender));
                    }
                }
                Ok(Upstream::Http1(connect1(address, patience).await?))
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

async fn connect(address: SocketAddr, patience: Duration) -> io::Result<TokioIo<TcpStream>> {
    let stream = tokio::time::timeout(patience, TcpStream::connect(address)).await??;
    stream.set_nodelay(true)?;
    Ok(TokioIo::new(stream))
}

/// A connection of its own, which can become something else than HTTP.
pub async fn connect1(address: SocketAddr, patience: Duration) -> io::Result<Http1> {
    let io = connect(address, patience).await?;
    let (sender, connection) = http1::Builder::new().handshake(io).await.map_err(io::Error::other)?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%address, %error, "connection to pod ended");
        }
    });
    Ok(sender)
}

async fn connect2(address: SocketAddr, patience: Duration) -> io::Result<Http2> {
    let io = connect(address, patience).await?;
    let builder = http2::Builder::new(TokioExecutor::new()).timer(TokioTimer::new()).adaptive_window(true).to_owned();
    let (sender, connection) = builder.handshake(io).await.map_err(io::Error::other)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%address, %error, "connection to pod ended");
        }
    });
    Ok(sender)
}
