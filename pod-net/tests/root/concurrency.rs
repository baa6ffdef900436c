//! Many at once, from tasks and from processes.

use crate::Case;
use crate::world::{World, network, spec, visit, workload};
use pod_core::{AttachmentFilter, AttachmentSpec, CreateNetworkOutcome, VerifyRequest};
use pod_net::{HostNet, Sandbox, netns};
use std::collections::BTreeSet;
use std::path::Path;

pub(crate) const CASES: &[Case] = &[
    Case::new("two processes create and attach at once", two_processes),
    Case::new("the same call from many tasks is one", same_call),
    Case::new("networks come and go at once", churn),
];

/// What another process is to do: `WORD DIRECTORY [NUMBER]`.
pub(crate) fn work(line: &str) {
    let words: Vec<_> = line.split(' ').collect();
    let dir = Path::new(words[1]);
    match words[0] {
        "make" => crate::crash::work(dir),
        "open" => crate::refuse::work(dir),
        "attach" => attach_eight(dir, words[2].parse().expect("number")),
        other => panic!("no such work: {other}"),
    }
}

fn sandboxes(dir: &Path, process: usize) -> Vec<Sandbox> {
    let name = |i| format!("p{process}-w{i}");
    (0..8).map(|i| Sandbox::new(workload(&name(i)), dir.join("box").join(name(i)))).collect()
}

fn attach_eight(dir: &Path, process: usize) {
    let (runtime, host) = visit(dir);
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for sandbox in sandboxes(dir, process) {
            let host = host.clone();
            tasks.spawn(async move {
                netns::create(&sandbox.netns).expect("namespace");
                // every task of both processes makes the network if it is the first
                host.create_network(&spec("red", "10.1.0.0/24")).await.expect("create");
                host.attach(&sandbox, &AttachmentSpec::new(network("red"))).await.expect("attach");
                host.attach(&sandbox, &AttachmentSpec::new(network("red"))).await.expect("again");
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.expect("task");
        }
    });
}

fn two_processes(world: World) {
    let host = world.host();
    let children: Vec<_> = (0..2)
        .map(|n| crate::command(&format!("work:attach {} {n}", world.dir.display())).spawn().expect("spawn"))
        .collect();
    for mut child in children {
        assert!(child.wait().expect("wait").success());
    }
    let boxes: Vec<_> = (0..2).flat_map(|n| sandboxes(&world.dir, n)).collect();
    world.run(async {
        let all = host.attachments(&AttachmentFilter::default()).await.expect("list");
        assert_eq!(all.len(), 16);
        let distinct: BTreeSet<_> = all.iter().map(|a| a.ips[0].addr()).collect();
        assert_eq!(distinct.len(), 16, "each address once");
        let report = host.verify(&boxes, &VerifyRequest::default()).await.expect("verify");
        assert!(report.ok(), "{:#?}", report.findings);
        let mut tasks = tokio::task::JoinSet::new();
        for sandbox in boxes.clone() {
            let host = host.clone();
            tasks.spawn(async move {
                host.forget(&sandbox.workload).await.expect("forget");
                netns::remove(&sandbox.netns).expect("remove");
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.expect("task");
        }
        host.remove_network(&network("red")).await.expect("remove");
    });
    world.assert_clean();
}

fn same_call(world: World) {
    let host = world.host();
    let a = world.sandbox("a");
    world.run(async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (host, a) = (host.clone(), a.clone());
            tasks.spawn(async move {
                let made = host.create_network(&spec("red", "10.1.0.0/24")).await.expect("create");
                let attachment = host.attach(&a, &AttachmentSpec::new(network("red"))).await.expect("attach");
                (matches!(made, CreateNetworkOutcome::Created(_)), attachment)
            });
        }
        let all = tasks.join_all().await;
        assert_eq!(all.iter().filter(|(created, _)| *created).count(), 1);
        assert!(all.iter().all(|(_, a)| *a == all[0].1), "{all:?}");
    });
}

fn churn(world: World) {
    let host = world.host();
    async fn turn(host: &HostNet, sandbox: &Sandbox, n: usize) {
        let name = network(&format!("n{n}"));
        host.create_network(&spec(name.as_str(), "10.1.0.0/24")).await.expect("create");
        host.attach(sandbox, &AttachmentSpec::new(name.clone())).await.expect("attach");
        host.detach(sandbox, &name).await.expect("detach");
        host.remove_network(&name).await.expect("remove");
    }
    let boxes: Vec<_> = (0..8).map(|n| world.sandbox(&format!("w{n}"))).collect();
    world.run(async {
        let mut tasks = tokio::task::JoinSet::new();
        for (n, sandbox) in boxes.iter().cloned().enumerate() {
            let host = host.clone();
            tasks.spawn(async move {
                for _ in 0..10 {
                    turn(&host, &sandbox, n).await;
                }
            });
        }
        tasks.join_all().await;
    });
    for sandbox in boxes {
        netns::remove(&sandbox.netns).expect("remove");
    }
    world.assert_clean();
}
