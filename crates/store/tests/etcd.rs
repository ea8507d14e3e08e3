//! The etcd engine against a real server on loopback (Debian `etcd-server`): the same suite as the embedded engine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test")]
mod suite;

use isopod_store::etcd::{Etcd, Options};
use isopod_store::seal::{KeyRing, Sealer};
use isopod_store::{Error, Store as _};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use suite::{put, write};

struct Server {
    child: Child,
    client_port: u16,
    _data: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A port that was free a moment ago.
fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Server {
    fn start() -> Self {
        let (data, client_port) = (tempfile::tempdir().unwrap(), port());
        let (client, peer) = (format!("http://127.0.0.1:{client_port}"), format!("http://127.0.0.1:{}", port()));
        let child = Command::new("etcd")
            .args(["--name", "test", "--data-dir"])
            .arg(data.path())
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("test={peer}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd is installed (Debian: etcd-server)");
        Self { child, client_port, _data: data }
    }

    fn options(&self, ring: KeyRing) -> Options {
        let sealer = Sealer::new(ring, vec!["/registry/secrets/".to_owned()]);
        Options { url: format!("etcd://127.0.0.1:{}", self.client_port), keep: None, sealer }
    }

    /// Connects once it answers.
    async fn connect(&self, ring: impl Fn() -> KeyRing) -> Etcd {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            match Etcd::connect(self.options(ring())).await {
                Ok(store) => return store,
                Err(error) => assert!(Instant::now() < until, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_the_suite() {
    let server = Server::start();
    let store = Arc::new(server.connect(|| KeyRing::generate().unwrap()).await);
    suite::run(Arc::<Etcd>::clone(&store)).await;
    let stats = store.stats().await.unwrap();
    assert!(stats.keys > 10 && stats.disk_bytes > 0 && stats.oldest > 1 && stats.revision > stats.oldest, "{stats:?}");
}

#[tokio::test]
async fn secrets_leave_the_process_sealed() {
    let server = Server::start();
    let sealing = server.connect(|| KeyRing::generate().unwrap()).await;
    let secret = "/registry/secrets/default/s";
    write(&sealing, vec![put(secret, "hunter2"), put("/registry/pods/default/a", "plain")]).await;
    assert_eq!(&sealing.get(secret).await.unwrap().unwrap().value[..], b"hunter2");
    let other = Etcd::connect(server.options(KeyRing::generate().unwrap())).await.unwrap();
    assert!(matches!(other.get(secret).await, Err(Error::Sealed { .. })));
    assert_eq!(&other.get("/registry/pods/default/a").await.unwrap().unwrap().value[..], b"plain");
}

#[tokio::test]
async fn an_unreachable_cluster_is_an_error() {
    let sealer = Sealer::new(KeyRing::default(), vec![]);
    let url = format!("etcd://127.0.0.1:{}", port());
    let refused = Etcd::connect(Options { url, keep: None, sealer }).await.unwrap_err();
    assert!(matches!(refused, Error::Etcd(_)), "{refused}");
}
