//! The node agent: takes pods bound to its node and makes them run; [`hollow`] nodes only act as if.
pub mod hollow;
pub mod seams;
pub mod volumes;
