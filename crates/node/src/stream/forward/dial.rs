//! A connection to a pod's loopback, made inside its network namespace. A namespace belongs to a thread: one is made for it, and thrown
//! away with it. The socket stays in the namespace it was made in.
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// Loopback answers at once; a full accept queue may take a while.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Whose loopback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The machine's own (`hostNetwork`).
    Machine,
    Netns(PathBuf),
}

#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("failed to enter network namespace {}: {source}", path.display())]
    Enter { path: PathBuf, source: io::Error },
    #[error("failed to connect to localhost:{port} inside namespace {place}, IPv4: {v4} IPv6: {v6}")]
    Connect { port: u16, place: String, v4: io::Error, v6: io::Error },
    #[error("the machine has no thread to spare: {0}")]
    Thread(io::Error),
}

/// To 127.0.0.1, or to ::1 when nobody listens there.
pub async fn connect(place: &Place, port: u16) -> Result<TcpStream, DialError> {
    let (tell, told) = oneshot::channel();
    let place = place.clone();
    let work = move || {
        // Whoever asked may have gone.
        let _gone = tell.send(connect_here(&place, port));
    };
    std::thread::Builder::new().name("isopod-dial".into()).spawn(work).map_err(DialError::Thread)?;
    let stream = told.await.map_err(|_| DialError::Thread(io::Error::other("the thread ended")))??;
    stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)).map_err(DialError::Thread)
}

fn connect_here(place: &Place, port: u16) -> Result<std::net::TcpStream, DialError> {
    if let Place::Netns(path) = place {
        enter(path).map_err(|source| DialError::Enter { path: path.clone(), source })?;
    }
    let to = |ip: IpAddr| {
        let stream = std::net::TcpStream::connect_timeout(&SocketAddr::new(ip, port), TIMEOUT)?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    let v4 = match to(Ipv4Addr::LOCALHOST.into()) {
        Ok(stream) => return Ok(stream),
        Err(error) => error,
    };
    to(Ipv6Addr::LOCALHOST.into()).map_err(|v6| {
        let place = match place {
            Place::Machine => "host".to_owned(),
            Place::Netns(path) => format!("{:?}", path.display().to_string()),
        };
        DialError::Connect { port, place, v4, v6 }
    })
}

fn enter(path: &Path) -> io::Result<()> {
    Ok(setns(File::open(path)?, CloneFlags::CLONE_NEWNET)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn connects_on_the_machine_and_says_why_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut client = connect(&Place::Machine, port).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        server.write_all(b"hi").await.unwrap();
        drop((server, listener));
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hi");
        let error = connect(&Place::Machine, port).await.unwrap_err().to_string();
        assert!(
            error.starts_with(&format!(
                "failed to connect to localhost:{port} inside namespace host, IPv4: Connection refused"
            )),
            "{error}"
        );
        let nowhere = Place::Netns("/nowhere".into());
        let error = connect(&nowhere, port).await.unwrap_err().to_string();
        assert_eq!(error, "failed to enter network namespace /nowhere: No such file or directory (os error 2)");
    }

    /// A thread of its own makes a namespace with only loopback; the connection is made in it and used from outside.
    #[tokio::test]
    async fn connects_inside_a_namespace() {
        let (tell, told) = oneshot::channel();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            nix::sched::unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let up = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
            assert!(up.success());
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let path = PathBuf::from(format!("/proc/{}/task/{}/ns/net", std::process::id(), nix::unistd::gettid()));
            tell.send((path, listener.local_addr().unwrap().port())).unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            std::io::Write::write_all(&mut stream, b"inside").unwrap();
            drop(stream);
            let _ended = stopped.recv();
        });
        let (path, port) = told.await.unwrap();
        let mut client = connect(&Place::Netns(path), port).await.unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "inside");
        stop.send(()).unwrap();
        thread.join().unwrap();
    }
}
