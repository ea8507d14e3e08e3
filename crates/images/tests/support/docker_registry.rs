//! Debian's `docker-registry` on loopback.
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A registry of the test's own.
pub struct Registry {
    child: Child,
    pub port: u16,
    _tmp: tempfile::TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Registry {
    /// `htpasswd` lets in whom it names; empty: everybody.
    pub fn start(htpasswd: &str) -> Self {
        let binary = "/usr/bin/docker-registry";
        assert!(Path::new(binary).exists(), "the package docker-registry is missing (cargo xtask test installs it)");
        let tmp = tempfile::tempdir().unwrap();
        let users = tmp.path().join("htpasswd");
        std::fs::write(&users, htpasswd).unwrap();
        let auth = if htpasswd.is_empty() {
            String::new()
        } else {
            format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", users.display())
        };
        // A port found free may be taken by another before the registry has it: then try another.
        for _ in 0..20 {
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let root = tmp.path().join("root");
            let config = format!(
                "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\nhttp: {{addr: \"127.0.0.1:{port}\"}}\n{auth}",
                root.display()
            );
            let file = tmp.path().join("config.yml");
            std::fs::write(&file, config).unwrap();
            let mut command = Command::new(binary);
            command
                .arg("serve")
                .arg(&file)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .env("OTEL_TRACES_EXPORTER", "none");
            let mut child = command.spawn().unwrap();
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(60) {
                if child.try_wait().unwrap().is_some() {
                    break;
                }
                if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Self { child, port, _tmp: tmp };
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = child.kill();
            child.wait().unwrap();
        }
        panic!("no registry would start");
    }

    pub fn name(&self, rest: &str) -> String {
        format!("127.0.0.1:{}/{rest}", self.port)
    }
}
