//! Ownership, checked against what a real API server recorded and against structured-merge-diff's own expectations.
mod created;
