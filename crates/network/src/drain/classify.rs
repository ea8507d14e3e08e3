//! What one TCP socket says about a request: pure.
//!
//! TCP knows nothing of requests. What it does know is when data last went which way: bytes that came *after* the last that went
//! out are a request which has no answer yet; bytes that went out last are an answer. The clock behind it is the kernel's jiffy
//! (1 to 10 ms), so a request that comes in the same jiffy as the last answer went out, which a busy keep-alive client on the
//! same machine does all the time, looks the same as an answer in the jiffy of its request: such a socket gets [`UNSURE`] to
//! show which of both it was.
use super::diag::{Info, Socket, State};
use crate::contract::Traffic;
use std::net::IpAddr;

/// Answered this long ago or longer: idle. Less may be a pause within a response that is written in pieces.
pub const QUIET_MS: u32 = 200;
/// Sent and received within the same jiffy, this long ago or longer: idle.
pub const UNSURE_MS: u32 = 1_000;
/// Accepted this long ago or longer and nothing ever sent either way: a connection opened in advance, idle.
pub const OPENING_MS: u32 = 1_000;

/// What of one socket matters to a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Connections that a listener says the application has yet to accept.
    Queued(usize),
    /// The same, seen as a connection of its own. Also one that `accept` has taken out of the queue and not yet given to the process:
    /// on a busy machine that may take a while, and neither the queue nor any process has it meanwhile.
    Accepting,
    Handshaking,
    InFlight,
    Idle,
    Nothing,
}

/// Counts the connections to `address` on `ports`.
pub fn count(sockets: &[Socket], address: IpAddr, ports: &[u16]) -> Traffic {
    let (mut traffic, mut queued, mut accepting) = (Traffic::default(), 0usize, 0usize);
    for socket in sockets.iter().filter(|s| ports.contains(&s.port) && concerns(s, address)) {
        match role(socket) {
            Role::Queued(n) => queued = queued.saturating_add(n),
            Role::Accepting => accepting += 1,
            Role::Handshaking => traffic.waiting += 1,
            Role::InFlight => traffic.in_flight += 1,
            Role::Idle => traffic.idle += 1,
            Role::Nothing => {}
        }
    }
    // Mostly the same ones, seen from both ends.
    traffic.waiting = traffic.waiting.saturating_add(queued.max(accepting));
    traffic
}

/// A listener on all addresses concerns every address; a connection within the pod (a sidecar's to its neighbour) is not traffic
/// that anybody else sees.
fn concerns(socket: &Socket, address: IpAddr) -> bool {
    let own = socket.address.to_canonical();
    own == address.to_canonical() || (socket.state == State::Listen && own.is_unspecified())
}

fn role(socket: &Socket) -> Role {
    match socket.state {
        State::Listen => Role::Queued(usize::try_from(socket.receive_queue).unwrap_or(usize::MAX)),
        State::SynReceived => Role::Handshaking,
        State::Established | State::CloseWait if socket.inode == 0 => Role::Accepting,
        State::Established | State::CloseWait => connection(socket),
        // The application is done with it, the kernel still delivers; it can only do so while the namespace lives.
        State::FinWait1 | State::Closing | State::LastAck if socket.send_queue > 0 => Role::InFlight,
        _ => Role::Nothing,
    }
}

fn connection(socket: &Socket) -> Role {
    // The peer's FIN counts as one unread byte until the application has read the end.
    let end = u32::from(socket.state == State::CloseWait);
    if socket.receive_queue > end || socket.send_queue > 0 {
        return Role::InFlight;
    }
    // A kernel that does not say: better wait in vain (it is bounded) than cut.
    let Some(info) = socket.info else { return Role::InFlight };
    if carries_request(info) { Role::InFlight } else { Role::Idle }
}

fn carries_request(info: Info) -> bool {
    let Info { since_sent: sent, since_received: received, bytes_sent, bytes_received } = info;
    match (bytes_received > 0, bytes_sent > 0) {
        // Both clocks start when the connection is made.
        (false, false) => received < OPENING_MS,
        (true, false) => true,
        _ if received < sent => true,
        _ if received == sent => sent < UNSURE_MS,
        _ => sent < QUIET_MS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(state: State, receive_queue: u32, send_queue: u32) -> Socket {
        Socket {
            state,
            address: "10.1.0.2".parse().unwrap(),
            port: 8080,
            receive_queue,
            send_queue,
            inode: 77,
            info: Some(info(5_000, 5_010, 100, 100)),
        }
    }

    fn info(since_sent: u32, since_received: u32, bytes_sent: u64, bytes_received: u64) -> Info {
        Info { since_sent, since_received, bytes_sent, bytes_received }
    }

    #[test]
    fn states_and_queues() {
        use State::*;
        let table = [
            (Listen, 3, 128, Role::Queued(3)),
            (SynReceived, 0, 0, Role::Handshaking),
            (Established, 0, 0, Role::Idle),
            (Established, 10, 0, Role::InFlight),
            (Established, 0, 10, Role::InFlight),
            (CloseWait, 0, 0, Role::Idle),
            (CloseWait, 1, 0, Role::Idle), // only the end is unread
            (CloseWait, 2, 0, Role::InFlight),
            (FinWait1, 0, 1, Role::InFlight),
            (FinWait1, 0, 0, Role::Nothing),
            (LastAck, 0, 1, Role::InFlight),
            (Closing, 0, 7, Role::InFlight),
            (FinWait2, 0, 0, Role::Nothing),
            (SynSent, 0, 0, Role::Nothing),
            (Other, 9, 9, Role::Nothing),
        ];
        for (state, receive, send, expected) in table {
            assert_eq!(role(&socket(state, receive, send)), expected, "{state:?} {receive} {send}");
        }
        let queued = Socket { inode: 0, info: None, ..socket(Established, 100, 0) };
        assert_eq!(role(&queued), Role::Accepting);
        assert_eq!(role(&Socket { info: None, ..socket(Established, 0, 0) }), Role::InFlight, "nothing known");
    }

    #[test]
    fn who_spoke_last() {
        // since sent, since received, sent, received
        let table = [
            ("just accepted", info(3, 3, 0, 0), true),
            ("opened in advance", info(1_500, 1_500, 0, 0), false),
            ("first request, no answer yet", info(9_000, 5_000, 0, 70), true),
            ("answered just now", info(10, 30, 500, 70), true),
            ("answered a while ago", info(250, 280, 500, 70), false),
            ("a new request after an answer", info(5_000, 4_000, 500, 140), true),
            ("same jiffy, lately", info(600, 600, 500, 140), true),
            ("same jiffy, long ago", info(1_600, 1_600, 500, 140), false),
            ("server speaks first, lately (a database's greeting)", info(20, 25, 90, 0), true),
            ("server spoke first and nobody answered", info(2_000, 2_010, 90, 0), false),
        ];
        for (name, info, expected) in table {
            assert_eq!(carries_request(info), expected, "{name}");
        }
    }

    #[test]
    fn only_the_pods_own_ports_and_address_count() {
        let address: IpAddr = "10.1.0.2".parse().unwrap();
        let busy = |address: &str, port| Socket {
            address: address.parse().unwrap(),
            port,
            ..socket(State::Established, 1, 0)
        };
        let everywhere = Socket { address: "::".parse().unwrap(), ..socket(State::Listen, 2, 128) };
        let sockets = [
            busy("10.1.0.2", 8080),
            busy("::ffff:10.1.0.2", 8080),
            busy("127.0.0.1", 8080),
            busy("10.1.0.2", 9090),
            socket(State::Established, 0, 0),
            everywhere,
        ];
        assert_eq!(count(&sockets, address, &[8080]), Traffic { waiting: 2, in_flight: 2, idle: 1 });
        assert_eq!(count(&sockets, address, &[]), Traffic::default());
    }

    #[test]
    fn between_the_queue_and_the_process() {
        let address: IpAddr = "10.1.0.2".parse().unwrap();
        let listener = |n| socket(State::Listen, n, 128);
        let queued = Socket { inode: 0, ..socket(State::Established, 0, 0) };
        let waiting = |sockets: &[Socket]| count(sockets, address, &[8080]).waiting;
        assert_eq!(waiting(&[listener(2), queued, queued]), 2, "counted once");
        assert_eq!(waiting(&[listener(0), queued]), 1, "taken out of the queue, in no process yet");
        assert_eq!(waiting(&[listener(1), queued, queued, socket(State::SynReceived, 0, 0)]), 3);
    }
}
