//! What objects are. This crate does no I/O: everything in it is a pure function of its arguments.
//!
//! A kind is one row of the [`catalogue`]: names, scope, subresources, columns, and a type implementing
//! [`catalogue::Kind`] with its defaulting, validation and update rules, written over the typed structs of
//! `k8s-openapi` (re-exported as [`k8s`]). The API server never names a kind; it walks the catalogue.
//!
//! Around it stands what Kubernetes calls API machinery: [`field`] paths and errors, [`names`], [`quantity`],
//! [`selector`]s, the [`schema`] table that strict decoding, [`strategic`] merge patch and server-side
//! [`apply`] share, [`status`] errors, and [`yaml`].
pub use k8s_openapi as k8s;

pub mod apply;
pub mod bootstrap;
pub mod catalogue;
pub mod change;
pub mod decode;
pub mod field;
pub mod go_order;
pub mod gofmt;
pub mod hollow;
pub mod intstr;
pub mod kinds;
pub mod names;
pub mod openapi;
pub mod patch;
pub mod print;
pub mod protobuf;
pub mod quantity;
pub mod quota;
pub mod retired;
pub mod schema;
pub mod selector;
pub mod status;
pub mod strategic;
pub mod yaml;
