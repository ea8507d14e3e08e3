//! The etcd engine against a real server on loopback (Debian `etcd-server`): the same suite as the embedded engine.
#![allow(clippy::type_complexity, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test")]
mod suite;

use isopod_store::etcd::{Etcd, Options, Tls};
use isopod_store::seal::{KeyRing, Sealer};
use isopod_store::{Error, Store as _};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use suite::{put, write};

struct Server {
    child: Child,
    client_port: u16,
    data: tempfile::TempDir,
    tls: bool,
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

/// A certificate authority, a server at 127.0.0.1, a client.
fn certificates(directory: &Path) {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(directory.join("ca.crt"), ca.pem()).unwrap();
    for name in ["server", "client"] {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
        std::fs::write(directory.join(format!("{name}.crt")), certificate.pem()).unwrap();
        std::fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

impl Server {
    fn start() -> Self {
        Self::with(tempfile::tempdir().unwrap(), "http", &[])
    }

    /// One that asks for client certificates.
    fn start_tls() -> Self {
        let data = tempfile::tempdir().unwrap();
        certificates(data.path());
        let at = |name: &str| data.path().join(name).display().to_string();
        let (ca, certificate, key) = (at("ca.crt"), at("server.crt"), at("server.key"));
        let flags = ["--client-cert-auth", "--trusted-ca-file", &ca, "--cert-file", &certificate, "--key-file", &key];
        Self::with(data, "https", &flags.map(str::to_owned))
    }

    fn with(data: tempfile::TempDir, scheme: &str, flags: &[String]) -> Self {
        let client_port = port();
        let (client, peer) = (format!("{scheme}://127.0.0.1:{client_port}"), format!("http://127.0.0.1:{}", port()));
        let child = Command::new("etcd")
            .args(["--name", "test", "--data-dir"])
            .arg(data.path().join("data"))
            .args(flags)
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("test={peer}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd is installed (Debian: etcd-server)");
        Self { child, client_port, data, tls: scheme == "https" }
    }

    fn options(&self, ring: KeyRing) -> Options {
        let sealer = Sealer::new(ring, vec!["/registry/secrets/".to_owned()]);
        let at = |name: &str| self.data.path().join(name);
        let tls = self.tls.then(|| Tls { ca: at("ca.crt"), client: Some((at("client.crt"), at("client.key"))) });
        Options { url: format!("etcd://127.0.0.1:{}", self.client_port), tls, keep: None, sealer }
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
async fn speaks_tls_with_a_client_certificate() {
    let server = Server::start_tls();
    let store = server.connect(KeyRing::default).await;
    write(&store, vec![put("/a", "1")]).await;
    assert_eq!(&store.get("/a").await.unwrap().unwrap().value[..], b"1");
    let mut without = server.options(KeyRing::default());
    without.tls.as_mut().unwrap().client = None;
    assert!(Etcd::connect(without).await.is_err());
    let mut plain = server.options(KeyRing::default());
    plain.tls = None;
    assert!(Etcd::connect(plain).await.is_err());
}

#[tokio::test]
async fn an_unreachable_cluster_is_an_error() {
    let sealer = Sealer::new(KeyRing::default(), vec![]);
    let url = format!("etcd://127.0.0.1:{}", port());
    let refused = Etcd::connect(Options { url, tls: None, keep: None, sealer }).await.unwrap_err();
    assert!(matches!(refused, Error::Etcd(_)), "{refused}");
}
