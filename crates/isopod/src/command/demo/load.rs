//! A strict load generator: every request must be answered in time with 200 and one of the expected bodies, whole.
//!
//! Each client sends one request after the other, each on a connection of its own, which is what an update loses most easily. Nothing is
//! tried again: what is refused, reset, cut short, wrong or late has failed.
use super::receipt::Figures;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// An answer that takes longer is none.
const LATE: Duration = Duration::from_secs(5);
/// After a failure, so that a dead server is not asked a million times.
const PAUSE: Duration = Duration::from_millis(10);
/// No expected answer is longer than this.
const LONGEST: u64 = 64 << 10;

/// Clients that ask until they are told to stop.
pub struct Load {
    clients: JoinSet<()>,
    stop: CancellationToken,
    counts: Arc<Mutex<Figures>>,
}

impl Load {
    /// `expected`: bodies, and what to call them in the figures.
    pub fn start(address: SocketAddr, clients: usize, expected: &BTreeMap<String, String>) -> Self {
        let (stop, counts) = (CancellationToken::new(), Arc::<Mutex<Figures>>::default());
        let mut all = JoinSet::new();
        for _ in 0..clients {
            let (stop, counts, expected) = (stop.clone(), Arc::clone(&counts), expected.clone());
            all.spawn(async move {
                while !stop.is_cancelled() {
                    let begun = Instant::now();
                    let answer = answer(address, &expected).await;
                    let failed = answer.is_err();
                    counts.lock().unwrap_or_else(PoisonError::into_inner).add(begun.elapsed(), answer);
                    if failed {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            });
        }
        Self { clients: all, stop, counts }
    }

    /// Up to now.
    pub fn figures(&self) -> Figures {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last requests are waited for.
    pub async fn stop(mut self) -> Figures {
        self.stop.cancel();
        while self.clients.join_next().await.is_some() {}
        self.figures()
    }
}

/// One request. Which of the expected answers came, or what went wrong.
async fn answer(address: SocketAddr, expected: &BTreeMap<String, String>) -> Result<String, String> {
    match tokio::time::timeout(LATE, exchange(address)).await {
        Ok(Ok(bytes)) => judge(&bytes, expected),
        Ok(Err(error)) => Err(error.kind().to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

async fn exchange(address: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.take(LONGEST).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

fn judge(bytes: &[u8], expected: &BTreeMap<String, String>) -> Result<String, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "no text".to_owned())?;
    if text.is_empty() {
        return Err("closed without an answer".to_owned());
    }
    let (head, body) = text.split_once("\r\n\r\n").ok_or("cut short")?;
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    if status != "200" {
        return Err(format!("status {status}"));
    }
    let length =
        lines.filter_map(|line| line.split_once(':')).find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    match length.and_then(|(_, value)| value.trim().parse::<usize>().ok()) {
        Some(length) if length == body.len() => {}
        _ => return Err("cut short".to_owned()),
    }
    expected.get(body).cloned().ok_or_else(|| "wrong answer".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_and_right_answers_count() {
        let expected = BTreeMap::from([("one\n".to_owned(), "v1".to_owned())]);
        for (answer, verdict) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\none\n", Ok("v1")),
            ("HTTP/1.1 200 OK\r\ncontent-length: 4\r\nx: y\r\n\r\none\n", Ok("v1")),
            ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntwo\n", Err("wrong answer")),
            ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\non", Err("cut short")),
            ("HTTP/1.1 200 OK\r\nContent-Le", Err("cut short")),
            ("HTTP/1.1 503 Sorry\r\nContent-Length: 4\r\n\r\none\n", Err("status 503")),
            ("", Err("closed without an answer")),
        ] {
            let got = judge(answer.as_bytes(), &expected);
            assert_eq!(got.as_deref().map_err(String::as_str), verdict, "{answer:?}");
        }
    }

    #[tokio::test]
    async fn what_is_refused_has_failed() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let load = Load::start(closed, 2, &BTreeMap::new());
        while load.figures().requests() < 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let figures = load.stop().await;
        assert_eq!(figures.failed(), figures.requests());
        assert!(figures.kinds().contains("connection refused"), "{}", figures.kinds());
    }
}
