//! What kubectl does not do: the older WebSocket protocols of other clients, terminals, and callers that may not call.
use crate::forwarding::echo;
use crate::world::{PATIENCE, World, until};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use isopod_runtime::fake::{FakeCommand, Script};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Message, http::HeaderValue};
use tokio_tungstenite::{WebSocketStream, client_async};

type Socket = WebSocketStream<TlsStream<TcpStream>>;

async fn tls(config: rustls::ClientConfig, port: u16) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    TlsConnector::from(Arc::new(config)).connect("127.0.0.1".try_into().unwrap(), stream).await
}

async fn connect(world: &World, path: &str, protocol: &str) -> Socket {
    let stream = tls(world.authority.client(Some(&world.admin)), world.port).await.unwrap();
    let url = format!("wss://127.0.0.1:{}/api/v1/namespaces/default/pods/{path}", world.port);
    let mut request = url.into_client_request().unwrap();
    if !protocol.is_empty() {
        request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_str(protocol).unwrap());
    }
    let (socket, response) = client_async(request, stream).await.unwrap();
    let agreed = response.headers().get("sec-websocket-protocol").map(|p| p.to_str().unwrap()).unwrap_or_default();
    assert_eq!(agreed, protocol);
    socket
}

/// Everything a channel says until the server closes.
async fn listen(socket: &mut Socket, channel: u8) -> Vec<u8> {
    let mut all = Vec::new();
    let listening = async {
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Binary(bytes) = message
                && bytes[0] == channel
            {
                all.extend_from_slice(&bytes[1..]);
            }
        }
    };
    tokio::time::timeout(PATIENCE, listening).await.expect("the server does not close");
    all
}

fn binary(bytes: &[u8]) -> Message {
    Message::Binary(Bytes::copy_from_slice(bytes))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_is_told_as_the_protocol_has_it() {
    let world = World::start().await;
    world.pod("web", &["c"]).await;
    let path = "web/exec?command=sh&command=-c&command=exit+4&stdout=true";
    for protocol in ["v5.channel.k8s.io", "v4.channel.k8s.io"] {
        let mut socket = connect(&world, path, protocol).await;
        let status: Value = serde_json::from_slice(&listen(&mut socket, 3).await).unwrap();
        assert_eq!(status["reason"], "NonZeroExitCode");
        assert_eq!(status["details"]["causes"], json!([{"reason": "ExitCode", "message": "4"}]));
    }
    for protocol in ["", "channel.k8s.io"] {
        let mut socket = connect(&world, path, protocol).await;
        let text = String::from_utf8(listen(&mut socket, 3).await).unwrap();
        assert!(text.starts_with("command terminated with non-zero exit code"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stdin_ends_with_its_channel_and_base64_is_understood() {
    let world = World::start().await;
    world.pod("web", &["c"]).await;
    let mut socket = connect(&world, "web/exec?command=cat&stdin=true&stdout=true", "v5.channel.k8s.io").await;
    socket.send(binary(b"\x00typed")).await.unwrap();
    socket.send(binary(&[255, 0])).await.unwrap();
    assert_eq!(listen(&mut socket, 1).await, b"typed");

    let path = "web/exec?command=head&command=-c2&stdin=true&stdout=true";
    let mut socket = connect(&world, path, "v4.base64.channel.k8s.io").await;
    socket.send(Message::text("0aGk=")).await.unwrap();
    let mut said = Vec::new();
    while let Some(Ok(message)) =
        tokio::time::timeout(PATIENCE, socket.next()).await.expect("the server does not close")
    {
        if let Message::Text(text) = message {
            said.push(text.to_string());
        }
    }
    assert!(said.contains(&"1aGk=".to_owned()), "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terminals_have_a_size() {
    let world = World::start().await;
    let shell = FakeCommand { echoes: true, ..FakeCommand::prints("$ ") };
    world.script("c", Script::default().command(["sh"], shell));
    world.pod("web", &["c"]).await;
    let path = "web/exec?command=sh&stdin=true&stdout=true&tty=true";
    let mut socket = connect(&world, path, "v5.channel.k8s.io").await;
    socket.send(binary(b"\x04{\"Width\":100,\"Height\":50}")).await.unwrap();
    let runtime = world.runtime.clone();
    let resized = format!("Resize {} 100x50", world.id("web", "c"));
    until("the terminal has its size", || runtime.calls().contains(&resized)).await;
    socket.send(binary(b"\x00ls\n")).await.unwrap();
    socket.send(binary(&[255, 0])).await.unwrap();
    assert_eq!(listen(&mut socket, 1).await, b"$ ls\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn classic_clients_forward_ports_by_channels() {
    let world = World::start().await;
    world.pod("web", &["c"]).await;
    let port = echo().await;
    let mut socket = connect(&world, &format!("web/portforward?ports={port}"), "v4.channel.k8s.io").await;
    let greetings = [socket.next().await.unwrap().unwrap(), socket.next().await.unwrap().unwrap()];
    let [low, high] = port.to_le_bytes();
    assert_eq!(greetings, [binary(&[0, low, high]), binary(&[1, low, high])]);
    let held = tokio::net::TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed = held.local_addr().unwrap().port();
    let mut socket = connect(&world, &format!("web/portforward?ports={closed}"), "v4.channel.k8s.io").await;
    let error = listen(&mut socket, 1).await;
    let text = String::from_utf8_lossy(&error[2..]).into_owned();
    assert!(text.contains(&format!("error forwarding port {closed} to pod web")), "{text}");
}

/// Nobody but the API server may call the node agent, whatever else the cluster has given them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_api_server_may_call() {
    let world = World::start().await;
    for (name, code) in [("kube-apiserver-kubelet-client", 200), ("admin", 403), ("system:node:n2", 403)] {
        let identity = world.authority.sign(name, "system:masters");
        let stream = tls(world.authority.client(Some(&identity)), world.node_port).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::get("/healthz").body(Empty::<Bytes>::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), code, "{name}");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body == "ok", code == 200, "{name}: {body:?}");
    }
    // Without a certificate: refused in the handshake, which a TLS 1.3 client learns when it reads.
    let refused = match tls(world.authority.client(None), world.node_port).await {
        Err(_) => true,
        Ok(stream) => {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(http::Request::get("/healthz").body(Empty::<Bytes>::new()).unwrap()).await.is_err()
        }
    };
    assert!(refused);
    // Nor may a stranger use the API server as a way there.
    let proxied = world.run(&["get", "--raw", "/api/v1/nodes/n1/proxy/healthz"]).await;
    assert_eq!(proxied.ok(), "ok");
}
