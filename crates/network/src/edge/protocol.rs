//! What is said on the socket: frames of a length (32 bits, big endian) and JSON. One request, one reply, in order.
//!
//! Version 1. A newer control plane speaks to an older process until it has taken over from it, so what is here is only added to.
use crate::contract::PortName;
use crate::dns::answer::Scope;
use crate::dns::zone::Change;
use crate::proxy::Backends;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub const VERSION: u32 = 1;
/// 10,000 Services with names as long as they may be take 6 MB.
pub const LONGEST_FRAME: u32 = 64 << 20;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    pub version: u32,
    #[serde(flatten)]
    pub call: Call,
}

impl From<Call> for Request {
    fn from(call: Call) -> Self {
        Self { version: VERSION, call }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "call")]
pub enum Call {
    Hello,
    Configure {
        settings: Settings,
    },
    /// `replace`: what is not named is gone.
    Dns {
        replace: bool,
        changes: Vec<Change>,
    },
    Proxy {
        replace: bool,
        ports: Vec<PortChange>,
    },
    /// From the process that takes over: [`Reply::State`] is followed by the sockets; a byte back says that they are served.
    HandOver,
    Stop,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "reply")]
pub enum Reply {
    Hello {
        version: u32,
        build: String,
        pid: u32,
    },
    /// It is so, for every packet from now on.
    Done {
        /// Where the proxy serves each Service port.
        listening: Vec<(PortName, SocketAddr)>,
    },
    State(Box<State>),
    Failed {
        message: String,
    },
}

/// What stays the same while a control plane runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    pub dns: Option<DnsSettings>,
    /// The address at which the proxy takes connections that kernel rules send to it.
    pub proxy_address: IpAddr,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DnsSettings {
    pub scope: Scope,
    /// UDP and TCP. The addresses need not be there yet.
    pub listen: Vec<SocketAddr>,
    pub resolvers: Vec<SocketAddr>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortChange {
    pub port: PortName,
    /// None: it is gone.
    pub backends: Option<Backends>,
    /// Where it was served before, to be served there again if possible.
    pub at: Option<SocketAddr>,
}

/// All that a process knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    pub settings: Option<Settings>,
    pub zone: Vec<Change>,
    pub ports: Vec<PortChange>,
    /// What each of the sockets is, in the order in which they follow.
    pub sockets: Vec<SocketName>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "socket")]
pub enum SocketName {
    DnsUdp { at: SocketAddr },
    DnsTcp { at: SocketAddr },
    Proxy { port: PortName },
}

pub fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(message)?;
    let length = u32::try_from(json.len()).ok().filter(|n| *n <= LONGEST_FRAME);
    let length = length.ok_or_else(|| io::Error::other("a message too long"))?;
    Ok([&length.to_be_bytes()[..], &json].concat())
}

pub fn length_of(frame: [u8; 4]) -> io::Result<usize> {
    let length = Some(u32::from_be_bytes(frame)).filter(|n| *n <= LONGEST_FRAME);
    length.and_then(|n| usize::try_from(n).ok()).ok_or_else(|| io::Error::other("a message too long"))
}

/// `None`: the other side has ended.
pub async fn read<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut json = vec![0; length_of(length)?];
    from.read_exact(&mut json).await?;
    Ok(Some(serde_json::from_slice(&json)?))
}

pub async fn write<T: Serialize>(to: &mut (impl AsyncWrite + Unpin), message: &T) -> io::Result<()> {
    to.write_all(&encode(message)?).await?;
    to.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What an older or newer process says. Fails when a field is renamed: add, never rename.
    #[test]
    fn version_1_is_understood() {
        let port = json!({"namespace": "ns", "service": "web", "port": "http", "protocol": "TCP"});
        let texts = [
            json!({"version": 1, "call": "hello"}),
            json!({"version": 1, "call": "configure", "settings": {"proxyAddress": "10.0.0.1", "dns": {"listen": ["10.96.0.10:53"],
                "resolvers": [], "scope": {"domain": "cluster.local", "ranges": [{"address": "10.1.0.0", "length": 16}]}}}}),
            json!({"version": 1, "call": "dns", "replace": true, "changes": [
                {"change": "namespace", "name": "ns", "exists": true},
                {"change": "service", "namespace": "ns", "name": "gone", "record": null},
                {"change": "service", "namespace": "ns", "name": "a", "record": {"type": "external", "name": "example.org"}},
                {"change": "service", "namespace": "ns", "name": "b", "record": {"type": "cluster", "addresses": ["10.96.0.7"],
                    "ports": [{"name": "http", "protocol": "tcp", "port": 80}]}},
                {"change": "service", "namespace": "ns", "name": "c", "record": {"type": "headless", "endpoints": [
                    {"address": "10.1.0.2", "hostname": "db-0", "ports": []}]}}]}),
            json!({"version": 1, "call": "proxy", "replace": false, "ports": [{"port": port, "at": "10.0.0.1:4000", "backends":
                {"protocol": "http", "affinity": false, "endpoints": [
                    {"address": "10.1.0.2:80", "local": true, "ready": true, "serving": true, "terminating": false}]}}]}),
            json!({"version": 1, "call": "handOver"}),
            json!({"version": 1, "call": "stop"}),
        ];
        for text in texts {
            let request: Request = serde_json::from_value(text.clone()).unwrap();
            assert_eq!(serde_json::to_value(&request).unwrap(), text);
        }
        let texts = [
            json!({"reply": "hello", "version": 1, "build": "x", "pid": 7}),
            json!({"reply": "done", "listening": [[port, "10.0.0.1:4000"]]}),
            json!({"reply": "failed", "message": "no"}),
            json!({"reply": "state", "settings": null, "zone": [], "ports": [], "sockets": [
                {"socket": "dnsUdp", "at": "10.96.0.10:53"}, {"socket": "proxy", "port": port}]}),
        ];
        for text in texts {
            let reply: Reply = serde_json::from_value(text.clone()).unwrap();
            assert_eq!(serde_json::to_value(&reply).unwrap(), text);
        }
    }

    #[tokio::test]
    async fn frames_are_bounded_and_may_end() {
        let mut bytes: &[u8] = &[0xff; 8];
        assert!(read::<Request>(&mut bytes).await.is_err());
        let mut nothing: &[u8] = &[];
        assert!(read::<Request>(&mut nothing).await.unwrap().is_none());
        let frame = encode(&Request::from(Call::Hello)).unwrap();
        let mut cut = frame.get(..9).unwrap();
        assert!(read::<Request>(&mut cut).await.is_err());
        assert_eq!(read::<Request>(&mut frame.as_slice()).await.unwrap(), Some(Call::Hello.into()));
    }
}
