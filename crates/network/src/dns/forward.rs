//! Asks the machine's own resolvers, as a stub resolver does (RFC 1035; over TCP what does not fit, RFC 7766).
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;

/// For one resolver's answer; then the next one is asked. A client asks again after 5 s.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// Questions under way at once: 1,024 sockets, a fraction of a process's usual limit.
const AT_ONCE: usize = 1_024;
/// A UDP answer is at most this long.
const DATAGRAM: usize = 65_535;

/// The machine's resolvers, in the order they are asked.
pub struct Forwarder {
    resolvers: Vec<SocketAddr>,
    slots: Semaphore,
}

impl Forwarder {
    pub fn new(resolvers: Vec<SocketAddr>) -> Self {
        Self { resolvers, slots: Semaphore::new(AT_ONCE) }
    }

    /// Refused at once when there is nobody to ask; "server failure" when nobody answers.
    pub async fn ask(&self, query: &Query) -> Result<Message, ResponseCode> {
        if self.resolvers.is_empty() {
            return Err(ResponseCode::Refused);
        }
        let Ok(_slot) = self.slots.try_acquire() else { return Err(ResponseCode::ServFail) };
        for resolver in &self.resolvers {
            match tokio::time::timeout(PATIENCE, ask_one(*resolver, query)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => tracing::debug!(%resolver, %error, "resolver failed"),
                Err(_) => tracing::debug!(%resolver, "resolver does not answer"),
            }
        }
        Err(ResponseCode::ServFail)
    }
}

async fn ask_one(resolver: SocketAddr, query: &Query) -> io::Result<Message> {
    let mut question = Message::new(rand::random(), MessageType::Query, OpCode::Query);
    question.metadata.recursion_desired = true;
    question.add_query(query.clone());
    let bytes = question.to_vec().map_err(io::Error::other)?;
    // A port of its own for each question is what makes forged answers hard (RFC 5452).
    let any = if resolver.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(resolver).await?;
    socket.send(&bytes).await?;
    let mut received = vec![0; DATAGRAM];
    loop {
        let length = socket.recv(&mut received).await?;
        let Some(answer) = received.get(..length).and_then(|b| Message::from_vec(b).ok()) else { continue };
        if !fits(&question, &answer) {
            continue;
        }
        return if answer.metadata.truncation { over_tcp(resolver, &question, &bytes).await } else { Ok(answer) };
    }
}

fn fits(question: &Message, answer: &Message) -> bool {
    let same = question.metadata.id == answer.metadata.id && question.queries == answer.queries;
    same && answer.metadata.message_type == MessageType::Response
}

async fn over_tcp(resolver: SocketAddr, question: &Message, bytes: &[u8]) -> io::Result<Message> {
    let mut stream = TcpStream::connect(resolver).await?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend(bytes);
    stream.write_all(&framed).await?;
    let length = usize::from(stream.read_u16().await?);
    let mut received = vec![0; length];
    stream.read_exact(&mut received).await?;
    let answer = Message::from_vec(&received).map_err(io::Error::other)?;
    if fits(question, &answer) { Ok(answer) } else { Err(io::Error::other("an answer to something else")) }
}

/// The resolvers that a `resolv.conf` names (`resolv.conf(5)`), at most three; not our own addresses.
pub fn of_resolv_conf(text: &str, own: &[SocketAddr]) -> Vec<SocketAddr> {
    let lines = text.lines().filter_map(|l| l.trim().strip_prefix("nameserver"));
    let addresses = lines.filter(|rest| rest.starts_with(char::is_whitespace)).filter_map(|l| l.trim().parse().ok());
    let sockets = addresses.map(|a| SocketAddr::new(a, 53));
    sockets.filter(|s| !own.contains(s)).take(3).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_resolv_conf() {
        let text = "# x\nsearch a b\n nameserver 192.0.2.1\nnameserver\t::1\nnameservers 1.1.1.1\nnameserver 10.96.0.10\nnameserver x";
        let own = ["10.96.0.10:53".parse().unwrap()];
        let expected: [SocketAddr; 2] = ["192.0.2.1:53".parse().unwrap(), "[::1]:53".parse().unwrap()];
        assert_eq!(of_resolv_conf(text, &own), expected);
    }
}
