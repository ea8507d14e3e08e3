//! Channels as SPDY streams: the client opens one for each, named by its `streamtype` header
//! (`k8s.io/kubelet/pkg/cri/streaming/remotecommand/httpstream.go`).
use super::super::answer::{self, Answer};
use super::super::spdy::{Incoming, Outgoing, serve};
use super::negotiate::STREAM_PROTOCOL;
use super::{ERROR, QUEUE, RESIZE, STDERR, STDIN, STDOUT, Sizes, StatusForm, Wire, choose};
use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use isopod_runtime::{Streams, TerminalSize};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a client may take to open its streams (`DefaultStreamCreationTimeout`).
pub const CREATION_TIMEOUT: Duration = Duration::from_secs(30);

/// The protocols of exec and attach; over SPDY `v5` is the same as `v4`.
const REMOTE: [&str; 5] =
    ["v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];

pub fn protocol(offered: &[String]) -> Result<Option<&'static str>, Box<Answer>> {
    choose(offered, &REMOTE)
}

/// The `101` for SPDY.
pub fn switching(protocol: Option<&'static str>) -> Answer {
    let extra: Vec<_> = protocol.map(|p| (STREAM_PROTOCOL, p.to_owned())).into_iter().collect();
    answer::switching("SPDY/3.1", &extra)
}

/// A process's wire over SPDY. None: the client did not open its streams, or went away.
pub async fn open(upgrade: OnUpgrade, protocol: Option<&'static str>, wanted: Streams) -> Option<Wire> {
    let protocol = protocol.unwrap_or("channel.k8s.io");
    let status =
        if protocol.starts_with("v5") || protocol.starts_with("v4") { StatusForm::Json } else { StatusForm::Text };
    let resizes = wanted.tty && !matches!(protocol, "channel.k8s.io" | "v2.channel.k8s.io");
    let expected = [true, wanted.stdin, wanted.stdout, wanted.stderr && !wanted.tty, resizes];
    let expected = expected.into_iter().filter(|w| *w).count();
    let io = match upgrade.await {
        Ok(upgraded) => TokioIo::new(upgraded),
        Err(error) => {
            tracing::debug!(%error, "a connection could not be upgraded");
            return None;
        }
    };
    let mut connection = serve(io);
    let streams = tokio::time::timeout(CREATION_TIMEOUT, collect(&mut connection.streams, expected)).await;
    let Ok(Some(mut streams)) = streams else {
        tracing::debug!("a SPDY client did not open its streams");
        return None;
    };
    // A closed channel stands for a stream that the client did not want.
    let stdin = streams.inputs.remove(&STDIN).unwrap_or_else(|| mpsc::channel(1).1);
    let (sizes_tx, resize) = mpsc::channel(QUEUE);
    if let Some(input) = streams.inputs.remove(&RESIZE) {
        tokio::spawn(read_sizes(input, sizes_tx));
    }
    let (out, out_rx) = mpsc::channel(QUEUE);
    let gone = connection.gone.clone();
    tokio::spawn(async move {
        write(out_rx, streams.outputs).await;
        connection.finish().await;
    });
    Some(Wire { stdin, resize, out, status, gone })
}

#[derive(Default)]
struct Collected {
    inputs: BTreeMap<u8, mpsc::Receiver<Bytes>>,
    outputs: BTreeMap<u8, Outgoing>,
}

async fn collect(streams: &mut mpsc::Receiver<Incoming>, expected: usize) -> Option<Collected> {
    let mut all = Collected::default();
    while all.outputs.len() < expected {
        let stream = streams.recv().await?;
        let channel = match stream.header("streamtype") {
            "stdin" => STDIN,
            "stdout" => STDOUT,
            "stderr" => STDERR,
            "error" => ERROR,
            "resize" => RESIZE,
            other => {
                tracing::debug!(stream = other, "a SPDY stream of unknown type");
                stream.refuse().await;
                continue;
            }
        };
        let (input, output) = stream.accept().await;
        if matches!(channel, STDIN | RESIZE) {
            all.inputs.insert(channel, input);
        }
        all.outputs.insert(channel, output);
    }
    Some(all)
}

async fn read_sizes(mut input: mpsc::Receiver<Bytes>, to: mpsc::Sender<TerminalSize>) {
    let mut sizes = Sizes::default();
    while let Some(bytes) = input.recv().await {
        for size in sizes.push(&bytes) {
            let _full = to.try_send(size);
        }
    }
}

async fn write(mut out: mpsc::Receiver<(u8, Bytes)>, outputs: BTreeMap<u8, Outgoing>) {
    while let Some((channel, bytes)) = out.recv().await {
        if let Some(stream) = outputs.get(&channel)
            && !stream.send(bytes).await
        {
            return;
        }
    }
    for stream in outputs.values() {
        stream.finish().await;
    }
}
