//! status: see lib.rs
