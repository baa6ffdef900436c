//! Running the suite.

use crate::cases::unsupported;
use crate::{Case, Failure, Lab, Outcome, Target};
use libtest_mimic::{Arguments, Failed, Trial};
use pod_core::{Backend, Capability};
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// How long one case may take on a fast machine.
const CASE_LIMIT: Duration = Duration::from_secs(60);

/// Runs one case in a lab of its own, and cleans up after it.
///
/// # Errors
/// How the case failed: by its own checks, by a panic, by taking too long, or by leaving something that
/// could not be removed.
pub async fn run_case(case: &Case, target: &Arc<Target>, backend: &Arc<dyn Backend>) -> Outcome {
    use futures_util::FutureExt;
    let lab = Lab::new(target.clone(), backend.clone());
    let limit = target.time(CASE_LIMIT);
    // The cases share their subnets, which not every backend can have twice.
    let alone = is_alone(case, lab.backend());
    let _turn = if alone { Some(target.turn.lock().await) } else { None };
    let outcome = match tokio::time::timeout(limit, AssertUnwindSafe(case.start(&lab)).catch_unwind()).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(panic)) => {
            let words = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            Err(Failure::new(format!("it panicked: {}", words.unwrap_or("(no words)"))))
        }
        Err(_) => Err(Failure::new(format!("it took longer than {limit:?}"))),
    };
    let cleaned = match tokio::time::timeout(limit, lab.clean_up()).await {
        Ok(cleaned) => cleaned,
        Err(_) => Err(Failure::new("cleaning up took too long")),
    };
    match (outcome, cleaned) {
        (Err(failed), Err(left)) => Err(Failure::new(format!("{failed}\n{left}"))),
        (outcome, cleaned) => outcome.and(cleaned),
    }
}

/// Whether a case makes networks with subnets that other cases' networks have too, and the backend can't have
/// such networks at once.
fn is_alone(case: &Case, backend: &Arc<dyn Backend>) -> bool {
    case.needs().contains(&Capability::Networks) && !backend.capabilities().has(Capability::OverlappingSubnets)
}

/// Deals the first list out evenly among the second.
fn dealt<T>(few: Vec<T>, many: Vec<T>) -> Vec<T> {
    let (count, total) = (few.len(), many.len().max(1));
    let mut few = few.into_iter();
    let mut all = Vec::new();
    let mut given = 0;
    for (i, one) in many.into_iter().enumerate() {
        all.push(one);
        let due = (i + 1) * count / total;
        all.extend(few.by_ref().take(due - given));
        given = due;
    }
    all.extend(few);
    all
}

/// The suite as trials for [`libtest_mimic::run`]: the cases whose capabilities the backend has, the
/// others marked as ignored with what is lacking, and one for each capability that it lacks.
#[must_use]
pub fn trials(target: &Arc<Target>, backend: &Arc<dyn Backend>, runtime: &Arc<tokio::runtime::Runtime>) -> Vec<Trial> {
    let capabilities = backend.capabilities();
    let trial = |case: Case| {
        let (target, backend, runtime) = (target.clone(), backend.clone(), runtime.clone());
        Trial::test(case.name(), move || {
            runtime.block_on(run_case(&case, &target, &backend)).map_err(|f| Failed::from(f.message()))
        })
    };
    let where_possible = |case: Case| match case.needs().iter().find(|c| !capabilities.has(**c)) {
        None => trial(case),
        Some(lacking) => trial(case).with_kind(format!("lacks {lacking}")).with_ignored_flag(true),
    };
    let lacking = unsupported::cases().into_iter().filter(|(c, _)| !capabilities.has(*c));
    let all = crate::cases().into_iter().chain(lacking.map(|(_, case)| case));
    // What waits for its turn must not keep what could run meanwhile waiting.
    let (alone, beside): (Vec<Case>, Vec<Case>) = all.partition(|case| is_alone(case, backend));
    dealt(alone, beside).into_iter().map(where_possible).collect()
}

/// Runs the whole suite with the arguments of this program, as a test binary with `harness = false`
/// does. A backend that can't be reached is a failure.
#[must_use]
pub fn run(target: Target) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(target.jobs);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => Arc::new(runtime),
        Err(e) => {
            eprintln!("no runtime can be started: {e}");
            return ExitCode::FAILURE;
        }
    };
    let target = Arc::new(target);
    match runtime.block_on(target.registry.connect(&target.uri)) {
        Ok(backend) => libtest_mimic::run(&arguments, trials(&target, &backend, &runtime)).exit_code(),
        Err(e) => {
            eprintln!("{} can't be reached at {}: {}", target.name, target.uri, Failure::from(e));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::dealt;

    #[test]
    fn a_list_is_dealt_out_evenly_and_whole() {
        assert_eq!(dealt(vec!['a', 'b'], vec!['1', '2', '3', '4']), ['1', '2', 'a', '3', '4', 'b']);
        assert_eq!(dealt(vec!['a', 'b', 'c'], vec!['1']), ['1', 'a', 'b', 'c']);
        assert_eq!(dealt(vec!['a'], vec![]), ['a']);
        assert_eq!(dealt(Vec::<char>::new(), vec!['1', '2']), ['1', '2']);
    }
}
