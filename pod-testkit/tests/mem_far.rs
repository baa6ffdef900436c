//! The contract suite on the backend in memory with calls that take time, so that cancelling them on the
//! way means something.

use pod_core::Registry;
use pod_testkit::Target;

fn main() -> std::process::ExitCode {
    let mut registry = Registry::new();
    pod_core::mem::register(&mut registry);
    let uri = "mem:?name=far&latency_ms=2".parse().expect("an address");
    pod_testkit::run(Target::new("mem, far away", registry, uri).with_limits_shown().with_jobs(8))
}
