//! Both ends of what `services.sh` asks: a server that says who it is and whom it sees, and a client that says what came of it in
//! one word. One file without dependencies: the script compiles it for an image that holds nothing else.
//!
//! ```text
//! peer serve tcp:8080 udp:53 …             answers "NAME CLIENT"
//! peer ask tcp|udp HOST PORT [TIMES]       prints the names that answered, or "refused", "timeout", "unknown", "denied"
//! peer from tcp|udp HOST PORT              prints the client's address as the server saw it
//! ```
use std::collections::BTreeSet;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::Duration;

/// What is not answered within it is called a timeout. A SYN that was lost is repeated after one second.
const PATIENCE: Duration = Duration::from_millis(1_500);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", ports @ ..] => serve(ports),
        ["ask", protocol, host, port, times @ ..] => {
            let times = times.first().map_or(1, |times| times.parse().expect("a number"));
            let words = (0..times).map(|_| word(ask(protocol, host, port), 0));
            println!("{}", words.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" "));
        }
        ["from", protocol, host, port] => println!("{}", word(ask(protocol, host, port), 1)),
        _ => panic!("peer serve PROTOCOL:PORT … | ask|from PROTOCOL HOST PORT [TIMES]"),
    }
}

fn serve(ports: &[&str]) {
    let name = std::env::var("HOSTNAME").unwrap_or_default();
    for port in ports {
        let (protocol, port) = port.split_once(':').expect("PROTOCOL:PORT");
        let (at, name) = (format!("0.0.0.0:{port}"), name.clone());
        match protocol {
            "tcp" => {
                let listener = TcpListener::bind(at).expect("a free port");
                std::thread::spawn(move || {
                    for mut stream in listener.incoming().flatten() {
                        let client = stream.peer_addr().map(|client| client.ip().to_string()).unwrap_or_default();
                        // Whoever has gone needs no answer.
                        let _gone = stream.write_all(format!("{name} {client}").as_bytes());
                    }
                });
            }
            "udp" => {
                let socket = UdpSocket::bind(at).expect("a free port");
                std::thread::spawn(move || {
                    let mut question = [0; 16];
                    while let Ok((_, client)) = socket.recv_from(&mut question) {
                        let _gone = socket.send_to(format!("{name} {}", client.ip()).as_bytes(), client);
                    }
                });
            }
            other => panic!("tcp or udp, not {other}"),
        }
    }
    println!("serving");
    loop {
        std::thread::park();
    }
}

fn ask(protocol: &str, host: &str, port: &str) -> Result<String> {
    let port: u16 = port.parse().expect("a port");
    let unknown = |error| Error::new(ErrorKind::NotFound, error);
    let found = (host, port).to_socket_addrs().map_err(|error| unknown(error.to_string()))?;
    let to = found.into_iter().find(SocketAddr::is_ipv4).ok_or_else(|| unknown("no IPv4 address".to_owned()))?;
    let mut answer = [0; 256];
    let length = match protocol {
        "tcp" => {
            let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.read(&mut answer)?
        }
        "udp" => {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.connect(to)?;
            socket.send(b"who?")?;
            socket.recv(&mut answer)?
        }
        other => panic!("tcp or udp, not {other}"),
    };
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

/// One word of an answer, or what came instead of it.
fn word(answer: Result<String>, place: usize) -> String {
    match answer {
        Ok(text) => text.split(' ').nth(place).unwrap_or_default().to_owned(),
        Err(error) => match error.kind() {
            ErrorKind::ConnectionRefused => "refused".to_owned(),
            ErrorKind::TimedOut | ErrorKind::WouldBlock => "timeout".to_owned(),
            // A datagram of the machine's own that a rule of its output rejects.
            ErrorKind::PermissionDenied => "denied".to_owned(),
            ErrorKind::NotFound => "unknown".to_owned(),
            _ => error.to_string().replace(' ', "-"),
        },
    }
}
