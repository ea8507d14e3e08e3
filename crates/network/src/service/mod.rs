//! Services as kernel rules: one nf_tables table, a pure function of the [`ServiceTable`](crate::contract::ServiceTable), programmed in
//! transactions whose answer is the acknowledgement that drain waits for.
//!
//! ```text
//! prerouting, output ─▶ balance ─ address . protocol . port ─▶ cluster/…  one of the endpoints, at random
//!                               └ own address, node port ────▶ external/… marks who needs masquerade, then cluster/… or local/…
//! input, forward, output ─▶ refuse what was left for the service range, and ports without endpoints
//! ```
mod affinity;
mod path;
mod plan;
#[cfg(test)]
mod tests;

pub use path::Services;
