//! The shim alone, for this crate's tests: what `isopod shim …` does in the real binary.
fn main() {
    let mut args = std::env::args_os().skip(1);
    let code = if args.next().is_some_and(|mode| mode == "shim") { isopod_runtime::shim::main(args) } else { 2 };
    std::process::exit(code);
}
