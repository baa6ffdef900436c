//! The suite fails on a faulty backend, case by case.
//!
//! For each fault, the cases that [`Fault::breaks`] names fail with it; every case is named by some
//! fault, and passes without one. Those that need what no backend in memory has are tried on a real engine, by
//! `pod-docker/tests/faults.rs`. Of each capability, the case that asks for it passes on a backend that lacks
//! it, and fails on one that only says so.
//!
//! `POD_FAULT_MATRIX=FILE cargo test -p pod-testkit --test faulty` writes all cases that fail with each
//! fault, for filling in the table; `POD_FAULT_CASES` may name those to run, with commas between.

use libtest_mimic::{Arguments, Failed, Trial};
use pod_core::mem::MemBackend;
use pod_core::{Backend, Registry};
use pod_testkit::faulty::{self, Fault};
use pod_testkit::{Case, Target, cases, run_case, unsupported_cases};
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::Arc;

/// Cases that must fail need not wait as long as those that must pass.
const SCALE_WITH_FAULT: f64 = 0.2;

fn target(fault: Fault) -> Arc<Target> {
    let mut inner = Registry::new();
    pod_core::mem::register(&mut inner);
    let registry = faulty::registry(inner, &["mem"], fault);
    let scale = if fault == Fault::None { 1.0 } else { SCALE_WITH_FAULT };
    Arc::new(
        Target::new(fault.name(), registry, "mem:".parse().expect("an address")).with_limits_shown().with_scale(scale),
    )
}

async fn backend(target: &Target, fault: Fault) -> Arc<dyn Backend> {
    if fault == Fault::Unchecked {
        return faulty::wrap(Arc::new(MemBackend::new()), fault);
    }
    target.registry.connect(&target.uri).await.expect("a backend in memory")
}

/// Whether the backend in memory has all that a case needs.
fn in_memory(case: &Case) -> bool {
    let has = MemBackend::new().capabilities();
    case.needs().iter().all(|c| has.has(*c))
}

/// How the case goes with the fault.
async fn outcome(case: &Case, fault: Fault) -> pod_testkit::Outcome {
    let target = target(fault);
    let backend = backend(&target, fault).await;
    run_case(case, &target, &backend).await
}

/// How the case goes on a backend in memory that lacks a capability, or that only says so.
async fn without(case: &Case, capability: pod_core::Capability, truly: bool) -> pod_testkit::Outcome {
    let backend = if truly {
        MemBackend::new().without(capability).layered()
    } else {
        faulty::denying(MemBackend::new().layered(), capability)
    };
    run_case(case, &target(Fault::None), &backend).await
}

fn covered() -> Result<(), Failed> {
    let named: BTreeSet<_> = Fault::ALL.iter().flat_map(|f| f.breaks()).copied().collect();
    let all: BTreeSet<_> = cases().iter().map(Case::name).collect();
    let holes: Vec<_> = all.difference(&named).collect();
    let strange: Vec<_> = named.difference(&all).collect();
    let idle: Vec<_> = Fault::ALL.iter().filter(|f| f.breaks().is_empty()).map(|f| f.name()).collect();
    if holes.is_empty() && strange.is_empty() && idle.is_empty() {
        return Ok(());
    }
    Err(format!("no fault breaks {holes:?}; no case is named {strange:?}; these break nothing: {idle:?}").into())
}

fn trials(runtime: &Arc<tokio::runtime::Runtime>) -> Vec<Trial> {
    let by_name: BTreeMap<_, _> = cases().into_iter().filter(in_memory).map(|c| (c.name(), c)).collect();
    let mut all = vec![Trial::test("every_case_is_covered", covered)];
    for &case in by_name.values() {
        let runtime = runtime.clone();
        all.push(Trial::test(format!("none::{}", case.name()), move || {
            runtime.block_on(outcome(&case, Fault::None)).map_err(|f| Failed::from(f.message()))
        }));
    }
    for fault in Fault::ALL.iter().copied() {
        for case in fault.breaks().iter().filter_map(|name| by_name.get(name).copied()) {
            let runtime = runtime.clone();
            all.push(Trial::test(format!("{}::{}", fault.name(), case.name()), move || {
                // A fault that lies in a race is not met at every try.
                match (0..3).any(|_| runtime.block_on(outcome(&case, fault)).is_err()) {
                    true => Ok(()),
                    false => Err("it passed with the fault, three times".into()),
                }
            }));
        }
    }
    for (capability, case) in unsupported_cases() {
        // What it can't do it can't do in spite of its word.
        let has = MemBackend::new().capabilities().has(capability);
        for truly in [true, false].into_iter().filter(|truly| *truly || has) {
            let runtime = runtime.clone();
            let name = if truly { "lacking" } else { "denying" };
            all.push(Trial::test(format!("{name}::{}", case.name()), move || {
                match (truly, runtime.block_on(without(&case, capability, truly))) {
                    (true, Err(f)) => Err(f.message().into()),
                    (false, Ok(())) => Err("it passed on a backend that does what it says it can't".into()),
                    _ => Ok(()),
                }
            }));
        }
    }
    all
}

/// Writes which cases fail with each fault.
async fn matrix(path: &std::ffi::OsStr) {
    use futures_util::StreamExt;
    let mut text = String::new();
    let only = std::env::var("POD_FAULT_CASES").unwrap_or_default();
    let wanted = |case: &Case| in_memory(case) && (only.is_empty() || only.split(',').any(|name| name == case.name()));
    for fault in Fault::ALL.iter().copied() {
        let runs =
            cases().into_iter().filter(wanted).map(|case| async move { (case.name(), outcome(&case, fault).await) });
        let mut ended: Vec<_> = futures_util::stream::iter(runs).buffered(8).collect().await;
        ended.retain(|(_, outcome)| outcome.is_err());
        text.push_str(fault.name());
        for (name, _) in ended {
            text.push(' ');
            text.push_str(name);
        }
        text.push('\n');
        std::fs::write(path, &text).expect("the file can be written");
    }
}

fn main() -> ExitCode {
    // A fault may well make a case panic, as it may fail: its words are the trial's, where they matter.
    std::panic::set_hook(Box::new(|_| {}));
    let runtime = Arc::new(tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime"));
    if let Some(path) = std::env::var_os("POD_FAULT_MATRIX") {
        runtime.block_on(matrix(&path));
        return ExitCode::SUCCESS;
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(8);
    libtest_mimic::run(&arguments, trials(&runtime)).exit_code()
}
