//! An `up` or `down` that was cut off at any point can be resumed or taken down.

use super::*;
use crate::ErrorKind;
use std::time::Duration;

/// An edit that makes every kind of change: a workload made anew, one removed, one more, a network
/// made anew, one removed, one more, an attachment moved, names changed.
const EDITED: &str = "\
networks:
  blue: { vlan: 100, subnet: 10.100.0.0/24, mtu: 1400 }
  green: { vlan: 300, subnet: 10.100.0.0/24 }
defaults: { image: host }
workloads:
  a1: { networks: { blue: { ip: 10.100.0.11 } } }
  a2: { env: { A: b }, networks: { blue: { ip: 10.100.0.12 } } }
  b1: { networks: { green: { ip: 10.100.0.21 } } }
  b3: { networks: { green: { ip: 10.100.0.22 } } }
";

/// How many changes an `up` from one text to the other makes.
async fn changes(before: Option<&str>, after: &str) -> usize {
    let lab = Lab::new();
    if let Some(before) = before {
        lab.up(before).await;
    }
    lab.recorder.take();
    lab.deploy(after).up(&(), 1).await.expect("up");
    lab.recorder.take().len()
}

/// Cuts an `up` off at its change of this number.
async fn cut(before: Option<&str>, after: &str, at: usize, fault: Fault) -> Lab {
    let lab = Lab::new();
    if let Some(before) = before {
        lab.up(before).await;
    }
    lab.recorder.arm(at, fault);
    let deployment = lab.deploy(after);
    // With one job the changes come one by one, so that each point is met.
    let up = tokio::time::timeout(Duration::from_secs(3600), deployment.up(&(), 1)).await;
    match fault {
        // A copy that fails has a second way; that is told elsewhere.
        Fault::Fails if lab.recorder.take().get(at) == Some(&"copy") => {}
        Fault::Fails => {
            let e = up.expect("in time").expect_err("told to fail");
            let text = e.to_string();
            assert!(text.contains("told to fail") && text.contains("a way out of its own"), "{text}");
            assert!(text.contains("`pod up` goes on from there, `pod down lab` takes it down"), "{text}");
            assert!(text.contains("place: line") || text.contains("b2") || text.contains("red"), "{text}");
            assert_eq!((e.kind(), e.operation()), (ErrorKind::Unexpected, Some("up")));
        }
        Fault::HangsBefore | Fault::HangsAfter => assert!(up.is_err(), "it hangs until it is dropped"),
    }
    lab.recorder.disarm();
    lab
}

#[tokio::test(start_paused = true)]
async fn a_first_up_cut_off_anywhere_is_resumed_or_taken_down() {
    let count = changes(None, TWO).await;
    assert_eq!(count, 6);
    for at in 0..count {
        for fault in [Fault::Fails, Fault::HangsBefore, Fault::HangsAfter] {
            let lab = cut(None, TWO, at, fault).await;
            let there = lab.ids().await;
            assert!(lab.up(TWO).await.ok(), "{at} {fault:?}");
            let after = lab.ids().await;
            assert!(there.iter().all(|(w, id)| after[w] == *id), "what was made stays: {at} {fault:?}");

            let lab = cut(None, TWO, at, fault).await;
            lab.deploy(TWO).down(&()).await.expect("down");
            assert!(lab.is_empty().await, "{at} {fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_edit_cut_off_anywhere_is_resumed_or_taken_down_or_taken_back() {
    let count = changes(Some(TWO), EDITED).await;
    assert!(count >= 12, "{count}");
    for at in 0..count {
        for fault in [Fault::Fails, Fault::HangsBefore, Fault::HangsAfter] {
            let lab = cut(Some(TWO), EDITED, at, fault).await;
            assert!(lab.up(EDITED).await.ok(), "{at} {fault:?}");
            let lab = cut(Some(TWO), EDITED, at, fault).await;
            assert!(lab.up(TWO).await.ok(), "{at} {fault:?}");
            let lab = cut(Some(TWO), EDITED, at, fault).await;
            lab.deploy(EDITED).down(&()).await.expect("down");
            assert!(lab.is_empty().await, "{at} {fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_down_cut_off_anywhere_is_finished_by_the_next() {
    for at in 0..6 {
        for fault in [Fault::Fails, Fault::HangsBefore, Fault::HangsAfter] {
            let lab = Lab::new();
            lab.up(TWO).await;
            lab.recorder.arm(at, fault);
            let deployment = lab.deploy(TWO);
            let down = tokio::time::timeout(Duration::from_secs(3600), deployment.down(&())).await;
            if fault == Fault::Fails {
                let text = down.expect("in time").expect_err("told to fail").to_string();
                assert!(text.contains("`pod down lab` again goes on from there"), "{text}");
                let left = lab.ids().await.len() + lab.networks().await.len();
                // A workload that stays keeps its network.
                assert!(left <= 2, "the rest was removed all the same: {left}");
            } else {
                assert!(down.is_err());
            }
            lab.recorder.disarm();
            deployment.down(&()).await.expect("down again");
            assert!(lab.is_empty().await, "{at} {fault:?}");
        }
    }
}

/// A workload that was made and not started, as by a process killed between the two.
#[tokio::test]
async fn a_half_made_workload_is_started() {
    let lab = Lab::new();
    lab.up(TWO).await;
    let spec = lab.backend.inspect(&name("a1")).await.expect("inspect").spec;
    lab.backend.remove(crate::RemoveRequest::new(name("a1")).with_force(true)).await.expect("remove");
    lab.backend.create(crate::CreateRequest::new(spec)).await.expect("create");
    let id = lab.ids().await["a1"].clone();
    assert_eq!(planned(&lab.deploy(TWO)).await, ["~ workload a1: started: it is created"]);
    assert!(lab.up(TWO).await.ok());
    assert_eq!(lab.ids().await["a1"], id);
}
