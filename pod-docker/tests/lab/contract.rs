//! The contract suite on one of the lab's engines.

use super::Engine;
use pod_core::{Capability, Filter, Registry};
use pod_testkit::Target;
use std::path::Path;
use std::process::ExitCode;

/// Runs the suite, compares what the engine says it can do with what is committed, and looks for containers
/// that were left.
pub(crate) fn run(engine: Engine) -> ExitCode {
    let registry = super::registry();
    let uri = engine.uri();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    says_what_it_can(&runtime, &registry, engine);
    let bad = "pod.test/no-such-image:1".parse().expect("an image");
    let target = Target::new(engine.scheme(), registry.clone(), uri.clone())
        .with_image(super::image())
        .with_bad_image(bad)
        .with_jobs(6)
        .with_scale(4.0);
    let shared = tempfile::tempdir().expect("a folder");
    let target = target
        .with_shared(Some(shared.path().to_owned()))
        .with_machine(Some(runtime.block_on(super::machine(engine)).expect("the engine's process")));
    let mut code = pod_testkit::run(target);
    let backend = runtime.block_on(registry.connect(&uri)).expect("the lab's engine");
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
fn says_what_it_can(runtime: &tokio::runtime::Runtime, registry: &Registry, engine: Engine) {
    let backend = runtime.block_on(registry.connect(&engine.uri())).expect("the lab's engine");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(match engine {
        Engine::Docker => "tests/capabilities.json",
        Engine::Moby => "tests/capabilities-moby.json",
        Engine::Podman => "tests/capabilities-podman.json",
    });
    let varying = [Capability::LimitCpu, Capability::LimitMemory, Capability::LimitPids];
    if let Err(e) = pod_testkit::golden::check_on_any(&*backend, &varying, &path) {
        panic!("{e}");
    }
}
