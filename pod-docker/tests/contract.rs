//! The contract suite on a real daemon, through the registry.

mod lab;

use pod_core::{Capability, Filter, Registry};
use pod_testkit::Target;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let registry = lab::registry();
    let uri = lab::uri();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    says_what_it_can(&runtime, &registry);
    let bad = "pod.test/no-such-image:1".parse().expect("an image");
    let target = Target::new("docker", registry.clone(), uri.clone())
        .with_image(lab::image())
        .with_bad_image(bad)
        .with_jobs(6)
        .with_scale(4.0);
    let mut code = pod_testkit::run(target);
    let backend = runtime.block_on(registry.connect(&uri)).expect("the lab's daemon");
    let left = runtime.block_on(backend.list(Filter::all())).expect("a list");
    // A name as the suite makes them: other tests may run beside it.
    let left: Vec<_> = left.iter().map(|w| w.name().as_str()).filter(|n| n.starts_with('t') && n.len() >= 13).collect();
    if code == ExitCode::SUCCESS && !left.is_empty() {
        eprintln!("the suite left containers: {}", left.join(", "));
        code = ExitCode::FAILURE;
    }
    code
}

/// What the backend says it can do is what is committed, but for what the machine's kernel may lack.
fn says_what_it_can(runtime: &tokio::runtime::Runtime, registry: &Registry) {
    let backend = runtime.block_on(registry.connect(&lab::uri())).expect("the lab's daemon");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/capabilities.json");
    let varying = [Capability::LimitCpu, Capability::LimitMemory, Capability::LimitPids];
    if let Err(e) = pod_testkit::golden::check_on_any(&*backend, &varying, &path) {
        panic!("{e}");
    }
}
