//! The edge process alone, for tests: what `isopod edge …` runs.
fn main() {
    std::process::exit(isopod_network::edge::main(std::env::args_os().skip(2)));
}
