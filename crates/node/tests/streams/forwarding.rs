//! `kubectl port-forward`, over WebSockets (KEP-4006) and over SPDY.
use crate::world::{PATIENCE, World};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Child;

const BOTH: [(&str, &str); 2] =
    [("KUBECTL_PORT_FORWARD_WEBSOCKETS", "true"), ("KUBECTL_PORT_FORWARD_WEBSOCKETS", "false")];

/// Answers what it reads, turned round, when the client has said everything.
pub async fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut all = Vec::new();
                stream.read_to_end(&mut all).await.unwrap();
                all.reverse();
                stream.write_all(&all).await.unwrap();
            });
        }
    });
    port
}

/// kubectl, and the local port it listens on.
async fn forward(world: &World, switch: (&str, &str), port: u16) -> (Child, u16) {
    let mut command = world.kubectl(&["port-forward", "web", &format!(":{port}")]);
    let mut child = command.env(switch.0, switch.1).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("kubectl says nothing").unwrap();
    let line = match line {
        Some(line) => line,
        None => {
            let mut error = String::new();
            child.stderr.take().unwrap().read_to_string(&mut error).await.unwrap();
            panic!("kubectl ended: {error}");
        }
    };
    // Forwarding from 127.0.0.1:41234 -> 8080
    let local = line.split(" -> ").next().unwrap().rsplit(':').next().unwrap().parse().unwrap();
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (child, local)
}

async fn ask(port: u16, bytes: &[u8]) -> Vec<u8> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let bytes = bytes.to_vec();
    let writing = tokio::spawn(async move {
        write.write_all(&bytes).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let mut all = Vec::new();
    tokio::time::timeout(PATIENCE, read.read_to_end(&mut all)).await.expect("no answer").unwrap();
    writing.await.unwrap();
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_are_forwarded() {
    let world = World::start().await;
    world.pod("web", &["c"]).await;
    let port = echo().await;
    for switch in BOTH {
        let (mut child, local) = forward(&world, switch, port).await;
        assert_eq!(ask(local, b"abc").await, b"cba", "{switch:?}");
        // Many at once, each with more than fits into any buffer.
        let asked: Vec<_> = (0..8u8).map(|n| tokio::spawn(async move { ask(local, &[n; 700_000]).await })).collect();
        for (n, asked) in asked.into_iter().enumerate() {
            let answer = asked.await.unwrap();
            assert!(answer == vec![u8::try_from(n).unwrap(); 700_000], "{switch:?}: {} bytes", answer.len());
        }
        child.kill().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_nobody_listens_on_is_told() {
    let world = World::start().await;
    world.pod("web", &["c"]).await;
    // Bound but not listening: nobody else can take it, and connecting is refused.
    let held = tokio::net::TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = held.local_addr().unwrap().port();
    for switch in BOTH {
        let (mut child, local) = forward(&world, switch, port).await;
        let mut stream = TcpStream::connect(("127.0.0.1", local)).await.unwrap();
        let mut nothing = Vec::new();
        // Closed, or broken off: nothing comes either way.
        let _ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut nothing)).await.expect("it hangs");
        assert!(nothing.is_empty());
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        let told = async {
            while !said.contains("Connection refused") {
                assert_ne!(errors.read_line(&mut said).await.unwrap(), 0, "{switch:?}: {said}");
            }
        };
        tokio::time::timeout(PATIENCE, told).await.expect("kubectl says nothing");
        assert!(said.contains(&format!("error forwarding port {port} to pod web, uid ")), "{switch:?}: {said}");
        child.kill().await.unwrap();
    }
}
