//! The contract suite on a real cluster, through the registry, by a user who holds no more than the role
//! that `pod_k8s::rbac` prints for it.

mod space;

use pod_core::{BackendUri, Filter, Labels, Registry};
use pod_k8s::K8sBackend;
use pod_k8s::rbac::Purpose;
use pod_testkit::Target;
use space::User;
use std::path::Path;
use std::process::ExitCode;

/// All that is of one namespace, and nothing of the whole cluster.
const PURPOSES: &[Purpose] = &[
    Purpose::Inspect,
    Purpose::Run,
    Purpose::Logs,
    Purpose::Events,
    Purpose::Exec,
    Purpose::Attach,
    Purpose::Copy,
    Purpose::Forward,
    Purpose::Networks,
    Purpose::Policy,
];

fn main() -> ExitCode {
    let registry = space::registry();
    let namespace = space::unique("contract");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let backend = runtime.block_on(K8sBackend::open(space::config(&namespace))).expect("the lab's cluster");
    runtime.block_on(backend.namespaces().create(&namespace, Labels::new())).expect("a namespace");
    let user = runtime.block_on(User::new(&namespace, "suite", PURPOSES));
    let uri = BackendUri::new("k8s")
        .expect("a scheme")
        .with_path(format!("{namespace}/"))
        .with_option("kubeconfig", user.kubeconfig().display().to_string());
    says_what_it_can(&runtime, &registry, &uri);
    let bad = "pod.test/no-such-image:1".parse().expect("an image");
    // The lab has no network plugin that enforces policies.
    let target = Target::new("k8s", registry, uri)
        .with_image(space::image())
        .with_bad_image(bad)
        .with_jobs(6)
        .with_scale(6.0)
        // containerd 1.6 closes an exec's streams before it has read all of them.
        .with_losses(2)
        .with_nothing_enforced();
    let mut code = pod_testkit::run(target);
    let left = runtime.block_on(pod_core::Backend::list(&backend, Filter::all())).expect("a list");
    if code == ExitCode::SUCCESS && !left.is_empty() {
        let names: Vec<_> = left.iter().map(|w| w.name().as_str()).collect();
        eprintln!("the suite left pods: {}", names.join(", "));
        code = ExitCode::FAILURE;
    }
    if let Err(e) = runtime.block_on(backend.namespaces().remove(&namespace, false)) {
        eprintln!("the namespace of the suite is not removed: {e}");
        code = ExitCode::FAILURE;
    }
    code
}

/// What the backend says it can do is what is committed.
fn says_what_it_can(runtime: &tokio::runtime::Runtime, registry: &Registry, uri: &BackendUri) {
    let backend = runtime.block_on(registry.connect(uri)).expect("the lab's cluster");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/capabilities.json");
    if let Err(e) = pod_testkit::golden::check(&*backend, &path) {
        panic!("{e}");
    }
}
