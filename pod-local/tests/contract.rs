//! The contract suite on the embedded engine.

use pod_core::{BackendUri, Capability, Registry};
use pod_testkit::Target;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    assert!(rustix::process::getuid().is_root(), "the contract suite needs root here: run `cargo xtask test` as root");
    assert!(std::env::var_os("POD_SHIM").is_some(), "POD_SHIM must name the built `pod`: run `cargo xtask test`");
    let root = tempfile::Builder::new().prefix("pod-contract-").tempdir_in("/var/tmp").expect("a folder");
    let mut registry = Registry::new();
    pod_local::register(&mut registry);
    let uri = BackendUri::new("local").expect("a scheme").with_option("root", root.path().display().to_string());
    says_what_it_can(&registry, &uri);
    let target = Target::new("local", registry, uri).with_jobs(4).with_scale(4.0);
    let code = pod_testkit::run(target);
    let left = std::fs::read_dir(root.path()).map_or(0, Iterator::count);
    if code == ExitCode::SUCCESS && left > 0 {
        eprintln!("the suite left files under {}", root.path().display());
        return ExitCode::FAILURE;
    }
    code
}

/// What the engine says it can do is what is committed, but for what the machine's kernel may lack.
fn says_what_it_can(registry: &Registry, uri: &BackendUri) {
    let varying = [
        Capability::VlanTrunk,
        Capability::Uplink,
        Capability::Ipv6,
        Capability::Isolate,
        Capability::LimitCpu,
        Capability::LimitMemory,
        Capability::LimitPids,
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let backend = runtime.block_on(registry.connect(uri)).expect("the engine");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/capabilities.json");
    if let Err(e) = pod_testkit::golden::check_on_any(&*backend, &varying, &path) {
        panic!("{e}");
    }
}
