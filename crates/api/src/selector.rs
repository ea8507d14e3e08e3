//! selector: see lib.rs
