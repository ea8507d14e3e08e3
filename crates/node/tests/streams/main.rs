//! Logs, exec, attach, cp, port-forward and top, as people use them: the real kubectl and plain WebSocket clients against an API server
//! and a node agent's endpoints on loopback, each behind TLS. Containers are faked; commands are processes of this machine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop at what it did not expect")]
mod commands;
mod forwarding;
mod logs;
mod processes;
mod sockets;
mod usage;
mod world;
