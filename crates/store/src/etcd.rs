//! etcd: see lib.rs
