//! strategic: see lib.rs
