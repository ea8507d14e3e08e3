//! embedded: see lib.rs
