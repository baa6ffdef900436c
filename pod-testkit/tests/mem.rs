//! The contract suite on the backend in memory.

use pod_core::Registry;
use pod_testkit::Target;

fn main() -> std::process::ExitCode {
    let mut registry = Registry::new();
    pod_core::mem::register(&mut registry);
    let uri = "mem:?name=contract".parse().expect("an address");
    pod_testkit::run(Target::new("mem", registry, uri).with_limits_shown().with_jobs(4))
}
