//! yaml: see lib.rs
