//! In a network namespace of the test's own, without an uplink.
use super::*;
use crate::contract::Traffic;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A thread that lives in a new namespace, and the path by which others get there.
struct Lab {
    jobs: mpsc::Sender<Box<dyn FnOnce() + Send>>,
    path: PathBuf,
}

impl Lab {
    fn new() -> Self {
        let (jobs, todo) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("root is needed");
            let up = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
            assert!(up.success());
            tell.send(PathBuf::from(format!("/proc/self/task/{}/ns/net", nix::unistd::gettid()))).unwrap();
            todo.iter().for_each(|job| job());
        });
        Self { jobs, path: told.recv().unwrap() }
    }

    fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = mpsc::channel();
        self.jobs.send(Box::new(move || tell.send(job()).unwrap())).unwrap();
        told.recv().unwrap()
    }

    async fn until(&self, at: SocketAddr, wanted: Traffic) {
        let start = Instant::now();
        loop {
            let seen = SocketDiag::default().look(&self.path, at.ip(), &[at.port()]).await.unwrap();
            if seen == wanted {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "wanted {wanted:?}, last seen {seen:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn follows_a_connection_from_handshake_to_end() {
    let lab = Lab::new();
    let (listener, at) = lab.run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        (listener, at)
    });
    let traffic = |waiting, in_flight, idle| Traffic { waiting, in_flight, idle };
    lab.until(at, traffic(0, 0, 0)).await;
    let mut client = lab.run(move || TcpStream::connect(at).unwrap());
    lab.until(at, traffic(1, 0, 0)).await;
    let (mut server, _) = listener.accept().unwrap();
    // Connected and silent: first it may be about to ask, then it is idle.
    lab.until(at, traffic(0, 0, 1)).await;
    client.write_all(b"request").unwrap();
    lab.until(at, traffic(0, 1, 0)).await;
    server.read_exact(&mut [0; 7]).unwrap();
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    lab.until(at, traffic(0, 1, 0)).await; // read, however long ago, is not answered
    server.write_all(b"answer").unwrap();
    client.read_exact(&mut [0; 6]).unwrap();
    lab.until(at, traffic(0, 0, 1)).await;
    drop(client);
    drop(server);
    lab.until(at, traffic(0, 0, 0)).await;
    // An answer that nobody takes is in flight even after the server has closed.
    let client = lab.run(move || TcpStream::connect(at).unwrap());
    let (server, _) = listener.accept().unwrap();
    server.set_nonblocking(true).unwrap();
    let mut filling = &server;
    while filling.write(&[0; 65536]).is_ok() {}
    drop(server);
    lab.until(at, traffic(0, 1, 0)).await;
    drop(client);
    lab.until(at, traffic(0, 0, 0)).await;
}

#[tokio::test]
async fn a_namespace_that_is_gone_is_an_error_not_a_hang() {
    let error =
        SocketDiag::default().look(Path::new("/nonexistent/netns"), [127, 0, 0, 1].into(), &[1]).await.unwrap_err();
    assert!(error.to_string().contains("/nonexistent/netns"), "{error}");
}
