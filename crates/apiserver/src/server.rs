//! The accept loop: TCP, optional TLS with client certificates, HTTP/1.1 and HTTP/2, upgrades, graceful shutdown.
use crate::auth::{PeerAddress, PeerCertificates};
use crate::local::ApiService;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tower::Service;

/// The TLS side of a listener: certificates, client CA and ALPN (`h2`, `http/1.1`) are set by the caller.
pub type TlsConfig = Arc<rustls::ServerConfig>;

/// Connections served at once. Each costs a task and, under TLS, some 40 KB: 4096 are below 200 MB.
const MAX_CONNECTIONS: usize = 4096;
/// A handshake that takes longer is a stranger holding the door.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// After `shutdown` requests in flight get this long.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves until `shutdown` resolves. A failing connection never ends the loop.
pub async fn serve(
    service: ApiService,
    listener: TcpListener,
    tls: Option<TlsConfig>,
    shutdown: impl Future<Output = ()> + Send,
) -> std::io::Result<()> {
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let acceptor = tls.map(TlsAcceptor::from);
    tokio::pin!(shutdown);
    loop {
        let permit = tokio::select! {
            () = &mut shutdown => break,
            permit = Arc::clone(&slots).acquire_owned() => match permit {
                Ok(permit) => permit,
                Err(_) => break,
            },
        };
        let (stream, peer) = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, or a connection gone before it was taken: wait a moment, go on.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let (service, acceptor, watcher) = (service.clone(), acceptor.clone(), graceful.watcher());
        tokio::spawn(async move {
            let _permit = permit;
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "cannot set TCP_NODELAY");
            }
            match acceptor {
                None => connection(TokioIo::new(stream), service, peer, None, watcher).await,
                Some(acceptor) => match handshake(acceptor, stream).await {
                    Ok((io, certificates)) => connection(TokioIo::new(io), service, peer, certificates, watcher).await,
                    Err(error) => tracing::debug!(%peer, %error, "TLS handshake failed"),
                },
            }
        });
    }
    drop(listener);
    // Watches would hold the drain for as long as they last: clients resume them elsewhere.
    service.close_watches();
    if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::debug!("connections were still open after the drain time");
    }
    Ok(())
}

type TlsStream = tokio_rustls::server::TlsStream<TcpStream>;

async fn handshake(acceptor: TlsAcceptor, stream: TcpStream) -> std::io::Result<(TlsStream, Option<PeerCertificates>)> {
    let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await??;
    let chain = stream.get_ref().1.peer_certificates();
    let certificates = chain.map(|c| PeerCertificates(c.iter().map(|c| c.clone().into_owned()).collect()));
    Ok((stream, certificates))
}

async fn connection<I>(
    io: TokioIo<I>,
    service: ApiService,
    peer: SocketAddr,
    certificates: Option<PeerCertificates>,
    watcher: hyper_util::server::graceful::Watcher,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(PeerAddress(peer));
        if let Some(certificates) = &certificates {
            request.extensions_mut().insert(certificates.clone());
        }
        service.clone().call(request)
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(32));
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(250).keep_alive_interval(Duration::from_secs(30));
    let served = watcher.watch(builder.serve_connection_with_upgrades(io, service).into_owned());
    if let Err(error) = served.await {
        tracing::debug!(%peer, %error, "connection ended");
    }
}
