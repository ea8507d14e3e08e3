//! The HTTP proxy against haproxy on the same backends: requests a second and latency of `wrk` with 64 connections, taken in turns,
//! as ratios; and the processor time each takes for a request, which other work on the machine distorts less. Needs Debian's `haproxy` and `wrk`; all traffic is on loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench may stop at what it did not expect"
)]
use isopod_network::contract::{Endpoint, PortName, Protocol as Transport};
use isopod_network::proxy::{Backends, Protocol, Proxy, Workers};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const BACKENDS: usize = 2;
const ROUNDS: usize = 15;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 11\r\n\r\nversion v1\n";

/// As cheap as a server can be, so that what is measured is what stands before it: one thread a connection, no parsing.
fn backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream: TcpStream = stream.unwrap();
            stream.set_nodelay(true).unwrap();
            std::thread::spawn(move || {
                let mut bytes = [0; 16 * 1024];
                while stream.read(&mut bytes).is_ok_and(|n| n > 0) && stream.write_all(ANSWER).is_ok() {}
            });
        }
    });
    at
}

struct Haproxy(Child, SocketAddr);

impl Drop for Haproxy {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn haproxy(dir: &std::path::Path, backends: &[SocketAddr], threads: usize) -> Haproxy {
    let at = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let servers: String = backends.iter().enumerate().map(|(n, b)| format!("  server s{n} {b}\n")).collect();
    let text = format!(
        "global\n  nbthread {threads}\n  maxconn 4096\ndefaults\n  mode http\n  timeout connect 2s\n  timeout client 60s\n  timeout server 60s\n  \
         option forwardfor\n  http-reuse always\nlisten web\n  bind {at}\n  balance roundrobin\n{servers}"
    );
    let file = dir.join("haproxy.cfg");
    std::fs::write(&file, text).unwrap();
    let child = Command::new("haproxy").arg("-f").arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let haproxy = Haproxy(child.expect("haproxy is needed"), at);
    let start = Instant::now();
    while TcpStream::connect(at).is_err() {
        assert!(start.elapsed() < Duration::from_secs(10), "haproxy does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    haproxy
}

/// Processor time of a process's threads so far, in µs. `proxy`: only of the threads of isopod's proxy.
fn processor_time(process: u32, proxy: bool) -> f64 {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap().flatten().map(|thread| thread.path());
    let counted = threads.filter(|thread| {
        let name = std::fs::read_to_string(thread.join("comm")).unwrap_or_default();
        !proxy || name.trim().strip_prefix("proxy-").is_some_and(|n| n.parse::<u8>().is_ok())
    });
    let times = counted.filter_map(|thread| std::fs::read_to_string(thread.join("schedstat")).ok());
    times.map(|times| times.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e3).sum()
}

/// Requests a second, p50 and p99 in µs, and how many requests there were.
fn wrk(at: SocketAddr) -> (f64, f64, f64, f64) {
    let url = format!("http://{at}/");
    let output = Command::new("wrk").args(["-t2", "-c64", "-d1s", "--latency", &url]).output().expect("wrk is needed");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("Socket errors") && !text.contains("Non-2xx"), "{text}");
    let after = |what: &str| text.lines().find_map(|l| l.trim().strip_prefix(what)).unwrap().trim().to_owned();
    let micros = |text: String| {
        let number = text.trim_end_matches(|c: char| c.is_alphabetic()).parse::<f64>().unwrap();
        if text.ends_with("us") {
            number
        } else if text.ends_with("ms") {
            number * 1e3
        } else {
            number * 1e6
        }
    };
    let count = text.lines().find(|l| l.contains(" requests in ")).and_then(|l| l.split_whitespace().next()).unwrap();
    let rate = after("Requests/sec:").parse().unwrap();
    (rate, micros(after("50%")), micros(after("99%")), count.parse().unwrap())
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let backends: Vec<SocketAddr> = (0..BACKENDS).map(|_| backend()).collect();
    let haproxy = haproxy(dir.path(), &backends, threads);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let proxy = Proxy::new(Workers::start(threads).unwrap());
    let name =
        PortName { namespace: "ns".into(), service: "web".into(), port: String::new(), protocol: Transport::Tcp };
    let endpoint =
        |a: &SocketAddr| Endpoint { address: *a, local: true, ready: true, serving: true, terminating: false };
    let endpoints = backends.iter().map(endpoint).collect();
    let change = (name.clone(), Some(Backends { protocol: Protocol::Http, endpoints, affinity: false }));
    runtime.block_on(proxy.apply(vec![change], |_| TcpListener::bind("127.0.0.1:0"))).unwrap();
    let own = std::process::id();
    let targets = [("direct", backends[0]), ("haproxy", haproxy.1), ("isopod", proxy.addresses()[&name])];
    let times: [&dyn Fn() -> f64; 3] =
        [&|| 0.0, &|| processor_time(haproxy.0.id(), false), &|| processor_time(own, true)];
    let mut taken: Vec<Vec<(f64, f64, f64, f64)>> = vec![Vec::new(); targets.len()];
    for _ in 0..ROUNDS {
        for (n, (_, at)) in targets.iter().enumerate() {
            let before = times[n]();
            let (rate, p50, p99, count) = wrk(*at);
            taken[n].push((rate, p50, p99, (times[n]() - before) / count));
        }
    }
    println!("{threads} threads, {BACKENDS} backends, wrk -t2 -c64, medians of {ROUNDS} rounds in turns");
    println!(
        "{:8} {:>10} {:>9} {:>9} {:>18} {:>20}",
        "", "requests/s", "p50 µs", "p99 µs", "ratio to haproxy", "CPU µs per request"
    );
    let rate = |n: usize| median(taken[n].iter().map(|t| t.0).collect());
    // Of a round's own figures: what else the machine does changes from round to round.
    let ratio = |n: usize| median(taken[n].iter().zip(&taken[1]).map(|(own, haproxy)| own.0 / haproxy.0).collect());
    for (n, (name, _)) in targets.iter().enumerate() {
        let (p50, p99) =
            (median(taken[n].iter().map(|t| t.1).collect()), median(taken[n].iter().map(|t| t.2).collect()));
        let cpu = median(taken[n].iter().map(|t| t.3).collect());
        println!("{name:8} {:>10.0} {p50:>9.0} {p99:>9.0} {:>18.2} {cpu:>20.2}", rate(n), ratio(n));
    }
}
