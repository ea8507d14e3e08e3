//! schema: see lib.rs
