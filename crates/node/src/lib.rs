//! The node agent: takes pods bound to its node and makes them run ([`agent`]); [`drain`] is how their traffic comes and goes;
//! [`stream`] lets the API server at their logs, commands, ports and figures; [`hollow`] nodes only act as if.
pub mod agent;
pub mod drain;
pub mod edge;
pub mod hollow;
pub mod seams;
pub mod services;
pub mod stream;
pub mod volumes;
mod write;
