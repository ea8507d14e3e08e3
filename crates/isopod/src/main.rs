//! isopod
fn main() {}
