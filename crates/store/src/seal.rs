//! seal: see lib.rs
