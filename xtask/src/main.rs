//! `cargo xtask`: everything one does with this repository, in one command.
//!
//! `test` is what the README names and CI calls: formatting, lints, tidy, unit and integration tests, then the end-to-end scripts
//! against the release binary. `soak` holds the long repetitions that CI has no time for.
mod bench;
mod e2e;
mod pages;
mod phrases;
mod protobuf;
mod schema;
mod sh;
mod soak;
mod test;
mod tidy;
mod vm;

use clap::Parser;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Build, test and measure isopod")]
enum Task {
    /// All checks: fmt, clippy, tidy, cargo test, e2e. This is what CI runs.
    Test(test::Args),
    /// Rules of the repository that no compiler knows.
    Tidy,
    /// The acceptance scripts, with real clients against the release binary.
    E2e(e2e::Args),
    /// Does what the README and the tutorial tell their readers to do.
    Pages(pages::Args),
    /// Measures, each with its conditions, as ratios in one run where a baseline exists.
    Bench(bench::Args),
    /// Long repetitions: kill -9 loops, fuzzing, many acceptance runs.
    Soak(soak::Args),
    /// The runtime's tests on real containers in a virtual machine with cgroup v2.
    Vm(vm::Args),
    /// Makes the committed table of types from published OpenAPI definitions.
    Schema(schema::Args),
    /// Makes the committed table of protobuf field numbers from the crate k8s-pb.
    Protobuf(protobuf::Args),
}

fn main() -> anyhow::Result<()> {
    match Task::parse() {
        Task::Test(args) => test::run(&args),
        Task::Tidy => tidy::run(),
        Task::E2e(args) => e2e::run(&args),
        Task::Pages(args) => pages::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::Soak(args) => soak::run(&args),
        Task::Vm(args) => vm::run(&args),
        Task::Schema(args) => schema::run(&args),
        Task::Protobuf(args) => protobuf::run(&args),
    }
}
