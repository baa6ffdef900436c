//! Reboot and shutdown, with answers from a script and a paused clock.

use crate::os::local::Scripted;
use crate::os::testing::{fixture, printed};
use crate::os::{InitSystem, Linux, Os};
use crate::{Error, ErrorKind, ExecRequest, ExitStatus, Output, Result, WorkloadName};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// A machine with systemd that answers the questions after the order by `later`, counted from 0.
fn machine(
    order: fn() -> Result<Output>,
    later: impl Fn(usize) -> Result<Output> + Send + Sync + 'static,
) -> (Os, Arc<AtomicUsize>) {
    let mut facts = Linux::detect().read(&[printed(fixture("detect-debian.txt"))]).expect("read");
    facts.init = Some(InitSystem::Systemd);
    let asked = Arc::new(AtomicUsize::new(0));
    let (count, ordered) = (asked.clone(), AtomicUsize::new(0));
    let answer = move |request: &ExecRequest| {
        let script = String::from_utf8_lossy(&request.argv[2]).into_owned();
        if script.contains("systemctl --no-ask-password") {
            ordered.fetch_add(1, Ordering::SeqCst);
            order()
        } else if ordered.load(Ordering::SeqCst) == 0 {
            Ok(boot("first"))
        } else {
            later(count.fetch_add(1, Ordering::SeqCst))
        }
    };
    let connection = Scripted(WorkloadName::new("vm").expect("a name"), answer);
    (Os::new(Arc::new(connection), Arc::new(Linux::new(facts))), asked)
}

fn boot(id: &str) -> Output {
    printed(format!("\0boot\0{id}\n\0one\0").into_bytes())
}

fn away() -> Result<Output> {
    Err(Error::new(ErrorKind::Unavailable, "no answer"))
}

#[tokio::test(start_paused = true)]
async fn a_reboot_ends_when_the_boot_id_has_changed() {
    let (os, asked) = machine(
        || Ok(printed(Vec::new())),
        |n| match n {
            0 | 1 => Ok(boot("first")), // it takes a moment to go down
            2..10 => away(),
            _ => Ok(boot("second")),
        },
    );
    assert_eq!(os.reboot(MINUTE).await.ok().as_deref(), Some("second/0"));
    assert_eq!(asked.load(Ordering::SeqCst), 11);
}

#[tokio::test(start_paused = true)]
async fn an_order_that_cuts_its_own_exec_is_no_failure() {
    for order in [
        || away(),
        || Ok(Output { status: ExitStatus::Signaled(15), ..printed(Vec::new()) }),
        || Ok(Output { status: ExitStatus::Unknown, ..printed(Vec::new()) }),
    ] {
        let (os, _) = machine(order, |_| Ok(boot("second")));
        assert!(os.reboot(MINUTE).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_order_is_a_failure_and_nothing_is_waited_for() {
    let refused = || {
        let stderr = b"Failed to reboot system via logind: Interactive authentication required.\n".to_vec();
        Ok(Output { status: ExitStatus::Exited(1), stdout: Vec::new(), stderr })
    };
    let (os, asked) = machine(refused, |_| Ok(boot("first")));
    let kind = |e: Error| (e.kind(), e.operation());
    assert_eq!(os.reboot(MINUTE).await.map_err(kind), Err((ErrorKind::PermissionDenied, Some("os.reboot"))));
    assert_eq!(os.shutdown(MINUTE).await.map_err(kind), Err((ErrorKind::PermissionDenied, Some("os.shutdown"))));
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_never_comes_back_is_waited_for_so_long() {
    let start = tokio::time::Instant::now();
    for later in [|_| away(), |_| Ok(boot("first"))] {
        let (os, _) = machine(|| Ok(printed(Vec::new())), later);
        assert_eq!(os.reboot(MINUTE).await.map_err(|e| e.kind()), Err(ErrorKind::Timeout));
    }
    assert!(start.elapsed() <= 2 * MINUTE && start.elapsed() > MINUTE);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_when_nothing_answers() {
    let (os, asked) = machine(|| Ok(printed(Vec::new())), |n| if n < 3 { Ok(boot("first")) } else { away() });
    assert!(os.shutdown(MINUTE).await.is_ok());
    assert_eq!(asked.load(Ordering::SeqCst), 4);
    let (os, _) = machine(|| Ok(printed(Vec::new())), |_| Ok(boot("first")));
    assert_eq!(os.shutdown(MINUTE).await.map_err(|e| e.kind()), Err(ErrorKind::Timeout));
}
