//! decode: see lib.rs
