//! The suite's cases that need what no backend in memory has fail on a real engine that is wrong in their way.

mod lab;

use lab::Engine;
use pod_core::Backend;
use pod_core::mem::MemBackend;
use pod_testkit::faulty::{Fault, wrap};
use pod_testkit::{Target, cases, run_case};
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_found() {
    let registry = lab::registry();
    let uri = Engine::Docker.uri();
    let backend = registry.connect(&uri).await.expect("the daemon");
    let shared = tempfile::tempdir().expect("a folder");
    let machine = lab::machine(Engine::Docker).await.expect("the daemon's process");
    let target = Target::new("docker", registry, uri)
        .with_image(lab::image())
        .with_shared(Some(shared.path().to_owned()))
        .with_machine(Some(machine))
        // They must fail, and need not wait long.
        .with_scale(0.5);
    let target = Arc::new(target);
    let in_memory = MemBackend::new().capabilities();
    let mut tried = Vec::new();
    for case in cases().into_iter().filter(|c| !c.needs().iter().all(|n| in_memory.has(*n))) {
        if !case.needs().iter().all(|n| backend.capabilities().has(*n)) {
            continue;
        }
        for fault in Fault::ALL.iter().copied().filter(|f| f.breaks().contains(&case.name())) {
            let (target, backend) = (target.clone(), wrap(backend.clone(), fault));
            let run = async move { (fault.name(), case.name(), run_case(&case, &target, &backend).await.is_err()) };
            tried.push(tokio::spawn(run));
        }
    }
    let mut passed = Vec::new();
    assert!(tried.len() >= 10, "only {} were tried", tried.len());
    for one in tried {
        let (fault, case, failed) = one.await.expect("a case");
        if !failed {
            passed.push(format!("{case} with {fault}"));
        }
    }
    assert!(passed.is_empty(), "these passed all the same: {passed:?}");
}
