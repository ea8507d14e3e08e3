//! quantity: see lib.rs
