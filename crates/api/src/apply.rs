//! apply: see lib.rs
