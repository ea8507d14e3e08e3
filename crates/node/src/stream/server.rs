//! The accept loop: TLS, HTTP/1.1 with upgrades, one task a connection.
use super::tls::common_name;
use super::{Agent, answer, endpoints};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{SockRef, TcpKeepalive};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Connections at once. Every stream of a person is one, with up to 0.5 MB of buffers: 1024 are 512 MB at the very worst.
const MAX_CONNECTIONS: usize = 1024;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// An API server that is gone without a word ends its streams, and so their commands, within a minute.
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10));

pub async fn serve(
    agent: Arc<Agent>,
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    callers: Vec<String>,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let (acceptor, callers) = (TlsAcceptor::from(tls), Arc::new(callers));
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    tokio::pin!(shutdown);
    loop {
        let next = async {
            let permit = Arc::clone(&slots).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = &mut shutdown => return Ok(()),
            next = next => next,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, or a connection gone before it was taken: wait a moment, go on.
                tracing::warn!(%error, "the node agent cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (agent, acceptor, callers) = (Arc::clone(&agent), acceptor.clone(), Arc::clone(&callers));
        tokio::spawn(async move {
            let _permit = permit;
            match handshake(acceptor, stream).await {
                Ok(stream) => connection(agent, stream, &callers).await,
                Err(error) => tracing::debug!(%error, "TLS handshake with the node agent failed"),
            }
        });
    }
}

async fn handshake(acceptor: TlsAcceptor, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_keepalive(&KEEPALIVE)?;
    tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await?
}

async fn connection(agent: Arc<Agent>, stream: TlsStream<TcpStream>, callers: &[String]) {
    let peer = stream.get_ref().1.peer_certificates().and_then(|c| c.first()).and_then(common_name).unwrap_or_default();
    let admitted = callers.contains(&peer);
    let service = service_fn(move |request| {
        let (agent, peer) = (Arc::clone(&agent), peer.clone());
        async move {
            Ok::<_, Infallible>(if admitted {
                endpoints::answer(agent, request).await
            } else {
                answer::forbidden(&peer, request.method())
            })
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(30));
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).with_upgrades().await {
        tracing::debug!(%error, "a connection to the node agent ended");
    }
}
